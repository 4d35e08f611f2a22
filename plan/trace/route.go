package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vmnet/vmnet/schema"
)

// The addresses that no routing table holds.
var (
	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	zeroNet          = netip.PrefixFrom(netip.AddrFrom4([4]byte{}), 8)
)

// fib are the routing tables of one family.
type fib struct {
	rules  []*schema.PolicyRule
	tables map[uint32]*rtable
	// special are the prefixes of the local table and those that no table holds, made when first asked for.
	once    sync.Once
	special []netip.Prefix
}

// rtable finds the longest prefix: routes by prefix, best metric first.
type rtable struct {
	lens []int
	by   map[netip.Prefix][]*schema.Route
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
	for _, t := range f.tables {
		for _, rs := range t.by {
			slices.SortStableFunc(rs, func(a, b *schema.Route) int { return cmp.Compare(a.Metric, b.Metric) })
		}
		slices.Sort(t.lens)
		slices.Reverse(t.lens)
	}
	f.rules = policyRules(w.state, v6)
	return f
}

func (f *fib) add(r *schema.Route) {
	t := f.tables[r.Table]
	if t == nil {
		t = &rtable{by: map[netip.Prefix][]*schema.Route{}}
		f.tables[r.Table] = t
	}
	p := r.Dst.Masked()
	if !slices.Contains(t.lens, p.Bits()) {
		t.lens = append(t.lens, p.Bits())
	}
	t.by[p] = append(t.by[p], r)
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
	slices.SortStableFunc(out, func(a, b *schema.PolicyRule) int { return cmp.Compare(a.Priority, b.Priority) })
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

// query is a question to the routing tables, as struct flowi4 puts it.
type query struct {
	src, dst netip.Addr
	in       *device // lo for packets the host makes
	oif      *device // nil for any
	mark     word
}

// route is the answer.
type found struct {
	kind    string // "unicast", "local", "broadcast", "multicast", "blackhole", "unreachable", "prohibit", "none"
	dev     *device
	devName string
	gateway netip.Addr
	route   *schema.Route
	rule    *schema.PolicyRule
}

// text is the route in the words of ip-route(8), with the rule where that decided.
func (f found) text() string {
	switch {
	case f.route != nil:
		return f.route.String()
	case f.rule != nil:
		return f.rule.String()
	}
	return "no route"
}

func (f found) ref() schema.Ref {
	switch {
	case f.route != nil:
		return f.route.Ref()
	case f.rule != nil:
		return f.rule.Ref()
	}
	return schema.Ref{}
}

// route is fib_lookup: the policy rules in order, each with its table.
func (r *run) route(q query) found {
	fb := r.w.fib[family(q.dst.Is6())]
	for i := 0; i < len(fb.rules); i++ {
		ru := fb.rules[i]
		if r.ruleMatches(ru, q) == no || r.end != nil {
			continue
		}
		switch ru.Action {
		case "", "lookup":
			if ru.L3MDev {
				continue
			}
			if res, ok := r.lookupTable(fb.tables[ru.Table], ru, q); ok {
				return res
			}
		case "goto":
			j := slices.IndexFunc(fb.rules, func(x *schema.PolicyRule) bool { return x.Priority >= ru.Goto })
			if j <= i { // the kernel allows only forward
				continue
			}
			i = j - 1
		case "blackhole", "unreachable", "prohibit":
			return found{kind: ru.Action, rule: ru}
		}
	}
	return found{kind: "none"}
}

// ruleMatches never answers maybe: what is not certain is asked.
func (r *run) ruleMatches(ru *schema.PolicyRule, q query) answer3 {
	p := &r.p
	a := yes
	and := func(b answer3) { a = both(a, b) }
	and(sure(ru.IIF == "" || q.in != nil && ru.IIF == q.in.name))
	and(sure(ru.OIF == "" || q.oif != nil && ru.OIF == q.oif.name))
	and(sure(!ru.Src.IsValid() || ru.Src.Bits() == 0 || q.src.IsValid() && ru.Src.Contains(q.src)))
	and(sure(!ru.Dst.IsValid() || ru.Dst.Bits() == 0 || ru.Dst.Contains(q.dst)))
	if ru.Mark != 0 || ru.Mask != 0 {
		mask := ru.Mask
		if mask == 0 {
			mask = ^uint32(0)
		}
		and(markEqual(q.mark, ru.Mark, mask))
	}
	and(sure(ru.IPProto == 0 || ru.IPProto == p.proto))
	sAny, dAny := p.portsUnknown()
	and(portMatches(ru.SPort, p.sport, sAny))
	and(portMatches(ru.DPort, p.dport, dAny))
	if ru.TOS != 0 || ru.UIDRange != "" || len(ru.Other) > 0 {
		and(maybe)
	}
	if a == maybe {
		a = sure(r.askAt(2, station{stage: "route", ref: ru.Ref(), rule: -1, text: ru.String(), action: "may match"}) == 1)
	}
	if ru.Invert {
		return not(a)
	}
	return a
}

func portMatches(want string, port uint16, unknown bool) answer3 {
	if want == "" {
		return yes
	}
	lo, hi, ok := strings.Cut(want, "-")
	if !ok {
		hi = lo
	}
	a, err1 := strconv.ParseUint(lo, 10, 16)
	b, err2 := strconv.ParseUint(hi, 10, 16)
	if err1 != nil || err2 != nil || unknown {
		return maybe
	}
	return sure(uint64(port) >= a && uint64(port) <= b)
}

// lookupTable finds the route in one table; ok is false when the next rule has to be asked.
func (r *run) lookupTable(t *rtable, ru *schema.PolicyRule, q query) (found, bool) {
	for rs := range t.matching(q.dst) {
		for _, rt := range rs {
			if rt.TOS != 0 || q.oif != nil && !slices.Contains(rt.Devices(), q.oif.name) && len(rt.Devices()) > 0 {
				continue
			}
			if rt.Facts != nil && (rt.Facts.Dead || rt.Facts.LinkDown && r.w.ignoreLinkdown) {
				continue
			}
			switch {
			case ru.SuppressPrefixLen != nil && rt.Dst.Bits() <= *ru.SuppressPrefixLen:
				return found{}, false
			case rt.Type == "throw":
				return found{}, false
			}
			res := r.through(rt, ru)
			if r.suppressed(res, ru) {
				return found{}, false
			}
			return res, true
		}
	}
	return found{}, false
}

func (r *run) suppressed(res found, ru *schema.PolicyRule) bool {
	return ru.SuppressIfGroup != nil && res.dev != nil && res.dev.link.Facts != nil && int(res.dev.link.Facts.Group) == *ru.SuppressIfGroup
}

// through is the leg of a route that the packet takes. Of several the kernel's hash picks one: each is a way of its own.
func (r *run) through(rt *schema.Route, ru *schema.PolicyRule) found {
	res := found{kind: rt.Type, route: rt, rule: ru, devName: rt.Link, gateway: rt.Gateway}
	if res.kind == "" {
		res.kind = "unicast"
	}
	if n := len(rt.NextHops); n > 0 {
		i := 0
		if n > 1 {
			i = r.askAt(n, station{stage: "route", ref: rt.Ref(), rule: -1, text: rt.String(), action: "may match"})
		}
		res.devName, res.gateway = rt.NextHops[i].Link, rt.NextHops[i].Gateway
	}
	res.dev = r.w.devices[res.devName]
	return res
}

// local tells whether an address is the host's own (the local table).
func (w *Walker) local(a netip.Addr) bool {
	rs := w.fib[family(a.Is6())].tables[schema.TableLocal].find(a)
	return len(rs) > 0 && (rs[0].Type == "local" || rs[0].Type == "anycast")
}

// routeIn is the routing decision for a packet that came in (ip_route_input_slow). It says whether the packet is for
// the host; ok is false when the run has ended.
func (r *run) routeIn(in *device) (res found, local, ok bool) {
	p := &r.p
	if p.v6 {
		return r.routeIn6(in)
	}
	if bad, why := martian4(p, in); bad {
		return res, false, r.block(CodeMartian, "route", schema.LinkRef(in.name), why, "martian")
	}
	if p.dst == limitedBroadcast || p.dst.IsMulticast() {
		return found{kind: "broadcast", dev: in}, true, true
	}
	res = r.route(query{src: p.src, dst: p.dst, in: in, mark: p.mark})
	if r.end != nil {
		return res, false, false
	}
	switch res.kind {
	case "local", "broadcast", "anycast":
		return res, true, r.validSource(in, nil)
	case "unicast":
	default:
		return res, false, r.noRoute(res)
	}
	if !r.forwards(in) || !r.validSource(in, res.dev) {
		return res, false, false
	}
	return res, false, true
}

// routeIn6 is the same for IPv6, which has no rp_filter and one forwarding switch for all (ip6_forward).
func (r *run) routeIn6(in *device) (res found, local, ok bool) {
	p := &r.p
	if (p.src.IsLoopback() || p.dst.IsLoopback()) && in != r.w.lo {
		return res, false, r.block(CodeMartian, "route", schema.LinkRef(in.name), "::1 came in by a link", "martian")
	}
	if p.dst.IsMulticast() {
		return found{kind: "multicast", dev: in}, true, true
	}
	res = r.route(query{src: p.src, dst: p.dst, in: in, mark: p.mark})
	switch {
	case r.end != nil:
		return res, false, false
	case res.kind == "local" || res.kind == "anycast":
		return res, true, true
	case res.kind != "unicast":
		return res, false, r.noRoute(res)
	case !r.forwards(in):
		return res, false, false
	case p.src.IsLinkLocalUnicast() || p.src.IsUnspecified() || p.dst.IsLinkLocalUnicast():
		return res, false, r.block(CodeMartian, "route", res.ref(), "a link-local address is not forwarded", "martian")
	}
	return res, false, true
}

func martian4(p *packet, in *device) (bool, string) {
	lo := func(a netip.Addr) bool { return a.IsLoopback() && in.routeLocalnet != 1 }
	switch {
	case p.src.IsMulticast() || p.src == limitedBroadcast:
		return true, "the source is a multicast or broadcast address"
	case p.dst == limitedBroadcast || p.src.IsUnspecified() && p.dst.IsUnspecified():
		return false, ""
	case zeroNet.Contains(p.src) && !p.dst.IsMulticast():
		return true, "the source is in 0.0.0.0/8"
	case zeroNet.Contains(p.dst):
		return true, "the destination is in 0.0.0.0/8"
	case lo(p.dst) || lo(p.src):
		return true, fmt.Sprintf("127.0.0.0/8 on the wire: net.ipv4.conf.%s.route_localnet = 0", strings.ReplaceAll(in.name, ".", "/"))
	}
	return false, ""
}

// noRoute ends the run where the tables give no way.
func (r *run) noRoute(res found) bool {
	if res.kind == "none" {
		return r.block(CodeNoRoute, "route", res.ref(), "no route to "+r.p.dst.String(), "no route")
	}
	if res.kind == "broadcast" || res.kind == "multicast" {
		return r.block(CodeNoRoute, "route", res.ref(), res.text(), res.kind)
	}
	return r.block(CodeBadRoute, "route", res.ref(), res.text(), res.kind)
}

// forwards checks the forwarding switches: IPv4's of the link the packet came in by, IPv6's for all.
func (r *run) forwards(in *device) bool {
	on, key := in.forwarding, schema.LinkSysctl("ipv4", in.name, "forwarding")
	if on < 0 || on == r.w.forward[0] {
		on, key = r.w.forward[0], "net.ipv4.ip_forward"
	}
	if r.p.v6 {
		on, key = r.w.forward[1], "net.ipv6.conf.all.forwarding"
	}
	switch {
	case on > 0:
		return true
	case on == 0:
		return r.block(CodeNoForwarding, "route", schema.SysctlRef(key), key+" = 0", "forwarding off")
	}
	return r.unmodelled("route", schema.SysctlRef(key), key+" is not known")
}

// validSource is fib_validate_source: rp_filter, and no packet from outside with an address of our own.
func (r *run) validSource(in, out *device) bool {
	p := &r.p
	if zeroNet.Contains(p.src) && out == nil || in == r.w.lo {
		return true
	}
	mode := max(in.rpFilter, r.w.rpAll)
	if mode == 0 && r.w.local(p.src) {
		if in.acceptLocal == 1 {
			return true
		}
		return r.block(CodeMartian, "route", schema.LinkRef(in.name), p.src.String()+" is an address of this host", "martian")
	}
	if mode == 0 {
		return true
	}
	q := query{src: p.dst, dst: p.src, in: r.w.lo}
	if out != nil {
		q.in = out
	}
	back := r.route(q)
	if r.end != nil {
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
	ref, text := schema.SysctlRef(key), fmt.Sprintf("%s = %d; the way back to %s: %s", key, mode, p.src, back.text())
	switch {
	case back.kind == "local" || back.kind == "broadcast":
		return r.block(CodeMartian, "route", schema.LinkRef(in.name), p.src.String()+" is an address of this host", "martian")
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

// sourceFor is inet_select_addr: the address of a link that lies in the next hop's network, else its first; else one of
// another link. The order of several is not known: each is a way of its own.
func (r *run) sourceFor(dev *device, nh netip.Addr) netip.Addr {
	if dev == nil {
		return netip.Addr{}
	}
	cands := candidates(dev, nh)
	if len(cands) == 0 && !r.p.v6 {
		var others []*device
		for _, d := range r.w.devices {
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
	}
	switch len(cands) {
	case 0:
		return netip.Addr{}
	case 1:
		return cands[0]
	}
	if len(cands) > maxWays {
		cands = cands[:maxWays]
	}
	return cands[r.askAt(len(cands), station{stage: "route", ref: schema.LinkRef(dev.name), rule: -1, text: "several addresses on " + dev.name, action: "may match"})]
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

// ownAddress is where redirect leads: the loopback for the host's own packets, else the first address of the link.
func (r *run) ownAddress() netip.Addr {
	if r.hook == output {
		if r.p.v6 {
			return netip.IPv6Loopback()
		}
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if r.p.in == nil {
		return netip.Addr{}
	}
	var all []netip.Addr
	for _, a := range r.p.in.addrs {
		ip := a.Prefix.Addr()
		if ip.Is6() == r.p.v6 && (a.Facts == nil || !a.Facts.Secondary) && !(r.p.v6 && ip.IsLinkLocalUnicast()) {
			all = append(all, ip)
		}
	}
	if len(all) < 2 {
		return append(all, netip.Addr{})[0]
	}
	all = all[:min(len(all), maxWays)]
	return all[r.ask(len(all))]
}
