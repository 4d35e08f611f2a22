package apply_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

func TestPermitted(t *testing.T) {
	t.Parallel()
	check := func(before, after string) plan.Check {
		return plan.Check{
			Goal:   schema.Goal{Address: "expect.ssh", Name: "guest.db1 -> host tcp/22"},
			Before: plan.CheckResult{Status: before}, After: plan.CheckResult{Status: after},
		}
	}
	settings := func(s schema.Settings) *schema.Desired { return &schema.Desired{State: schema.NewState(), Settings: s} }
	own := func(verdict string, worse bool) plan.Guarded {
		return plan.Guarded{Kind: "session", Name: "ssh a -> b", Session: &schema.Session{Own: true}, Verdict: verdict, Worse: worse, Steps: []int{4}, Why: "by c"}
	}
	foreign := plan.Finding{Code: "VN410", Object: "ip filter FORWARD: -j DROP"}
	for name, c := range map[string]struct {
		plan   plan.Plan
		code   string
		reason string
	}{
		"everything holds":          {plan.Plan{Checks: []plan.Check{check("ok", "ok"), check("fail", "ok")}}, "", ""},
		"what fails already":        {plan.Plan{Checks: []plan.Check{check("fail", "fail"), check("unknown", "fail")}}, "", ""},
		"what cannot be decided":    {plan.Plan{Checks: []plan.Check{check("ok", "depends")}}, "", ""},
		"breaks what holds":         {plan.Plan{Checks: []plan.Check{check("ok", "ok"), check("ok", "fail")}}, "VN904", "expect.ssh: guest.db1 -> host tcp/22"},
		"blind":                     {plan.Plan{Observation: plan.Observation{Blind: []string{"nftables"}}, Checks: []plan.Check{check("ok", "fail")}}, "VN807", "nftables"},
		"too risky":                 {plan.Plan{Summary: plan.Summary{WorstRisk: plan.RiskCut}}, "VN901", `"drop"`},
		"risky, and allowed":        {plan.Plan{Summary: plan.Summary{WorstRisk: plan.RiskCut}, Desired: settings(schema.Settings{RiskLimit: "cut"})}, "", ""},
		"cuts the session":          {plan.Plan{Guarded: []plan.Guarded{own("cut", true)}, Summary: plan.Summary{WorstRisk: plan.RiskCut}}, "VN900", "step 4 cuts ssh a -> b (by c)"},
		"may cut the session":       {plan.Plan{Guarded: []plan.Guarded{own("depends", true)}}, "VN900", "step 4 may cut ssh a -> b (by c)"},
		"depends as before":         {plan.Plan{Guarded: []plan.Guarded{own("depends", false)}}, "", ""},
		"interrupts the session":    {plan.Plan{Guarded: []plan.Guarded{own("interrupted", false)}}, "", ""},
		"cuts somebody else":        {plan.Plan{Guarded: []plan.Guarded{{Kind: "session", Session: &schema.Session{}, Verdict: "cut", Worse: true, Steps: []int{4}}}}, "", ""},
		"foreign rules, only named": {plan.Plan{Findings: []plan.Finding{foreign}, Desired: settings(schema.Settings{Foreign: "report"})}, "VN902", "-j DROP"},
		"foreign rules, no remedy":  {plan.Plan{Findings: []plan.Finding{foreign}, Desired: settings(schema.Settings{Foreign: "fix"})}, "", ""},
	} {
		c.plan.Observation.Complete = len(c.plan.Observation.Blind) == 0
		err := apply.Permitted(&c.plan, apply.Permission{})
		var refused *apply.NotPermittedError
		if errors.As(err, &refused); (err == nil) != (c.code == "") || refused != nil && (refused.Code != c.code || !strings.Contains(refused.Reason, c.reason)) {
			t.Errorf("%s: Permitted = %v, want %s %q", name, err, c.code, c.reason)
		}
	}
	cut := &plan.Plan{Observation: plan.Observation{Complete: true}, Guarded: []plan.Guarded{own("cut", true)}, Summary: plan.Summary{WorstRisk: plan.RiskCut}}
	if err := apply.Permitted(cut, apply.Permission{AcceptLockout: true}); err != nil {
		t.Errorf("Permitted = %v though the lock-out is accepted", err)
	}
}

// What was not read is named where it is known.
func TestBlindWithoutParts(t *testing.T) {
	t.Parallel()
	err := apply.Permitted(&plan.Plan{}, apply.Permission{})
	if err == nil || strings.Contains(err.Error(), ". ") || strings.HasSuffix(err.Error(), ".") || !strings.Contains(err.Error(), "not everything could be read") {
		t.Errorf("a plan that is not complete: %v", err)
	}
}
