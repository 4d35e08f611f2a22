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
	// shift is how many bits lie behind a field that does not end with a byte.
	shift int
	// size is how many bytes it takes of a key; 0: what its type takes.
	size int
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
	if c.load == nil || len(bytes.Trim(c.xor, "\x00")) > 0 || c.swapped && !hostOrder(c.load) {
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
		f.big = c.swapped
		return f, c.mask == nil
	case "hash":
		return w.hashField(f, l, c)
	}
	return f, false
}

// hostOrder tells whether an expression leaves a number in the order of the machine.
func hostOrder(e *schema.Expr) bool {
	return e.Name == "meta" || e.Name == "ct" || e.Name == "numgen" || e.Name == "hash"
}

// hashField is "jhash ip saddr . tcp dport mod 8", "symhash mod 2".
func (w *ruleText) hashField(f field, l *schema.Expr, c *cell) (field, bool) {
	text := l.Op
	if c.hashed != "" {
		text += " " + c.hashed
	}
	text += fmt.Sprintf(" mod %d", l.Size)
	seed := ""
	for a := (attrs{b: l.Opaque}); a.next(); {
		if a.typ == unix.NFTA_HASH_SEED && l.Op == "jhash" {
			seed = fmt.Sprintf(" seed 0x%x", a.u32())
		}
	}
	text += seed
	if l.Offset != 0 {
		text += fmt.Sprintf(" offset %d", l.Offset)
	}
	f.text, f.typ, f.big = text, typeInteger, c.swapped
	return f, c.mask == nil
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
	switch {
	case e.Family != "":
		words = append(words, e.Family)
	case e.Key == "saddr" || e.Key == "daddr":
		words = append(words, w.l3)
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
		case "zone", "bytes", "packets", "avgpkt":
			return typeInteger, false, true
		case "id":
			return typeInteger, true, true
		case "expiration":
			return typeTime, false, true
		case "helper":
			return typeIfName, false, true
		case "l3proto":
			return typeNFProto, true, true
		}
		return 0, false, false
	}
	switch e.Key {
	case "iifname", "oifname", "ibrname", "obrname", "iifkind", "oifkind", "sdifname":
		return typeIfName, false, true
	case "iif", "oif", "sdif":
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
	case "iifgroup", "oifgroup":
		return typeDevgroup, false, true
	case "priority":
		return typeClassID, false, true
	case "skuid", "skgid", "length", "cpu", "cgroup", "rtclassid":
		return typeInteger, false, true
	case "random":
		return typeInteger, true, true
	case "ipsec":
		return typeExists, true, true
	case "day":
		return typeDay, true, true
	case "iiftype", "oiftype":
		return typeARPHRD, false, true
	case "nftrace":
		return typeInteger, false, true
	}
	return 0, false, false
}

// payloadField names a field of a header, and leaves out the statement that a field of that header implies.
func (w *ruleText) payloadField(f field, l *schema.Expr) (field, bool) {
	var ok bool
	switch l.Base {
	case "link":
		f, ok = pickField(f, l, linkFields)
		switch {
		case !ok:
		case f.text == "vlan type":
		case strings.HasPrefix(f.text, "vlan"):
			w.dropL3()
		default:
			w.dropL2()
		}
	case "network":
		if f, ok = w.networkField(f, l); ok {
			w.dropL3()
		}
	case "transport":
		if f, ok = pickField(f, l, w.transportFields()); !ok && l.Len == 1 && l.Offset == 13 && w.l4 == unix.IPPROTO_TCP {
			f.text, f.typ, f.big, ok = "tcp flags", typeTCPFlag, true, true // under any mask
		}
		if ok && !strings.HasPrefix(f.text, "th ") {
			w.dropL4()
		}
		if ok && strings.HasPrefix(f.text, "icmp") {
			w.dropL3() // ICMP is of IPv4, ICMPv6 of IPv6
		}
		switch f.text {
		case "icmp mtu", "icmp gateway", "icmpv6 mtu", "icmpv6 parameter-problem", "icmpv6 max-delay":
			w.drop(&w.icmpdep)
		}
	}
	if !ok && w.raw {
		return rawField(f, l)
	}
	return f, ok
}

// rawField is what has no name: "@nh,96,32".
func rawField(f field, l *schema.Expr) (field, bool) {
	base := map[string]string{"link": "ll", "network": "nh", "transport": "th", "inner": "ih"}[l.Base]
	if base == "" {
		return f, false
	}
	f.typ, f.big = typeHex, true
	f.text = fmt.Sprintf("@%s,%d,%d", base, l.Offset*8, l.Len*8)
	return f, true
}

// networkField names a field of IPv4, IPv6 or ARP. An address may be cut short (see field.prefix), or under a mask.
func (w *ruleText) networkField(f field, l *schema.Expr) (field, bool) {
	for _, a := range []struct {
		l3, name string
		off, n   uint32
		typ      uint32
	}{
		{"ip", "ip saddr", 12, 4, typeIPAddr},
		{"ip", "ip daddr", 16, 4, typeIPAddr},
		{"ip6", "ip6 saddr", 8, 16, typeIP6Addr},
		{"ip6", "ip6 daddr", 24, 16, typeIP6Addr},
		{"arp", "arp saddr ip", 14, 4, typeIPAddr},
		{"arp", "arp daddr ip", 24, 4, typeIPAddr},
	} {
		if w.l3 == a.l3 && l.Offset == a.off && l.Len <= a.n {
			f.text, f.typ, f.big, f.prefix = a.name, a.typ, true, cut(l.Len, int(a.n))
			return f, true
		}
	}
	return pickField(f, l, networkFields[w.l3])
}

func cut(n uint32, full int) int {
	if int(n) < full {
		return full
	}
	return 0
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
		w.dropL3()
	case "nexthop6":
		f.text, f.typ = "rt ip6 nexthop", typeIP6Addr
		w.dropL3()
	case "ipsec":
		f.text, f.typ = "rt ipsec", typeExists
	case "tcpmss":
		f.text, f.typ, f.big = "rt mtu", typeInteger, false
	default:
		return f, false
	}
	return f, f.mask == nil
}

// typeExists is no type of libnftables: "exists" or "missing".
const typeExists = 1 << 16

// typeHex and typeHexByte are integers that nft writes in hexadecimal digits.
const (
	typeHex     = typeExists + 1
	typeHexByte = typeExists + 2
	typeDay     = typeExists + 3
)

func (w *ruleText) exthdrField(f field, l *schema.Expr) (field, bool) {
	var name, prefix string
	var fields []headerField
	switch l.Op {
	case "tcpopt":
		prefix = "tcp option "
		name, fields = optionFields(l.Type)
	case "ip":
		prefix = "ip option "
		name, fields = ipOptionFields(l.Type)
	case "ipv6":
		prefix, name, fields = "exthdr ", extensionNames[l.Type], extensionFields(l.Type)
	}
	if name == "" {
		return f, false
	}
	if l.Flags&1 == 0 { // NFT_EXTHDR_F_PRESENT
		f, ok := pickField(f, l, fields)
		if ok && l.Op != "tcpopt" {
			w.dropL3()
		}
		return f, ok
	}
	if l.Op != "tcpopt" {
		w.dropL3()
	}
	f.text, f.typ, f.big = prefix+name, typeExists, true
	return f, f.mask == nil
}
