package view

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// expectations is the part of a plan that says what it is good for: every goal, before and after.
func (pg *page) expectations(p *plan.Plan) {
	if len(p.Checks) == 0 {
		return
	}
	pg.blank()
	s := p.Summary
	head := fmt.Sprintf("%d -> %d of %d hold", s.ChecksOKBefore, s.ChecksOKAfter, len(p.Checks))
	if s.ChecksOKBefore == s.ChecksOKAfter {
		head = fmt.Sprintf("%d of %d hold", s.ChecksOKAfter, len(p.Checks))
	}
	opened := opened(p)
	if n := len(p.Unrequested); n > 0 {
		opened = strconv.Itoa(n)
	}
	pg.heading("EXPECTATIONS", head+"      newly reachable and not asked for: "+opened)
	for _, u := range p.Unrequested {
		pg.para(4, red, "! "+u)
	}
	for _, r := range p.Reached {
		pg.para(4, plain, r)
	}
	folded := 0
	for _, c := range p.Checks {
		if !pg.o.Full && c.Before.Status == "ok" && c.After.Status == "ok" {
			folded++
			continue
		}
		pg.check(c, !p.Observation.Complete && !pg.o.Full)
	}
	if folded > 0 {
		pg.raw("  " + pad(pg.status("ok")+" -> "+pg.status("ok"), checkColumn-2) + pg.paint(faint, count(folded, "expectation")+" more (--full)"))
	}
}

// checkColumn is where the goals of expectations stand: behind the longest pair of verdicts, "depends -> depends".
const checkColumn = 22

// opened says that the plan lets nothing through that was not asked for. What was not read cannot be compared.
func opened(p *plan.Plan) string {
	if !p.Observation.Complete {
		return "not known"
	}
	return "none"
}

// check writes a goal and why it does not hold. blind leaves out that something could not be read: the head of the plan
// says so once.
func (pg *page) check(c plan.Check, blind bool) {
	pg.raw("  " + pad(pg.status(c.Before.Status)+" -> "+pg.status(c.After.Status), checkColumn-2) + clean(goal(c)))
	if c.After.Status == "ok" {
		if c.After.NotAsked != "" {
			pg.para(checkColumn, faint, c.After.NotAsked)
		}
		return
	}
	why := c.After.Why
	if why == "" {
		why = c.Before.Why
	}
	if blind && strings.Contains(why, "could not be read") {
		return
	}
	pg.para(checkColumn, plain, why)
}

// goal is a goal in words: its block and what it wishes.
func goal(c plan.Check) string {
	g := c.Goal
	text := g.Name
	if text == "" {
		text = fmt.Sprintf("%s -> %s %s", g.From, g.To, g.Service)
		if !g.Allow {
			text = "not: " + text
		}
	}
	if g.Address == "" || strings.HasPrefix(text, g.Address) {
		return text
	}
	return g.Address + ": " + text
}

func (pg *page) status(s string) string {
	switch s {
	case "ok":
		return pg.paint(green, s)
	case "fail":
		return pg.paint(red, "FAIL")
	}
	return pg.paint(yellow, s)
}

// Checks is the answer of check as text: every goal against the live host, what fails first, then what real packets said.
func Checks(p *plan.Plan, probes []schema.ProbeResult, o Options) string {
	pg := &page{o: o}
	if !p.Observation.Complete {
		pg.para(0, yellow, "? "+blind(p))
	}
	for _, status := range statuses {
		for _, c := range p.Checks {
			if c.Before.Status != status {
				continue
			}
			pg.raw(pad(pg.status(status), 9) + clean(goal(c)))
			switch {
			case status != "ok":
				pg.para(9, plain, c.Before.Why)
			case c.Before.NotAsked != "":
				pg.para(9, faint, c.Before.NotAsked)
			}
		}
	}
	line := fmt.Sprintf("%d of %d expectations hold.", p.Summary.ChecksOKBefore, len(p.Checks))
	if len(p.Checks) == 0 {
		line = configName(p) + " expects nothing."
	}
	pg.raw(pg.paint(bold, line))
	if probes != nil {
		pg.blank()
		pg.probes(probes)
	}
	return pg.String()
}

// statuses of goals, what fails first.
var statuses = []string{"fail", "depends", "unknown", "ok"}

// probes says what became of real packets.
func (pg *page) probes(results []schema.ProbeResult) {
	if len(results) == 0 {
		pg.raw(pg.paint(bold, "Nothing was probed: no expectation says probe = true."))
		return
	}
	held := 0
	for _, status := range statuses {
		for _, r := range results {
			if r.Status != status {
				continue
			}
			if status == "ok" {
				held++
			}
			pg.raw(pad(pg.status(status), 9) + clean(goal(plan.Check{Goal: r.Goal})))
			pg.para(9, plain, r.Why)
			if status == "ok" {
				pg.attempts(r.Attempts)
			}
		}
	}
	pg.raw(pg.paint(bold, fmt.Sprintf("%d of %d probed expectations hold by real packets from this host.", held, len(results))))
}

// attempts writes the packets of an expectation that held.
func (pg *page) attempts(all []schema.ProbeAttempt) {
	for _, a := range all {
		pg.para(9, faint, fmt.Sprintf("%s, %d ms", a, a.Millis))
	}
}

// ChecksJSON is the document of check: every goal with its verdict on the live host, and what real packets said where any were asked for.
func ChecksJSON(p *plan.Plan, probes []schema.ProbeResult) ([]byte, error) {
	type checkJSON struct {
		Goal schema.Goal `json:"goal"`
		plan.CheckResult
	}
	checks := []checkJSON{}
	for _, c := range p.Checks {
		checks = append(checks, checkJSON{c.Goal, c.Before})
	}
	return encode(struct {
		FormatVersion string               `json:"format_version"`
		Host          plan.HostInfo        `json:"host"`
		Observation   plan.Observation     `json:"observation"`
		Held          int                  `json:"held"`
		Checks        []checkJSON          `json:"checks"`
		Probes        []schema.ProbeResult `json:"probes,omitempty"`
	}{"1.1", p.Host, p.Observation, p.Summary.ChecksOKBefore, checks, probes})
}
