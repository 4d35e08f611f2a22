package plan

import (
	"fmt"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// portRoads are the ways past a bridge's port that takes a frame and hands it to nobody.
func (h *healer) portRoads(g *schema.Goal, d *trace.Hop) []road {
	l, _ := h.state.Get(d.Ref).(*schema.Link)
	if l == nil || l.Port == nil || l.Master == nil {
		return nil
	}
	after := schema.Clone(l).(*schema.Link)
	r := road{}
	switch bridge := h.state.Link(*l.Master); {
	case d.Code == trace.CodeIsolated:
		r.title = "take the isolation off " + l.Name
		after.Port.Isolated = new(false)
	case l.Port.State == nil || *l.Port.State != d.Action || d.Action == "disabled":
		return nil // hairpin, or the state of a VLAN
	case bridge == nil || bridge.Bridge == nil || bridge.Bridge.STP == nil || *bridge.Bridge.STP:
		return []road{{
			title:  "let " + l.Name + " forward",
			closed: "a spanning tree runs on " + *l.Master + ": it decides, and lets the port forward by itself after twice the forward delay",
		}}
	default:
		// The kernel stops the spanning tree, and leaves its ports as they are until their timers end (br_stp_stop in
		// net/bridge/br_stp_if.c).
		r.title = "let " + l.Name + " forward at once: no spanning tree runs any more"
		after.Port.State = new("forwarding")
	}
	step := newDraft(l, after)
	if d.Code == trace.CodePortState {
		// Before stays without the state: until the step it goes on from listening to learning by itself.
		step.change.After.(*schema.Link).Port.State = after.Port.State
	}
	step.address, step.because = g.Address, fmt.Sprintf("%s asks for it: %s", g.Address, g.Name)
	r.drafts = []*draft{step}
	if h.r.Settings.Foreign == "report" {
		r.closed = `foreign = "report" in the vmnet block: what others set is only named`
	}
	return []road{r}
}
