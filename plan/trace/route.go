package trace

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/vmnet/vmnet/schema"
)

// The addresses that no routing table holds.
var (
	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	nobody           = netip.PrefixFrom(netip.AddrFrom4([4]byte{}), 32)
)

// fib are the routing tables of one family.
type fib struct {
	rules  []*schema.PolicyRule
	tables map[uint32]*rtable
	// custom says that there are rules beside the three that every host has, or local routes that no address brought.
	custom bool
	// bySource says that rules look at the source of packets or at the link they come in by.
	bySource bool
	// dissects says that rules make the kernel look at protocol and ports of packets that come in: those that ask for them and are
	// not for the host's own alone (include/net/fib_rules.h, fib_rule_requires_fldissect). Without, both are 0 for every rule.
	dissects bool
	// merged says that nobody's rules stand beside the usual three: the kernel may then look into the tables local and main at once
	// (fib_trie_unmerge: until the first other rule is made, and never again after that, which nobody can see). IPv4 only.
	merged bool
	// special are the prefixes of the local table and those that no table holds, theirs with those of classOf too, made when
	// first asked for.
	once    sync.Once
	special []netip.Prefix
	theirs  []netip.Prefix
}

// rtable finds the longest prefix: routes by prefix, best metric first.
type rtable struct {
	lens []int
	by   map[netip.Prefix][]*schema.Route
	// services are the types of service that it has routes for.
	services []uint8
	// list are the prefixes, the longest first, made when first asked for.
	sorted sync.Once
	list   []netip.Prefix
}

func newFIB(w *Walker, v6 bool) *fib {
	f := &fib{tables: map[uint32]*rtable{}}
	for r := range schema.Each[*schema.Route](w.state) {
		if r.Dst.IsValid() && r.Dst.Addr().Is6() == v6 {
			f.add(r)
			for _, d := range r.Devices() {
				if dev := w.devices[d]; dev != nil && r.Table != schema.TableLocal && !r.Dst.Addr().IsLinkLocalUnicast() && !r.Dst.Addr().IsMulticast() {
					dev.routed = true
				}
			}
		}
	}
	for _, d := range w.devices {
		for _, a := range d.addrs {
			if a.Prefix.IsValid() && a.Prefix.Addr().Is6() == v6 {
				f.own(a)
			}
		}
	}
	if v6 {
		f.ownMulticast(w)
	}
	for _, t := range f.tables {
		for _, rs := range t.by {
			slices.SortStableFunc(rs, func(a, b *schema.Route) int {
				return cmp.Or(cmp.Compare(b.TOS, a.TOS), cmp.Compare(a.Metric, b.Metric), cmp.Compare(placeOf(a), placeOf(b)))
			})
		}
		slices.Sort(t.lens)
		slices.Reverse(t.lens)
	}
	f.rules = policyRules(w.state, v6)
	f.bySource = slices.ContainsFunc(f.rules, func(r *schema.PolicyRule) bool { return r.IIF != "" || r.Src.IsValid() && r.Src.Bits() > 0 })
	f.dissects = slices.ContainsFunc(f.rules, func(r *schema.PolicyRule) bool {
		return r.IIF != "lo" && (r.IPProto != 0 || r.SPort != "" || r.DPort != "")
	})
	others := slices.ContainsFunc(f.rules, func(r *schema.PolicyRule) bool {
		return r.String() != "0: from all lookup local" && r.String() != "32766: from all lookup main" && r.String() != "32767: from all lookup default"
	})
	f.custom, f.merged = f.custom || others, !v6 && !others
	return f
}

// ownMulticast adds the routes for groups that each link of IPv6 has, where the state lists none.
func (f *fib) ownMulticast(w *Walker) {
	groups := netip.MustParsePrefix("ff00::/8")
	if t := f.tables[schema.TableLocal]; t != nil && len(t.by[groups]) > 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(w.devices)) {
		f.add(&schema.Route{Table: schema.TableLocal, Dst: groups, Type: "multicast", Link: name, Metric: 256})
	}
}

func placeOf(r *schema.Route) int {
	if r.Facts == nil {
		return 0
	}
	return r.Facts.Place
}

func (f *fib) add(r *schema.Route) {
	t := f.tables[r.Table]
	if t == nil {
		t = &rtable{by: map[netip.Prefix][]*schema.Route{}}
		f.tables[r.Table] = t
	}
	f.custom = f.custom || r.Type == "local" && r.Proto != nil && !r.KernelMade()
	p := r.Dst.Masked()
	if !slices.Contains(t.lens, p.Bits()) {
		t.lens = append(t.lens, p.Bits())
	}
	t.by[p] = append(t.by[p], r)
	if r.TOS != 0 && !slices.Contains(t.services, r.TOS) {
		t.services = append(t.services, r.TOS)
	}
}

