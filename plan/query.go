package plan

import (
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// maxSides bounds the devices behind which an end of a goal is looked for. A list of a thousand networks is represented by
// its first: our own table, which decides about them, tells them apart by one set.
const maxSides = 8

// queries are the questions a goal puts: one for each pair of sides and each address family that both ends have.
func (h *healer) queries(s *schema.State, g *schema.Goal) []trace.Query {
	var out []trace.Query
	for _, v6 := range []bool{false, true} {
		for _, from := range h.sides(s, g.From, v6) {
			for _, to := range h.sides(s, g.To, v6) {
				switch {
				case from.host && to.host:
				case !from.specific && !to.specific: // neither side says which family it speaks
				default:
					out = append(out, h.pair(s, g, from, to)...)
				}
			}
		}
	}
	return out
}

// sides are the places where an end of a goal is in one family: one for each device behind which it has addresses.
func (h *healer) sides(s *schema.State, e schema.Endpoint, v6 bool) []side {
	switch e.Kind {
	case "prefix":
		if own := prefixesOf(e, v6); e.Device == "" && len(own) == 1 && own[0].IsSingleIP() && h.layout(s).host[own[0].Addr()] {
			return []side{{host: true, ends: []end{{set: own}}}}
		}
		return h.prefixSides(s, prefixesOf(e, v6), e.Device)
	case "any":
		out := []side{{host: true, ends: []end{{}}}}
		for _, n := range h.r.Networks {
			if sd, ok := h.side(s, schema.Endpoint{Kind: "network", Address: n.Address, Device: n.Device, Prefixes: n.Subnets}, v6); ok && len(out) < maxSides {
				out = append(out, sd)
			}
		}
		if sd, ok := h.side(s, schema.Endpoint{Kind: "outside"}, v6); ok {
			out = append(out, sd)
		}
		return out
	}
	if sd, ok := h.side(s, e, v6); ok {
		return []side{sd}
	}
	return nil
}

// prefixSides sorts addresses by the device they are reached by: whole prefixes, and the parts of one that other routes lead
// elsewhere.
func (h *healer) prefixSides(s *schema.State, prefixes []netip.Prefix, device string) []side {
	var out []side
	add := func(dev string, p, of netip.Prefix) {
		i := slices.IndexFunc(out, func(sd side) bool { return sd.dev == dev })
		if i < 0 {
			if len(out) == maxSides {
				return
			}
			sd := side{dev: dev, specific: true, bridge: bridgeName(s, dev)}
			out, i = append(out, sd), len(out)
		}
		sd := &out[i]
		if len(sd.ends) == 0 {
			sd.ends = []end{{addr: firstHost(p), port: dev}}
		}
		if everybody := &sd.ends[0]; !slices.Contains(everybody.set, of) {
			everybody.set = append(everybody.set, of)
		}
	}
	for _, p := range prefixes {
		if !p.IsValid() {
			continue
		}
		if device != "" {
			add(device, p, p)
			continue
		}
		dev, _ := h.deviceOf(s, firstHost(p))
		add(dev, p, p)
		for _, rt := range h.layout(s).routes { // longest prefixes first
			if rt.Dst.Bits() > p.Bits() && p.Contains(rt.Dst.Addr()) && len(rt.Devices()) > 0 && rt.Devices()[0] != dev {
				add(rt.Devices()[0], rt.Dst, p)
			}
		}
	}
	return out
}

// side is one end of a goal in one family: where its packets enter or leave, and which addresses they bear.
type side struct {
	dev      string
	ends     []end // the last is everybody
	specific bool
	host     bool
	bridge   string
}

// end is who is asked about at a side: one guest at its own port, or everybody who has an address of a set at a device.
type end struct {
	addr netip.Addr // a representative
	port string
	set  []netip.Prefix // nil: everybody beyond the device
	// other is a second address of everybody's, the zero Addr for none.
	other netip.Addr
}

func (h *healer) side(s *schema.State, e schema.Endpoint, v6 bool) (side, bool) {
	var prefixes []netip.Prefix
	for _, p := range e.Prefixes {
		if p.Addr().Is6() == v6 {
			prefixes = append(prefixes, p)
		}
	}
	switch e.Kind {
	case "host":
		return side{host: true, ends: []end{{set: prefixes}}}, true
	case "guest", "network":
		if len(prefixes) == 0 {
			return side{}, false
		}
		sd := side{dev: e.Device, specific: true, bridge: e.Device}
		sd.ends = h.representatives(s, e, prefixes)
		return sd, len(sd.ends) > 0
	case "outside":
		l := h.layout(s)
		i := 0
		if v6 {
			i = 1
		}
		if l.outside[i] == nil {
			sd, ok := h.outside(s, v6)
			l.outside[i] = &outsideSide{sd, ok}
		}
		return l.outside[i].side, l.outside[i].ok
	}
	return side{}, false
}

// representatives stand for a guest or a network: declared guests by their own ports, at most two, and last whoever else there
// may be, by the bridge.
func (h *healer) representatives(s *schema.State, e schema.Endpoint, prefixes []netip.Prefix) []end {
	var out []end
	var taken []netip.Addr
	for _, guest := range h.r.guestsOf[e.Address] {
		for _, ip := range guest.IPs {
			// Of one subnet: between two the host routes.
			if len(out) < 2 && slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) && (len(out) == 0 || p.Contains(out[0].addr)) }) {
				port := guest.Device
				if port == "" || s.Link(port) == nil {
					port = e.Device
				}
				out, taken = append(out, end{addr: ip, port: port, set: []netip.Prefix{netip.PrefixFrom(ip, ip.BitLen())}}), append(taken, ip)
			}
		}
	}
	if e.Kind == "guest" {
		if len(out) == 0 {
			a := firstHost(prefixes[0])
			port := e.Port
			if port == "" || s.Link(port) == nil {
				port = e.Device
			}
			out = append(out, end{addr: a, port: port, set: prefixes})
		}
		return out
	}
	p := prefixes[0]
	if i := slices.IndexFunc(prefixes, func(p netip.Prefix) bool { return len(out) > 0 && p.Contains(out[0].addr) }); i >= 0 {
		p = prefixes[i]
	}
	if a, ok := h.unused(p, taken); ok {
		other, _ := h.unused(p, append(taken, a))
		everybody := end{addr: a, port: e.Device, set: prefixes, other: other}
		if n := h.r.network(e.Address); n != nil && n.Mode == "bridge" {
			// Most who have an address of a LAN are behind its uplink: one that nobody has stands for a guest.
			everybody.set = []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}
		}
		out = append(out, everybody)
	}
	return out
}

