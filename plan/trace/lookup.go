package trace

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// outcome is what holds for some packets.
type outcome[K comparable] struct {
	cond bdd.Node
	k    K
}

// add puts packets to those with the same outcome.
func add[K comparable](x *space, out []outcome[K], cond bdd.Node, k K) []outcome[K] {
	for i := range out {
		if out[i].k == k {
			out[i].cond = x.Or(out[i].cond, cond)
			return out
		}
	}
	return append(out, outcome[K]{cond, k})
}

// someAddr is an address that some packet of pc has.
func (r *sweep) someAddr(addr cells, pc bdd.Node) (netip.Addr, bool) {
	vals, ok := r.x.Pick(pc, func(int) bool { return false })
	if !ok {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(addr.value(r.x.Space, func(v int) bool { return vals[v] }))
}

// byLength sorts prefixes, the longest first, and leaves each once.
func byLength(ps []netip.Prefix) []netip.Prefix {
	slices.SortFunc(ps, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(b.Bits(), a.Bits()), bytes.Compare(a.Addr().AsSlice(), b.Addr().AsSlice()))
	})
	return slices.Compact(ps)
}

// prefixes lists those of a table, the longest first.
func (t *rtable) prefixes() []netip.Prefix {
	if t == nil {
		return nil
	}
	t.sorted.Do(func() {
		for p := range t.by {
			t.list = append(t.list, p)
		}
		t.list = byLength(t.list)
	})
	return t.list
}

// question is what the routing tables are asked, as struct flowi4 puts it. Cells without length are not known yet.
type question struct {
	src, dst cells
	in       *device // lo for packets the host makes
	inAny    *ifaces
	by       *device // a packet of the host that is to leave by this link; nil for any
	mark     cells   // none: 0
	tos      cells   // the type of service; none: 0
	plain    bool    // nothing but addresses counts
	raw      bool    // a program made the packet down to its header: it is the socket that has no type of service, ports and protocol
	again    bool    // a hook changed the packet, which was routed before
	back     bool    // the packet's ports are those of the other direction
}

// ofPacket is the question about the packet at hand.
func (r *sweep) ofPacket(src, dst cells, in *device) question {
	return question{src: src, dst: dst, in: in, mark: r.p.mark, tos: r.p.tos(r.x)}
}

// way is an answer of the routing tables.
type way struct {
	kind    string // "unicast", "local", "broadcast", "multicast", "blackhole", "unreachable", "prohibit", "none"
	dev     *device
	devName string
	gateway netip.Addr
	route   *schema.Route
	rule    *schema.PolicyRule
}

// text is the route in the words of ip-route(8), with the rule where that decided.
func (f way) text() string {
	switch {
	case f.route != nil:
		return f.route.String()
	case f.rule != nil:
		return f.rule.String()
	}
	return "no route"
}

func (f way) ref() schema.Ref {
	switch {
	case f.route != nil:
		return f.route.Ref()
	case f.rule != nil:
		return f.rule.Ref()
	}
	return schema.Ref{}
}

// ways is fib_lookup: the policy rules in order, each with its table. The answers cover the packets of pc.
func (r *sweep) ways(q question, pc bdd.Node) []outcome[way] {
	fb := r.w.fib[family(q.dst.len() == 16)]
	var out []outcome[way]
	r.waysFrom(fb, 0, q, pc, &out)
	return out
}

func (r *sweep) waysFrom(fb *fib, i int, q question, pc bdd.Node, out *[]outcome[way]) {
	for ; i < len(fb.rules) && pc != bdd.False; i++ {
		ru := fb.rules[i]
		m, certain := r.ruleMatches(ru, q, pc)
		part := r.x.And(pc, m)
		if part == bdd.False {
			continue
		}
		if !certain && part != pc && !r.dry {
			r.parted(pc, part, station{stage: "route", ref: ru.Ref(), rule: -1, text: ru.String(), action: "may match"})
		}
		switch ru.Action {
		case "", "lookup":
			if ru.L3MDev {
				continue
			}
			for _, o := range r.inTable(fb.tables[ru.Table], ru, q, part) {
				if o.k.kind == "" {
					continue // the next rule
				}
				o.cond = r.x.Diff(o.cond, r.outdone(fb, ru, o, q))
				pc = r.x.Diff(pc, o.cond)
				*out = append(*out, r.legs(o)...)
			}
		case "goto":
			j := slices.IndexFunc(fb.rules, func(x *schema.PolicyRule) bool { return x.Priority == ru.Goto })
			if j <= i { // FIB_RULE_UNRESOLVED: there is none; the kernel allows only forward
				continue
			}
			r.waysFrom(fb, j, q, part, out)
			pc = r.x.Diff(pc, part)
		case "blackhole", "unreachable", "prohibit":
			*out = add(r.x, *out, part, way{kind: ru.Action, rule: ru})
			pc = r.x.Diff(pc, part)
		}
	}
	if pc != bdd.False {
		*out = add(r.x, *out, pc, way{kind: "none"})
	}
}

