package trace

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// Box is a set of packets as a product of simple sets: what a rule matches. An empty list is everything.
type Box struct {
	// V4 and V6 say which IP families the rule can match.
	V4, V6   bool
	IIF, OIF Names
	// Src and Dst are the addresses, as disjoint prefixes.
	Src, Dst []netip.Prefix
	// Proto is as in schema.Service: "tcp", "udp", "icmp" (ICMPv6 in IPv6), or a number; "" for all.
	Proto        string
	SPort, DPort []schema.PortRange
	// CT are the conntrack states as bits of "ct state" (2 established, 4 related, 8 new …); 0 for all.
	CT uint32
	// Empty says that nothing can match.
	Empty bool
	// Exact is false when the rule looks at more than is expressed here: it then matches at most this box.
	Exact bool
}

// Names is a set of interfaces by name; a name that ends in "*" stands for all that begin so. With Not it is all others.
// The zero Names is every interface.
type Names struct {
	List []string
	Not  bool
}

// Contains tells whether an interface is in the set. An unknown one ("") may be.
func (n Names) Contains(name string) bool {
	if len(n.List) == 0 || name == "" {
		return true
	}
	in := slices.ContainsFunc(n.List, func(x string) bool {
		if stem, ok := strings.CutSuffix(x, "*"); ok {
			return strings.HasPrefix(name, stem)
		}
		return x == name
	})
	return in != n.Not
}

func (n Names) String() string {
	s := strings.Join(n.List, ",")
	if n.Not {
		return "!= " + s
	}
	return s
}

// String prints the box in the manner of a rule: "ip saddr 10.0.0.0/8 tcp dport 22".
func (b Box) String() string {
	var w []string
	add := func(word, s string) {
		if s != "" {
			w = append(w, word+" "+s)
		}
	}
	add("in", b.IIF.String())
	add("out", b.OIF.String())
	add("from", prefixList(b.Src))
	add("to", prefixList(b.Dst))
	switch {
	case b.Proto != "" && len(b.SPort)+len(b.DPort) == 0:
		w = append(w, b.Proto)
	default:
		proto := b.Proto
		if proto == "" {
			proto = "th"
		}
		add(proto+" sport", portList(b.SPort))
		add(proto+" dport", portList(b.DPort))
	}
	add("ct state", ctText(b.CT))
	switch {
	case b.Empty:
		return "nothing"
	case len(w) == 0 && b.V4 != b.V6:
		return map[bool]string{true: "everything in IPv4", false: "everything in IPv6"}[b.V4]
	case len(w) == 0:
		return "everything"
	}
	if !b.Exact {
		w = append(w, "and more")
	}
	return strings.Join(w, " ")
}

func prefixList(ps []netip.Prefix) string {
	return list(ps, func(p netip.Prefix) string {
		if p.IsSingleIP() {
			return p.Addr().String()
		}
		return p.String()
	})
}

func portList(rs []schema.PortRange) string { return list(rs, schema.PortRange.String) }

// list joins the first few of many.
func list[T any](xs []T, text func(T) string) string {
	const most = 8
	var s []string
	for i, x := range xs {
		if i == most {
			s = append(s, "…")
			break
		}
		s = append(s, text(x))
	}
	return strings.Join(s, ",")
}

func ctText(m uint32) string {
	var s []string
	for _, x := range []struct {
		bit  uint32
		name string
	}{{1, "invalid"}, {2, "established"}, {4, "related"}, {8, "new"}, {64, "untracked"}} {
		if m&x.bit != 0 {
			s = append(s, x.name)
		}
	}
	return strings.Join(s, ",")
}

// Intersect gives the packets in both; ok is false when there are none.
func (b Box) Intersect(o Box) (both Box, ok bool) {
	r := Box{V4: b.V4 && o.V4, V6: b.V6 && o.V6, Exact: b.Exact && o.Exact, Empty: b.Empty || o.Empty}
	r.Src, r.Empty = meetPrefixes(b.Src, o.Src, r.Empty)
	r.Dst, r.Empty = meetPrefixes(b.Dst, o.Dst, r.Empty)
	r.SPort, r.Empty = meetPorts(b.SPort, o.SPort, r.Empty)
	r.DPort, r.Empty = meetPorts(b.DPort, o.DPort, r.Empty)
	switch {
	case b.Proto == "" || b.Proto == o.Proto:
		r.Proto = o.Proto
	case o.Proto == "":
		r.Proto = b.Proto
	default:
		r.Empty = true
	}
	r.CT = b.CT & o.CT
	if b.CT == 0 || o.CT == 0 {
		r.CT = b.CT | o.CT
	} else if r.CT == 0 {
		r.Empty = true
	}
	var e1, e2 bool
	r.IIF, e1 = meetNames(b.IIF, o.IIF)
	r.OIF, e2 = meetNames(b.OIF, o.OIF)
	r.Empty = r.Empty || e1 || e2 || !r.V4 && !r.V6
	return r, !r.Empty
}