// unused is the first address of a network that is neither the host's nor taken.
func (h *healer) unused(p netip.Prefix, taken []netip.Addr) (netip.Addr, bool) {
	a := firstHost(p)
	for ; p.Contains(a); a = a.Next() {
		if p.IsSingleIP() || (!h.isHost(a) && !slices.Contains(taken, a)) {
			return a, !slices.Contains(taken, a)
		}
	}
	return a, false
}

func (h *healer) isHost(a netip.Addr) bool { return h.layout(h.state).host[a] }

// firstHost is the first address of a network that a machine can have.
func firstHost(p netip.Prefix) netip.Addr {
	if p.IsSingleIP() || p.Bits() >= p.Addr().BitLen()-1 {
		return p.Addr()
	}
	a := p.Masked().Addr().Next()
	if !p.Addr().Is6() && p.Bits() < 31 {
		a = a.Next() // .1 is mostly the gateway
	}
	return a
}

// deviceOf is the link a packet to an address leaves by, and the bridge it is, if it is one.
func (h *healer) deviceOf(s *schema.State, a netip.Addr) (dev, bridge string) {
	if rt := h.layout(s).route(a); rt != nil && len(rt.Devices()) > 0 {
		dev = rt.Devices()[0]
	}
	if l := s.Link(dev); l != nil && l.Type == "bridge" {
		bridge = dev
	}
	return dev, bridge
}

// outsides are addresses of documentation networks (RFC 5737, RFC 3849) and one beyond: whoever is neither the host nor in
// one of its networks is represented by the first that no route but the default one covers.
var (
	outsides4 = []string{"203.0.113.77", "198.51.100.77", "192.0.2.77", "9.9.9.9"}
	outsides6 = []string{"2001:db8:ffff:ffff::77", "2620:fe::9"}
)

func (h *healer) outside(s *schema.State, v6 bool) (side, bool) {
	candidates := outsides4
	if v6 {
		candidates = outsides6
	}
	for _, c := range candidates {
		a := netip.MustParseAddr(c)
		if rt := h.layout(s).route(a); rt != nil && rt.Dst.Bits() == 0 && len(rt.Devices()) > 0 {
			dev := rt.Devices()[0]
			return side{dev: dev, ends: []end{{addr: a, port: h.uplinkPort(dev)}}, bridge: bridgeName(s, dev)}, true
		}
	}
	// Without a default route the outside is who is on the LAN of a link that is none of the file's networks.
	for _, rt := range h.layout(s).routes {
		devs := rt.Devices()
		if rt.Dst.Addr().Is6() != v6 || len(devs) == 0 || linkScoped(rt.Dst) {
			continue
		}
		if n := h.r.networks[devs[0]]; n != nil && n.Mode != "bridge" {
			continue
		}
		a := lastHost(rt.Dst)
		return side{dev: devs[0], ends: []end{{addr: a, port: h.uplinkPort(devs[0])}}, bridge: bridgeName(s, devs[0])}, true
	}
	if v6 {
		return side{}, false
	}
	return side{ends: []end{{addr: netip.MustParseAddr(candidates[0])}}}, true
}

