package trace

import (
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// clientPort is the source port of a plain packet, anyPort its destination where every service is meant.
const (
	clientPort = 40000
	anyPort    = 50051
)

// Flows gives packets worth walking for a query: one plain packet of each kind of service, and one for each rule of the
// state that stops, lets through or rewrites some but not all of what the query is about, in either direction. It gives
// at most limit, the plain ones first, then those for rules that drop, rewrite, and accept; the same for the same state.
//
// A witness's addresses and ports lie in the sets of the query. Where a set is open (the outside) only addresses that the
// host routes to that side are taken: others could not come from there.
func (w *Walker) Flows(q Query, limit int) []Flow {
	g := &gatherer{w: w, q: &q, limit: limit, seen: map[Flow]bool{}}
	g.v6 = q.Dst.Is6()
	g.in, g.out = w.layer3(q.From), w.layer3(q.To)
	g.src, g.dst = q.Src, q.Dst
	if q.Via != nil && q.WantDst.IsValid() {
		g.dst = q.WantDst
	}
	if !g.src.IsValid() {
		g.src = w.hostSource(g.dst)
	}
	g.plain()
	for _, b := range w.interesting() {
		if len(g.flows) >= limit {
			break
		}
		g.forward(b.Box)
		if !b.nat { // an answer does not meet NAT rules
			g.backward(b.Box)
		}
	}
	return g.flows
}

// layer3 is the interface that IP's rules see for a link: the bridge of a port.
func (w *Walker) layer3(name string) string {
	if d := w.devices[name]; d != nil && d.masterName != "" {
		return d.masterName
	}
	return name
}

// hostSource is the address the host would send from.
func (w *Walker) hostSource(dst netip.Addr) netip.Addr {
	r := w.sweep()
	defer w.pool.Put(r)
	r.ready(&Flow{}, dst)
	res, ok := r.decide(question{dst: r.p.dst(), in: w.lo})
	if !ok {
		return netip.Addr{}
	}
	out, ok := r.outDevice(res)
	if !ok || !r.chooseSource(res, out) {
		return netip.Addr{}
	}
	a, _ := r.p.src().addr()
	return a
}

// ready makes a packet to an address, of which nothing else is asked.
func (r *sweep) ready(f *Flow, dst netip.Addr) {
	r.restart(opening{f: f})
	r.log.on = false
	r.begin("request", dst.Is6(), protoTCP)
	r.p.dst().put(dst.AsSlice())
}

// interesting lists the boxes of rules that decide something, once per Walker: drops, then NAT, then accepts.
func (w *Walker) interesting() []decision {
	w.boxes.Do(func() {
		var kinds [3][]decision
		for _, t := range w.tables {
			if t.t.Dormant || t.t.Family == "arp" {
				continue
			}
			for _, c := range t.list {
				for i := range c.rules {
					if k := c.decides(i); k >= 0 {
						if b := BoxOf(t.t, c.rules[i].r); !b.Empty {
							kinds[k] = append(kinds[k], decision{b, k == 1})
						}
					}
				}
			}
		}
		w.boxList = slices.Concat(kinds[0], kinds[1], kinds[2])
	})
	return w.boxList
}

// decision is what a rule that decides something matches.
type decision struct {
	Box
	nat bool
}

// decides sorts a rule: 0 drops (or nobody can foresee), 1 rewrites, 2 accepts; -1 none of these.
func (c *chain) decides(i int) int {
	kind := -1
	for k := c.rules[i].from; k < c.rules[i].to; k++ {
		o := &c.ops[k]
		switch o.code {
		case opReject, opUnmodelled:
			return 0
		case opNAT, opMasq, opRedir, opNetmap, opPayloadW:
			kind = 1
		case opVerdict:
			switch o.e.Verdict.Kind {
			case "drop":
				return 0
			case "accept", "return":
				kind = 2
			}
		case opLookup:
			if o.set.vmap {
				return 0
			}
		}
	}
	return kind
}

type gatherer struct {
	w        *Walker
	q        *Query
	limit    int
	seen     map[Flow]bool
	flows    []Flow
	v6       bool
	in, out  string
	src, dst netip.Addr
}

// service is one way to speak: a protocol and a range of ports it may go to.
type service struct {
	proto string
	ports schema.PortRange
}

// services lists what the query speaks. Any port is 0-65535.
func (g *gatherer) services() []service {
	s := g.q.Service
	all := schema.PortRange{First: 0, Last: 65535}
	if s.Proto == "" {
		return []service{{"tcp", all}, {"udp", all}, {"icmp", schema.PortRange{}}}
	}
	if s.Proto == "icmp" {
		return []service{{"icmp", schema.PortRange{}}}
	}
	if len(s.Ports) == 0 {
		return []service{{s.Proto, all}}
	}
	var out []service
	for _, p := range s.Ports {
		out = append(out, service{s.Proto, p})
	}
	return out
}

// plain adds a packet of each service: to the first and the last port of a range, to a high port where all are meant.
func (g *gatherer) plain() {
	for _, s := range g.services() {
		switch {
		case s.proto == "icmp":
			g.add(s.proto, g.src, g.dst, 0, 0)
		case s.ports.First == 0:
			g.add(s.proto, g.src, g.dst, clientPort, anyPort)
		default:
			g.add(s.proto, g.src, g.dst, clientPort, s.ports.First)
			if s.ports.Last != s.ports.First {
				g.add(s.proto, g.src, g.dst, clientPort, s.ports.Last)
			}
		}
	}
}

// add makes the flow of a pair of addresses and ports as they are behind NAT of a forward.
func (g *gatherer) add(proto string, src, dst netip.Addr, sport, dport uint16) {
	q := g.q
	f := Flow{From: q.From, To: q.To, Src: src, Dst: dst, Proto: proto, SrcPort: sport, DstPort: dport}
	if q.Src != src && !q.Src.IsValid() {
		f.Src = netip.Addr{} // the host chooses
	}
	switch {
	case proto == "udp" && dport == 67:
		f.SrcPort = 68
	case proto == "udp" && dport == 547:
		f.SrcPort = 546
	}
	if q.Via != nil {
		if f.Proto = q.Via.Proto; proto != "" && proto != f.Proto {
			return
		}
		f.Dst, f.WantDst = q.Dst, netip.AddrPortFrom(q.WantDst, dport)
		f.DstPort = g.viaPort(dport)
	}
	f.Local = q.To == "" && q.From != "" && q.Via == nil && g.w.local(f.Dst)
	if g.seen[f] || len(g.flows) >= g.limit || (src == dst && q.Via == nil) {
		return // nobody sends packets to himself over a wire
	}
	g.seen[f] = true
	g.flows = append(g.flows, f)
}

// viaPort is the host's port that leads to a port of the guest.
func (g *gatherer) viaPort(to uint16) uint16 {
	via := g.q.Via.Ports
	if s := g.q.Service.Ports; len(s) > 0 && to >= s[0].First {
		return via.First + (to - s[0].First)
	}
	return via.First
}

// forward adds a packet of the opening side that a box matches.
func (g *gatherer) forward(b Box) {
	if !g.family(b) || !b.IIF.Contains(g.in) || !b.OIF.Contains(g.out) {
		return
	}
	sport, ok := clientSide(b.SPort)
	if !ok {
		return
	}
	src, ok1 := g.pick(b.Src, g.q.SrcSet, g.src, g.q.From)
	dst, ok2 := g.pick(b.Dst, g.q.DstSet, g.dst, g.q.To)
	if ok1 && ok2 {
		g.speak(b.Proto, b.DPort, src, dst, sport)
	}
}

// backward adds a packet whose answer a box matches.
func (g *gatherer) backward(b Box) {
	if !g.family(b) || !b.IIF.Contains(g.out) || !b.OIF.Contains(g.in) || b.CT != 0 && b.CT&(ctEstablished|ctInvalid|ctUntracked) == 0 {
		return
	}
	sport, ok := clientSide(b.DPort)
	if !ok {
		return
	}
	src, ok1 := g.pick(b.Dst, g.q.SrcSet, g.src, g.q.From)
	if !ok1 {
		return
	}
	if dst, ok2 := g.pick(b.Src, g.q.DstSet, g.dst, g.q.To); ok2 {
		g.speak(b.Proto, b.SPort, src, dst, sport)
	}
}

func (g *gatherer) family(b Box) bool { return g.v6 && b.V6 || !g.v6 && b.V4 }

// firstClientPort begins the range that clients take their ports from (net.ipv4.ip_local_port_range; RFC 6056 has more).
const firstClientPort = 32768

// clientSide picks a port that a client would use. A rule about lower ones is about servers.
func clientSide(ports []schema.PortRange) (uint16, bool) {
	if len(ports) == 0 {
		return clientPort, true
	}
	best := uint16(0)
	for _, r := range ports {
		if r.First <= clientPort && clientPort <= r.Last {
			return clientPort, true
		}
		if r.Last >= firstClientPort && best == 0 {
			best = max(r.First, firstClientPort)
		}
	}
	return best, best != 0
}

// speak adds a flow of each service that the protocol and the ports of a box leave.
func (g *gatherer) speak(proto string, ports []schema.PortRange, src, dst netip.Addr, sport uint16) {
	for _, s := range g.services() {
		if proto != "" && proto != s.proto {
			continue
		}
		if s.proto == "icmp" {
			if len(ports) == 0 {
				g.add(s.proto, src, dst, 0, 0)
			}
			continue
		}
		mine := []schema.PortRange{s.ports}
		both, none := meetPorts(mine, ports, false)
		if none {
			continue
		}
		port := both[0].First
		switch {
		case len(ports) == 0 && s.ports.First == 0:
			port = anyPort
		case port == 0:
			port = max(min(both[0].Last, anyPort), 1)
		}
		g.add(s.proto, src, dst, sport, port)
	}
}

// pick chooses an address of a side that a box holds too: the representative if it can be.
func (g *gatherer) pick(box, set []netip.Prefix, usual netip.Addr, link string) (netip.Addr, bool) {
	if len(box) == 0 || slices.ContainsFunc(box, func(p netip.Prefix) bool { return p.Contains(usual) }) {
		return usual, true
	}
	if link == "" || g.q.Via != nil && usual == g.q.WantDst {
		return usual, false // an address of the host, or the target of a forward: there is no other
	}
	if len(set) == 0 {
		for _, p := range box {
			if a := firstIn(p); g.beyond(a, link) {
				return a, true
			}
		}
		return usual, false
	}
	both, none := meetPrefixes(box, set, false)
	if none {
		return usual, false
	}
	for _, p := range both {
		if a := firstIn(p); a.Is6() == g.v6 && !g.w.local(a) {
			return a, true
		}
		if a := firstIn(p).Next(); p.Contains(a) && a.Is6() == g.v6 && !g.w.local(a) {
			return a, true
		}
	}
	return usual, false
}

// firstIn is an address of a prefix that a machine can have.
func firstIn(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr()
	if p.IsSingleIP() || p.Bits() == a.BitLen()-1 {
		return a
	}
	return a.Next()
}

// beyond tells whether the host routes an address to a link: whether somebody with it can be there.
func (g *gatherer) beyond(a netip.Addr, link string) bool {
	if a.Is6() != g.v6 || a.IsMulticast() || a.IsLoopback() || a.IsUnspecified() || g.w.local(a) {
		return false
	}
	r := g.w.sweep()
	defer g.w.pool.Put(r)
	r.ready(&Flow{}, a)
	res, ok := r.decide(question{dst: r.p.dst(), in: g.w.lo})
	return ok && res.kind == "unicast" && res.dev != nil && res.dev.name == g.w.layer3(link)
}
