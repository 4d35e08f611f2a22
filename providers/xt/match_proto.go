package xt

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// port writes a port or a range of ports.
func portRange(from, to uint16) string {
	if from == to {
		return strconv.FormatUint(uint64(from), 10)
	}
	return fmt.Sprintf("%d:%d", from, to)
}

// ports are the tests of source and destination port that tcp, udp, sctp and dccp share.
type ports struct {
	w     words
	exprs []schema.Expr
}

func (p *ports) add(option string, off uint32, from, to uint16, not bool) {
	if from == 0 && to == 0xffff && !not {
		return
	}
	p.w.opt(not, option, "%s", portRange(from, to))
	p.exprs = append(p.exprs, payload("transport", off, 2), in(not, net16(from), net16(to)))
}

// tcp is struct xt_tcp.
func tcp(b blob) result {
	var p ports
	inv := b.u8(11)
	p.add("--sport", 0, b.u16(0), b.u16(2), inv&0x01 != 0)
	p.add("--dport", 2, b.u16(4), b.u16(6), inv&0x02 != 0)
	if option, not := b.u8(8), inv&0x08 != 0; option != 0 || not {
		p.w.opt(not, "--tcp-option", "%d", option)
		present := byte(1)
		if not {
			present = 0
		}
		p.exprs = append(p.exprs,
			schema.Expr{Name: "exthdr", Op: "tcpopt", Type: uint32(option), Len: 1, Flags: 1, DReg: 1}, cmp(false, []byte{present}))
	}
	if m, not := b.u8(9), inv&0x04 != 0; m != 0 || not {
		p.w.opt(not, "--tcp-flags", "%s %s", TCPFlags(m), TCPFlags(b.u8(10)))
		p.exprs = append(p.exprs, masked(payload("transport", 13, 1), not, []byte{b.u8(10)}, []byte{m})...)
	}
	return p.w.means(p.exprs...)
}

// TCPFlags writes flags as iptables does: "SYN,RST", or "NONE".
func TCPFlags(m byte) string {
	var names []string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"} {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "NONE"
	}
	return strings.Join(names, ",")
}

// udp is struct xt_udp.
func udp(b blob) result {
	var p ports
	p.add("--sport", 0, b.u16(0), b.u16(2), b.u8(8)&0x01 != 0)
	p.add("--dport", 2, b.u16(4), b.u16(6), b.u8(8)&0x02 != 0)
	return p.w.means(p.exprs...)
}

// sctp is struct xt_sctp_info; tests of chunks stay opaque.
func sctp(b blob) result {
	var p ports
	flags, inv := b.u32(284), b.u32(288)
	if flags&1 != 0 {
		p.add("--sport", 0, b.u16(4), b.u16(6), inv&1 != 0)
	}
	if flags&2 != 0 {
		p.add("--dport", 2, b.u16(0), b.u16(2), inv&2 != 0)
	}
	if flags&4 != 0 {
		p.w.opt(inv&4 != 0, "--chunk-types", "%s", chunkTypes(b))
		return p.w.textOnly()
	}
	return p.w.means(p.exprs...)
}

// dccp is struct xt_dccp_info; tests of types and options stay opaque.
func dccp(b blob) result {
	var p ports
	flags, inv := b.u16(8), b.u16(10)
	if flags&1 != 0 {
		p.add("--sport", 0, b.u16(4), b.u16(6), inv&1 != 0)
	}
	if flags&2 != 0 {
		p.add("--dport", 2, b.u16(0), b.u16(2), inv&2 != 0)
	}
	if flags&4 != 0 {
		p.w.opt(inv&4 != 0, "--dccp-types", "%s", dccpTypes(b.u16(12)))
	}
	if flags&8 != 0 {
		p.w.opt(inv&8 != 0, "--dccp-option", "%d", b.u8(14))
	}
	if flags&^3 != 0 {
		return p.w.textOnly()
	}
	return p.w.means(p.exprs...)
}

// icmp is struct ipt_icmp, and ip6t_icmp, which is the same.
func icmp(b blob) result {
	option, typ, from, to, not := "--icmp-type", b.u8(0), b.u8(1), b.u8(2), b.u8(3)&1 != 0
	if b.ip6 {
		option = "--icmpv6-type"
	}
	var w words
	anyCode := from == 0 && to == 0xff
	switch {
	case typ == 0xff && !b.ip6:
		w.opt(not, option, "any")
		if not {
			return w.means(never()...)
		}
		return w.means()
	case anyCode:
		w.opt(not, option, "%d", typ)
		return w.means(payload("transport", 0, 1), cmp(not, []byte{typ}))
	case from == to:
		w.opt(not, option, "%d/%d", typ, from)
	default:
		w.opt(not, option, "%d/%d-%d", typ, from, to)
	}
	// Type and code as one number: what is negated is both together.
	return w.means(payload("transport", 0, 2), in(not, []byte{typ, from}, []byte{typ, to}))
}

// spi reads struct xt_esp and ipt_ah: a range of SPIs at off in the transport header.
func spi(option string, off uint32) func(b blob) result {
	return func(b blob) result {
		var w words
		from, to, not := b.u32(0), b.u32(4), b.u8(8)&1 != 0
		if from == 0 && to == 0xffffffff && !not {
			return w.means()
		}
		w.numRange(not, option, from, to)
		return w.means(payload("transport", off, 4), in(not, net32(from), net32(to)))
	}
}

// ah: IPv4 finds the header as transport, IPv6 as an extension header.
func ah(b blob) result {
	if b.ip6 {
		return ah6(b)
	}
	return spi("--ahspi", 4)(b)
}

func net32(n uint32) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }

// multiport is struct xt_multiport_v1.
func multiport(b blob) result {
	count, not := min(int(b.u8(1)), 15), b.u8(47) != 0
	var list []string
	var ranges [][2]schema.Bytes
	for i := 0; i < count; i++ {
		from := b.u16(2 + 2*i)
		to := from
		if b.u8(32+i) != 0 && i+1 < count {
			i++
			to = b.u16(2 + 2*i)
		}
		list = append(list, portRange(from, to))
		ranges = append(ranges, [2]schema.Bytes{net16(from), net16(to)})
	}
	var w words
	option, off := "--ports", uint32(0)
	switch b.u8(0) {
	case 0:
		option = "--sports"
	case 1:
		option, off = "--dports", 2
	}
	w.opt(not, option, "%s", strings.Join(list, ","))
	first := []schema.Expr{payload("transport", off, 2), oneOf(not, 2, ranges)}
	if option != "--ports" {
		return w.means(first...)
	}
	second := []schema.Expr{payload("transport", 2, 2), oneOf(not, 2, ranges)}
	if not { // neither of the two; a fragment has none and does not match
		return w.means(append(first, second...)...)
	}
	return w.any(first, second)
}