func bridgeName(s *schema.State, dev string) string {
	if l := s.Link(dev); l != nil && l.Type == "bridge" {
		return dev
	}
	return ""
}

// uplinkPort is the port by which a bridge of the file reaches its LAN, or the device itself.
func (h *healer) uplinkPort(dev string) string {
	if n := h.r.networks[dev]; n != nil && len(n.Ports) > 0 {
		return n.Ports[0]
	}
	return dev
}

// lastHost is the last address of a network that a machine can have.
func lastHost(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := range b {
		for bit := range 8 {
			if i*8+bit >= p.Bits() {
				b[i] |= 0x80 >> bit
			}
		}
	}
	a, _ := netip.AddrFromSlice(b)
	if !p.Addr().Is6() && p.Bits() < 31 {
		return a.Prev()
	}
	return a
}

// pair makes the queries of one pair of sides: about everybody on both, and about guests at their own ports where they are
// known. Guests of one network are asked about in both directions.
func (h *healer) pair(s *schema.State, g *schema.Goal, from, to side) []trace.Query {
	if !from.host && !to.host && g.Via == nil && from.bridge != "" && from.bridge == to.bridge && g.From.Address == g.To.Address {
		return h.siblings(s, g, from)
	}
	var out []trace.Query
	last := func(sd side) end { return sd.ends[len(sd.ends)-1] }
	a, b := last(from), last(to)
	if a.addr == b.addr && b.other.IsValid() {
		b.addr, b.set = b.other, []netip.Prefix{netip.PrefixFrom(b.other, b.other.BitLen())}
	}
	out = append(out, h.query(s, g, from, a, b)...)
	if len(from.ends) > 1 && from.specific || len(to.ends) > 1 && to.specific {
		out = append(out, h.query(s, g, from, from.ends[0], to.ends[0])...)
	}
	return out
}

// siblings are the questions between members of one network.
func (h *healer) siblings(s *schema.State, g *schema.Goal, from side) []trace.Query {
	var out []trace.Query
	both := func(a, b end) {
		out = append(out, h.query(s, g, from, a, b)...)
		out = append(out, h.query(s, g, from, b, a)...)
	}
	ends := from.ends
	everybody := ends[len(ends)-1]
	if everybody.other.IsValid() {
		twin := everybody
		twin.addr, twin.set = everybody.other, []netip.Prefix{netip.PrefixFrom(everybody.other, everybody.other.BitLen())}
		both(everybody, twin)
	}
	if len(ends) > 1 {
		both(ends[0], ends[1])
	}
	return out
}

func (h *healer) query(s *schema.State, g *schema.Goal, from side, a, b end) []trace.Query {
	q := trace.Query{Service: g.Service, Via: g.Via, SrcSet: a.set, DstSet: b.set, From: a.port, Src: a.addr, To: b.port, Dst: b.addr}
	if b.port == "" && !b.addr.IsValid() { // the host
		q.Dst = h.hostAddress(s, from)
		if len(b.set) > 0 {
			q.Dst = b.set[0].Addr()
		}
	}
	if g.Via != nil {
		q.WantDst = q.Dst
		q.Dst = h.viaAddress(s, from, q.Dst)
	}
	if !q.Dst.IsValid() || q.Dst == q.Src {
		return nil
	}
	return []trace.Query{q}
}

// hostAddress is an address of the host as a side would use it: of the shared network, else any global one.
func (h *healer) hostAddress(s *schema.State, from side) netip.Addr {
	v6 := len(from.ends) > 0 && from.ends[0].addr.Is6()
	l := h.layout(s)
	for _, dev := range []string{from.dev, from.bridge} {
		for _, ip := range l.onLink[dev] {
			if ip.Is6() == v6 {
				return ip
			}
		}
	}
	for _, ip := range l.addrs {
		if ip.Is6() == v6 {
			return ip
		}
	}
	return netip.Addr{}
}

// viaAddress is the host's address that a forward is asked for: on the link the client is on, for the host itself any.
func (h *healer) viaAddress(s *schema.State, from side, guest netip.Addr) netip.Addr {
	if !from.host {
		return h.hostAddress(s, from)
	}
	return h.hostAddress(s, side{ends: []end{{addr: guest}}})
}
