package plan

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/schema"
)

// stuck says why a link that is up and has carrier makes no progress; "" when it does.
func stuck(s *schema.State, l *schema.Link) string {
	if l == nil || l.Up == nil || !*l.Up || l.Facts == nil || !l.Facts.Carrier {
		return ""
	}
	if l.Facts.TxQueueStopped {
		return "a transmit queue holds packets that do not leave"
	}
	if l.Master != nil && *l.Master != "" && l.Port != nil && l.Port.State != nil && *l.Port.State != "forwarding" {
		m := s.Link(*l.Master)
		if m != nil && m.Bridge != nil && m.Bridge.STP != nil && !*m.Bridge.STP {
			return fmt.Sprintf("it is up and has carrier, but its bridge %s keeps it %s though no spanning tree runs", m.Name, *l.Port.State)
		}
	}
	return ""
}

// resets finds the adapters to reset: those asked for on the command line, and those that are stuck and may be.
func (r *resolved) resets(asked []string) ([]*draft, error) {
	var out []*draft
	for _, a := range r.Adapters {
		l := r.live.Link(a.Device)
		if l == nil {
			continue
		}
		why, wanted := stuck(r.live, l), slices.Contains(asked, a.Address)
		if why == "" && !wanted {
			continue
		}
		if why != "" {
			r.stuckFinding(a, l, why, a.Reset || wanted)
		}
		if !a.Reset && !wanted {
			continue
		}
		if wanted && why == "" {
			why = "it was asked for"
		}
		drafts, err := r.reset(a, l, why)
		if err != nil {
			return nil, err
		}
		out = append(out, drafts...)
	}
	for _, x := range asked {
		if !slices.ContainsFunc(r.Adapters, func(a schema.Adapter) bool { return a.Address == x }) {
			return nil, fmt.Errorf("reset %s: the file has no such adapter block", x)
		}
	}
	return out, nil
}

func (r *resolved) stuckFinding(a schema.Adapter, l *schema.Link, why string, chosen bool) {
	f := Finding{
		Code: "VN105", Severity: "error", Title: fmt.Sprintf("adapter %s is stuck", a.Device), Address: a.Address,
		Object: l.Ref().String(), Origin: r.Blocks[a.Address], Detail: "Packets do not get through: " + why + ".",
		Evidence: []string{l.String(), why},
		Fixes:    []Fix{{Title: "reset it: down, up, and put back what the kernel drops on the way", Chosen: chosen}},
	}
	if !chosen {
		f.Fixes[0].WhyNot = fmt.Sprintf("reset = true is not set in %s; or ask once: vmnet apply --reset %s", a.Address, a.Address)
	}
	r.findings = append(r.findings, f)
}

// reset is down, up, and everything the kernel drops when a link goes down as a step of its own: deleted before, made
// again after. So each step has its inverse.
func (r *resolved) reset(a schema.Adapter, l *schema.Link, why string) ([]*draft, error) {
	down := schema.Clone(l).(*schema.Link)
	down.Up = new(false)
	change := schema.Change{Ref: l.Ref(), Before: l, After: down}
	gone, _, err := sim.Cascade(r.live, change)
	if err != nil {
		return nil, fmt.Errorf("foresee the reset of %s: %w", l.Name, err)
	}
	gone = restorable(gone)
	if rt := byNexthopObject(gone); rt != nil {
		r.findings = append(r.findings, Finding{
			Code: "VN310", Severity: "error", Title: fmt.Sprintf("%s cannot be reset: route %s uses a nexthop object", l.Name, rt), Address: a.Address,
			Object: l.Ref().String(), Origin: r.Blocks[a.Address],
			Detail: "The kernel drops nexthop objects (ip-nexthop(8)) with their link, and vmnet does not read them: it could not put them back.",
		})
		return nil, nil
	}
	var out []*draft
	chain := func(before, after schema.Object) {
		d := newDraft(before, after)
		d.action, d.address, d.codes, d.rank = "reset", a.Address, []string{"VN105"}, rankReset
		d.because, d.risk = "reset of "+l.Name+": "+why, RiskDrop
		d.hurts = fmt.Sprintf("everything that passes %s pauses until it is up again", l.Name)
		if len(out) > 0 {
			d.after = []*draft{out[len(out)-1]}
		}
		out = append(out, d)
	}
	for _, o := range slices.Backward(gone) {
		chain(o, nil)
	}
	chain(l, down)
	chain(down, l)
	for _, o := range gone {
		chain(nil, o)
	}
	return out, nil
}

// rtaNexthopID is RTA_NH_ID (include/uapi/linux/rtnetlink.h).
const rtaNexthopID = 30

// byNexthopObject finds a route whose next hop is an object of its own; nil when there is none.
func byNexthopObject(objs []schema.Object) *schema.Route {
	for _, o := range objs {
		rt, ok := o.(*schema.Route)
		if !ok {
			continue
		}
		for b := rt.Other; len(b) >= 4; {
			size := int(binary.NativeEndian.Uint16(b))
			if binary.NativeEndian.Uint16(b[2:])&0x3fff == rtaNexthopID {
				return rt
			}
			b = b[min(max((size+3)&^3, 4), len(b)):]
		}
	}
	return nil
}

// restorable are the objects that somebody set, in the order in which they can be made again.
func restorable(objs []schema.Object) []schema.Object {
	rank := func(o schema.Object) int {
		switch v := o.(type) {
		case *schema.Address:
			if kernelMadeAddress(v) {
				return -1
			}
			return 1 + secondary(v)
		case *schema.Route:
			if v.KernelMade() || v.Table == schema.TableLocal || linkScoped(v.Dst) {
				return -1
			}
			return 3 + viaGateway(v)
		case *schema.Neighbour:
			if v.Permanent == nil || !*v.Permanent {
				return -1
			}
			return 5
		}
		return -1
	}
	out := slices.DeleteFunc(slices.Clone(objs), func(o schema.Object) bool { return rank(o) < 0 })
	slices.SortStableFunc(out, func(a, b schema.Object) int { return rank(a) - rank(b) })
	return out
}
