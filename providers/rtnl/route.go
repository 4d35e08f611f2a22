package rtnl

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// rtaNHID is RTA_NH_ID (include/uapi/linux/rtnetlink.h, Linux 5.3): the route leaves by a nexthop object. ip-route(8)
// calls it nhid.
const rtaNHID = 30

// userHZ is what the kernel counts ticks in towards user space (USER_HZ), on every architecture Go runs on.
const userHZ = 100

// routeFilter narrows a dump; the kernel honours it when strict checking is on, and we look again.
type routeFilter struct {
	family uint8
	table  uint32 // 0: all
	index  int    // of the link; 0: all
}

func (p *Provider) readRoutes(ctx context.Context, n *names) ([]schema.Object, error) {
	var all []schema.Object
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		found, err := p.dumpRoutes(ctx, routeFilter{family: family}, n)
		if err != nil {
			return nil, err
		}
		equal := map[equals]int{}
		for _, r := range firsts(found) {
			k := equals{r.Table, r.Dst, r.TOS, r.Metric}
			r.Facts.Place = equal[k]
			equal[k]++
			all = append(all, r)
		}
	}
	return all, nil
}

// equals are routes of which the kernel asks the first.
type equals struct {
	table  uint32
	dst    netip.Prefix
	tos    uint8
	metric uint32
}