// own adds what the kernel keeps in the local table for an address, where the state does not list it.
func (f *fib) own(a *schema.Address) {
	host := netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Addr().BitLen())
	f.ownRoute(a.Link, host, "local")
	if a.Prefix.Addr().IsLoopback() && a.Prefix.Addr().Is4() {
		f.ownRoute(a.Link, a.Prefix.Masked(), "local")
		return
	}
	if a.Prefix.Addr().Is4() && a.Prefix.Bits() <= 30 {
		f.ownRoute(a.Link, netip.PrefixFrom(lastAddr(a.Prefix), 32), "broadcast")
	}
}

func (f *fib) ownRoute(link string, dst netip.Prefix, kind string) {
	if t := f.tables[schema.TableLocal]; t != nil && len(t.by[dst]) > 0 {
		return
	}
	f.add(&schema.Route{Table: schema.TableLocal, Dst: dst, Type: kind, Link: link})
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// policyRules lists the rules of a family by priority. A state without any is taken to have the three the kernel makes.
func policyRules(s *schema.State, v6 bool) []*schema.PolicyRule {
	var out []*schema.PolicyRule
	want := "ip"
	if v6 {
		want = "ip6"
	}
	for r := range schema.Each[*schema.PolicyRule](s) {
		if r.Family == want {
			out = append(out, r)
		}
	}
	if len(s.Refs(schema.KindPolicyRule)) == 0 {
		for i, t := range []uint32{schema.TableLocal, schema.TableMain, 253} {
			out = append(out, &schema.PolicyRule{Family: want, Priority: []uint32{0, 32766, 32767}[i], Table: t})
		}
	}
	slices.SortStableFunc(out, func(a, b *schema.PolicyRule) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Place, b.Place))
	})
	return out
}

// find gives the routes of the longest prefix that holds an address.
func (t *rtable) find(a netip.Addr) []*schema.Route {
	for rs := range t.matching(a) {
		return rs
	}
	return nil
}

// matching iterates over the routes that hold an address, longest prefix first. A nil table is empty.
func (t *rtable) matching(a netip.Addr) func(func([]*schema.Route) bool) {
	return func(yield func([]*schema.Route) bool) {
		if t == nil {
			return
		}
		for _, n := range t.lens {
			p, err := a.Prefix(n)
			if err != nil {
				continue
			}
			if rs := t.by[p]; len(rs) > 0 && !yield(rs) {
				return
			}
		}
	}
}

// local tells whether an address is the host's own (the local table).
func (w *Walker) local(a netip.Addr) bool {
	rs := w.fib[family(a.Is6())].tables[schema.TableLocal].find(a)
	return len(rs) > 0 && (rs[0].Type == "local" || rs[0].Type == "anycast")
}

// class says what kind of address it is, as far as that decides before any route.
type class uint8

const (
	plain class = iota
	zero        // 0.0.0.0 or ::
	loopback
	linkLocal
	multicast
	broadcast // 255.255.255.255
)

func classOf(a netip.Addr) class {
	switch {
	case a.IsUnspecified():
		return zero
	case a.IsLoopback():
		return loopback
	case a.IsLinkLocalUnicast():
		return linkLocal
	case a.IsMulticast():
		return multicast
	case a == limitedBroadcast:
		return broadcast
	}
	return plain
}

// class forks by the kind of an address.
func (r *sweep) class(c cells) (class, bool) {
	if a, ok := c.addr(); ok {
		return classOf(a), true
	}
	return fork(r, byAddressKept(r, addressClass{}, r.pc, c, classes, classOf))
}

