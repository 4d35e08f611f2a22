package view

import (
	"fmt"
	"strings"

	"github.com/vmnet/vmnet/plan"
)

// guarded says how the way in fares while the plan is carried out: one's own session always; of the rest what does not simply
// survive, or all with Full.
func (pg *page) guarded(p *plan.Plan) {
	if p.Empty() {
		return
	}
	first := true
	if p.SessionsUnknown != "" {
		pg.blank()
		first = false
		pg.raw(pg.paint(bold, "YOUR SESSION") + "  " + pg.paint(red, "unknown") + ": who is logged in could not be found out")
		pg.para(4, plain, p.SessionsUnknown)
	}
	for i := range p.Guarded {
		g := &p.Guarded[i]
		if !pg.o.Full && !telling(g) {
			continue
		}
		if first {
			pg.blank()
			first = false
		}
		pg.raw(pg.paint(bold, guardTitle(g)) + strings.Repeat(" ", max(14-len(guardTitle(g)), 2)) + clean(g.Name) + "   " + pg.paint(guardStyle(g), guardText(g)))
		if g.Verdict != plan.Survives {
			pg.para(4, plain, g.Why)
		}
	}
}

// telling tells whether a reader in a hurry wants to know.
func telling(g *plan.Guarded) bool {
	switch {
	case g.Kind == "session" && g.Session.Own:
		return true
	case g.Worse:
		return true
	case g.Kind == "flow", g.Kind == "interface":
		return g.Verdict != plan.Survives
	}
	return g.Verdict == plan.Interrupted && g.MaxPauseMS >= 1000 && g.Kind != "login"
}

func guardTitle(g *plan.Guarded) string {
	switch {
	case g.Kind == "session" && g.Session.Own:
		return "YOUR SESSION"
	case g.Kind == "session":
		return "A SESSION"
	case g.Kind == "login":
		return "NEW LOGINS"
	case g.Kind == "gateway":
		return "GATEWAY"
	}
	return strings.ToUpper(g.Address)
}

func guardStyle(g *plan.Guarded) style {
	switch {
	case g.Worse && g.Verdict == plan.Cut:
		return red
	case g.Verdict == plan.Survives:
		return green
	}
	return yellow
}

// guardText is "survives (pause <= 50 ms at step 5)", "CUT at step 4".
func guardText(g *plan.Guarded) string {
	pause := ""
	if g.MaxPauseMS > 0 && len(g.Steps) > 0 {
		pause = fmt.Sprintf(" (pause <= %d ms at %s)", g.MaxPauseMS, steps(g.Steps))
	}
	switch {
	case g.Verdict == plan.Cut && g.Worse:
		return "CUT at " + steps(g.Steps)
	case g.Verdict == plan.Cut:
		return "is cut already"
	case g.Verdict == plan.Depending && g.Worse:
		return "not known from " + steps(g.Steps) + " on"
	case g.Verdict == plan.Depending:
		return "not known, as before"
	}
	return g.Verdict + pause
}

// mdGuarded is the same for a pull request.
func mdGuarded(b *strings.Builder, p *plan.Plan) {
	if p.Empty() {
		return
	}
	n := b.Len()
	if p.SessionsUnknown != "" {
		fmt.Fprintf(b, "- **YOUR SESSION** unknown: %s\n", md(p.SessionsUnknown))
	}
	for i := range p.Guarded {
		if g := &p.Guarded[i]; telling(g) {
			why := ""
			if g.Verdict != plan.Survives {
				why = because(g.Why)
			}
			title := guardTitle(g)
			if g.Address != "" {
				title = g.Address
			}
			fmt.Fprintf(b, "- **%s** %s: %s%s\n", md(title), md(g.Name), md(guardText(g)), md(why))
		}
	}
	if b.Len() > n {
		b.WriteByte('\n')
	}
}
