package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/config"
)

// desired reads a configuration.
func desired(t *testing.T, text string) *schema.Desired {
	t.Helper()
	r, diags := config.Load("-", config.Options{Stdin: strings.NewReader("vmnet {\n  required_version = \">= 0.1\"\n}\n" + text)})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return r.Desired
}

// What a check finds on a network of the file is a finding of the plan; where the repair is safe it is a step, and after the
// steps nothing is left to do.
func TestCheckInPlan(t *testing.T) {
	live := schema.NewState(
		&schema.Link{Name: "br0", Type: "bridge", Alias: new(""), MTU: new(uint32(9000)), MAC: new("02:00:00:00:00:01"), MACPinned: new(true), Master: new(""), Up: new(true),
			Bridge: &schema.Bridge{STP: new(false), ForwardDelay: new(uint32(0))}, Facts: &schema.LinkFacts{Index: 2, Carrier: true}},
		&schema.Link{Name: "vnet1", Type: "tap", Alias: new(""), MTU: new(uint32(1500)), MAC: new("fe:54:00:00:00:01"), Master: new("br0"), Up: new(true), Facts: &schema.LinkFacts{Index: 3, Carrier: true}},
	)
	find := func(p *plan.Plan) *plan.Finding {
		i := slices.IndexFunc(p.Findings, func(f plan.Finding) bool { return f.Code == "VN220" })
		if i < 0 {
			return nil
		}
		return &p.Findings[i]
	}
	ours := desired(t, `bridge "lan" { device = "br0" }`)
	p, err := plan.New(live, ours, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := find(p)
	if f == nil || f.Address != "bridge.lan" || len(f.Fixes) != 1 || len(f.Fixes[0].Steps) != 1 || len(f.Cure) != 0 {
		t.Fatalf("finding %+v", f)
	}
	for _, s := range p.Steps {
		if s.ID == f.Fixes[0].Steps[0] && !slices.Contains(s.Codes, "VN220") {
			t.Errorf("step %+v heals VN220 and does not say so", s)
		}
		if err := sim.Do(live, s.Change); err != nil {
			t.Fatal(err)
		}
	}
	if l := live.Link("br0"); *l.MTU != 1500 {
		t.Errorf("MTU %d after the plan", *l.MTU)
	}
	if p, err = plan.New(live, ours, plan.Options{}); err != nil || !p.Empty() || find(p) != nil {
		t.Errorf("a second plan has %v and %v: %v", p.Steps, find(p), err)
	}

	live.Put(schema.Merge(live.Link("br0"), &schema.Link{Name: "br0", Type: "bridge", MTU: new(uint32(9000))}))
	other, err := plan.New(live, desired(t, `host_only "x" { subnet = "10.9.0.0/24" }`), plan.Options{})
	if err != nil || find(other) != nil {
		t.Errorf("a file that does not speak of br0 hears of it: %v, %v", find(other), err)
	}
	declared, err := plan.New(live, desired(t, "bridge \"lan\" {\n device = \"br0\"\n mtu = 9000\n}"), plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f := find(declared); f == nil || len(f.Fixes) != 0 || len(f.Cure) == 0 {
		t.Errorf("a file that wants this MTU: %+v", f)
	}
	for _, s := range declared.Steps {
		if slices.Contains(s.Codes, "VN220") {
			t.Errorf("step against the file: %+v", s)
		}
	}
}