// outdone are packets for which a route of the table main is taken though one of the table local was found: a longer one, where
// the kernel looks into both at once. Whether it does is not known.
func (r *sweep) outdone(fb *fib, ru *schema.PolicyRule, o outcome[way], q question) bdd.Node {
	rt := o.k.route
	if !fb.merged || ru.Table != schema.TableLocal || rt == nil || rt.Dst.IsSingleIP() || fb.tables[schema.TableMain] == nil {
		return bdd.False
	}
	longer := bdd.False
	for _, p := range fb.tables[schema.TableMain].prefixes() {
		if p.Bits() > rt.Dst.Bits() && rt.Dst.Contains(p.Addr()) {
			longer = r.x.Or(longer, q.dst.in(r.x, p))
		}
	}
	if longer = r.x.And(o.cond, longer); longer == bdd.False {
		return longer
	}
	r.live = longer
	u := r.x.And(longer, r.unknown(bothTables{}))
	r.parted(longer, u, station{stage: "route", ref: rt.Ref(), rule: -1, text: rt.String() + ", beside a longer one in table main", action: "may match"})
	return u
}

// bothTables is what nobody knows of a host without rules of its own.
type bothTables struct{}

// inTable asks one table for what a rule makes of its answer; the kind of a way is "" where the next rule has to be asked.
func (r *sweep) inTable(t *rtable, ru *schema.PolicyRule, q question, pc bdd.Node) (out []outcome[way]) {
	if t == nil {
		return nil
	}
	at := lookedUp{t: t, ru: ru, raw: q.raw && q.dst.len() == 16}
	switch {
	case q.dst.len() != 16:
	case q.by != nil:
		at.in = q.by
	case q.in != nil && q.in != r.w.lo:
		at.in = q.in
	}
	ask := func(pc bdd.Node) {
		out = append(out, byAddressKept(r, at, pc, q.dst, t.prefixes(), func(a netip.Addr) way { return r.w.lookup(at, a) })...)
	}
	for _, at.tos = range t.services {
		is := r.x.And(pc, r.serviceIs(q, at.tos))
		if is != bdd.False {
			ask(is)
			pc = r.x.Diff(pc, is)
		}
	}
	if at.tos = 0; pc != bdd.False {
		ask(pc)
	}
	return out
}

// serviceIs tells for which packets a route or a rule of IPv4 for a type of service counts: of the three bits that are left
// of it (fib_dscp_masked_match; on the way in, IPTOS_RT_MASK before Linux 6.12). IPv6 compares all of the class's six.
func (r *sweep) serviceIs(q question, tos uint8) bdd.Node {
	mask := uint8(0x1c)
	if q.dst.len() == 16 {
		mask = 0xfc
	}
	if tos&^mask != 0 {
		return bdd.False
	}
	if q.tos.len() == 0 {
		return boolean(tos == 0)
	}
	return q.tos.masked(r.x, mask, tos)
}

// legs are the hops of a route of which the kernel's hash picks one, of those that are not dead (fib_rebalance).
func (r *sweep) legs(o outcome[way]) []outcome[way] {
	rt := o.k.route
	hops := slices.DeleteFunc(slices.Clone(rt.NextHops), func(h schema.NextHop) bool { return r.w.deadLeg(h) })
	n := len(hops)
	if len(rt.NextHops) == 0 {
		return []outcome[way]{o}
	}
	var out []outcome[way]
	rest := o.cond
	for i, hop := range hops {
		leg := o.k
		leg.devName, leg.gateway = hop.Link, r.w.beyond(hop.Gateway)
		leg.dev = r.w.devices[hop.Link]
		c := rest
		if i < n-1 {
			r.live = rest
			u := r.unknown(legOf{rt, i})
			if !r.dry {
				r.parted(rest, r.x.Diff(rest, u), station{stage: "route", ref: rt.Ref(), rule: -1, text: rt.String(), action: "may match"})
			}
			c, rest = r.x.And(rest, u), r.x.Diff(rest, u)
		}
		out = append(out, outcome[way]{c, leg})
	}
	return out
}

