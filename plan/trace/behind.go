package trace

import (
	"net/netip"
	"sync"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// Map tells where addresses are, as far as the host knows: its routing tables with their rules, its neighbours and the
// forwarding databases of its bridges. It knows no firewall. It may be used by several goroutines at once.
type Map struct {
	w    *Walker
	mu   sync.Mutex
	kept map[leads][]Way
}

// leads is a question to the routing tables.
type leads struct {
	to   netip.Prefix
	from netip.Addr
	in   string
}

// NewMap indexes a state.
func NewMap(s *schema.State) *Map { return indexed(s).Map() }

// Map is the Map of the Walker's state.
func (w *Walker) Map() *Map { return &Map{w: w, kept: map[leads][]Way{}} }

// Way is where the host sends packets to some addresses.
type Way struct {
	// Link is the link they leave by; "" where no route leads to them, or one that is none (blackhole).
	Link string
	// Addr is one of the addresses.
	Addr netip.Addr
	// Dst is the destination of the route; the zero Prefix for none.
	Dst netip.Prefix
	// Text is the route in the words of ip-route(8), or the policy rule that decides.
	Text string
	// Local says that the host has the address, or takes its packets: a broadcast.
	Local bool
}

// Ways lists the ways of packets to the addresses of a prefix, one for each link, by all the routing tables and rules
// (ip-rule(8)). They come from an address, invalid for one that is chosen later, and in by a link, "" for packets of the host.
// What nobody can foresee (the hop of a multipath route, a rule for a user) gives more than one way for an address. The list is
// kept for who asks again: it must not be changed.
func (m *Map) Ways(to netip.Prefix, from netip.Addr, in string) []Way {
	k := leads{to.Masked(), from, in}
	if !m.w.fib[0].bySource && !m.w.fib[1].bySource {
		k.from, k.in = netip.Addr{}, ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	ways, ok := m.kept[k]
	if !ok {
		ways = m.ways(k.to, k.from, k.in)
		m.kept[k] = ways
	}
	return ways
}

func (m *Map) ways(to netip.Prefix, from netip.Addr, in string) []Way {
	r := m.w.sweep()
	defer m.w.pool.Put(r)
	r.restart(opening{f: &Flow{}})
	r.dry = true
	defer func() { r.dry = false }()
	c := newCells(to.Addr().BitLen() / 8)
	pc := bdd.True
	if to.IsSingleIP() {
		c.put(to.Addr().AsSlice())
	} else {
		c.freeAll(varDst)
		pc = c.in(r.x, to)
	}
	var out []Way
	usual := firstHost(to)
	for _, o := range r.ways(m.w.leading(c, from, in), pc) {
		way := Way{Local: o.k.kind == "local" || o.k.kind == "broadcast" || o.k.kind == "anycast", Text: o.k.text()}
		if o.k.kind == "unicast" {
			way.Link = o.k.devName
		}
		if o.k.route != nil {
			way.Dst = o.k.route.Dst
		}
		vals, ok := r.x.Pick(o.cond, func(v int) bool { return bitOf(usual, v-varDst) })
		if !ok || seenLink(out, way) {
			continue
		}
		way.Addr, _ = netip.AddrFromSlice(c.value(r.x.Space, func(v int) bool {
			if b, ok := vals[v]; ok {
				return b
			}
			return bitOf(usual, v-varDst)
		}))
		out = append(out, way)
	}
	return out
}

// seenLink tells whether a way is like one of those.
func seenLink(out []Way, way Way) bool {
	for _, o := range out {
		if o.Link == way.Link && o.Local == way.Local {
			return true
		}
	}
	return false
}

func bitOf(a netip.Addr, i int) bool {
	b := a.AsSlice()
	return i >= 0 && i < 8*len(b) && b[i/8]>>(7-i%8)&1 != 0
}

// firstHost is the first address of a network that a machine can have, beyond the one that its router mostly has.
func firstHost(p netip.Prefix) netip.Addr {
	a := p.Addr()
	if p.Bits() >= a.BitLen()-1 {
		return a
	}
	return a.Next().Next()
}

// leading is the question to the routing tables by which packets get to addresses from another end.
func (w *Walker) leading(to cells, from netip.Addr, in string) question {
	q := question{dst: to, in: w.lo, plain: true}
	if from = from.Unmap(); from.IsValid() && from.BitLen() == 8*to.len() {
		q.src = newCells(to.len())
		q.src.put(from.AsSlice())
	}
	if d := w.devices[in]; d != nil {
		q.in = d
		if d.master != nil && d.master.bridge {
			q.in = d.master
		}
	}
	return q
}

// Port is the port of a bridge behind which a neighbour is, as the neighbour table and the forwarding database say; "" where
// they do not, or where the link is no bridge.
func (m *Map) Port(link string, a netip.Addr) string {
	l3 := m.w.devices[link]
	if l3 == nil {
		return ""
	}
	if d := m.w.portKnown(l3, a); d != nil {
		return d.name
	}
	return ""
}

// portKnown is the port of a bridge behind which a neighbour is; nil where nobody knows.
func (w *Walker) portKnown(l3 *device, a netip.Addr) *device {
	br := w.under(l3)
	b := w.fabrics[br.name]
	if b == nil {
		return nil
	}
	vid := uint16(0)
	switch {
	case l3 != br:
		vid = l3.link.Facts.Tag.ID
	case b.aware():
		vlans, h := b.vlansOf(b.bridge)
		if h != nil {
			return nil
		}
		vid = vlans.PVID()
	}
	return w.behind(br, vid, w.macs[neighbour{l3.name, a}])
}
