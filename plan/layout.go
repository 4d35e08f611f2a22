package plan

import (
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// layout is what the choice of representative packets needs of a state, looked up once instead of for every goal.
type layout struct {
	host    map[netip.Addr]bool
	addrs   []netip.Addr            // the host's own, without loopback and link-local
	down    []*schema.Address       // those on links that are down
	onLink  map[string][]netip.Addr // the same by link
	routes  []*schema.Route         // of table main, longest prefix first
	outward []*schema.Route         // default ones, of every table
	where   *trace.Map
	// outsides are the sides that stand for the outside, by the other end, once they were asked for.
	outsides map[bearing]outsideSide
}

type outsideSide struct {
	side side
	ok   bool
}

// bearing is an end as the routing tables are asked about the way from it: an address, invalid for the host's own, and the
// link it is behind, "" for the host.
type bearing struct {
	v6   bool
	addr netip.Addr
	link string
}

func newLayout(s *schema.State, where *trace.Map) *layout {
	l := &layout{host: map[netip.Addr]bool{}, onLink: map[string][]netip.Addr{}, outsides: map[bearing]outsideSide{}, where: where}
	for a := range schema.Each[*schema.Address](s) {
		ip := a.Prefix.Addr()
		l.host[ip] = true
		if ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			continue
		}
		if link := s.Link(a.Link); link != nil && link.Up != nil && !*link.Up {
			l.down = append(l.down, a)
		}
		l.addrs = append(l.addrs, ip)
		l.onLink[a.Link] = append(l.onLink[a.Link], ip)
	}
	for rt := range schema.Each[*schema.Route](s) {
		if rt.Table == schema.TableMain {
			l.routes = append(l.routes, rt)
		}
		if rt.Dst.Bits() <= mostDefault && (rt.Type == "" || rt.Type == "unicast") {
			l.outward = append(l.outward, rt)
		}
	}
	slices.SortStableFunc(l.routes, func(a, b *schema.Route) int { return b.Dst.Bits() - a.Dst.Bits() })
	return l
}

// ways are where packets from an end to the addresses of a prefix go.
func (l *layout) ways(to netip.Prefix, from bearing) []trace.Way {
	return l.where.Ways(to, from.addr, from.link)
}

// silenced is an address of the host in whose network a prefix lies, on a link that is down: its route went with the link, and
// the way that is left leads past whoever is there. It is nil where none is, or where another route for the network is in force.
func (l *layout) silenced(p netip.Prefix, from bearing) *schema.Address {
	for _, a := range l.down {
		if !a.Prefix.Contains(p.Addr()) || p.Bits() < a.Prefix.Bits() || a.Prefix.IsSingleIP() {
			continue
		}
		if !slices.ContainsFunc(l.ways(p, from), func(w trace.Way) bool { return w.Local || w.Dst.IsValid() && w.Dst.Bits() >= a.Prefix.Bits() }) {
			return a
		}
	}
	return nil
}

// layout caches the layouts of the live and of the foreseen state. Remedies touch rules only, which a layout does not hold.
func (h *healer) layout(s *schema.State) *layout {
	if l := h.layouts[s]; l != nil {
		return l
	}
	return h.laidOut(s, trace.NewMap(s))
}

// laidOut makes the layout of a state.
func (h *healer) laidOut(s *schema.State, where *trace.Map) *layout {
	if h.layouts == nil {
		h.layouts = map[*schema.State]*layout{}
	}
	h.layouts[s] = newLayout(s, where)
	return h.layouts[s]
}
