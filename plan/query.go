package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// maxSides bounds the devices behind which an end of a goal is looked for. A list of a thousand networks is represented by
// its first: our own table, which decides about them, tells them apart by one set. The check says which were not asked.
const maxSides = 8

// skip remembers a device that is one too many.
func (h *healer) skip(dev string) { h.skipped = appendNew(h.skipped, dev) }

// mostNamed is how many devices that were not asked are named.
const mostNamed = 6

// notAsked says which devices the questions since the last time left out; "" for none.
func (h *healer) notAsked() string {
	devs := h.skipped
	h.skipped = nil
	if len(devs) == 0 {
		return ""
	}
	text := fmt.Sprintf("asked behind %d links, and not behind %d more: %s", maxSides, len(devs), strings.Join(devs[:min(len(devs), mostNamed)], ", "))
	if len(devs) > mostNamed {
		text += ", …"
	}
	return text
}

// queries are the questions a goal puts: one for each pair of sides and each address family that both ends have.
func (h *healer) queries(s *schema.State, g *schema.Goal) []trace.Query {
	var out []trace.Query
	for _, v6 := range []bool{false, true} {
		for _, from := range h.senders(s, g, v6) {
			for _, to := range h.sides(s, g.To, h.bearing(s, g.From, v6)) {
				switch {
				case from.host && to.host:
				case !from.specific && !to.specific && from.dev == "" && to.dev == "": // neither side says which family it speaks
				case !from.host && !to.host && !from.specific && !to.specific: // the outside among itself
				default:
					out = append(out, h.pair(s, g, from, to)...)
				}
			}
		}
	}
	return out
}

// senders are the places where packets of a goal come from. The outside is where the host itself reaches it, whatever rules
// there are for answers; what must not get in must not by any link that a default route leaves by.
func (h *healer) senders(s *schema.State, g *schema.Goal, v6 bool) []side {
	if g.From.Kind != "outside" {
		return h.sides(s, g.From, h.bearing(s, g.To, v6))
	}
	out := h.sides(s, g.From, bearing{v6: v6})
	if g.Allow || len(out) == 0 {
		return out
	}
	for _, rt := range h.layout(s).outward {
		if rt.Dst.Addr().Is6() != v6 {
			continue
		}
		for _, dev := range rt.Devices() {
			if n := h.r.networks[dev]; (n == nil || n.Mode == "bridge") && !slices.ContainsFunc(out, func(sd side) bool { return sd.dev == dev }) {
				if len(out) == maxSides {
					h.skip(dev)
					continue
				}
				more := out[0]
				more.dev, more.bridge, more.ends = dev, bridgeName(s, dev), []end{h.uplink(out[0].ends[0].addr, dev)}
				out = append(out, more)
			}
		}
	}
	return out
}

// sides are the places where an end of a goal is in one family: one for each device behind which it has addresses, seen from
// the other end.
func (h *healer) sides(s *schema.State, e schema.Endpoint, other bearing) []side {
	v6 := other.v6
	switch e.Kind {
	case "prefix":
		if own := prefixesOf(e, v6); e.Device == "" && len(own) == 1 && own[0].IsSingleIP() && h.layout(s).host[own[0].Addr()] {
			return []side{{host: true, ends: []end{{set: own}}}}
		}
		return h.prefixSides(s, prefixesOf(e, v6), e.Device, other)
	case "any":
		out := []side{{host: true, ends: []end{{}}}}
		for _, n := range h.r.Networks {
			switch sd, ok := h.side(s, schema.Endpoint{Kind: "network", Address: n.Address, Device: n.Device, Prefixes: n.Subnets}, other); {
			case ok && len(out) < maxSides:
				out = append(out, sd)
			case ok:
				h.skip(n.Device)
			}
		}
		if sd, ok := h.side(s, schema.Endpoint{Kind: "outside"}, other); ok {
			out = append(out, sd)
		}
		return out
	}
	if sd, ok := h.side(s, e, other); ok {
		return []side{sd}
	}
	return nil
}