// classes are the prefixes that tell the kinds of addresses apart.
var classes = byLength(slices.Concat(specials, []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16")}))

// isLocal forks by whether an address is the host's own.
func (r *sweep) isLocal(c cells) (is, ok bool) {
	if a, ok := c.addr(); ok {
		return r.w.local(a), true
	}
	return fork(r, byAddressKept(r, ownAddress{}, r.pc, c, r.w.fib[family(c.len() == 16)].localPrefixes(), r.w.local))
}

// decide asks the routing tables and forks by the answer.
func (r *sweep) decide(q question) (way, bool) {
	outs := r.ways(q, r.pc)
	if len(outs) > 1 && !r.log.full { // which route it was does not matter for many
		outs = similar(r.x, outs)
	}
	return fork(r, outs)
}

// similar joins ways that lead to the same place.
func similar(x *space, outs []outcome[way]) []outcome[way] {
	type place struct {
		kind, dev string
		gateway   netip.Addr
		source    netip.Addr
		legs      *schema.Route
	}
	at := map[place]int{}
	var out []outcome[way]
	for _, o := range outs {
		p := place{kind: o.k.kind, dev: o.k.devName, gateway: o.k.gateway}
		if rt := o.k.route; rt != nil {
			p.source = rt.Source
			if len(rt.NextHops) > 0 {
				p.legs = rt
			}
		}
		i, ok := at[p]
		if !ok {
			at[p] = len(out)
			out = append(out, o)
			continue
		}
		out[i].cond = x.Or(out[i].cond, o.cond)
	}
	return out
}

// routeIn is the routing decision for a packet that came in (ip_route_input_slow). It says whether the packet is for
// the host; ok is false when none goes on.
func (r *sweep) routeIn(in *device) (res way, local, ok bool) {
	p := &r.p
	src, ok := r.class(p.src())
	if !ok {
		return res, false, false
	}
	dst, ok := r.class(p.dst())
	if !ok {
		return res, false, false
	}
	if p.v6 {
		return r.routeIn6(in, src, dst)
	}
	if why := martian4(src, dst, in); why != "" {
		return res, false, r.block(CodeMartian, "route", schema.LinkRef(in.name), why, "martian")
	}
	if dst == broadcast || dst == multicast || src == zero && dst == zero {
		return way{kind: "broadcast", dev: in}, true, r.validMany(in, src, dst) && (dst != multicast || r.joined(in))
	}
	res, ok = r.decide(r.ofPacket(p.src(), p.dst(), in))
	if !ok {
		return res, false, false
	}
	switch res.kind {
	case "broadcast":
		if in.bcForwarding {
			return res, false, r.unmodelled("route", schema.SysctlRef(schema.LinkSysctl("ipv4", in.name, "bc_forwarding")), "bc_forwarding is on")
		}
		return res, true, r.validMany(in, src, dst)
	case "local":
		return res, true, r.validSource(in, nil, src, p.dst())
	case "unicast":
	case "none":
		return res, false, r.noRoute(res)
	default:
		if r.forwards(in) {
			r.noRoute(res)
		}
		return res, false, false
	}
	if !r.forwards(in) || !r.validSource(in, res.dev, src, p.dst()) {
		return res, false, false
	}
	return res, false, true
}

// routeIn6 is the same for IPv6, which has no rp_filter and one forwarding switch for all (ip6_forward).
func (r *sweep) routeIn6(in *device, src, dst class) (res way, local, ok bool) {
	p := &r.p
	if (src == loopback || dst == loopback) && in != r.w.lo {
		return res, false, r.block(CodeMartian, "route", schema.LinkRef(in.name), "::1 came in by a link", "martian")
	}
	if src == multicast {
		return res, false, r.block(CodeMartian, "route", schema.LinkRef(in.name), "the source is a multicast address", "martian")
	}
	res, ok = r.decide(r.ofPacket(p.src(), p.dst(), in))
	switch {
	case !ok:
		return res, false, false
	case res.kind == "local" || res.kind == "anycast":
		return res, true, true
	case res.kind == "multicast" && dst == multicast:
		return res, true, r.joined(in)
	case res.kind != "unicast":
		return res, false, r.noRoute(res)
	case !r.forwards(in):
		return res, false, false
	case res.dev != in && (src == linkLocal || src == zero): // ip6_forward; by the same link it only advises against that
		return res, false, r.block(CodeMartian, "route", res.ref(), r.text(p.src())+" means nothing beyond its link: it is not forwarded", "martian")
	}
	return res, false, true
}

func martian4(src, dst class, in *device) (why string) {
	switch {
	case src == multicast || src == broadcast:
		return "the source is a multicast or broadcast address"
	case dst == broadcast || src == zero && dst == zero:
		return ""
	case src == zero && dst != multicast: // of 0.0.0.0/8 only that since Linux 5.3
		return "the source is 0.0.0.0"
	case dst == zero:
		return "the destination is 0.0.0.0"
	case (dst == loopback || src == loopback) && in.routeLocalnet != 1:
		return fmt.Sprintf("127.0.0.0/8 on the wire: net.ipv4.conf.%s.route_localnet = 0", strings.ReplaceAll(in.name, ".", "/"))
	}
	return ""
}

// noRoute ends the way where the tables give none.
func (r *sweep) noRoute(res way) bool {
	if res.kind == "none" {
		return r.block(CodeNoRoute, "route", res.ref(), "no route to "+r.text(r.p.dst()), "no route")
	}
	if res.kind == "broadcast" || res.kind == "multicast" {
		return r.block(CodeNoRoute, "route", res.ref(), res.text(), res.kind)
	}
	return r.block(CodeBadRoute, "route", res.ref(), res.text(), res.kind)
}

// forwards checks the forwarding switches: IPv4's of the link the packet came in by, IPv6's for all.
func (r *sweep) forwards(in *device) bool {
	on, key := in.forwarding, schema.LinkSysctl("ipv4", in.name, "forwarding")
	if on < 0 || on == r.w.forward[0] {
		on, key = r.w.forward[0], "net.ipv4.ip_forward"
	}
	if r.p.v6 {
		on, key = r.w.forward[1], "net.ipv6.conf.all.forwarding"
		if in.force6 {
			return true
		}
	}
	switch {
	case on > 0:
		return true
	case on == 0:
		return r.block(CodeNoForwarding, "route", schema.SysctlRef(key), key+" = 0", "forwarding off")
	}
	return r.unmodelled("route", schema.SysctlRef(key), key+" is not known")
}

// validMany looks at the source of a packet for many (ip_route_input_slow's brd_input, ip_mc_validate_source).
func (r *sweep) validMany(in *device, src, dst class) bool {
	if dst == multicast && src == zero && r.p.proto != protoIGMP {
		far := r.x.Not(r.p.dst().in(r.x, localMulticast))
		if !r.blockIf(far, CodeMartian, "route", schema.LinkRef(in.name), func() string { return "the source is 0.0.0.0" }, "martian") {
			return false
		}
	}
	return r.validSource(in, nil, src, newCells(4))
}

// localMulticast is what no router leads on (RFC 5771, section 4).
var localMulticast = netip.MustParsePrefix("224.0.0.0/24")

// validSource is fib_validate_source: rp_filter, and no packet from outside with an address of our own. The way back is that
// of an answer from one address of the host.
func (r *sweep) validSource(in, out *device, src class, from cells) bool {
	p := &r.p
	if src == zero && out == nil || in == r.w.lo {
		return true
	}
	mode := max(in.rpFilter, r.w.rpAll)
	if mode == 0 && in.acceptLocal == 1 && in != out {
		return true
	}
	if mode == 0 && in.acceptLocal != 1 {
		own, ok := r.isOwn(p.src())
		if !ok || own && !r.block(CodeMartian, "route", schema.LinkRef(in.name), r.text(p.src())+" is an address of this host", "martian") {
			return false
		}
	}
	q := question{src: from, dst: p.src(), in: r.w.lo, tos: p.tos(r.x), back: true}
	if out != nil {
		q.in = out
	}
	if in.validMark {
		q.mark = p.mark
	}
	if mode == 0 {
		return r.fullCheck(in, q)
	}
	back, ok := r.decide(q)
	if !ok {
		return false
	}
	if back.kind == "local" && in.acceptLocal == 1 {
		back.kind = "unicast"
	}
	if back.kind == "unicast" && len(back.route.Devices()) == 0 {
		return r.unmodelled("route", back.ref(), back.text())
	}
	key := schema.LinkSysctl("ipv4", in.name, "rp_filter")
	if in.rpFilter < r.w.rpAll {
		key = "net.ipv4.conf.all.rp_filter"
	}
	ref, text := schema.SysctlRef(key), fmt.Sprintf("%s = %d; the way back to %s: %s", key, mode, r.text(p.src()), back.text())
	switch {
	case back.kind == "local" || back.kind == "broadcast":
		return r.block(CodeMartian, "route", schema.LinkRef(in.name), r.text(p.src())+" is an address of this host", "martian")
	case back.kind != "unicast":
		return r.block(CodeRPFilter, "route", ref, text, "rp_filter")
	case slices.Contains(back.route.Devices(), in.name):
		return true
	case mode == 1 || !hasAddr(in, false):
		return r.block(CodeRPFilter, "route", ref, text, "rp_filter")
	}
	return true
}

func hasAddr(d *device, v6 bool) bool {
	for _, a := range d.addrs {
		if a.Prefix.Addr().Is6() == v6 && !(v6 && a.Prefix.Addr().IsLinkLocalUnicast()) {
			return true
		}
	}
	return false
}

// sources lists the addresses a link sends from to a next hop: its own, or in IPv4 those of the first other link that has any.
func (w *Walker) sources(dev *device, nh netip.Addr) []netip.Addr {
	if nh.Is6() && nh.IsLoopback() {
		return []netip.Addr{nh}
	}
	if nh.Is6() {
		return w.sources6(dev, nh)
	}
	cands := candidates(dev, nh)
	if len(cands) > 0 {
		return cands
	}
	var others []*device
	for _, d := range w.devices {
		if d != dev {
			others = append(others, d)
		}
	}
	slices.SortFunc(others, func(a, b *device) int { return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.name, b.name)) })
	for _, d := range others {
		if cands = candidates(d, netip.Addr{}); len(cands) > 0 {
			break
		}
	}
	return cands
}

