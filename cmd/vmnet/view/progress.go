package view

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
)

// Progress is an event of an apply as text, "" for one that nobody needs to see.
func Progress(e apply.Event, o Options) string {
	pg := &page{o: o}
	switch e.Kind {
	case apply.EventChecked:
		pg.raw(fmt.Sprintf("%d of %s unchanged", e.Held, count(e.Facts, "fact")))
	case apply.EventDone:
		pg.progress(e, pg.paint(green, "ok"))
	case apply.EventFailed:
		pg.progress(e, pg.paint(red, "FAILED"))
		pg.para(stepIndent, red, e.Err.Error())
	case apply.EventUndone:
		pg.progress(e, pg.paint(yellow, "undone"))
	case apply.EventUndoFailed:
		pg.progress(e, pg.paint(red, "NOT UNDONE"))
		pg.para(stepIndent, red, e.Err.Error())
	case apply.EventRollback:
		pg.para(0, yellow, fmt.Sprintf("Rolling back: %v", e.Err))
	case apply.EventVerified:
		pg.raw(fmt.Sprintf("verified: read back, nothing left to do (%s)", elapsed(e.Elapsed)))
	case apply.EventRestored:
		pg.raw(fmt.Sprintf("restored: %d of %s as before (%s)", e.Held, count(e.Facts, "fact"), elapsed(e.Elapsed)))
	case apply.EventNotRestored:
		pg.para(0, red, fmt.Sprintf("NOT restored: %d of %s as before", e.Held, count(e.Facts, "fact")))
	case apply.EventArmed:
		pg.raw("watchdog armed: it takes everything back if this process dies")
	case apply.EventBegin, apply.EventVerify, apply.EventSettling:
	}
	return pg.String()
}

func (pg *page) progress(e apply.Event, outcome string) {
	sym, st := symbol(e.Step.Action)
	width := len(strconv.Itoa(e.Total))
	left := fmt.Sprintf("%*d/%d %s %s", width, e.Step.ID, e.Total, pg.paint(st, sym), clean(stepTitle(*e.Step)))
	pg.wide(left, outcome+fmt.Sprintf("  %7s", elapsed(e.Elapsed)))
}

// Heartbeat says what is still under way since the last event; "" for nothing.
func Heartbeat(e apply.Event, took time.Duration, o Options) string {
	what := ""
	switch e.Kind {
	case apply.EventBegin:
		what = fmt.Sprintf("at step %d of %d, %s", e.Step.ID, e.Total, clean(stepTitle(*e.Step)))
	case apply.EventVerify, apply.EventSettling:
		what = "reading the host back"
	case apply.EventRollback, apply.EventUndone, apply.EventUndoFailed:
		what = "taking back"
	default:
		return ""
	}
	pg := &page{o: o}
	pg.raw(fmt.Sprintf("  still %s (%s)", what, took.Round(time.Second)))
	return pg.String()
}

// Waiting says that a change is made and waits to be confirmed, and what to do.
func Waiting(r *apply.Report, o Options) string {
	pg := &page{o: o}
	pg.waiting(r)
	pg.raw("Ctrl-C takes it back now; closing this terminal leaves it to the watchdog.")
	return pg.String()
}

func (pg *page) waiting(r *apply.Report) {
	pg.raw(pg.paint(yellow, fmt.Sprintf("Made %s; not confirmed.", count(len(r.Steps), "step"))) + holding(r))
	pg.para(0, plain, fmt.Sprintf("It is taken back at %s unless somebody confirms it from a new login:", r.Deadline.Local().Format("15:04:05")))
	pg.raw("  " + pg.paint(bold, "vmnet confirm "+r.PlanID) + "     let it stay     (more time: --extend 5m)")
	pg.raw("  " + pg.paint(bold, "vmnet rollback "+r.PlanID) + "    take it back now")
	if n := r.Count(apply.StepPending); n > 0 {
		pg.raw("What outlasts a reboot, " + count(n, "step") + ", is written when it is confirmed.")
	}
}

// Left says how much time there is to confirm a change.
func Left(e *apply.Entry, o Options) string {
	pg := &page{o: o}
	pg.raw(fmt.Sprintf("  %s left to confirm: vmnet confirm %s, from a new login", e.Left().Round(time.Second), clean(e.ID)))
	return pg.String()
}