// Covers tells whether every packet of o is in b. A box that is not exact covers nothing for certain.
func (b Box) Covers(o Box) bool {
	if o.Empty {
		return true
	}
	if !b.Exact || b.Empty || o.V4 && !b.V4 || o.V6 && !b.V6 {
		return false
	}
	return coversPrefixes(b.Src, o.Src) && coversPrefixes(b.Dst, o.Dst) && coversPorts(b.SPort, o.SPort) && coversPorts(b.DPort, o.DPort) &&
		(b.Proto == "" || b.Proto == o.Proto) && (b.CT == 0 || o.CT != 0 && o.CT&^b.CT == 0) && coversNames(b.IIF, o.IIF) && coversNames(b.OIF, o.OIF)
}

func coversPrefixes(b, o []netip.Prefix) bool {
	if len(b) == 0 {
		return true
	}
	var br, or []addrRange
	for _, p := range b {
		br = append(br, rangeOf(p))
	}
	for _, p := range o {
		or = append(or, rangeOf(p))
	}
	return len(o) > 0 && len(subtract(or, br)) == 0
}

func coversPorts(b, o []schema.PortRange) bool {
	if len(b) == 0 {
		return true
	}
	for _, p := range o {
		if !slices.ContainsFunc(b, func(x schema.PortRange) bool { return x.First <= p.First && p.Last <= x.Last }) {
			return false
		}
	}
	return len(o) > 0
}

func coversNames(b, o Names) bool {
	switch {
	case len(b.List) == 0:
		return true
	case len(o.List) == 0 || o.Not != b.Not:
		return false
	case b.Not:
		return !slices.ContainsFunc(b.List, func(x string) bool { return !slices.Contains(o.List, x) })
	}
	return !slices.ContainsFunc(o.List, func(x string) bool { return !b.Contains(x) })
}

func meetNames(a, b Names) (Names, bool) {
	switch {
	case len(a.List) == 0:
		return b, false
	case len(b.List) == 0:
		return a, false
	case a.Not && b.Not:
		return Names{slices.Concat(a.List, b.List), true}, false
	case a.Not:
		return meetNames(b, a)
	}
	var out []string
	for _, x := range a.List {
		switch {
		case b.Contains(strings.TrimSuffix(x, "*")) || !b.Not && strings.HasSuffix(x, "*") && b.within(x):
			out = append(out, x)
		}
	}
	return Names{List: out}, len(out) == 0
}

// within tells whether a name of the set falls under a wildcard.
func (n Names) within(wild string) bool {
	stem := strings.TrimSuffix(wild, "*")
	return slices.ContainsFunc(n.List, func(x string) bool { return strings.HasPrefix(x, stem) })
}

func meetPorts(a, b []schema.PortRange, empty bool) ([]schema.PortRange, bool) {
	switch {
	case len(a) == 0:
		return b, empty
	case len(b) == 0:
		return a, empty
	}
	var out []schema.PortRange
	for _, x := range a {
		for _, y := range b {
			if lo, hi := max(x.First, y.First), min(x.Last, y.Last); lo <= hi {
				out = append(out, schema.PortRange{First: lo, Last: hi})
			}
		}
	}
	return out, empty || len(out) == 0
}

func meetPrefixes(a, b []netip.Prefix, empty bool) ([]netip.Prefix, bool) {
	switch {
	case len(a) == 0:
		return b, empty
	case len(b) == 0:
		return a, empty
	}
	var out []netip.Prefix
	for _, x := range a {
		for _, y := range b {
			switch {
			case !x.Overlaps(y):
			case x.Bits() >= y.Bits():
				out = append(out, x)
			default:
				out = append(out, y)
			}
		}
	}
	return out, empty || len(out) == 0
}

// addrRange is an inclusive range of addresses of one family.
type addrRange struct{ lo, hi netip.Addr }

func rangeOf(p netip.Prefix) addrRange { return addrRange{p.Masked().Addr(), lastAddr(p)} }