// sources6 is ipv6_dev_get_saddr: the destination itself where it is the host's own, else an address of the link, else the
// one of another link that agrees best.
func (w *Walker) sources6(dev *device, nh netip.Addr) []netip.Addr {
	var others []netip.Addr
	for _, d := range w.devices {
		for _, a := range d.addrs {
			if a.Prefix.Addr() == nh && usableSource(a) {
				return []netip.Addr{nh}
			}
		}
		if d != dev {
			others = append(others, candidates(d, nh)...)
		}
	}
	if own := candidates(dev, nh); len(own) > 0 {
		return own
	}
	slices.SortFunc(others, netip.Addr.Compare)
	if len(others) > 1 {
		return closest(others, nh)
	}
	return others
}

// sourcePrefixes are the prefixes by which the choice of sources depends on the next hop: the networks of the link, and in
// IPv6 how far an address agrees with each candidate.
func (w *Walker) sourcePrefixes(dev *device, v6 bool) []netip.Prefix {
	var out []netip.Prefix
	if !v6 {
		for _, a := range dev.addrs {
			if a.Prefix.Addr().Is4() {
				out = append(out, a.Prefix.Masked())
			}
		}
		return byLength(out)
	}
	var all []netip.Addr
	for _, d := range w.devices {
		for _, a := range d.addrs {
			if a.Prefix.Addr().Is6() && usableSource(a) {
				all = append(all, a.Prefix.Addr())
				out = append(out, a.Prefix.Masked(), netip.PrefixFrom(a.Prefix.Addr(), 128))
			}
		}
	}
	for _, a := range all {
		for _, b := range all {
			if n := common(a, b) + 1; n <= 128 {
				p, _ := a.Prefix(n)
				out = append(out, p)
			}
		}
	}
	return byLength(out)
}

