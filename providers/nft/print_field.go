package nft

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// field is the left side of a comparison.
type field struct {
	text string
	typ  uint32
	big  bool // kept in network order
	mask []byte
	// prefix is the full length of an address of which only the first bytes are compared; 0 when all are.
	prefix int
}

// field names what a register holds.
func (w *ruleText) field(c *cell) (field, bool) {
	if c == nil {
		return field{}, false
	}
	c.use()
	if c.text != "" {
		return field{text: c.text, typ: c.typ, big: true}, c.mask == nil
	}
	if c.load == nil || len(bytes.Trim(c.xor, "\x00")) > 0 || c.swapped && c.load.Name != "meta" {
		return field{}, false
	}
	f := field{mask: c.mask}
	switch l := c.load; l.Name {
	case "payload":
		return w.payloadField(f, l)
	case "meta", "ct":
		var ok bool
		f.text = w.keyText(l)
		f.typ, f.big, ok = w.keyType(l)
		f.big = f.big != c.swapped
		return f, ok
	case "fib":
		return fibField(f, l)
	case "rt":
		return w.rtField(f, l)
	case "socket":
		f.text, f.typ = "socket "+l.Key, typeBoolean
		if l.Key == "mark" {
			f.typ = typeMark
		}
		return f, l.Key != "cgroupv2" && c.mask == nil
	case "exthdr":
		return w.exthdrField(f, l)
	case "numgen":
		f.text, f.typ = fmt.Sprintf("numgen %s mod %d", l.Op, l.Size), typeInteger
		if l.Offset != 0 {
			f.text += fmt.Sprintf(" offset %d", l.Offset)
		}
		return f, c.mask == nil
	}
	return f, false
}

// keyText is "iifname", "meta mark", "ct state", "ct original ip saddr".
func (w *ruleText) keyText(e *schema.Expr) string {
	if e.Name == "meta" {
		switch e.Key {
		case "iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup":
			return e.Key // unqualified, as nft has always printed them
		}
		return "meta " + e.Key
	}
	words := []string{"ct"}
	if e.Dir != "" {
		words = append(words, e.Dir)
	}
	if e.Family != "" {
		words = append(words, e.Family)
	}
	return strings.Join(append(words, strings.Replace(e.Key, "proto_", "proto-", 1)), " ")
}

// keyType is the type of a meta or ct key.
func (w *ruleText) keyType(e *schema.Expr) (typ uint32, big, ok bool) {
	if e.Name == "ct" {
		switch e.Key {
		case "state":
			return typeCTState, false, true
		case "status":
			return typeCTStatus, false, true
		case "direction":
			return typeCTDir, false, true
		case "mark":
			return typeMark, false, true
		case "saddr", "daddr":
			if e.Family == "ip6" || e.Family == "" && w.l3 == "ip6" {
				return typeIP6Addr, true, true
			}
			return typeIPAddr, true, e.Family != "" || w.l3 == "ip"
		case "proto_src", "proto_dst":
			return typeInetService, true, true
		case "protocol":
			return typeInetProto, true, true
		case "zone":
			return typeInteger, false, true
		}
		return 0, false, false
	}
	switch e.Key {
	case "iifname", "oifname", "ibrname", "obrname":
		return typeIfName, false, true
	case "iif", "oif":
		return typeIfIndex, false, true
	case "l4proto":
		return typeInetProto, true, true
	case "nfproto":
		return typeNFProto, true, true
	case "protocol":
		return typeEtherType, true, true
	case "mark":
		return typeMark, false, true
	case "pkttype":
		return typePktType, false, true
	case "skuid", "skgid", "length", "cpu", "iifgroup", "oifgroup", "priority":
		return typeInteger, false, true
	case "iiftype", "oiftype":
		return typeARPHRD, false, true
	case "nftrace":
		return typeInteger, false, true
	}
	return 0, false, false
}

// payloadField names a field of a header, and leaves out the statement that a field of that header implies.
func (w *ruleText) payloadField(f field, l *schema.Expr) (field, bool) {
	f.big = true
	name, typ, prefix, ok := "", uint32(0), 0, false
	switch l.Base {
	case "link":
		if name, typ, ok = linkField(l); ok && typ == typeEtherAddr {
			defer w.dropL2()
		}
	case "network":
		name, typ, prefix, ok = w.networkField(l, f.mask)
		if ok {
			defer w.dropL3()
		}
	case "transport":
		name, typ, ok = w.transportField(l)
		if ok && !strings.HasPrefix(name, "th ") {
			defer w.dropL4()
		}
		if ok && strings.HasPrefix(name, "icmp") {
			defer w.dropL3() // ICMP is of IPv4, ICMPv6 of IPv6
		}
	}
	f.text, f.typ, f.prefix = name, typ, prefix
	if typ == typeDSCP {
		f.mask = nil
	}
	return f, ok
}

func linkField(l *schema.Expr) (string, uint32, bool) {
	switch [2]uint32{l.Offset, l.Len} {
	case [2]uint32{0, 6}:
		return "ether daddr", typeEtherAddr, true
	case [2]uint32{6, 6}:
		return "ether saddr", typeEtherAddr, true
	case [2]uint32{12, 2}:
		return "ether type", typeEtherType, true
	}
	return "", 0, false
}

