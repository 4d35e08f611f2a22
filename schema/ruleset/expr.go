package ruleset

import (
	"encoding/binary"
	"net/netip"

	"github.com/vmnet/vmnet/schema"
)

// Numbers of the kernel, for this package depends on the standard library alone.
const (
	protoIPv4 = 2  // NFPROTO_IPV4, uapi/linux/netfilter.h
	protoIPv6 = 10 // NFPROTO_IPV6

	protoICMP   = 1 // IPPROTO_*, uapi/linux/in.h
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58

	rtnLocal = 2 // RTN_LOCAL, uapi/linux/rtnetlink.h

	ctEstablished = 2    // NF_CT_STATE_BIT(IP_CT_ESTABLISHED)
	ctRelated     = 4    // NF_CT_STATE_BIT(IP_CT_RELATED)
	ctDNAT        = 0x20 // IPS_DST_NAT, uapi/linux/netfilter/nf_conntrack_common.h

	natMapIPs         = 1 // NF_NAT_RANGE_MAP_IPS, uapi/linux/netfilter/nf_nat.h
	natProtoSpecified = 2 // NF_NAT_RANGE_PROTO_SPECIFIED

	tcpOptMaxSeg = 2 // TCPOPT_MAXSEG

	ifNameSize = 16 // IFNAMSIZ
)

// family is the IP version a match is bound to.
type family int

const (
	anyFamily family = 0
	ipv4      family = 4
	ipv6      family = 6
)

func familyOf(a netip.Addr) family {
	if a.Is4() || a.Is4In6() {
		return ipv4
	}
	return ipv6
}

// suffix ends the names of sets that hold addresses.
func (f family) suffix() string {
	if f == ipv4 {
		return "4"
	}
	return "6"
}

// addrLen is the length of an address in bytes.
func (f family) addrLen() uint32 {
	if f == ipv4 {
		return 4
	}
	return 16
}

// end is one end of a packet's way: where it comes from or where it goes.
type end int

const (
	source end = iota
	destination
)

// linkKey is the meta key of the device at this end.
func (e end) linkKey() string {
	if e == source {
		return "iifname"
	}
	return "oifname"
}

// offset is where the address of this end stands in the network header.
func (e end) offset(f family) uint32 {
	switch {
	case f == ipv4 && e == source:
		return 12
	case f == ipv4:
		return 16
	case e == source:
		return 8
	}
	return 24
}

// register is the number by which the kernel names the 32-bit word of that index when it dumps a rule
// (nft_dump_register in net/netfilter/nf_tables_api.c): 16-byte aligned words have the old numbers 1 to 4.
func register(word uint32) uint32 {
	if word%4 == 0 {
		return 1 + word/4
	}
	return 8 + word
}

// words is how many 32-bit registers n bytes take.
func words(n uint32) uint32 { return (n + 3) / 4 }

type exprs = []schema.Expr

