package nft

import (
	"math/bits"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// headerField is a field of a header: its name in nft(8), where it begins and how long it is, in bits.
type headerField struct {
	name     string
	at, bits uint32
	typ      uint32
}

// linkFields are those of Ethernet and of the VLAN tag behind it.
var linkFields = []headerField{
	{"ether daddr", 0, 48, typeEtherAddr},
	{"ether saddr", 48, 48, typeEtherAddr},
	{"ether type", 96, 16, typeEtherType},
	{"vlan pcp", 112, 3, typeInteger},
	{"vlan dei", 115, 1, typeInteger},
	{"vlan id", 116, 12, typeInteger},
	{"vlan type", 128, 16, typeEtherType},
}

// networkFields are those of IPv4, IPv6 and ARP, without addresses that may be cut short.
var networkFields = map[string][]headerField{
	"ip": {
		{"ip version", 0, 4, typeInteger},
		{"ip hdrlength", 4, 4, typeInteger},
		{"ip dscp", 8, 6, typeDSCP},
		{"ip ecn", 14, 2, typeECN},
		{"ip length", 16, 16, typeInteger},
		{"ip id", 32, 16, typeInteger},
		{"ip frag-off", 48, 16, typeInteger},
		{"ip ttl", 64, 8, typeInteger},
		{"ip protocol", 72, 8, typeInetProto},
		{"ip checksum", 80, 16, typeInteger},
	},
	"ip6": {
		{"ip6 version", 0, 4, typeInteger},
		{"ip6 dscp", 4, 6, typeDSCP},
		{"ip6 ecn", 10, 2, typeECN},
		{"ip6 flowlabel", 12, 20, typeInteger},
		{"ip6 length", 32, 16, typeInteger},
		{"ip6 nexthdr", 48, 8, typeInetProto},
		{"ip6 hoplimit", 56, 8, typeInteger},
	},
	"arp": {
		{"arp htype", 0, 16, typeInteger},
		{"arp ptype", 16, 16, typeEtherType},
		{"arp hlen", 32, 8, typeInteger},
		{"arp plen", 40, 8, typeInteger},
		{"arp operation", 48, 16, typeARPOp},
		{"arp saddr ether", 64, 48, typeEtherAddr},
		{"arp saddr ip", 112, 32, typeIPAddr},
		{"arp daddr ether", 144, 48, typeEtherAddr},
		{"arp daddr ip", 192, 32, typeIPAddr},
	},
}

// transportFields are those of the header of a protocol; of an unknown one only its ports.
func (w *ruleText) transportFields() []headerField {
	switch w.l4 {
	case unix.IPPROTO_ICMP:
		return w.icmpFields()
	case unix.IPPROTO_ICMPV6:
		return w.icmp6Fields()
	}
	return transportTable[w.l4]
}

// transportTable has the fields of those whose header is always the same; -1 is an unknown one, with ports.
var transportTable = map[int][]headerField{
	-1: ports("th"),
	unix.IPPROTO_TCP: ports("tcp",
		headerField{"tcp sequence", 32, 32, typeInteger}, headerField{"tcp ackseq", 64, 32, typeInteger},
		headerField{"tcp doff", 96, 4, typeInteger}, headerField{"tcp reserved", 100, 4, typeInteger},
		headerField{"tcp flags", 104, 8, typeTCPFlag}, headerField{"tcp window", 112, 16, typeInteger},
		headerField{"tcp checksum", 128, 16, typeInteger}, headerField{"tcp urgptr", 144, 16, typeInteger}),
	unix.IPPROTO_UDP:     ports("udp", headerField{"udp length", 32, 16, typeInteger}, headerField{"udp checksum", 48, 16, typeInteger}),
	unix.IPPROTO_UDPLITE: ports("udplite", headerField{"udplite cscov", 32, 16, typeInteger}, headerField{"udplite checksum", 48, 16, typeInteger}),
	unix.IPPROTO_SCTP:    ports("sctp", headerField{"sctp vtag", 32, 32, typeInteger}, headerField{"sctp checksum", 64, 32, typeInteger}),
	unix.IPPROTO_DCCP:    ports("dccp", headerField{"dccp type", 67, 4, typeDCCPType}),
	unix.IPPROTO_AH: {
		{"ah nexthdr", 0, 8, typeInetProto},
		{"ah hdrlength", 8, 8, typeInteger},
		{"ah reserved", 16, 16, typeInteger},
		{"ah spi", 32, 32, typeInteger},
		{"ah sequence", 64, 32, typeInteger},
	},
	unix.IPPROTO_ESP:  {{"esp spi", 0, 32, typeInteger}, {"esp sequence", 32, 32, typeInteger}},
	unix.IPPROTO_COMP: {{"comp nexthdr", 0, 8, typeInetProto}, {"comp flags", 8, 8, typeHexByte}, {"comp cpi", 16, 16, typeInteger}},
	unix.IPPROTO_IGMP: {
		{"igmp type", 0, 8, typeIGMPType},
		{"igmp mrt", 8, 8, typeInteger},
		{"igmp checksum", 16, 16, typeInteger},
		{"igmp group", 32, 32, typeIPAddr},
	},
}

func ports(name string, more ...headerField) []headerField {
	return append([]headerField{{name + " sport", 0, 16, typeInetService}, {name + " dport", 16, 16, typeInetService}}, more...)
}

// icmpFields: what the second word holds depends on the type, which nft tests in front.
func (w *ruleText) icmpFields() []headerField {
	fields := []headerField{{"icmp type", 0, 8, typeICMPType}, {"icmp code", 8, 8, typeICMPCode}, {"icmp checksum", 16, 16, typeInteger}}
	switch w.icmp {
	case 3:
		return append(fields, headerField{"icmp mtu", 48, 16, typeInteger})
	case 5:
		return append(fields, headerField{"icmp gateway", 32, 32, typeInteger})
	}
	return append(fields, headerField{"icmp id", 32, 16, typeInteger}, headerField{"icmp sequence", 48, 16, typeInteger})
}

func (w *ruleText) icmp6Fields() []headerField {
	fields := []headerField{{"icmpv6 type", 0, 8, typeICMP6Type}, {"icmpv6 code", 8, 8, typeICMP6Code}, {"icmpv6 checksum", 16, 16, typeInteger}}
	switch w.icmp {
	case 2:
		return append(fields, headerField{"icmpv6 mtu", 32, 32, typeInteger})
	case 4:
		return append(fields, headerField{"icmpv6 parameter-problem", 32, 32, typeInteger})
	case 130:
		return append(fields, headerField{"icmpv6 max-delay", 32, 16, typeInteger})
	}
	return append(fields, headerField{"icmpv6 id", 32, 16, typeInteger}, headerField{"icmpv6 sequence", 48, 16, typeInteger})
}

// extensionFields are those of an extension header of IPv6, by its number.
func extensionFields(header uint32) []headerField {
	name := extensionNames[header]
	next := headerField{name + " nexthdr", 0, 8, typeInetProto}
	length := headerField{name + " hdrlength", 8, 8, typeInteger}
	switch header {
	case unix.IPPROTO_HOPOPTS, unix.IPPROTO_DSTOPTS:
		return []headerField{next, length}
	case unix.IPPROTO_ROUTING:
		return []headerField{next, length, {"rt type", 16, 8, typeInteger}, {"rt seg-left", 24, 8, typeInteger}}
	case unix.IPPROTO_FRAGMENT:
		return []headerField{
			next,
			{"frag reserved", 8, 8, typeInteger},
			{"frag frag-off", 16, 13, typeInteger},
			{"frag reserved2", 29, 2, typeInteger},
			{"frag more-fragments", 31, 1, typeInteger},
			{"frag id", 32, 32, typeInteger},
		}
	case unix.IPPROTO_MH:
		return []headerField{
			next, length,
			{"mh type", 16, 8, typeMHType},
			{"mh reserved", 24, 8, typeInteger},
			{"mh checksum", 32, 16, typeInteger},
		}
	}
	return nil
}

var extensionNames = map[uint32]string{
	unix.IPPROTO_HOPOPTS: "hbh", unix.IPPROTO_ROUTING: "rt", unix.IPPROTO_FRAGMENT: "frag", unix.IPPROTO_DSTOPTS: "dst", unix.IPPROTO_MH: "mh",
}

// optionFields are those of a TCP option, by its number.
func optionFields(kind uint32) (name string, fields []headerField) {
	name = map[uint32]string{
		0: "eol", 1: "nop", 2: "maxseg", 3: "window", 4: "sack-perm", 5: "sack", 8: "timestamp", 19: "md5sig", 30: "mptcp", 34: "fastopen",
	}[kind]
	prefix := "tcp option " + name + " "
	fields = []headerField{{prefix + "kind", 0, 8, typeInteger}, {prefix + "length", 8, 8, typeInteger}}
	switch kind {
	case 2:
		fields = append(fields, headerField{prefix + "size", 16, 16, typeInteger})
	case 3:
		fields = append(fields, headerField{prefix + "count", 16, 8, typeInteger})
	case 5:
		for i, block := range []string{"sack", "sack1", "sack2", "sack3"} {
			at := 16 + 64*uint32(i)
			fields = append(fields, headerField{"tcp option " + block + " left", at, 32, typeInteger}, headerField{"tcp option " + block + " right", at + 32, 32, typeInteger})
		}
	case 8:
		fields = append(fields, headerField{prefix + "tsval", 16, 32, typeInteger}, headerField{prefix + "tsecr", 48, 32, typeInteger})
	case 30:
		fields = append(fields, headerField{prefix + "subtype", 16, 4, typeInteger})
	}
	return name, fields
}

// ipOptionFields are those of an option of IPv4, by its number.
func ipOptionFields(kind uint32) (name string, fields []headerField) {
	name = map[uint32]string{7: "rr", 131: "lsrr", 137: "ssrr", 148: "ra"}[kind]
	prefix := "ip option " + name + " "
	fields = []headerField{{prefix + "type", 0, 8, typeInteger}, {prefix + "length", 8, 8, typeInteger}}
	if name == "ra" {
		return name, append(fields, headerField{prefix + "value", 16, 16, typeInteger})
	}
	return name, append(fields, headerField{prefix + "ptr", 16, 8, typeInteger}, headerField{prefix + "addr", 24, 32, typeIPAddr})
}

// pickField finds the field that a load of whole bytes means: the one that a mask leaves, or the whole one, still under its mask.
func pickField(f field, l *schema.Expr, fields []headerField) (field, bool) {
	at, n := l.Offset*8, l.Len*8
	first, ones, last, run := maskRun(f.mask)
	run = run && len(f.mask) == int(l.Len)
	for _, h := range fields {
		if run && h.at == at+uint32(first) && h.bits == uint32(ones) {
			f.text, f.typ, f.mask, f.shift, f.big = h.name, h.typ, nil, last, true
			return f, true
		}
	}
	for _, h := range fields {
		if h.at == at && h.bits == n {
			f.text, f.typ, f.big = h.name, h.typ, true
			return f, true
		}
	}
	return f, false
}

// maskRun tells where the ones of a mask are, if they stand together: zeros in front, ones, zeros behind.
func maskRun(m []byte) (first, ones, last int, ok bool) {
	seen := false
	for _, b := range m {
		ones += bits.OnesCount8(b)
		if !seen {
			first += bits.LeadingZeros8(b)
		}
		seen = seen || b != 0
	}
	for _, b := range slices.Backward(m) {
		last += bits.TrailingZeros8(b)
		if b != 0 {
			break
		}
	}
	return first, ones, last, seen && first+ones+last == 8*len(m)
}

// unshift moves a value of a field that does not end with a byte to where it can be read as a number.
func (f field) unshift(b []byte) []byte {
	if f.shift == 0 && f.typ != typeDSCP && f.typ != typeECN {
		return b
	}
	n := number64(b, true) >> f.shift
	out := make([]byte, len(b))
	for i := range out {
		out[len(out)-1-i] = byte(n >> (8 * i))
	}
	return out
}
