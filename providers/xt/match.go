package xt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// matches are the matches that are understood, at least enough to print them.
func matches() map[string][]decoder {
	return matchTable
}

var matchTable = map[string][]decoder{
	"tcp":        {{revs(0), 12, tcp}},
	"udp":        {{revs(0), 10, udp}},
	"udplite":    {{revs(0), 10, udp}},
	"sctp":       {{revs(0), 292, sctp}},
	"dccp":       {{revs(0), 15, dccp}},
	"icmp":       {{revs(0), 4, icmp}},
	"icmp6":      {{revs(0), 4, icmp}},
	"esp":        {{revs(0), 9, spi("--espspi", 0)}},
	"ah":         {{revs(0), 9, ah}},
	"multiport":  {{revs(1), 48, multiport}},
	"conntrack":  {{revs(3), 162, conntrack}, {revs(2), 154, conntrack}, {revs(1), 152, conntrack}},
	"state":      {{revs(0), 4, state}},
	"comment":    {{revs(0), 256, comment}},
	"addrtype":   {{revs(1), 8, addrtype}},
	"iprange":    {{revs(1), 65, iprange}},
	"mac":        {{revs(0), 12, mac}},
	"mark":       {{revs(1), 9, mark("mark", false)}},
	"connmark":   {{revs(1), 9, mark("mark", true)}},
	"pkttype":    {{revs(0), 8, pkttype}},
	"owner":      {{revs(1), 18, owner}},
	"length":     {{revs(0), 5, length}},
	"ttl":        {{revs(0), 2, hops("ttl", 8)}},
	"hl":         {{revs(0), 2, hops("hl", 7)}},
	"dscp":       {{revs(0), 2, dscp}},
	"tos":        {{revs(1), 3, tos}},
	"rpfilter":   {{revs(0), 1, rpfilter}},
	"limit":      {{revs(0), 8, limit}},
	"physdev":    {{revs(0), 66, physdev}},
	"set":        {{revs(1, 2, 3, 4), 4, set}},
	"recent":     {{revs(0), 211, recent}, {revs(1), 228, recent}},
	"statistic":  {{revs(0), 16, statistic}},
	"connlimit":  {{revs(1), 24, connlimit}},
	"hashlimit":  {{revs(1), 50, hashlimit}, {revs(2), 294, hashlimit}, {revs(3), 298, hashlimit}},
	"bpf":        {{revs(0), 516, bpf}, {revs(1), 520, bpf}},
	"cgroup":     {{revs(0), 8, cgroup}, {revs(1), 4104, cgroup}, {revs(2), 516, cgroup}},
	"cluster":    {{revs(0), 16, cluster}},
	"connlabel":  {{revs(0), 4, connlabel}},
	"ipcomp":     {{revs(0), 10, ipcomp}},
	"nfacct":     {{revs(0, 1), 32, nfacct}},
	"osf":        {{revs(0), 48, osf}},
	"rateest":    {{revs(0), 52, rateest}},
	"dst":        {{revs(0), 39, options6("dst")}},
	"hbh":        {{revs(0), 39, options6("hbh")}},
	"eui64":      {{revs(0), 0, eui64}},
	"mh":         {{revs(0), 3, mh}},
	"srh":        {{revs(0), 10, srh}, {revs(1), 108, srh}},
	"string":     {{revs(0, 1), 150, str}},
	"time":       {{revs(0), 22, timeOfDay}},
	"policy":     {{revs(0), 308, policy}},
	"quota":      {{revs(0), 16, quota}},
	"helper":     {{revs(0), 34, helper}},
	"tcpmss":     {{revs(0), 5, tcpmss}},
	"cpu":        {{revs(0), 8, cpu}},
	"devgroup":   {{revs(0), 20, devgroup}},
	"connbytes":  {{revs(0), 18, connbytes}},
	"socket":     {{revs(0), 0, socket}, {revs(1, 2, 3), 1, socket}},
	"realm":      {{revs(0), 9, realm}},
	"frag":       {{revs(0), 14, frag}},
	"rt":         {{revs(0), 18, rt}},
	"ipv6header": {{revs(0), 3, ipv6header}},
	"ecn":        {{revs(0), 3, ecn}},
	"u32":        {{revs(0), 1982, u32Match}},
}

func revs(r ...uint32) []uint32 { return r }

// comment is struct xt_comment_info.
func comment(b blob) result {
	var w words
	text := b.str(0, 256)
	w.quoted("--comment", text)
	r := w.means()
	r.comment = text
	return r
}