// subtract takes ranges away from ranges.
func subtract(from, what []addrRange) []addrRange {
	for _, w := range what {
		var rest []addrRange
		for _, f := range from {
			if f.lo.BitLen() != w.lo.BitLen() || f.hi.Less(w.lo) || w.hi.Less(f.lo) {
				rest = append(rest, f)
				continue
			}
			if f.lo.Less(w.lo) {
				rest = append(rest, addrRange{f.lo, w.lo.Prev()})
			}
			if w.hi.Less(f.hi) {
				rest = append(rest, addrRange{w.hi.Next(), f.hi})
			}
		}
		from = rest
	}
	return from
}

// prefixes cuts a range into prefixes.
func (r addrRange) prefixes() []netip.Prefix {
	var out []netip.Prefix
	for a := r.lo; a.IsValid() && !r.hi.Less(a); {
		bits := a.BitLen()
		for bits > 0 {
			p, err := a.Prefix(bits - 1)
			if err != nil || p.Addr() != a || r.hi.Less(lastAddr(p)) {
				break
			}
			bits--
		}
		p := netip.PrefixFrom(a, bits)
		out = append(out, p)
		a = lastAddr(p).Next()
	}
	return out
}

// BoxOf reads the box off a rule of a table.
func BoxOf(t *schema.Table, r *schema.Rule) Box {
	b := boxer{t: t, regs: map[uint32]field{}}
	b.box = Box{V4: t.Family != "ip6", V6: t.Family != "ip", Exact: true}
	for i := range r.Exprs {
		b.expr(&r.Exprs[i])
	}
	return b.box
}

// field is what a register holds.
type field struct {
	what string // "saddr", "daddr", "proto", "nfproto", "sport", "dport", "iif", "oif", "state"
	v6   bool
	mask []byte // nil: all
}

type boxer struct {
	t    *schema.Table
	box  Box
	regs map[uint32]field
}

func (b *boxer) expr(e *schema.Expr) {
	switch e.Name {
	case "payload":
		b.regs[e.DReg] = b.payload(e)
	case "meta":
		if !e.Write {
			b.regs[e.DReg] = field{what: map[string]string{"l4proto": "proto", "nfproto": "nfproto", "iifname": "iif", "oifname": "oif", "protocol": "ethertype"}[e.Key]}
		}
	case "ct":
		if !e.Write {
			b.regs[e.DReg] = field{what: map[string]string{"state": "state"}[e.Key]}
		}
	case "bitwise":
		b.bitwise(e)
	case "cmp":
		b.compare(e)
	case "range":
		b.ranges(b.regs[e.SReg], [][2]schema.Bytes{{e.Data, e.Data2}}, e.Op == "neq")
	case "in":
		b.ranges(b.regs[e.SReg], e.Ranges, e.Op == "neq")
	case "lookup":
		b.lookup(e)
	case "immediate", "reject", "nat", "masq", "redir", "netmap", "hops", "notrack", "payload_w", "queue", "xttarget", "objref":
	case "xtmatch":
		b.box.Exact = b.box.Exact && e.Key == "comment"
	case "fib", "rt", "exthdr", "numgen", "hash", "socket", "byteorder", "osf":
		b.regs[e.DReg] = field{}
	default:
		if !slices.Contains(harmless, e.Name) {
			b.box.Exact = false
		}
	}
}

func (b *boxer) payload(e *schema.Expr) field {
	v4, v6 := b.box.V4 && !b.box.V6, b.box.V6 && !b.box.V4
	key := [2]uint32{e.Offset, e.Len}
	switch {
	case e.Base == "network" && v4 && e.Offset == 12 && e.Len <= 4:
		return field{what: "saddr"}
	case e.Base == "network" && v4 && e.Offset == 16 && e.Len <= 4:
		return field{what: "daddr"}
	case e.Base == "network" && v6 && e.Offset == 8 && e.Len <= 16:
		return field{what: "saddr", v6: true}
	case e.Base == "network" && v6 && e.Offset == 24 && e.Len <= 16:
		return field{what: "daddr", v6: true}
	case e.Base == "network" && (v4 && key == [2]uint32{9, 1} || v6 && key == [2]uint32{6, 1}):
		return field{what: "proto"}
	case e.Base == "transport" && key == [2]uint32{0, 2}:
		return field{what: "sport"}
	case e.Base == "transport" && key == [2]uint32{2, 2}:
		return field{what: "dport"}
	}
	return field{}
}

