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
		return h.prefixSides(s, prefixesOf(e, v6), e.Device)
	case "any":
		out := []side{{host: true}}
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
		sd.ends = append(sd.ends, end{firstHost(p), dev})
		if !slices.Contains(sd.prefixes, of) {
			sd.prefixes = append(sd.prefixes, of)
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
	ends     []end // representatives, the best first
	prefixes []netip.Prefix
	specific bool
	host     bool
	bridge   string
}

// end is one machine of a side: its address, and the port where its packets enter or leave: a guest's own where it is
// known, a bridge's uplink, else the device.
type end struct {
	addr netip.Addr
	port string
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
		return side{host: true, prefixes: prefixes}, true
	case "guest", "network":
		if len(prefixes) == 0 {
			return side{}, false
		}
		sd := side{dev: e.Device, prefixes: prefixes, specific: true, bridge: e.Device}
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

// representatives stand for a guest or a network: declared guests, else addresses that nobody has.
func (h *healer) representatives(s *schema.State, e schema.Endpoint, prefixes []netip.Prefix) []end {
	var out []end
	var taken []netip.Addr
	add := func(a netip.Addr, port string) {
		if port == "" || s.Link(port) == nil {
			port = e.Device
		}
		out, taken = append(out, end{a, port}), append(taken, a)
	}
	for _, guest := range h.r.guestsOf[e.Address] {
		for _, ip := range guest.IPs {
			// Of one subnet: between two the host routes.
			if len(out) < 2 && slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) && (len(out) == 0 || p.Contains(out[0].addr)) }) {
				add(ip, guest.Device)
			}
		}
	}
	if e.Kind == "guest" {
		if len(out) == 0 {
			add(firstHost(prefixes[0]), e.Port)
		}
		return out
	}
	// Two, where there is room: guests of one network talk to each other.
	p := prefixes[0]
	if i := slices.IndexFunc(prefixes, func(p netip.Prefix) bool { return len(out) > 0 && p.Contains(out[0].addr) }); i >= 0 {
		p = prefixes[i]
	}
	for range 2 {
		if a, ok := h.unused(p, taken); ok && len(out) < 2 {
			add(a, "")
		}
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
			return side{dev: dev, ends: []end{{a, h.uplinkPort(dev)}}, bridge: bridgeName(s, dev)}, true
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
		return side{dev: devs[0], ends: []end{{a, h.uplinkPort(devs[0])}}, bridge: bridgeName(s, devs[0])}, true
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

// pair makes the queries of one pair of sides. Two guests of one network are asked about in both directions.
func (h *healer) pair(s *schema.State, g *schema.Goal, from, to side) []trace.Query {
	if from.host && to.host {
		return nil
	}
	if !from.host && !to.host && g.Via == nil && from.bridge != "" && from.bridge == to.bridge && g.From.Address == g.To.Address {
		if len(from.ends) < 2 {
			return nil
		}
		a, b := from.ends[0], from.ends[1]
		return append(h.query(s, g, from, to, a, b), h.query(s, g, from, to, b, a)...)
	}
	var a, b end
	if !from.host {
		a = from.ends[0]
	}
	if !to.host {
		b = to.ends[0]
		if b.addr == a.addr && len(to.ends) > 1 {
			b = to.ends[1]
		}
	}
	return h.query(s, g, from, to, a, b)
}

func (h *healer) query(s *schema.State, g *schema.Goal, from, to side, a, b end) []trace.Query {
	q := trace.Query{Service: g.Service, Via: g.Via, SrcSet: from.prefixes, DstSet: to.prefixes, From: a.port, Src: a.addr, To: b.port, Dst: b.addr}
	if to.host {
		q.Dst = h.hostAddress(s, from)
		if len(to.prefixes) > 0 {
			q.Dst = to.prefixes[0].Addr()
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