// candidates lists the usable source addresses of a link: those of the next hop's network if there are any.
func candidates(dev *device, nh netip.Addr) []netip.Addr {
	var near, all []netip.Addr
	for _, a := range dev.addrs {
		ip := a.Prefix.Addr()
		if nh.IsValid() && ip.Is6() != nh.Is6() || !nh.IsValid() && ip.Is6() || !usableSource(a) {
			continue
		}
		all = append(all, ip)
		if nh.IsValid() && a.Prefix.Contains(nh) {
			near = append(near, ip)
		}
	}
	if len(near) > 0 {
		return near
	}
	if nh.Is6() && len(all) > 1 {
		return closest(all, nh)
	}
	return all
}

func usableSource(a *schema.Address) bool {
	if a.Scope != nil && *a.Scope != "global" && *a.Scope != "site" {
		return false
	}
	if a.Prefix.Addr().IsLoopback() || a.Prefix.Addr().IsLinkLocalUnicast() {
		return false
	}
	f := a.Facts
	return f == nil || !f.Secondary && !f.Tentative && !f.DADFailed
}

// closest keeps the addresses with the longest common prefix (RFC 6724, rule 8).
func closest(all []netip.Addr, nh netip.Addr) []netip.Addr {
	best, out := -1, []netip.Addr(nil)
	for _, a := range all {
		n := common(a, nh)
		if n > best {
			best, out = n, nil
		}
		if n == best {
			out = append(out, a)
		}
	}
	return out
}

func common(a, b netip.Addr) int {
	x, y := a.As16(), b.As16()
	for i := range 128 {
		if (x[i/8]^y[i/8])>>(7-i%8)&1 != 0 {
			return i
		}
	}
	return 128
}