// join strings parts of a rule together.
func join(parts ...exprs) exprs {
	var out exprs
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func rule(comment string, parts ...exprs) *schema.Rule {
	return &schema.Rule{Comment: comment, Exprs: join(parts...)}
}

func verdict(kind string) exprs {
	return exprs{{Name: "immediate", Verdict: &schema.Verdict{Kind: kind}}}
}

// drop counts what it drops: the first thing to look at when something does not get through.
func drop() exprs { return join(exprs{{Name: "counter"}}, verdict("drop")) }

func meta(key string, dreg uint32) schema.Expr {
	return schema.Expr{Name: "meta", Key: key, DReg: dreg}
}

func compare(op string, data []byte) schema.Expr {
	return schema.Expr{Name: "cmp", SReg: 1, Op: op, Data: data}
}

func payload(base string, offset, length, dreg uint32) schema.Expr {
	return schema.Expr{Name: "payload", Base: base, Offset: offset, Len: length, DReg: dreg}
}

func lookup(set string) schema.Expr { return schema.Expr{Name: "lookup", SReg: 1, Set: set} }

func lookupNot(set string) schema.Expr {
	return schema.Expr{Name: "lookup", SReg: 1, Set: set, Op: "neq"}
}

func mask(data []byte) schema.Expr {
	return schema.Expr{
		Name: "bitwise", SReg: 1, DReg: 1, Len: uint32(len(data)), Op: "bool",
		Data: data, Data2: make([]byte, len(data)),
	}
}

// host32 is a number as the kernel keeps it in a register: in the order of the machine.
func host32(n uint32) []byte {
	b := make([]byte, 4)
	binary.NativeEndian.PutUint32(b, n)
	return b
}

func net16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func linkName(name string) []byte {
	b := make([]byte, ifNameSize)
	copy(b, name)
	return b
}

// ofFamily is "meta nfproto ipv4", nothing for any family.
func ofFamily(f family) exprs {
	switch f {
	case ipv4:
		return exprs{meta("nfproto", 1), compare("eq", []byte{protoIPv4})}
	case ipv6:
		return exprs{meta("nfproto", 1), compare("eq", []byte{protoIPv6})}
	case anyFamily:
	}
	return nil
}

// link is "iifname NAME".
func link(e end, name string) exprs {
	return exprs{meta(e.linkKey(), 1), compare("eq", linkName(name))}
}

// linkIn is "iifname @SET", linkNotIn the contrary.
func linkIn(e end, set string) exprs { return exprs{meta(e.linkKey(), 1), lookup(set)} }

func linkNotIn(e end, set string) exprs { return exprs{meta(e.linkKey(), 1), lookupNot(set)} }

// l4 is "meta l4proto PROTO".
func l4(proto byte) exprs { return exprs{meta("l4proto", 1), compare("eq", []byte{proto})} }

func addrIn(e end, f family, set string) exprs {
	return exprs{payload("network", e.offset(f), f.addrLen(), 1), lookup(set)}
}

func addrNotIn(e end, f family, set string) exprs {
	return exprs{payload("network", e.offset(f), f.addrLen(), 1), lookupNot(set)}
}

// linkAddrIn is "iifname . ip saddr @SET".
func linkAddrIn(l, a end, f family, set string) exprs {
	return exprs{
		meta(l.linkKey(), register(0)),
		payload("network", a.offset(f), f.addrLen(), register(words(ifNameSize))),
		lookup(set),
	}
}

// inPrefix is "ip saddr PREFIX", as nft compiles it: whole bytes are compared without a mask.
func inPrefix(e end, p netip.Prefix) exprs {
	p = p.Masked()
	f, bits := familyOf(p.Addr()), p.Bits()
	addr := p.Addr().AsSlice()
	switch {
	case bits == 0:
		return nil
	case bits%8 == 0:
		n := bits / 8
		return exprs{payload("network", e.offset(f), uint32(n), 1), compare("eq", addr[:n])}
	}
	m := make([]byte, len(addr))
	for i := range bits {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return exprs{payload("network", e.offset(f), f.addrLen(), 1), mask(m), compare("eq", addr)}
}

// established is "ct state established,related".
func established() exprs {
	return exprs{{Name: "ct", Key: "state", DReg: 1}, mask(host32(ctEstablished | ctRelated)), compare("neq", host32(0))}
}

// dnatted is "ct status dnat".
func dnatted() exprs {
	return exprs{{Name: "ct", Key: "status", DReg: 1}, mask(host32(ctDNAT)), compare("neq", host32(0))}
}

// synOnly is "tcp flags & (syn|rst) == syn": the SYN and the SYN-ACK.
func synOnly() exprs {
	const syn, rst = 0x02, 0x04
	return join(l4(protoTCP), exprs{payload("transport", 13, 1, 1), mask([]byte{syn | rst}), compare("eq", []byte{syn})})
}

// clamp is "tcp option maxseg size set rt mtu". The kernel takes the smaller MTU of the routes there and back
// (get_tcpmss in net/netfilter/nft_rt.c), and never raises the option (nft_exthdr.c).
func clamp() exprs {
	return exprs{
		{Name: "rt", Key: "tcpmss", DReg: 1},
		{Name: "byteorder", SReg: 1, DReg: 1, Op: "hton", Len: 2, Size: 2},
		{Name: "exthdr_w", Op: "tcpopt", Type: tcpOptMaxSeg, Offset: 2, Len: 2, SReg: 1},
	}
}

// neighbourDiscovery is "icmpv6 type 133-136": router and neighbour solicitation and advertisement (RFC 4861).
// Without it IPv6 has no link layer; IPv4's ARP never meets these chains either.
func neighbourDiscovery() exprs {
	return join(ofFamily(ipv6), l4(protoICMPv6),
		exprs{payload("transport", 0, 1, 1), compare("gte", []byte{133}), compare("lte", []byte{136})})
}

// toLocal is "fib daddr type local": an address of this host.
func toLocal() exprs {
	return exprs{{Name: "fib", Key: "daddr", Op: "type", DReg: 1}, compare("eq", host32(rtnLocal))}
}

// dnatByMap is "dnat ip to meta l4proto . th dport map @SET".
func dnatByMap(f family, set string) exprs {
	name, port := "ip", register(1)
	if f == ipv6 {
		name, port = "ip6", register(4)
	}
	return exprs{
		meta("l4proto", register(0)), payload("transport", 2, 2, register(1)),
		{Name: "lookup", SReg: 1, Set: set, DReg: 1},
		// The kernel gives the maximum back as the minimum where none was set, and sets the flags by itself (nft_nat.c).
		{
			Name: "nat", Op: "dnat", Family: name, SReg: 1, SReg2: 1, SReg3: port, SReg4: port,
			Flags: natMapIPs | natProtoSpecified,
		},
	}
}

// toTarget is "ip daddr . meta l4proto . th dport @SET".
func toTarget(f family, set string) exprs {
	n := words(f.addrLen())
	return join(ofFamily(f), exprs{
		payload("network", destination.offset(f), f.addrLen(), register(0)),
		meta("l4proto", register(n)), payload("transport", 2, 2, register(n+1)),
		lookup(set),
	})
}

func masquerade() exprs { return exprs{{Name: "masq"}} }
