package view

import (
	"fmt"
	"strings"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/plan/checks"
)

// Diagnosis is what doctor says as text: the host, the networks that were found, what is wrong, what guests' packets reach.
func Diagnosis(d *plan.Diagnosis, o Options) string {
	pg := &page{o: o}
	if len(d.Fitness) > 0 {
		pg.heading("HOST", d.Host.Name)
		for _, f := range d.Fitness {
			pg.facet(2, f.Name, strings.TrimSpace(map[bool]string{false: "!"}[f.OK]+" "+f.Value))
		}
		pg.blank()
	}
	pg.networks(d)
	if len(d.Findings) > 0 {
		pg.heading("FINDINGS", severities(d.Findings))
		for _, f := range d.Findings {
			pg.blank()
			pg.finding(f)
		}
		pg.blank()
	}
	pg.questions(d)
	pg.verdict(d)
	return pg.String()
}

func (pg *page) networks(d *plan.Diagnosis) {
	if len(d.Networks) == 0 {
		return
	}
	pg.heading("NETWORKS", count(len(d.Networks), "network"))
	for _, n := range d.Networks {
		words := []string{clean(n.Label()), n.Mode}
		for _, p := range n.Hosts {
			words = append(words, p.String())
		}
		if n.Missing {
			words = append(words, pg.paint(yellow, "not there"))
		}
		pg.raw("  " + pg.paint(bold, n.Device) + "  " + strings.Join(words, ", "))
		pg.para(6, faint, "known by "+n.Why)
		if len(n.Uplinks) > 0 {
			pg.para(6, plain, "leads out by "+strings.Join(n.Uplinks, ", "))
		}
		for i, g := range n.Guests {
			if i == 8 && !pg.o.Full && len(n.Guests) > 9 {
				pg.para(6, faint, fmt.Sprintf("… %d guests more", len(n.Guests)-i))
				break
			}
			pg.para(6, plain, guestLine(g))
		}
	}
	pg.blank()
}

func guestLine(g checks.Guest) string {
	words := []string{g.Port}
	if g.Name != "" {
		words = append(words, g.Name)
	}
	if g.MAC != "" {
		words = append(words, g.MAC)
	}
	for _, ip := range g.IPs {
		words = append(words, ip.String())
	}
	if g.Holder != "" {
		words = append(words, "("+g.Holder+")")
	}
	return strings.Join(words, "  ")
}

func (pg *page) questions(d *plan.Diagnosis) {
	if len(d.Questions) == 0 {
		return
	}
	pg.heading("PACKETS", count(len(d.Questions), "question"))
	for _, q := range d.Questions {
		pg.raw("  " + pad(pg.status(q.Status), 9) + clean(q.Text))
		if q.Why != "" {
			pg.para(11, plain, q.Why)
		}
	}
	pg.blank()
}

func (pg *page) verdict(d *plan.Diagnosis) {
	if !d.Observation.Complete {
		pg.para(0, yellow, "? not everything could be read: "+strings.Join(d.Observation.Blind, ", "))
	}
	line := fmt.Sprintf("Nothing is wrong: %s of %d.", count(len(d.Examined), "check"), len(checks.All()))
	if !d.Observation.Complete {
		line = "Nothing is wrong in what could be seen."
	}
	if n := d.Wrong(); n > 0 {
		line = count(n, "thing") + " are wrong. vmnet explain CODE tells all about a finding."
		if n == 1 {
			line = "1 thing is wrong. vmnet explain CODE tells all about it."
		}
	}
	pg.raw(pg.paint(bold, line))
	if d.Repair != "" {
		what := "repairs none of it"
		if len(d.Repaired) > 0 {
			what = "repairs " + strings.Join(d.Repaired, ", ")
		}
		pg.raw("The plan of the file that was written " + what + ".")
	}
}

// DiagnosisJSON is the document of doctor.
func DiagnosisJSON(d *plan.Diagnosis) ([]byte, error) { return encode(d) }

// ChecksList lists checks, a line each.
func ChecksList(all []checks.Check, o Options) string {
	pg := &page{o: o}
	var layer checks.Layer
	for _, c := range all {
		if c.Layer != layer {
			pg.raw(pg.paint(faint, string(c.Layer)))
			layer = c.Layer
		}
		pg.raw("  " + pg.paint(bold, c.Code) + "  " + pad(c.Name, 20) + " " + clean(c.Title))
	}
	return pg.String()
}

// ChecksListJSON is the document of doctor --list-checks.
func ChecksListJSON(all []checks.Check) ([]byte, error) {
	type entry struct {
		Code  string       `json:"code"`
		Name  string       `json:"name"`
		Layer checks.Layer `json:"layer"`
		Title string       `json:"title"`
	}
	list := []entry{}
	for _, c := range all {
		list = append(list, entry{c.Code, c.Name, c.Layer, c.Title})
	}
	return encode(struct {
		FormatVersion string  `json:"format_version"`
		Checks        []entry `json:"checks"`
	}{"1.0", list})
}