// addrtype is struct xt_addrtype_info_v1; for IPv4 the kernel asks the routing table as fib does.
func addrtype(b blob) result {
	var w words
	flags := b.u32(4)
	link := ""
	if flags&4 != 0 {
		link = " . iif"
	}
	if flags&8 != 0 {
		link = " . oif"
	}
	var exprs []schema.Expr
	known := true
	for _, o := range []struct {
		option, key string
		types       uint16
		not         bool
	}{{"--src-type", "saddr", b.u16(0), flags&1 != 0}, {"--dst-type", "daddr", b.u16(2), flags&2 != 0}} {
		if o.types == 0 {
			continue
		}
		names, ranges := addrTypes(o.types)
		w.opt(o.not, o.option, "%s", names)
		if b.ip6 {
			test, ok := addrtype6(o.key, link, o.types, o.not)
			exprs, known = append(exprs, test...), known && ok
			continue
		}
		exprs = append(exprs, schema.Expr{Name: "fib", Key: o.key + link, Op: "type", DReg: 1})
		if len(ranges) == 1 {
			exprs = append(exprs, cmp(o.not, ranges[0][0]))
		} else {
			exprs = append(exprs, oneOf(o.not, 4, ranges))
		}
	}
	w.flag(flags&4 != 0, "--limit-iface-in")
	w.flag(flags&8 != 0, "--limit-iface-out")
	if !known {
		return w.textOnly()
	}
	return w.means(exprs...)
}

// addrtype6 lowers one side for IPv6, where the kernel looks at the address itself first: "unicast" is every address that is neither
// multicast, unspecified nor mapped, also one of the host's own; only "local" asks the routes (match_type6 in
// net/netfilter/xt_addrtype.c, __ipv6_addr_type in net/ipv6/addrconf_core.c).
func addrtype6(key, link string, types uint16, not bool) ([]schema.Expr, bool) {
	off := uint32(8)
	if key == "daddr" {
		off = 24
	}
	const unspec, unicast, local, multicast = 1 << 0, 1 << 1, 1 << 2, 1 << 5
	var zero, first, last, lastMapped schema.Bytes = make([]byte, 16), make([]byte, 16), bytes.Repeat([]byte{0xff}, 16), bytes.Repeat([]byte{0xff}, 16)
	first[0] = 0xff
	mapped := append(make([]byte, 10), 0xff, 0xff, 0, 0, 0, 0)
	copy(lastMapped, mapped[:12])
	load := payload("network", off, 16)
	switch types {
	case unspec:
		return []schema.Expr{load, cmp(not, zero)}, true
	case multicast:
		return []schema.Expr{load, in(not, first, last)}, true
	case unicast:
		return []schema.Expr{load, oneOf(!not, 16, [][2]schema.Bytes{{zero, zero}, {mapped, lastMapped}, {first, last}})}, true
	case local:
		return []schema.Expr{{Name: "fib", Key: key + link, Op: "type", DReg: 1}, cmp(not, host32(2))}, link == ""
	}
	return nil, false
}

// addrTypes are the names and numbers (RTN_*) of a mask of address types.
func addrTypes(types uint16) (names string, ranges [][2]schema.Bytes) {
	var list []string
	for i, name := range []string{
		"UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW",
		"NAT", "XRESOLVE",
	} {
		if types&(1<<i) != 0 {
			list = append(list, name)
			ranges = append(ranges, [2]schema.Bytes{host32(uint32(i)), host32(uint32(i))})
		}
	}
	return strings.Join(list, ","), ranges
}

// iprange is struct xt_iprange_mtinfo.
func iprange(b blob) result {
	var w words
	var exprs []schema.Expr
	n, flags := b.addrLen(), b.u8(64)
	src, dst := uint32(12), uint32(16)
	if b.ip6 {
		src, dst = 8, 24
	}
	if flags&1 != 0 {
		w.opt(flags&0x10 != 0, "--src-range", "%s-%s", b.addr(0), b.addr(16))
		exprs = append(exprs, payload("network", src, uint32(n)), in(flags&0x10 != 0, b.at(0, n), b.at(16, n)))
	}
	if flags&2 != 0 {
		w.opt(flags&0x20 != 0, "--dst-range", "%s-%s", b.addr(32), b.addr(48))
		exprs = append(exprs, payload("network", dst, uint32(n)), in(flags&0x20 != 0, b.at(32, n), b.at(48, n)))
	}
	return w.means(exprs...)
}

