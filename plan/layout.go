package plan

import (
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// layout is what the choice of representative packets needs of a state, looked up once instead of for every goal.
type layout struct {
	host   map[netip.Addr]bool
	addrs  []netip.Addr            // the host's own, without loopback and link-local
	onLink map[string][]netip.Addr // the same by link
	routes []*schema.Route         // of table main, longest prefix first
	byBits map[int]map[netip.Prefix]*schema.Route
	bits   []int
	// outside is the side that stands for the outside, per family, once it was asked for.
	outside [2]*outsideSide
}

type outsideSide struct {
	side side
	ok   bool
}

func newLayout(s *schema.State) *layout {
	l := &layout{host: map[netip.Addr]bool{}, onLink: map[string][]netip.Addr{}, byBits: map[int]map[netip.Prefix]*schema.Route{}}
	for a := range schema.Each[*schema.Address](s) {
		ip := a.Prefix.Addr()
		l.host[ip] = true
		if ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			continue
		}
		l.addrs = append(l.addrs, ip)
		l.onLink[a.Link] = append(l.onLink[a.Link], ip)
	}
	for rt := range schema.Each[*schema.Route](s) {
		if rt.Table != schema.TableMain {
			continue
		}
		l.routes = append(l.routes, rt)
		bits := rt.Dst.Bits()
		if l.byBits[bits] == nil {
			l.byBits[bits] = map[netip.Prefix]*schema.Route{}
			l.bits = append(l.bits, bits)
		}
		if have := l.byBits[bits][rt.Dst]; have == nil || rt.Metric < have.Metric {
			l.byBits[bits][rt.Dst] = rt
		}
	}
	slices.SortFunc(l.bits, func(a, b int) int { return b - a })
	slices.SortStableFunc(l.routes, func(a, b *schema.Route) int { return b.Dst.Bits() - a.Dst.Bits() })
	return l
}

// route is the route of table main that covers an address, nil for none. Policy rules are the tracer's business: this only
// chooses what to ask.
func (l *layout) route(a netip.Addr) *schema.Route {
	for _, bits := range l.bits {
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		if rt := l.byBits[bits][p]; rt != nil {
			return rt
		}
	}
	return nil
}

// layout caches the layouts of the live and of the foreseen state. Remedies touch rules only, which a layout does not hold.
func (h *healer) layout(s *schema.State) *layout {
	if h.layouts == nil {
		h.layouts = map[*schema.State]*layout{}
	}
	l := h.layouts[s]
	if l == nil {
		l = newLayout(s)
		h.layouts[s] = l
	}
	return l
}
