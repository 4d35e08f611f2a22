package apply_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers/hosttest"
	"github.com/vmnet/vmnet/schema"
)

// A step whose undo does not bring back everything is marked, needs its own flag, and is told when it was undone: a port
// that leaves a bridge with VLANs comes back without those it had.
func TestIrreversible(t *testing.T) {
	t.Parallel()
	h, want := drifted(t)
	one := schema.NewVLANs(schema.VLANRange{First: 1, Last: 1, PVID: true, Untagged: true})
	h.ChangeBehindOurBack(func(s *schema.State) {
		s.Put(&schema.Link{
			Name: "br-vlan", Type: "bridge", MTU: new(uint32(1500)), MAC: new("52:54:00:00:00:02"), Alias: new(""), Master: new(""), Up: new(true),
			Bridge: &schema.Bridge{VLANFilter: new(true), STP: new(false)},
			Facts:  &schema.LinkFacts{Index: 77, VLANs: one, BridgeFacts: &schema.BridgeFacts{VLANProto: "802.1Q", DefaultPVID: 1}},
		})
	})
	l := read(t, h).Link("vnet3")
	do(t, h, l, with(read(t, h), schema.Link{Name: "vnet3", Master: new("br-vlan")}))
	p := newPlan(t, h, want)
	if slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Irreversible }) {
		t.Error("a port with the VLAN that its bridge gave it cannot be put back")
	}
	h.ChangeBehindOurBack(func(s *schema.State) {
		l := schema.Clone(s.Link("vnet3")).(*schema.Link)
		l.Facts.VLANs = schema.NewVLANs(schema.VLANRange{First: 10, Last: 10, PVID: true, Untagged: true})
		s.Put(l)
	})

	p = newPlan(t, h, want)
	at := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Irreversible })
	if at < 0 || p.Steps[at].Change.Ref != schema.LinkRef("vnet3") || !strings.Contains(p.Steps[at].Undo, "without its VLANs (10 PVID") {
		t.Fatalf("irreversible is step %d, want that of vnet3, and what it loses", at+1)
	}
	p.Observation.Complete = true
	var refused *apply.NotPermittedError
	if err := apply.Permitted(p, apply.Permission{}); !errors.As(err, &refused) || refused.Code != apply.CodeNoUndo || !strings.Contains(refused.Reason, "vnet3") {
		t.Errorf("Permitted = %v, want it refused, and vnet3 named", err)
	}
	if err := apply.Permitted(p, apply.Permission{Irreversible: true}); err != nil {
		t.Errorf("Permitted with the flag = %v", err)
	}

	before := read(t, h)
	h.FailAt = made(h) + len(p.Steps)
	report, err := apply.Run(t.Context(), h, p, journal(t), quick)
	if !errors.Is(err, apply.ErrNeedsHuman) || !errors.Is(err, hosttest.ErrInjected) {
		t.Errorf("error %v, want a human needed", err)
	}
	if !slices.ContainsFunc(report.Differences, func(d string) bool { return strings.Contains(d, "link/vnet3") && strings.Contains(d, "VLANs (10") }) {
		t.Errorf("differences %q, want the VLANs of vnet3", report.Differences)
	}
	if diff := schema.Diff(before, read(t, h)); diff != nil {
		t.Errorf("the rest was not restored:\n%s", strings.Join(diff, "\n"))
	}
}