// prefixSides sorts addresses by the device they are reached by.
func (h *healer) prefixSides(s *schema.State, prefixes []netip.Prefix, device string, other bearing) []side {
	var out []side
	add := func(dev string, a netip.Addr, of netip.Prefix, routed bool) {
		i := slices.IndexFunc(out, func(sd side) bool { return sd.dev == dev })
		if i < 0 {
			if len(out) == maxSides {
				h.skip(dev)
				return
			}
			sd := side{dev: dev, specific: true, bridge: bridgeName(s, dev), ends: []end{{addr: a, port: dev, routed: routed}}}
			out, i = append(out, sd), len(out)
		}
		sd := &out[i]
		if everybody := &sd.ends[0]; !slices.Contains(everybody.set, of) {
			everybody.set = append(everybody.set, of)
		}
	}
	for _, p := range prefixes {
		if !p.IsValid() {
			continue
		}
		if device != "" {
			add(device, firstHost(p), p, false)
			continue
		}
		if a := h.layout(s).silenced(p, other); a != nil {
			add(a.Link, firstHost(p), p, false)
			continue
		}
		for _, way := range h.layout(s).ways(p, other) {
			if !way.Local {
				add(way.Link, way.Addr, p, true)
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
	// routed means those of the set that the host routes to the device.
	routed bool
	// link is the device that the host routes everybody's addresses to, where the file says that it is reached by the port.
	link string
}

// bearing is an end of a goal as the other one sees it.
func (h *healer) bearing(s *schema.State, e schema.Endpoint, v6 bool) bearing {
	b := bearing{v6: v6}
	own := prefixesOf(e, v6)
	switch e.Kind {
	case "guest", "network", "prefix":
		if len(own) > 0 && own[0].IsValid() {
			b.addr, b.link = firstHost(own[0]), e.Device
		}
	case "outside":
		if sd, ok := h.outside(s, b); ok && len(sd.ends) > 0 {
			b.addr, b.link = sd.ends[0].addr, sd.dev
		}
	}
	switch {
	case h.layout(s).host[b.addr]:
		return bearing{v6: v6}
	case b.addr.IsValid() && b.link == "":
		for _, way := range h.layout(s).ways(netip.PrefixFrom(b.addr, b.addr.BitLen()), bearing{v6: v6}) {
			b.link = way.Link
			break
		}
	}
	return b
}

func (h *healer) side(s *schema.State, e schema.Endpoint, other bearing) (side, bool) {
	v6 := other.v6
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
		return h.outside(s, other)
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

// outsides are addresses of documentation networks (RFC 5737, RFC 3849) and one beyond: whoever is neither the host nor in
// one of its networks is represented by the first that no route but the default one covers.
var (
	outsides4 = []string{"203.0.113.77", "198.51.100.77", "192.0.2.77", "9.9.9.9"}
	outsides6 = []string{"2001:db8:ffff:ffff::77", "2620:fe::9"}
)

// mostDefault is the longest prefix of a route that is a default one: VPNs halve them, and IPv6 has 2000::/3.
const mostDefault = 3

// outside is where the outside is, seen from the other end.
func (h *healer) outside(s *schema.State, other bearing) (side, bool) {
	l := h.layout(s)
	o, ok := l.outsides[other]
	if !ok {
		o.side, o.ok = h.findOutside(s, other)
		l.outsides[other] = o
	}
	return o.side, o.ok
}

func (h *healer) findOutside(s *schema.State, other bearing) (side, bool) {
	v6 := other.v6
	candidates := outsides4
	if v6 {
		candidates = outsides6
	}
	for _, c := range candidates {
		a := netip.MustParseAddr(c)
		for _, way := range h.layout(s).ways(netip.PrefixFrom(a, a.BitLen()), other) {
			if dev := way.Link; dev != "" && way.Dst.Bits() <= mostDefault {
				return side{dev: dev, ends: []end{h.uplink(a, dev)}, bridge: bridgeName(s, dev)}, true
			}
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
		return side{dev: devs[0], ends: []end{h.uplink(a, devs[0])}, bridge: bridgeName(s, devs[0])}, true
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

// uplink is everybody whom the host routes to a device: behind the port by which a bridge of the file reaches its LAN, or the
// device itself.
func (h *healer) uplink(a netip.Addr, dev string) end {
	if n := h.r.networks[dev]; n != nil && len(n.Ports) > 0 {
		if h.state.Link(n.Ports[0]) == nil {
			return end{addr: a, port: n.Ports[0]} // nobody is there, and the plan says so
		}
		return end{addr: a, port: n.Ports[0], link: dev}
	}
	return end{addr: a, port: dev}
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
	q := trace.Query{Service: g.Service, Via: g.Via, SrcSet: a.set, DstSet: b.set, From: a.port, Src: a.addr, To: b.port, Dst: b.addr, SrcRouted: a.routed, DstRouted: b.routed, SrcLink: a.link, DstLink: b.link}
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
	if local := q; g.Via != nil && from.host && q.Dst.Is4() { // it serves localhost, too
		local.Dst = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		return []trace.Query{q, local}
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
