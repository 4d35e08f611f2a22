package apply

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// NotPermittedError says why a plan is for reading only.
type NotPermittedError struct {
	Code   string // CodeBlind, CodeLockout, CodeBreaks, CodeRiskLimit or CodeForeign
	Reason string
}

// Error is the reason.
func (e *NotPermittedError) Error() string { return e.Reason }

// Permission is what the caller takes upon himself.
type Permission struct {
	// AcceptLockout lets a plan cut the way in, at whatever risk; the caller sees to it that it is undone unless somebody
	// confirms.
	AcceptLockout bool
	// Irreversible lets a plan have steps that cannot be taken back.
	Irreversible bool
}

// Permitted holds a plan against what it promises and the limits of its own file, before anything is done; the error is a
// *NotPermittedError.
func Permitted(p *plan.Plan, by Permission) error {
	if !p.Observation.Complete {
		reason := "not everything could be read"
		if unseen := schema.Unseen(p.Observation.Blind); unseen != "" {
			reason += ". " + strings.TrimSuffix(unseen, ".")
		}
		return &NotPermittedError{CodeBlind, reason}
	}
	if p.SessionsUnknown != "" && len(p.Steps) > 0 && !by.AcceptLockout {
		return &NotPermittedError{CodeLockout, "the plan may lock you out: who is logged in is not known: " + p.SessionsUnknown}
	}
	if cut := lockouts(p); len(cut) > 0 && !by.AcceptLockout {
		return &NotPermittedError{CodeLockout, "the plan may lock you out: " + strings.Join(cut, "; ")}
	}
	limit := plan.RiskDrop
	if s := p.Desired; s != nil && s.Settings.RiskLimit != "" {
		if err := limit.UnmarshalText([]byte(s.Settings.RiskLimit)); err != nil {
			return &NotPermittedError{CodeRiskLimit, err.Error()}
		}
	}
	if by.AcceptLockout {
		limit = plan.RiskCut
	}
	if p.Summary.WorstRisk > limit {
		return &NotPermittedError{CodeRiskLimit, fmt.Sprintf("the plan's worst risk is %s, above risk_limit = %q", p.Summary.WorstRisk, limit)}
	}
	if steps := irreversible(p); len(steps) > 0 && !by.Irreversible {
		return &NotPermittedError{CodeNoUndo, "these steps cannot be taken back: " + strings.Join(steps, "; ") + "; --accept-irreversible carries them out all the same"}
	}
	if needed := OnlyReported(p); len(needed) > 0 {
		return &NotPermittedError{CodeForeign, `foreign = "report", and rules of others would have to change: ` + strings.Join(needed, "; ")}
	}
	if broken := breaks(p); len(broken) > 0 {
		return &NotPermittedError{CodeBreaks, "the plan would break what holds now: " + strings.Join(broken, "; ")}
	}
	return nil
}

// irreversible names the steps without an inverse.
func irreversible(p *plan.Plan) []string {
	var out []string
	for _, s := range p.Steps {
		if s.Irreversible {
			out = append(out, fmt.Sprintf("step %d, %s", s.ID, s.Change))
		}
	}
	return out
}

// lockouts lists what must not be cut, and is, or may be.
func lockouts(p *plan.Plan) []string {
	var out []string
	for _, g := range p.Guarded {
		if !g.Refuses() {
			continue
		}
		verb := "cuts"
		if g.Verdict == plan.Depending {
			verb = "may cut"
		}
		out = append(out, fmt.Sprintf("step %d %s %s (%s)", slices.Min(g.Steps), verb, g.Name, g.Why))
	}
	return out
}

// breaks lists the goals that hold now and would fail after the plan: verification would take everything back.
func breaks(p *plan.Plan) []string {
	var out []string
	for _, c := range p.Checks {
		if c.Before.Status == "ok" && c.After.Status == "fail" {
			name := c.Goal.Name
			if name == "" {
				name = fmt.Sprintf("%s -> %s %s", c.Goal.From, c.Goal.To, c.Goal.Service)
			}
			if c.Goal.Address != "" && !strings.HasPrefix(name, c.Goal.Address) {
				name = c.Goal.Address + ": " + name
			}
			out = append(out, name)
		}
	}
	return out
}

// OnlyReported lists the foreign rules that break the file's wishes and that foreign = "report" keeps from being changed.
func OnlyReported(p *plan.Plan) []string {
	if p.Desired == nil || p.Desired.Settings.Foreign != "report" {
		return nil
	}
	var out []string
	for _, f := range p.Findings {
		chosen := slices.ContainsFunc(f.Fixes, func(x plan.Fix) bool { return x.Chosen })
		if (f.Code == "VN410" || f.Code == "VN411") && !chosen {
			out = append(out, f.Object)
		}
	}
	return out
}
