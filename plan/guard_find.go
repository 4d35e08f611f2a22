package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// merged makes one of those that bear the same name: a flow is asked in several ways, and the worst counts.
func merged(all []Guarded) []Guarded {
	out := []Guarded{}
	for _, g := range all {
		i := slices.IndexFunc(out, func(o Guarded) bool { return o.Kind == g.Kind && o.Name == g.Name && o.Address == g.Address })
		switch {
		case i < 0:
			out = append(out, g)
		case badness(g) > badness(out[i]):
			out[i] = g
		}
	}
	return out
}

func badness(g Guarded) int {
	n := slices.Index([]string{Survives, Interrupted, Depending, Cut}, g.Verdict)
	if g.Worse {
		n += 4
	}
	return n
}

// Guard puts the guard's verdicts into a plan, in place of those it has: findings, and the risk of the steps that cut. A saved plan is
// carried out by another login than it was made by, perhaps. unknown is why nobody knows who is logged in, "" where it is known.
func (p *Plan) Guard(live *schema.State, sessions []schema.Session, unknown string) {
	p.guard(live, sessions, unknown)
	sortFindings(p.Findings)
	p.Summary = summarise(p)
}

// guard also tells on which objects of the live host the verdicts rest.
func (p *Plan) guard(live *schema.State, sessions []schema.Session, unknown string) map[schema.Ref]bool {
	p.Findings = slices.DeleteFunc(p.Findings, func(f Finding) bool { return slices.Contains(guardCodes, f.Code) })
	var relied map[schema.Ref]bool
	p.Guarded, relied = guarding(live, p.Desired, p.Steps, sessions)
	p.SessionsUnknown = unknown
	if unknown != "" && len(p.Steps) > 0 {
		p.Findings = append(p.Findings, Finding{
			Code: "VN909", Severity: "error", Object: "sessions", Title: "whether the plan cuts your session is not known", Detail: unknown,
		})
	}
	for i := range p.Guarded {
		g := &p.Guarded[i]
		switch {
		case g.Worse && g.Own():
			p.risk(g, RiskCut, "cuts off "+g.Name)
		case g.Worse:
			p.risk(g, RiskDrop, "cuts off somebody who is logged in: "+g.Name)
		case g.Verdict == Interrupted && g.notable():
			p.risk(g, RiskBlip, g.Name+" pauses")
		}
		if f, ok := g.finding(p.Desired.Blocks); ok {
			p.Findings = append(p.Findings, f)
		}
	}
	return relied
}

// guardCodes are those of the guard's findings.
var guardCodes = []string{"VN905", "VN906", "VN907", "VN908", "VN909"}

// risk raises the risk of the steps that a verdict names.
func (p *Plan) risk(g *Guarded, risk Risk, hurts string) {
	for i := range p.Steps {
		st := &p.Steps[i]
		if slices.Contains(g.Steps, st.ID) && st.Risk < risk {
			st.Risk = risk
			st.Hurts = strings.TrimPrefix(st.Hurts+"; "+hurts, "; ")
		}
	}
}

// notable tells whether somebody wants to know that it is interrupted: nobody notices that a gateway is for milliseconds.
func (g *Guarded) notable() bool {
	return g.Own() && g.Kind != "login" && (g.Kind != "gateway" || g.MaxPauseMS >= blip.Milliseconds())
}

// finding is what a verdict says to whom reads the findings; nothing for what survives.
func (g *Guarded) finding(blocks map[string]schema.Origin) (Finding, bool) {
	f := Finding{
		Code:     map[string]string{"session": "VN905", "login": "VN905", "flow": "VN906", "interface": "VN906", "gateway": "VN907"}[g.Kind],
		Severity: "error", Address: g.Address, Object: g.Name, Origin: blocks[g.Address],
	}
	what := map[string]string{"session": "the session", "login": "new logins", "flow": "a protected flow", "interface": "a protected interface", "gateway": "the default gateway"}[g.Kind]
	if g.Kind == "session" && g.Session.Own {
		what = "your session"
	}
	switch {
	case !g.Worse && g.Verdict == Interrupted && g.notable():
		f.Code, f.Severity = "VN908", "info"
		f.Title = fmt.Sprintf("%s is interrupted for at most %d ms at %s", what, g.MaxPauseMS, stepList(g.Steps))
		f.Detail = g.Why
		return f, true
	case !g.Worse && g.Kind == "session" && g.Own() && g.Before != trace.Pass:
		f.Severity = "warning"
		f.Title, f.Detail = "whether the plan cuts "+what+" cannot be told", g.Why
		return f, true
	case !g.Worse:
		return Finding{}, false
	case g.Verdict == Cut:
		f.Title = fmt.Sprintf("the plan cuts %s at %s", what, stepList(g.Steps))
	default:
		f.Title = fmt.Sprintf("from %s on it is not known whether %s survives", stepList(g.Steps), what)
	}
	if !g.Own() {
		f.Severity = "warning"
	}
	f.Detail = g.Why
	return f, true
}

func stepList(ids []int) string {
	var s []string
	for _, i := range ids {
		s = append(s, strconv.Itoa(i))
	}
	return cmp.Or(map[bool]string{true: "step "}[len(ids) == 1], "steps ") + strings.Join(s, ", ")
}