type legOf struct {
	rt *schema.Route
	i  int
}

// ruleMatches tells for which packets a policy rule holds; certain is false where nobody can foresee it.
func (r *sweep) ruleMatches(ru *schema.PolicyRule, q question, pc bdd.Node) (f bdd.Node, certain bool) {
	f, certain = bdd.True, true
	and := func(g bdd.Node) { f = r.x.And(f, g) }
	if ru.IIF != "" {
		and(r.isDevice(q.in, q.inAny, r.w.device(ru.IIF)))
	}
	and(boolean(ru.OIF == "" || q.by != nil && q.by.name == ru.OIF))
	if ru.Src.IsValid() && ru.Src.Bits() > 0 {
		and(q.src.in(r.x, ru.Src.Masked()))
	}
	if ru.Dst.IsValid() && ru.Dst.Bits() > 0 {
		and(q.dst.in(r.x, ru.Dst.Masked()))
	}
	if ru.Mark != 0 || ru.Mask != 0 {
		mask := ru.Mask
		if mask == 0 {
			mask = ^uint32(0)
		}
		and(r.markIs(q.mark, ru.Mark, mask))
	}
	if ru.TOS != 0 {
		and(r.serviceIs(q, ru.TOS))
	}
	maybe := len(ru.Other) > 0
	made := q.in == r.w.lo && !q.back && r.p.made
	switch {
	case ru.UIDRange == "":
	case made || q.plain:
		maybe = true
	default: // what came in counts as root's (sock_net_uid)
		and(boolean(strings.HasPrefix(ru.UIDRange, "0-")))
	}
	if q.plain {
		maybe = maybe || ru.IPProto != 0 || ru.SPort != "" || ru.DPort != ""
	} else if q.raw || (q.back || q.again || !r.p.made) && !r.w.fib[family(q.dst.len() == 16)].dissects {
		and(boolean(ru.IPProto == 0 && ru.SPort == "" && ru.DPort == ""))
	} else {
		if ru.IPProto != 0 {
			and(r.p.layer4.equal(r.x, []byte{ru.IPProto}))
		}
		sport, dport := r.p.sport(), r.p.dport()
		if q.back {
			sport, dport = dport, sport
		}
		maybe = !r.portIn(ru.SPort, sport, &f) || maybe
		maybe = !r.portIn(ru.DPort, dport, &f) || maybe
	}
	if maybe && f != bdd.False {
		r.live, certain = pc, false
		and(r.unknown(ru))
	}
	if ru.Invert {
		f = r.x.Not(f)
	}
	return f, certain
}

// markIs tells for which packets the bits of a mask are those of a value.
func (r *sweep) markIs(mark cells, want, mask uint32) bdd.Node {
	f := bdd.True
	for k := range 32 {
		if mask>>k&1 == 0 {
			continue
		}
		b := bdd.False
		if mark.len() > 0 {
			b = mark.bit(r.x.Space, hostBit(k))
		}
		if want>>k&1 == 0 {
			b = r.x.Not(b)
		}
		if f = r.x.And(f, b); f == bdd.False {
			break
		}
	}
	return f
}

// portIn narrows f to a port or a range of ports; false when the words are not understood.
func (r *sweep) portIn(want string, port cells, f *bdd.Node) bool {
	if want == "" {
		return true
	}
	lo, hi, ok := strings.Cut(want, "-")
	if !ok {
		hi = lo
	}
	a, err1 := strconv.ParseUint(lo, 10, 16)
	b, err2 := strconv.ParseUint(hi, 10, 16)
	if err1 != nil || err2 != nil {
		return false
	}
	if r.p.hasPorts() || !r.p.layer4.known() {
		*f = r.x.And(*f, port.within(r.x, []byte{byte(a >> 8), byte(a)}, []byte{byte(b >> 8), byte(b)}))
	} else if a > 0 {
		*f = bdd.False // no ports: 0
	}
	return true
}