// dumpRoutes reads routes of one family in the order of the kernel's tables.
func (p *Provider) dumpRoutes(ctx context.Context, f routeFilter, n *names) ([]*schema.Route, error) {
	m := &message{make([]byte, unix.SizeofRtMsg)}
	m.b[0] = f.family
	if f.table != 0 {
		m.u32(unix.RTA_TABLE, f.table)
	}
	if f.index != 0 {
		m.u32(unix.RTA_OIF, uint32(f.index))
	}
	raws, err := dump(ctx, p.conn, unix.RTM_GETROUTE, m.b, func(b []byte) (rawRoute, bool) { return decodeRoute(b, n) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a table without routes is not there at all
	}
	if err != nil {
		return nil, err
	}
	if err := p.resolveNextHops(ctx, raws, n); err != nil {
		return nil, err
	}
	var routes []*schema.Route
	for _, r := range raws {
		if f.table == 0 || r.Table == f.table {
			routes = append(routes, r.Route)
		}
	}
	return routes, nil
}

// rawRoute is a decoded route; nhid is the nexthop object it leaves by, when the kernel did not spell that out.
type rawRoute struct {
	*schema.Route
	nhid uint32
}

// decodeRoute reads RTM_NEWROUTE: struct rtmsg and RTA_* (rtnetlink(7)). Cached exceptions are no routes.
func decodeRoute(b []byte, n *names) (rawRoute, bool) {
	if len(b) < unix.SizeofRtMsg || (b[0] != unix.AF_INET && b[0] != unix.AF_INET6) {
		return rawRoute{}, false
	}
	flags := u32(b[8:])
	if flags&unix.RTM_F_CLONED != 0 {
		return rawRoute{}, false
	}
	d := routeDecoder{names: n, six: b[0] == unix.AF_INET6, srcLen: b[2], ok: true}
	d.r = &schema.Route{
		Table: uint32(b[4]), TOS: b[3], Proto: new(b[5]), Scope: new(b[6]), Type: routeType(b[7]),
		MTU: new(uint32(0)), OnLink: new(flags&unix.RTNH_F_ONLINK != 0),
		Facts: &schema.RouteFacts{LinkDown: flags&unix.RTNH_F_LINKDOWN != 0, Dead: flags&unix.RTNH_F_DEAD != 0},
	}
	d.r.Dst = netip.PrefixFrom(unspecified(d.six), int(b[1]))
	for t, v := range attrs(b[unix.SizeofRtMsg:]) {
		if t == unix.RTA_DST {
			d.r.Dst, d.ok = prefix(v, b[1], d.ok)
			continue
		}
		d.attr(t, v)
	}
	return d.finish()
}

func unspecified(six bool) netip.Addr {
	if six {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// routeDecoder is a route on the way.
type routeDecoder struct {
	r       *schema.Route
	names   *names
	six     bool
	srcLen  uint8
	nhid    uint32
	spelled bool // the kernel said where the route leaves
	ok      bool
	other   message
}

func (d *routeDecoder) attr(t uint16, v []byte) {
	r := d.r
	switch t {
	case unix.RTA_TABLE:
		r.Table = u32(v)
	case unix.RTA_PRIORITY:
		r.Metric = u32(v)
	case unix.RTA_OIF:
		r.Link = d.link(int(u32(v)))
	case unix.RTA_GATEWAY, unix.RTA_VIA:
		r.Gateway, d.spelled = gateway(t, v), true
	case unix.RTA_PREFSRC:
		r.Source, _ = netip.AddrFromSlice(v)
	case unix.RTA_METRICS:
		d.metrics(v)
	case unix.RTA_MULTIPATH:
		d.multipath(v)
	case unix.RTA_CACHEINFO: // struct rta_cacheinfo
		if len(v) >= 12 && int32(u32(v[8:])) > 0 {
			r.Facts.Expires = max(u32(v[8:])/userHZ, 1)
		}
	case unix.RTA_PREF:
		if u8(v) != 0 { // ICMPV6_ROUTER_PREF_MEDIUM is the default
			d.other.attr(t, v)
		}
		r.Facts.Pref = routerPref(u8(v))
	case rtaNHID:
		d.nhid = u32(v)
		d.other.attr(t, v)
	case unix.RTA_SRC: // an IPv6 route for some sources only: keep the length of the prefix with it
		d.other.attr(t, append(append([]byte(nil), v...), d.srcLen))
	case unix.RTA_TTL_PROPAGATE, unix.RTA_PAD, unix.RTA_UID, unix.RTA_MARK:
	default:
		d.other.attr(t, v)
	}
}

// link names the link of an index and notes that the kernel said where the route leaves.
func (d *routeDecoder) link(index int) string {
	d.spelled = true
	name := d.names.name(index)
	if name == "" {
		d.ok = false
	}
	return name
}

// gateway reads RTA_GATEWAY, or RTA_VIA (struct rtvia: the family, then the address).
func gateway(t uint16, v []byte) netip.Addr {
	if t == unix.RTA_VIA {
		if len(v) < 2 {
			return netip.Addr{}
		}
		v = v[2:]
	}
	a, _ := netip.AddrFromSlice(v)
	return a
}

// metrics keeps what is not the MTU as it is.
func (d *routeDecoder) metrics(v []byte) {
	rest := &message{}
	for t, v := range attrs(v) {
		if t == unix.RTAX_MTU {
			*d.r.MTU = u32(v)
		} else {
			rest.attr(t, v)
		}
	}
	if len(rest.b) > 0 {
		d.other.attr(unix.RTA_METRICS, rest.b)
	}
}

// multipath reads RTA_MULTIPATH: struct rtnexthop and attributes, one after the other.
func (d *routeDecoder) multipath(b []byte) {
	for len(b) >= unix.SizeofRtNexthop {
		length := int(u16(b))
		if length < unix.SizeofRtNexthop || length > len(b) {
			return
		}
		h := schema.NextHop{
			Link: d.link(int(u32(b[4:]))), Weight: int(b[3]) + 1, OnLink: b[2]&unix.RTNH_F_ONLINK != 0,
		}
		for t, v := range attrs(b[unix.SizeofRtNexthop:length]) {
			if t == unix.RTA_GATEWAY || t == unix.RTA_VIA {
				h.Gateway = gateway(t, v)
			}
		}
		d.r.NextHops = append(d.r.NextHops, h)
		b = b[min(align(length), len(b)):]
	}
}

// finish brings the route into the form that asking for it would have.
func (d *routeDecoder) finish() (rawRoute, bool) {
	r := d.r
	if d.six {
		switch r.Type {
		case "blackhole", "unreachable", "prohibit", "throw":
			r.Link = "" // IPv6 says "dev lo" of them; they leave nowhere
		}
	}
	if len(r.NextHops) == 1 { // IPv6 may dump a lone leg so
		h := r.NextHops[0]
		r.Link, r.Gateway, r.NextHops = h.Link, h.Gateway, nil
		*r.OnLink = *r.OnLink || h.OnLink
	}
	if len(d.other.b) > 0 {
		r.Other = d.other.b
	}
	raw := rawRoute{Route: r}
	if !d.spelled {
		raw.nhid = d.nhid
	}
	return raw, d.ok && r.Dst.IsValid()
}

// routeTypes are RTN_* (rtnetlink(7)) in the words of ip-route(8); unicast is the empty string.
func routeTypes() [12]string {
	return [...]string{
		unix.RTN_UNSPEC: "unspec", unix.RTN_UNICAST: "", unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast",
		unix.RTN_ANYCAST: "anycast", unix.RTN_MULTICAST: "multicast", unix.RTN_BLACKHOLE: "blackhole",
		unix.RTN_UNREACHABLE: "unreachable", unix.RTN_PROHIBIT: "prohibit", unix.RTN_THROW: "throw", unix.RTN_NAT: "nat",
		unix.RTN_XRESOLVE: "xresolve",
	}
}

func routeType(n uint8) string {
	names := routeTypes()
	if int(n) < len(names) {
		return names[n]
	}
	return strconv.Itoa(int(n))
}

// routerPref is RFC 4191's preference of a router.
func routerPref(n uint8) string {
	switch n {
	case 1:
		return "high"
	case 3:
		return "low"
	}
	return "medium"
}

// hop is one nexthop object: a way out, or a group of others.
type hop struct {
	id        uint32
	leg       schema.NextHop
	blackhole bool
	group     []hopMember
}

type hopMember struct {
	id     uint32
	weight int
}

// decodeNextHop reads RTM_NEWNEXTHOP: struct nhmsg and NHA_* (include/uapi/linux/nexthop.h).
func decodeNextHop(b []byte, n *names) (hop, bool) {
	const header = 8
	if len(b) < header {
		return hop{}, false
	}
	h := hop{leg: schema.NextHop{Weight: 1, OnLink: u32(b[4:])&unix.RTNH_F_ONLINK != 0}}
	for t, v := range attrs(b[header:]) {
		switch t {
		case unix.NHA_ID:
			h.id = u32(v)
		case unix.NHA_OIF:
			h.leg.Link = n.name(int(u32(v)))
		case unix.NHA_GATEWAY:
			h.leg.Gateway, _ = netip.AddrFromSlice(v)
		case unix.NHA_BLACKHOLE:
			h.blackhole = true
		case unix.NHA_GROUP: // struct nexthop_grp: id, weight less one, padding
			for ; len(v) >= 8; v = v[8:] {
				h.group = append(h.group, hopMember{u32(v), int(v[4]) + 1})
			}
		}
	}
	return h, h.id != 0
}

// resolveNextHops spells out routes of which the kernel told nothing but the number of a nexthop object, as it does
// when net.ipv4.nexthop_compat_mode is 0.
func (p *Provider) resolveNextHops(ctx context.Context, routes []rawRoute, n *names) error {
	var hops map[uint32]hop
	for _, r := range routes {
		if r.nhid == 0 {
			continue
		}
		if hops == nil {
			all, err := dump(ctx, p.conn, unix.RTM_GETNEXTHOP, make([]byte, 8), func(b []byte) (hop, bool) { return decodeNextHop(b, n) })
			if err != nil {
				return err
			}
			hops = map[uint32]hop{}
			for _, h := range all {
				hops[h.id] = h
			}
		}
		spell(r.Route, hops[r.nhid], hops)
	}
	return nil
}

func spell(r *schema.Route, h hop, hops map[uint32]hop) {
	if h.blackhole {
		r.Type = "blackhole"
		return
	}
	if len(h.group) == 0 {
		r.Link, r.Gateway, *r.OnLink = h.leg.Link, h.leg.Gateway, h.leg.OnLink
		return
	}
	for _, m := range h.group {
		leg := hops[m.id].leg
		leg.Weight = m.weight
		r.NextHops = append(r.NextHops, leg)
	}
}
