package xt

import (
	"bytes"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// mostAlternatives is how many elements of addresses with ports become alternatives.
const mostAlternatives = 256

// setMembers are the alternatives that a match of a set is equal to: for sets of addresses or of ports one, for sets of both one each. A set
// of the other family, or of more dimensions than the match names, holds nothing (ip_set_test in net/netfilter/ipset/ip_set_core.c).
func setMembers(b blob) (alternatives [][]schema.Expr, ok bool) {
	if b.sets == nil {
		return nil, false
	}
	c := b.sets.content(b.u16(0))
	if c == nil {
		return nil, false
	}
	dims := b.u8(2)
	family := byte(unix.AF_INET)
	if b.ip6 {
		family = unix.AF_INET6
	}
	if c.family != unix.AF_UNSPEC && c.family != family {
		return [][]schema.Expr{never()}, true
	}
	src := func(dim int) bool { return b.u8(3)&(1<<dim) != 0 }
	switch c.typ {
	case "hash:ip", "hash:net", "bitmap:ip":
		if dims < 1 {
			return [][]schema.Expr{never()}, true
		}
		ranges, ok := c.addresses(b.addrLen())
		return [][]schema.Expr{{addressOf(b, src(1)), oneOf(false, uint32(b.addrLen()), ranges)}}, ok
	case "bitmap:port":
		if dims < 1 {
			return [][]schema.Expr{never()}, true
		}
		return [][]schema.Expr{append(protocolIn(unix.IPPROTO_TCP, unix.IPPROTO_UDP), portOf(src(1)), oneOf(false, 2, c.ports()))}, true
	case "hash:ip,port", "hash:net,port":
		if dims < 2 {
			return [][]schema.Expr{never()}, true
		}
		return c.pairs(b, src(1), src(2))
	}
	return nil, false
}

func addressOf(b blob, src bool) schema.Expr {
	off := map[[2]bool]uint32{{false, true}: 12, {false, false}: 16, {true, true}: 8, {true, false}: 24}[[2]bool{b.ip6, src}]
	return payload("network", off, uint32(b.addrLen()))
}

func portOf(src bool) schema.Expr {
	if src {
		return payload("transport", 0, 2)
	}
	return payload("transport", 2, 2)
}

func protocolIn(protocols ...byte) []schema.Expr {
	var ranges [][2]schema.Bytes
	for _, p := range protocols {
		ranges = append(ranges, [2]schema.Bytes{{p}, {p}})
	}
	return []schema.Expr{meta("l4proto"), oneOf(false, 1, ranges)}
}

// addresses are the elements as ranges, in order and joined where they touch.
func (c *setContent) addresses(n int) (ranges [][2]schema.Bytes, ok bool) {
	for _, m := range c.members {
		r, ok := m.network(n, c.netmask)
		if !ok {
			return nil, false
		}
		ranges = append(ranges, r)
	}
	slices.SortFunc(ranges, func(a, b [2]schema.Bytes) int { return bytes.Compare(a[0], b[0]) })
	joined := ranges[:0]
	for _, r := range ranges {
		if k := len(joined) - 1; k >= 0 && bytes.Compare(r[0], after(joined[k][1])) <= 0 && bytes.Compare(joined[k][1], bytes.Repeat([]byte{0xff}, n)) < 0 {
			if bytes.Compare(joined[k][1], r[1]) < 0 {
				joined[k][1] = r[1]
			}
			continue
		}
		joined = append(joined, r)
	}
	return joined, true
}

// after is the next address.
func after(a []byte) []byte {
	out := bytes.Clone(a)
	for i := len(out) - 1; i >= 0; i-- {
		if out[i]++; out[i] != 0 {
			break
		}
	}
	return out
}

// network is the first and last address of an element.
func (m setMember) network(n int, netmask byte) (r [2]schema.Bytes, ok bool) {
	ones := int(m.cidr)
	if ones == 0 {
		ones = int(netmask)
	}
	if ones == 0 {
		ones = 8 * n
	}
	if len(m.addr) != n || ones > 8*n {
		return r, false
	}
	r = [2]schema.Bytes{bytes.Clone(m.addr), bytes.Clone(m.addr)}
	for i := ones; i < 8*n; i++ {
		r[0][i/8] &^= 0x80 >> (i % 8)
		r[1][i/8] |= 0x80 >> (i % 8)
	}
	return r, true
}

func (c *setContent) ports() [][2]schema.Bytes {
	var ranges [][2]schema.Bytes
	for _, m := range c.members {
		ranges = append(ranges, [2]schema.Bytes{net16(m.port), net16(m.port)})
	}
	return ranges
}

// pairs are the elements of a set of addresses with ports: of TCP and the like a port, of ICMP type and code (ip_set_getport.c).
func (c *setContent) pairs(b blob, srcAddr, srcPort bool) (alternatives [][]schema.Expr, ok bool) {
	if len(c.members) > mostAlternatives {
		return nil, false
	}
	for _, m := range c.members {
		r, ok := m.network(b.addrLen(), c.netmask)
		if !ok {
			return nil, false
		}
		port := portOf(srcPort)
		switch m.proto {
		case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_UDPLITE:
		case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
			port = payload("transport", 0, 2)
		default:
			return nil, false
		}
		alternatives = append(alternatives, []schema.Expr{
			addressOf(b, srcAddr), in(false, r[0], r[1]), meta("l4proto"), cmpEq([]byte{m.proto}), port, cmpEq(net16(m.port)),
		})
	}
	if len(alternatives) == 0 {
		return [][]schema.Expr{never()}, true
	}
	return alternatives, true
}

func cmpEq(data []byte) schema.Expr { return schema.Expr{Name: "cmp", SReg: 1, Op: "eq", Data: data} }