// Report is how an apply ended, as text.
func Report(r *apply.Report, p *plan.Plan, o Options) string {
	pg := &page{o: o}
	took := elapsed(time.Duration(r.Millis) * time.Millisecond)
	switch r.Result {
	case apply.Applied:
		pg.raw(pg.paint(green, fmt.Sprintf("Applied %s in %s.", count(len(r.Steps), "step"), took)) + holding(r))
		pg.unmet(r)
	case apply.Unconfirmed:
		pg.waiting(r)
	case apply.Rebooted:
		pg.para(0, bold, "The host was booted before the change was confirmed, which undid it.")
	case apply.RolledBack:
		pg.para(0, bold, fmt.Sprintf("Rolled back: the host is as before, %d of %s.", r.Held, count(r.Facts, "fact")))
		pg.facet(2, "cause", r.Error)
	case apply.NeedsHuman:
		if r.Confirmed {
			pg.para(0, red, "Confirmed, and it stays; but not everything that should outlast a reboot was written. Plan again.")
		} else {
			pg.para(0, red, "The host needs a human: not everything could be taken back.")
		}
		pg.facet(2, "cause", r.Error)
		pg.remains(r, p)
	case apply.Refused, apply.Damaged:
		pg.para(0, plain, "Nothing was changed.")
	}
	for _, m := range r.Meanwhile {
		pg.facet(2, "meanwhile", m+" (somebody else's change, left alone)")
	}
	return pg.String()
}

func holding(r *apply.Report) string {
	if len(r.Checks) == 0 {
		return ""
	}
	ok := 0
	for _, c := range r.Checks {
		if c.Before.Status == "ok" {
			ok++
		}
	}
	return fmt.Sprintf("  %d of %d expectations hold.", ok, len(r.Checks))
}

// unmet lists the expectations that do not hold after the apply.
func (pg *page) unmet(r *apply.Report) {
	for _, c := range r.Checks {
		if c.Before.Status == "ok" {
			continue
		}
		pg.raw("  " + pad(pg.status(c.Before.Status), 9) + clean(goal(c)))
		pg.para(11, plain, c.Before.Why)
	}
}

// remains says what is left of the change, and what a person would type to take it back.
func (pg *page) remains(r *apply.Report, p *plan.Plan) {
	for i, s := range r.Steps {
		if s.State != apply.StepRemained || i >= len(p.Steps) {
			continue
		}
		step := p.Steps[i]
		pg.facet(2, "remains", fmt.Sprintf("step %d, %s: %s", s.Step, stepTitle(step), s.Error))
		pg.facet(2, "", "to take it back: "+step.Undo)
	}
	for _, d := range r.Differences {
		pg.facet(2, "differs", d)
	}
	if r.Journal != "" {
		pg.facet(2, "journal", r.Journal+"  (every step with what was there before)")
		pg.facet(2, "", "vmnet rollback "+r.PlanID+" tries once more to take back what remains")
	}
}

// ReportJSON is the document of apply.
func ReportJSON(r *apply.Report) ([]byte, error) { return encode(r) }

// Lost says that a plan became stale before its first step, by what and whom, and that it is made again: for the nth time of at most.
func Lost(e *apply.StaleError, n, most int, o Options) string {
	pg := &page{o: o}
	what := make([]string, len(e.Changed))
	for i, c := range e.Changed {
		what[i] = objectName(c.Ref)
		if c.By != "" {
			what[i] += " (by " + c.By + ")"
		}
	}
	pg.para(0, yellow, fmt.Sprintf("The host changed between the plan and its first step: %s. Nothing was changed; planning again (%d of %d).", strings.Join(what, ", "), n, most))
	return pg.String()
}

// Stale names the facts that changed since a plan was made, old and new.
func Stale(e *apply.StaleError, o Options) string {
	pg := &page{o: o}
	pg.raw(pg.paint(red, "error["+apply.CodeStale+"]") + ": " + pg.paint(bold, fmt.Sprintf("the plan is stale: %d of %s it relies on changed",
		len(e.Changed), count(e.Facts, "fact"))))
	for _, c := range e.Changed {
		pg.raw("  " + pg.paint(bold, objectName(c.Ref)))
		pg.facet(4, "planned", c.Old)
		pg.facet(4, "now", c.New)
		pg.facet(4, "by", c.By)
	}
	pg.para(0, plain, "Nothing was changed. Plan again, or let vmnet plan --rebase FILE show what differs from the plan that was reviewed. Other objects of the host may change without making a plan stale.")
	return pg.String()
}

// Failure writes an error of ours that has a code: "error[VN806]: busy …".
func Failure(code, text string, o Options) string {
	pg := &page{o: o}
	head := "error"
	if code != "" {
		head += "[" + code + "]"
	}
	lines := wrap(clean(text), o.width()-len(head)-2)
	pg.raw(pg.paint(red, head) + ": " + lines[0])
	for _, l := range lines[1:] {
		pg.raw(strings.Repeat(" ", len(head)+2) + l)
	}
	return pg.String()
}
