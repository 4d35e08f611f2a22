package plan

import (
	"fmt"
	"net/netip"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// healCause looks for a remedy where a packet dies though no rule of a firewall stops it: at a route, a setting, a port. It
// reports whether the state changed.
func (h *healer) healCause(g *schema.Goal, res trace.Result) (bool, error) {
	if h.notRunning(res) {
		return false, nil
	}
	d := res.Decider
	key := d.Code + " " + d.Ref.String() + " " + d.Text
	f := h.findings[key]
	if f == nil {
		f = h.causeFinding(g, d)
		h.findings[key] = f
		h.order = append(h.order, key)
	}
	f.Breaks = appendNew(f.Breaks, g.Name)
	f.Evidence = appendNew(f.Evidence, fmt.Sprintf("%s: %s ends there (the %s): %s", g.Address, d.Packet, res.Half, d.Action))
	if h.given[key] || len(h.healing[key]) > 0 {
		return false, nil
	}
	drafts, fixes, err := h.choose(h.causeRoads(g, d), res)
	if err != nil {
		return false, err
	}
	f.Fixes = mergeFixes(f.Fixes, fixes)
	if len(drafts) == 0 {
		h.given[key] = true
		return false, nil
	}
	h.walker = nil // the state changes
	for _, x := range drafts {
		x.codes = []string{f.Code}
		if err := sim.Do(h.state, x.change); err != nil {
			return false, fmt.Errorf("foresee %s: %w", x.change, err)
		}
		h.remedies = append(h.remedies, x)
		h.healing[key] = append(h.healing[key], x)
	}
	return true, nil
}

func (h *healer) causeFinding(g *schema.Goal, d *trace.Hop) *Finding {
	f := &Finding{Code: d.Code, Severity: "error", Address: g.Address, Origin: h.r.Blocks[g.Address], Object: d.Ref.String(), Title: titleOf(d.Code) + ": " + d.Text}
	if d.Ref == (schema.Ref{}) {
		f.Object = d.Text
	}
	if n, ok := nullOf(h.state.Get(d.Ref)); ok && d.Code == trace.CodeBadRoute {
		f.Owner = new(routeOwner(n.proto))
	}
	return f
}

func titleOf(code string) string {
	for _, c := range Codes() {
		if c.Code == code {
			return c.Title
		}
	}
	return code
}

// causeRoads are the ways past what is no rule.
func (h *healer) causeRoads(g *schema.Goal, d *trace.Hop) []road {
	reported := h.r.Settings.Foreign == "report"
	switch d.Code {
	case trace.CodeBadRoute:
		n, ok := nullOf(h.state.Get(d.Ref))
		if !ok {
			return nil
		}
		del := newDraft(n.object, nil)
		del.address, del.undo = g.Address, "put it back"
		del.because = fmt.Sprintf("it says no to what %s asks for: %s", g.Address, g.Name)
		return []road{{title: "delete it", drafts: []*draft{del}, closed: h.keepNull(n)}}
	case trace.CodeNoForwarding:
		s, _ := h.state.Get(d.Ref).(*schema.Sysctl)
		if s == nil {
			return nil
		}
		on := newDraft(s, &schema.Sysctl{Key: s.Key, Value: "1"})
		on.address, on.because = g.Address, fmt.Sprintf("%s asks for it: %s", g.Address, g.Name)
		r := road{title: "sysctl " + s.Key + "=1", drafts: []*draft{on}}
		if reported {
			r.closed = `foreign = "report" in the vmnet block: what others set is only named`
		}
		return []road{r}
	case trace.CodeARPSilent:
		return h.arpRoads(g, d)
	case trace.CodeIsolated, trace.CodePortState:
		return h.portRoads(g, d)
	case trace.CodeRPFilter:
		_, link, _, _ := schema.SplitLinkSysctl(d.Ref.Name)
		return []road{{
			title:  fmt.Sprintf("sysctl net.ipv4.conf.%s.rp_filter=2", link),
			closed: "it would accept packets on " + link + " from every sender that any route leads to",
		}}
	case trace.CodeNoRoute:
		return []road{{title: "a route to the destination", closed: "where it should lead is not known: the file names uplinks, not routes"}}
	}
	return nil
}

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