func (b *boxer) bitwise(e *schema.Expr) {
	f := b.regs[e.SReg]
	if e.SReg2 != 0 || e.Op != "" && e.Op != "bool" || bytes.Count(e.Data2, []byte{0}) != len(e.Data2) || f.mask != nil {
		f = field{}
	}
	f.mask = e.Data
	b.regs[e.DReg] = f
}

func (b *boxer) compare(e *schema.Expr) {
	f := b.regs[e.SReg]
	top := bytes.Repeat([]byte{0xff}, len(e.Data))
	zero := make([]byte, len(e.Data))
	if f.mask != nil && f.what != "state" {
		b.masked(f, e)
		return
	}
	if f.what == "state" {
		b.state(f, e)
		return
	}
	pair := func(lo, hi []byte, not bool) { b.ranges(f, [][2]schema.Bytes{{lo, hi}}, not) }
	switch e.Op {
	case "eq", "":
		pair(e.Data, e.Data, false)
	case "neq":
		pair(e.Data, e.Data, true)
	case "lte":
		pair(zero, e.Data, false)
	case "gt":
		pair(zero, e.Data, true)
	case "gte":
		pair(e.Data, top, false)
	case "lt":
		pair(e.Data, top, true)
	default:
		b.box.Exact = false
	}
}

// masked is a comparison under a mask: a prefix, if the mask is one.
func (b *boxer) masked(f field, e *schema.Expr) {
	n := 4
	if f.v6 {
		n = 16
	}
	ones, ok := prefixMask(f.mask)
	if !ok || len(f.mask) != n || len(e.Data) != n || e.Op != "eq" && e.Op != "" && e.Op != "neq" || f.what != "saddr" && f.what != "daddr" {
		b.box.Exact = false
		return
	}
	a, _ := netip.AddrFromSlice(e.Data)
	p := netip.PrefixFrom(a, ones)
	if p.Masked().Addr() != a { // bits outside the mask never come
		b.box.Empty = e.Op != "neq"
		return
	}
	r := rangeOf(p)
	b.ranges(field{what: f.what, v6: f.v6}, [][2]schema.Bytes{{r.lo.AsSlice(), r.hi.AsSlice()}}, e.Op == "neq")
}

func prefixMask(m []byte) (ones int, ok bool) {
	end := false
	for _, c := range m {
		for bit := 7; bit >= 0; bit-- {
			switch set := c>>bit&1 == 1; {
			case set && end:
				return 0, false
			case set:
				ones++
			default:
				end = true
			}
		}
	}
	return ones, true
}

func (b *boxer) state(f field, e *schema.Expr) {
	if len(e.Data) != 4 || len(f.mask) != 0 && len(f.mask) != 4 {
		b.box.Exact = false
		return
	}
	v := binary.NativeEndian.Uint32(e.Data)
	const all = ctInvalid | ctEstablished | 4 | ctNew | ctUntracked
	states := v
	neq := e.Op == "neq"
	if f.mask != nil {
		states = binary.NativeEndian.Uint32(f.mask)
		if v != 0 {
			b.box.Exact = false
			return
		}
		neq = !neq
	}
	if neq {
		states = all &^ states
	}
	b.meet(Box{V4: true, V6: true, CT: states & all, Exact: true, Empty: states&all == 0})
}

// meet narrows the box.
func (b *boxer) meet(o Box) {
	exact := b.box.Exact && o.Exact
	b.box, _ = b.box.Intersect(o)
	b.box.Exact = exact
}

// ranges narrows the box to values of a field.
func (b *boxer) ranges(f field, rs [][2]schema.Bytes, not bool) {
	o := Box{V4: true, V6: true, Exact: true}
	ok := f.mask == nil
	switch f.what {
	case "saddr", "daddr":
		ok = ok && b.addrs(&o, f, rs, not)
	case "sport", "dport":
		ok = ok && b.ports(&o, f, rs, not)
	case "proto":
		ok = ok && len(rs) == 1 && len(rs[0][0]) == 1 && bytes.Equal(rs[0][0], rs[0][1]) && !not
		if ok {
			o.Proto = serviceName(rs[0][0][0])
		}
	case "nfproto":
		ok = ok && len(rs) == 1 && len(rs[0][0]) == 1 && bytes.Equal(rs[0][0], rs[0][1])
		if ok {
			v4 := rs[0][0][0] == nfIPv4
			o.V4, o.V6 = v4 != not, (rs[0][0][0] == nfIPv6) != not
		}
	case "ethertype":
		ok = ok && len(rs) == 1 && len(rs[0][0]) == 2 && bytes.Equal(rs[0][0], rs[0][1])
		if ok {
			o.V4, o.V6 = bytes.Equal(rs[0][0], []byte{8, 0}) != not, bytes.Equal(rs[0][0], []byte{0x86, 0xdd}) != not
		}
	case "iif", "oif":
		n := Names{Not: not}
		for _, r := range rs {
			n.List = append(n.List, ifname(r[0]))
			ok = ok && bytes.Equal(r[0], r[1])
		}
		if f.what == "iif" {
			o.IIF = n
		} else {
			o.OIF = n
		}
	default:
		ok = false
	}
	if !ok {
		b.box.Exact = false
		return
	}
	b.meet(o)
}