// lookup finds the route in one table; its kind is "" when the next rule has to be asked.
func (w *Walker) lookup(at lookedUp, a netip.Addr) way {
	for rs := range at.t.matching(a) {
		rs = w.alive(rs, at.tos)
		if a.Is6() {
			rs = w.best6(rs, at.in, a)
		}
		if len(rs) == 0 {
			continue
		}
		rt, ru := rs[0], at.ru
		if rt.Type == "throw" {
			return way{}
		}
		res := way{kind: rt.Type, route: rt, rule: ru, devName: rt.Link, gateway: w.beyond(rt.Gateway)}
		if len(rt.NextHops) > 0 {
			res.devName = rt.NextHops[0].Link
		}
		if res.kind == "" {
			res.kind = "unicast"
		}
		res.dev = w.devices[res.devName]
		switch res.kind {
		case "blackhole", "unreachable", "prohibit": // an error is never suppressed (fib_rules_lookup)
			return res
		}
		bits := rt.Dst.Bits()
		if at.raw && !rt.Gateway.IsValid() && len(rt.NextHops) == 0 {
			bits = 128 // the route is copied for the one address (FLOWI_FLAG_KNOWN_NH: ip6_pol_route, rawv6_sendmsg)
		}
		if ru.SuppressPrefixLen != nil && bits <= *ru.SuppressPrefixLen {
			return way{}
		}
		if ru.SuppressIfGroup != nil && res.dev != nil && res.dev.link.Facts != nil && int(res.dev.link.Facts.Group) == *ru.SuppressIfGroup {
			return way{}
		}
		return res
	}
	return way{}
}

// beyond is a gateway; none where the host itself is, by which IPv4 means the link (rt_set_nexthop, nhc_scope).
func (w *Walker) beyond(gateway netip.Addr) netip.Addr {
	if gateway.Is4() && w.local(gateway) {
		return netip.Addr{}
	}
	return gateway
}

// alive leaves, of the routes to one prefix, those that count for packets of a type of service: fib_table_lookup.
func (w *Walker) alive(rs []*schema.Route, tos uint8) []*schema.Route {
	return slices.DeleteFunc(slices.Clone(rs), func(rt *schema.Route) bool {
		if rt.TOS != 0 && rt.TOS != tos || rt.Facts != nil && rt.Facts.Dead {
			return true
		}
		if len(rt.NextHops) > 0 {
			return !slices.ContainsFunc(rt.NextHops, func(h schema.NextHop) bool { return !w.deadLeg(h) })
		}
		return rt.Facts != nil && rt.Facts.LinkDown && w.ignoresLinkdown(rt.Link, rt.Dst.Addr().Is6())
	})
}

// ignoresLinkdown tells whether routes by a link do not count while it has no carrier.
func (w *Walker) ignoresLinkdown(link string, v6 bool) bool {
	d := w.devices[link]
	return d != nil && d.linkdown[family(v6)]
}

// deadLeg tells whether a hop of a route is out of use.
func (w *Walker) deadLeg(h schema.NextHop) bool {
	d := w.devices[h.Link]
	return d != nil && (!d.up || !d.carrier && d.linkdown[family(h.Gateway.Is6())])
}

// best6 brings those routes to one prefix to the front that IPv6 prefers (find_rr_leaf, rt6_score_route): of the smallest
// metric that has any, the router of the highest preference, then the link that the packet came in by; only that one
// for addresses that mean nothing beyond a link.
func (w *Walker) best6(rs []*schema.Route, in *device, a netip.Addr) []*schema.Route {
	by := func(rt *schema.Route) bool { return in == nil || slices.Contains(rt.Devices(), in.name) }
	if in != nil && (a.IsLinkLocalUnicast() || a.IsMulticast()) {
		rs = slices.DeleteFunc(rs, func(rt *schema.Route) bool { return !by(rt) })
	}
	rank := func(rt *schema.Route) int {
		n := 0
		if rt.Facts != nil {
			n = 2 * map[string]int{"high": 1, "low": -1}[rt.Facts.Pref]
		}
		if by(rt) {
			n++
		}
		return n
	}
	slices.SortStableFunc(rs, func(x, y *schema.Route) int {
		return cmp.Or(cmp.Compare(x.Metric, y.Metric), cmp.Compare(rank(y), rank(x)))
	})
	return rs
}

