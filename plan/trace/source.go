package trace

import (
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// fullCheck is for a source that is no address of the host and that rp_filter does not care for. The kernel looks at the way
// back nevertheless where somebody made policy rules or local routes, even if they are gone, or where the packet leaves by
// the link it came in by: then a broadcast address is no source.
func (r *sweep) fullCheck(in *device, q question) bool {
	back, ok := r.decide(q)
	if !ok {
		return false
	}
	switch back.kind {
	case "broadcast", "anycast", "multicast":
	case "local":
		if in.acceptLocal == 1 {
			return true
		}
	default:
		return true
	}
	text := r.text(r.p.src()) + " is no address of a machine: " + back.text()
	if r.w.fib[0].custom && in.acceptLocal != 1 {
		return r.block(CodeMartian, "route", schema.LinkRef(in.name), text, "martian")
	}
	return r.unmodelled("route", schema.LinkRef(in.name), text)
}

// isOwn forks by whether an address is one of a link of the host (inet_lookup_ifaddr_rcu).
func (r *sweep) isOwn(c cells) (is, ok bool) {
	own := r.w.ownPrefixes
	has := func(a netip.Addr) bool { return slices.Contains(own, netip.PrefixFrom(a, a.BitLen())) }
	if a, ok := c.addr(); ok {
		return has(a), true
	}
	return fork(r, byAddressKept(r, linkAddress{}, r.pc, c, own, has))
}

// joined keeps the packets for groups that the host has joined by itself; whether a program joined another is in no State.
func (r *sweep) joined(in *device) bool {
	is := bdd.False
	for _, a := range r.w.groupsOf(in, r.p.v6) {
		is = r.x.Or(is, r.p.dst().equal(r.x, a.AsSlice()))
	}
	other := r.x.Diff(r.pc, is)
	r.ended(other, Depends, station{stage: "route", ref: schema.LinkRef(in.name), rule: -1, text: "whether a program has joined the group " + r.text(r.p.dst()) + " on " + in.name, action: "depends"})
	r.pc = r.x.And(r.pc, is)
	return r.pc != bdd.False
}

// The groups that every link joins (RFC 1112, section 4; RFC 4291, section 2.8), and those of routers.
var (
	allHosts   = []netip.Addr{netip.AddrFrom4([4]byte{224, 0, 0, 1})}
	allNodes   = []netip.Addr{netip.MustParseAddr("ff02::1")}
	allRouters = []netip.Addr{netip.MustParseAddr("ff02::2")} // ff05::2 only where it became one while it was there
)

// groupsOf lists the groups that a link has joined without being asked to.
func (w *Walker) groupsOf(d *device, v6 bool) []netip.Addr {
	if !v6 {
		return allHosts
	}
	out := slices.Clone(allNodes)
	if d.forwarding6 > 0 {
		out = append(out, allRouters...)
	}
	for _, a := range d.addrs {
		if ip := a.Prefix.Addr(); ip.Is6() { // the group of those whose addresses end alike (RFC 4291, section 2.7.1)
			b := ip.As16()
			out = append(out, netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]}))
		}
	}
	return out
}