func serviceName(p byte) string {
	if p == protoICMPv6 {
		return "icmp"
	}
	n := protoName(p)
	return strings.TrimPrefix(n, "proto ")
}

func ifname(b []byte) string {
	name := string(b)
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return name[:i]
	}
	return name + "*" // compared without its end: a prefix
}

func (b *boxer) addrs(o *Box, f field, rs [][2]schema.Bytes, not bool) bool {
	n := 4
	if f.v6 {
		n = 16
	}
	var in []addrRange
	for _, r := range rs {
		if len(r[0]) > n || len(r[0]) != len(r[1]) {
			return false
		}
		lo, hi := make([]byte, n), bytes.Repeat([]byte{0xff}, n)
		copy(lo, r[0])
		copy(hi, r[1])
		a, _ := netip.AddrFromSlice(lo)
		z, _ := netip.AddrFromSlice(hi)
		in = append(in, addrRange{a, z})
	}
	if not {
		lo, _ := netip.AddrFromSlice(make([]byte, n))
		hi, _ := netip.AddrFromSlice(bytes.Repeat([]byte{0xff}, n))
		in = subtract([]addrRange{{lo, hi}}, in)
	}
	var out []netip.Prefix
	for _, r := range in {
		out = append(out, r.prefixes()...)
	}
	if len(out) == 0 {
		o.Empty = true
	}
	if f.what == "saddr" {
		o.Src = out
	} else {
		o.Dst = out
	}
	return true
}

func (b *boxer) ports(o *Box, f field, rs [][2]schema.Bytes, not bool) bool {
	var out []schema.PortRange
	for _, r := range rs {
		if len(r[0]) != 2 || len(r[1]) != 2 {
			return false
		}
		out = append(out, schema.PortRange{First: binary.BigEndian.Uint16(r[0]), Last: binary.BigEndian.Uint16(r[1])})
	}
	if not {
		out = otherPorts(out)
	}
	if len(out) == 0 {
		o.Empty = true
	}
	if f.what == "sport" {
		o.SPort = out
	} else {
		o.DPort = out
	}
	return true
}

func otherPorts(rs []schema.PortRange) []schema.PortRange {
	slices.SortFunc(rs, func(a, b schema.PortRange) int { return int(a.First) - int(b.First) })
	var out []schema.PortRange
	next := 0
	for _, r := range rs {
		if int(r.First) > next {
			out = append(out, schema.PortRange{First: uint16(next), Last: r.First - 1})
		}
		next = max(next, int(r.Last)+1)
	}
	if next <= 65535 {
		out = append(out, schema.PortRange{First: uint16(next), Last: 65535})
	}
	return out
}

// lookup narrows the box to the elements of a set, unless it is a map, a concatenation, or comes and goes.
func (b *boxer) lookup(e *schema.Expr) {
	s := b.t.SetNamed(e.Set)
	if s == nil || s.Flags&(schema.SetMap|schema.SetEval|schema.SetConcat) != 0 || len(s.Fields) > 1 {
		b.box.Exact = false
		b.regs[e.DReg] = field{}
		return
	}
	var rs [][2]schema.Bytes
	for _, el := range s.Elements {
		end := el.KeyEnd
		if len(end) == 0 {
			end = el.Key
		}
		if el.CatchAll || el.Timeout != 0 {
			b.box.Exact = false
			continue
		}
		rs = append(rs, [2]schema.Bytes{el.Key, end})
	}
	if len(rs) == 0 {
		b.box.Empty = e.Op != "neq"
		return
	}
	b.ranges(b.regs[e.SReg], rs, e.Op == "neq")
}