// mac is struct xt_mac_info. The kernel wants an Ethernet device first (xt_mac.c).
func mac(b blob) result {
	var w words
	not := b.u32(8) != 0
	a := b.at(0, 6)
	w.opt(not, "--mac-source", "%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3], a[4], a[5])
	const arphrdEther = 1
	return w.means(meta("iiftype"), cmp(false, binary.NativeEndian.AppendUint16(nil, arphrdEther)), payload("link", 6, 6), cmp(not, a))
}

// mark reads struct xt_mark_mtinfo1 and xt_connmark_mtinfo1.
func mark(key string, conn bool) func(b blob) result {
	return func(b blob) result {
		var w words
		not := b.u8(8) != 0
		w.opt(not, "--mark", "%s", Mark(b.u32(0), b.u32(4)))
		load := meta(key)
		if conn {
			load = ct(key, "")
		}
		return w.means(masked(load, not, host32(b.u32(0)), host32(b.u32(4)))...)
	}
}

// Mark writes a mark as iptables does: "0x1", or "0x1/0xff".
func Mark(value, m uint32) string {
	if m == 0xffffffff {
		return fmt.Sprintf("0x%x", value)
	}
	return fmt.Sprintf("0x%x/0x%x", value, m)
}

// pkttype is struct xt_pkttype_info.
func pkttype(b blob) result {
	var w words
	typ, not := b.u32(0), b.u32(4) != 0
	names := []string{"unicast", "broadcast", "multicast", "otherhost", "outgoing", "loopback", "fastroute"}
	if typ >= uint32(len(names)) {
		w.opt(not, "--pkt-type", "%d", typ)
	} else {
		w.opt(not, "--pkt-type", "%s", names[typ])
	}
	if typ == 5 || typ > 0xff {
		return w.textOnly() // loopback: the kernel looks at the address instead
	}
	return w.means(meta("pkttype"), cmp(not, []byte{byte(typ)}))
}

// owner is struct xt_owner_match_info. A packet without a socket matches when all that is asked is negated (owner_mt in
// net/netfilter/xt_owner.c), where bytecode breaks.
func owner(b blob) result {
	var w words
	m, inv := b.u8(16), b.u8(17)
	var tests [][]schema.Expr
	negated := m&inv == m
	add := func(bit byte, option, key string, off int) {
		if m&bit == 0 {
			return
		}
		not := inv&bit != 0
		if from, to := b.u32(off), b.u32(off+4); from == to {
			w.opt(not, option, "%d", from)
		} else {
			w.opt(not, option, "%d-%d", from, to)
		}
		tests = append(tests, hostRange(meta(key), not && !negated, b.u32(off), b.u32(off+4)))
	}
	if m&4 != 0 {
		w.opt(inv&4 != 0, "--socket-exists", "")
	}
	add(1, "--uid-owner", "skuid", 0)
	add(2, "--gid-owner", "skgid", 8)
	w.flag(m&8 != 0, "--suppl-groups")
	switch {
	case m&^3 != 0:
		return w.textOnly()
	case negated:
		return w.none(tests...)
	}
	return w.means(slices.Concat(tests...)...)
}

// length is struct xt_length_info: the length of the packet at layer 3.
func length(b blob) result {
	var w words
	from, to, not := b.u16(0), b.u16(2), b.u8(4) != 0
	w.opt(not, "--length", "%s", portRange(from, to))
	return w.means(hostRange(meta("length"), not, uint32(from), uint32(to))...)
}

// hops reads struct ipt_ttl_info and ip6t_hl_info, which name and number the same modes.
func hops(name string, off uint32) func(b blob) result {
	return func(b blob) result {
		var w words
		load, value := payload("network", off, 1), []byte{b.u8(1)}
		test := cmp(false, value)
		switch b.u8(0) {
		case 0:
			w.opt(false, "--"+name+"-eq", "%d", value[0])
		case 1:
			w.opt(true, "--"+name+"-eq", "%d", value[0])
			test.Op = "neq"
		case 2:
			w.opt(false, "--"+name+"-lt", "%d", value[0])
			test.Op = "lt"
		case 3:
			w.opt(false, "--"+name+"-gt", "%d", value[0])
			test.Op = "gt"
		default:
			return result{text: fmt.Sprintf("[mode %d]", b.u8(0))}
		}
		return w.means(load, test)
	}
}

// dscp is struct xt_dscp_info.
func dscp(b blob) result {
	var w words
	not := b.u8(1) != 0
	w.opt(not, "--dscp", "0x%02x", b.u8(0))
	return w.means(dsfield(b, not, b.u8(0)<<2, 0xfc)...)
}

// tos is struct xt_tos_match_info.
func tos(b blob) result {
	var w words
	m, value, not := b.u8(0), b.u8(1), b.u8(2) != 0
	w.opt(not, "--tos", "0x%02x/0x%02x", value, m)
	return w.means(dsfield(b, not, value, m)...)
}

// dsfield tests the eight bits of TOS or traffic class, which IPv6 keeps across two bytes.
func dsfield(b blob, not bool, value, m byte) []schema.Expr {
	if !b.ip6 {
		return masked(payload("network", 1, 1), not, []byte{value}, []byte{m})
	}
	return masked(payload("network", 0, 2), not, []byte{value >> 4, value << 4}, []byte{m >> 4, m << 4})
}