// networkField names a field of IPv4, IPv6 or ARP. An address may be cut short: see field.prefix.
func (w *ruleText) networkField(l *schema.Expr, mask []byte) (name string, typ uint32, prefix int, ok bool) {
	at := [2]uint32{l.Offset, l.Len}
	switch w.l3 {
	case "ip":
		switch {
		case l.Offset == 12 && l.Len <= 4:
			return "ip saddr", typeIPAddr, cut(l.Len, 4), true
		case l.Offset == 16 && l.Len <= 4:
			return "ip daddr", typeIPAddr, cut(l.Len, 4), true
		}
		name, typ, ok = ipField(at, mask)
	case "ip6":
		switch {
		case l.Offset == 8 && l.Len <= 16:
			return "ip6 saddr", typeIP6Addr, cut(l.Len, 16), true
		case l.Offset == 24 && l.Len <= 16:
			return "ip6 daddr", typeIP6Addr, cut(l.Len, 16), true
		}
		name, typ, ok = ip6Field(at, mask)
	case "arp":
		if at == [2]uint32{6, 2} {
			return "arp operation", typeARPOp, 0, mask == nil
		}
	}
	return name, typ, 0, ok
}

func cut(n uint32, full int) int {
	if int(n) < full {
		return full
	}
	return 0
}

func ipField(at [2]uint32, mask []byte) (string, uint32, bool) {
	switch at {
	case [2]uint32{1, 1}:
		return "ip dscp", typeDSCP, bytes.Equal(mask, []byte{0xfc})
	case [2]uint32{2, 2}:
		return "ip length", typeInteger, mask == nil
	case [2]uint32{4, 2}:
		return "ip id", typeInteger, mask == nil
	case [2]uint32{6, 2}:
		return "ip frag-off", typeInteger, true
	case [2]uint32{8, 1}:
		return "ip ttl", typeInteger, mask == nil
	case [2]uint32{9, 1}:
		return "ip protocol", typeInetProto, mask == nil
	}
	return "", 0, false
}

func ip6Field(at [2]uint32, mask []byte) (string, uint32, bool) {
	switch at {
	case [2]uint32{0, 2}:
		return "ip6 dscp", typeDSCP, bytes.Equal(mask, []byte{0x0f, 0xc0})
	case [2]uint32{4, 2}:
		return "ip6 length", typeInteger, mask == nil
	case [2]uint32{6, 1}:
		return "ip6 nexthdr", typeInetProto, mask == nil
	case [2]uint32{7, 1}:
		return "ip6 hoplimit", typeInteger, mask == nil
	}
	return "", 0, false
}

// transportField names a field of the transport header; "th" stands for one that is not known.
func (w *ruleText) transportField(l *schema.Expr) (string, uint32, bool) {
	proto := ""
	switch w.l4 {
	case unix.IPPROTO_TCP:
		proto = "tcp"
	case unix.IPPROTO_UDP:
		proto = "udp"
	case unix.IPPROTO_SCTP:
		proto = "sctp"
	case unix.IPPROTO_DCCP:
		proto = "dccp"
	case unix.IPPROTO_UDPLITE:
		proto = "udplite"
	case -1:
		proto = "th"
	}
	at := [2]uint32{l.Offset, l.Len}
	switch {
	case proto != "" && at == [2]uint32{0, 2}:
		return proto + " sport", typeInetService, true
	case proto != "" && at == [2]uint32{2, 2}:
		return proto + " dport", typeInetService, true
	case proto == "tcp" && at == [2]uint32{13, 1}:
		return "tcp flags", typeTCPFlag, true
	case w.l4 == unix.IPPROTO_ICMP && at == [2]uint32{0, 1}:
		return "icmp type", typeICMPType, true
	case w.l4 == unix.IPPROTO_ICMP && at == [2]uint32{1, 1}:
		return "icmp code", typeICMPCode, true
	case w.l4 == unix.IPPROTO_ICMPV6 && at == [2]uint32{0, 1}:
		return "icmpv6 type", typeICMP6Type, true
	case w.l4 == unix.IPPROTO_ICMPV6 && at == [2]uint32{1, 1}:
		return "icmpv6 code", typeICMP6Code, true
	}
	return "", 0, false
}

func fibField(f field, l *schema.Expr) (field, bool) {
	f.text = "fib " + l.Key + " " + l.Op
	switch {
	case l.Flags&fibPresent != 0:
		f.typ = typeExists
	case l.Op == "type":
		f.typ = typeFibAddr
	case l.Op == "oif":
		f.typ = typeIfIndex
	default:
		f.typ = typeIfName
	}
	return f, f.mask == nil
}

func (w *ruleText) rtField(f field, l *schema.Expr) (field, bool) {
	f.big = true
	switch l.Key {
	case "classid":
		f.text, f.typ, f.big = "rt classid", typeInteger, false
	case "nexthop4":
		f.text, f.typ = "rt ip nexthop", typeIPAddr
		if w.table.Family == "ip" {
			f.text = "rt nexthop"
		}
		w.dropL3()
	case "nexthop6":
		f.text, f.typ = "rt ip6 nexthop", typeIP6Addr
		if w.table.Family == "ip6" {
			f.text = "rt nexthop"
		}
		w.dropL3()
	default:
		return f, false
	}
	return f, f.mask == nil
}

// typeExists is no type of libnftables: "exists" or "missing".
const typeExists = 1 << 16

func (w *ruleText) exthdrField(f field, l *schema.Expr) (field, bool) {
	f.big = true
	present := l.Flags&1 != 0
	switch {
	case l.Op == "tcpopt" && l.Type == 2 && present:
		f.text, f.typ = "tcp option maxseg", typeExists
	case l.Op == "tcpopt" && l.Type == 2 && l.Offset == 2 && l.Len == 2:
		f.text, f.typ = "tcp option maxseg size", typeInteger
	case l.Op == "ipv6" && present:
		name := map[uint32]string{0: "hbh", 43: "rt", 44: "frag", 60: "dst", 135: "mh"}[l.Type]
		if name == "" {
			return f, false
		}
		f.text, f.typ = "exthdr "+name, typeExists
		w.dropL3()
	default:
		return f, false
	}
	return f, f.mask == nil
}
