package plan

import (
	"fmt"
	"net/netip"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// null is a route or a policy rule that says no: blackhole, unreachable, prohibit (ip-route(8), ip-rule(8)).
type null struct {
	object schema.Object
	about  []netip.Prefix // the addresses it is about; none: it is about more than addresses tell
	proto  *uint8
}

func nullOf(o schema.Object) (null, bool) {
	switch v := o.(type) {
	case *schema.Route:
		return null{v, []netip.Prefix{v.Dst}, v.Proto}, !schema.Owned(v)
	case *schema.PolicyRule:
		n := null{object: v, proto: v.Proto}
		switch {
		case v.Invert:
		case v.Src.IsValid():
			n.about = []netip.Prefix{v.Src}
		case v.Dst.IsValid():
			n.about = []netip.Prefix{v.Dst}
		}
		return n, !schema.Owned(v)
	}
	return null{}, false
}

// healNull takes out a route or rule that says no to what the file asks for, when nobody keeps it and it is about addresses
// of the file's own networks only. It reports whether the state changed.
func (h *healer) healNull(g *schema.Goal, res trace.Result) (bool, error) {
	n, ok := nullOf(h.state.Get(res.Decider.Ref))
	if !ok {
		return false, nil
	}
	key := n.object.Ref().String()
	f := h.findings[key]
	if f == nil {
		owner := routeOwner(n.proto)
		f = &Finding{
			Code: "VN304", Severity: "error", Object: key, Owner: &owner, Address: g.Address, Origin: h.r.Blocks[g.Address],
			Title: "a route says no: " + n.object.String(),
		}
		h.findings[key] = f
		h.order = append(h.order, key)
	}
	f.Breaks = appendNew(f.Breaks, g.Name)
	f.Evidence = appendNew(f.Evidence, fmt.Sprintf("%s: %s dies there (the %s)", g.Address, res.Decider.Packet, res.Half))
	if h.given[key] || len(h.healing[key]) > 0 {
		return false, nil
	}
	fix := Fix{Title: "delete it", WhyNot: h.keepNull(n)}
	fix.Chosen = fix.WhyNot == ""
	f.Fixes = mergeFixes(f.Fixes, []Fix{fix})
	if !fix.Chosen {
		h.given[key] = true
		return false, nil
	}
	d := newDraft(n.object, nil)
	d.address, d.codes = g.Address, []string{f.Code}
	d.because, d.undo = fmt.Sprintf("it says no to what %s asks for: %s", g.Address, g.Name), "put it back"
	if err := sim.Do(h.state, d.change); err != nil {
		return false, fmt.Errorf("foresee %s: %w", d.change, err)
	}
	h.walker = nil // the state changes
	h.remedies = append(h.remedies, d)
	h.healing[key] = append(h.healing[key], d)
	return true, nil
}

// keepNull says why a null route is not to be deleted; "" when it may be.
func (h *healer) keepNull(n null) string {
	switch owner := routeOwner(n.proto); {
	case h.r.Settings.Foreign == "report":
		return `foreign = "report" in the vmnet block: what others made is only named`
	case owner.Name != "unknown":
		return "it belongs to " + owner.Name + ", which would make it again"
	case !h.inNetworks(n.about):
		return "it is about more than the networks of the file"
	}
	return ""
}

// routeOwner is who made a route or rule, by its protocol (rtnetlink(7), /etc/iproute2/rt_protos): boot and static are
// anybody's.
func routeOwner(proto *uint8) Owner {
	if proto == nil {
		return Owner{"unknown", "low", []string{"no protocol is set"}}
	}
	names := map[uint8]string{
		2: "the kernel", 8: "gated", 9: "router advertisements", 11: "zebra", 12: "bird", 15: "ntk", 16: "a DHCP client", 18: "keepalived", 42: "babeld",
		99: "openr", 186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp",
	}
	evidence := []string{fmt.Sprintf("route protocol %d", *proto)}
	if name := names[*proto]; name != "" {
		return Owner{name, "high", evidence}
	}
	return Owner{"unknown", "low", evidence}
}
