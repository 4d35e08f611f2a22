package view

import (
	"fmt"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
)

// RebasedJSON is the difference of two plans as a document.
func RebasedJSON(r *apply.Rebased) ([]byte, error) { return encode(r) }

// Rebased is the difference between a plan that was reviewed and one made now.
func Rebased(r *apply.Rebased, o Options) string {
	pg := &page{o: o}
	pg.raw(fmt.Sprintf("Plan %s against plan %s, which was reviewed: %s.", clean(r.Now), clean(r.Reviewed), rebasedHead(r)))
	for _, f := range r.Facts {
		pg.raw("  " + pg.paint(bold, objectName(f.Ref)))
		pg.facet(4, "reviewed", f.Old)
		pg.facet(4, "now", f.New)
	}
	if r.Same() {
		return pg.String()
	}
	pg.blank()
	for _, s := range r.Added {
		pg.rebased(green, "new step", s)
	}
	for _, c := range r.Changed {
		pg.rebased(yellow, "other step", c.Now)
		pg.facet(6, "reviewed", c.Reviewed.Change.String())
	}
	for _, s := range r.Removed {
		pg.rebased(red, "no longer", s)
	}
	for _, c := range r.Checks {
		pg.raw(fmt.Sprintf("  %s  %s: %s -> %s", pad("expectation", 11), clean(goal(plan.Check{Goal: c.Goal})), c.Reviewed, c.Now))
		pg.para(6, plain, c.Why)
	}
	for _, text := range r.Opened {
		pg.raw("  " + pad("opens", 11) + "  " + clean(text))
	}
	return pg.String()
}

func (pg *page) rebased(st style, what string, s plan.Step) {
	pg.raw(fmt.Sprintf("  %s  %s", pg.paint(st, pad(what, 11)), clean(stepTitle(s))))
	for _, l := range s.Lines {
		pg.raw("      " + clean(l))
	}
}

func rebasedHead(r *apply.Rebased) string {
	facts := "no fact changed"
	if len(r.Facts) > 0 {
		facts = count(len(r.Facts), "fact") + " changed"
	}
	if r.Same() {
		return facts + ", and it does the same"
	}
	return fmt.Sprintf("%s; %s to look at again", facts, count(len(r.Added)+len(r.Changed)+len(r.Removed)+len(r.Checks)+len(r.Opened), "difference"))
}