func (w *Walker) device(name string) *device {
	if name == "lo" {
		return w.lo
	}
	if d := w.devices[name]; d != nil {
		return d
	}
	return &device{name: name}
}

// routeTypes are the RTN_* of rtnetlink(7).
var routeNumbers = map[string]uint32{
	"": 1, "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6, "unreachable": 7, "prohibit": 8, "throw": 9,
}

// specials are the prefixes that no routing table holds.
var specials = []netip.Prefix{
	netip.PrefixFrom(limitedBroadcast, 32), nobody, netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("ff00::/8"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("::/128"),
}

// localPrefixes are those that tell the host's own and other special addresses from the rest.
func (f *fib) localPrefixes() []netip.Prefix {
	f.once.Do(f.readSpecial)
	return f.special
}

// theirPrefixes are localPrefixes with those that tell the classes of addresses apart.
func (f *fib) theirPrefixes() []netip.Prefix {
	f.once.Do(f.readSpecial)
	return f.theirs
}

func (f *fib) readSpecial() {
	f.special = byLength(slices.Concat(specials, f.tables[schema.TableLocal].prefixes()))
	f.theirs = byLength(slices.Concat(classes, f.special))
}

// addrType is inet_dev_addr_type: the local table alone decides, "" for everything else. dev, when not nil, is the only
// device that counts.
func (w *Walker) addrType(a netip.Addr, dev *device) string {
	switch {
	case a == limitedBroadcast || a.Is4() && a.IsUnspecified():
		return "broadcast"
	case a.IsMulticast():
		return "multicast"
	}
	if rs := w.fib[family(a.Is6())].tables[schema.TableLocal].find(a); len(rs) > 0 && (dev == nil || rs[0].Link == dev.name) {
		return rs[0].Type
	}
	return ""
}

// fibType loads the type of an address (nft_fib4_eval_type; IPv6 asks all tables, and an address without a route is
// unreachable).
func (r *sweep) fibType(g, addr cells, dev *device, devs *ifaces) {
	fb := r.w.fib[family(r.p.v6)]
	one := newCells(4)
	put := func(cond bdd.Node, kind string) {
		one.word32(routeNumbers[kind])
		g.merge(r.x.Space, cond, one)
	}
	r.each(dev, devs, func(is bdd.Node, d *device) {
		on := typeOn{d}
		if d == elsewhere {
			d = &device{} // no address is on it
		}
		for _, o := range byAddressKept(r, on, is, addr, fb.localPrefixes(), func(a netip.Addr) string { return r.w.addrType(a, d) }) {
			if o.k != "" || !r.p.v6 {
				put(o.cond, o.k)
				continue
			}
			for _, f := range r.ways(question{dst: addr, in: r.w.lo, plain: true}, o.cond) {
				kind := f.k.kind
				if kind == "none" {
					kind = "unreachable"
				}
				put(f.cond, kind)
			}
		}
	})
}

// fibDevices gives the devices by which an address is reached, those that rules see: for the rest there is none.
func (r *sweep) fibDevices(addr, other cells, dev *device, devs *ifaces, saddr, byIn, byMark bool) []outcome[*device] {
	p := &r.p
	if r.hook == prerouting && !r.inBridge && p.inAny == nil && p.in == r.w.lo {
		return []outcome[*device]{{bdd.True, p.in}}
	}
	q := question{dst: addr, src: other, in: r.w.lo, tos: p.tos(r.x), plain: true}
	if byMark {
		q.mark = p.mark
	}
	if saddr && byIn && r.hook == forward && (p.out != nil || p.outAny != nil) {
		q.in, q.inAny = p.out, p.outAny
	}
	var out []outcome[*device]
	for _, f := range r.ways(q, bdd.True) {
		if f.k.kind != "unicast" || f.k.dev == nil {
			continue
		}
		if dev == nil && devs == nil {
			out = add(r.x, out, f.cond, f.k.dev)
			continue
		}
		r.each(dev, devs, func(is bdd.Node, d *device) {
			if c := r.x.And(is, f.cond); c != bdd.False && slices.Contains(f.k.route.Devices(), d.name) {
				out = add(r.x, out, c, d)
			}
		})
	}
	return out
}
