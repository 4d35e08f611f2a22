package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// compare takes a cmp or range; ">= a" with "<= b" on the same register is a range.
func (w *ruleText) compare(e *schema.Expr) bool {
	c := w.at(e.SReg)
	if c == nil || c.load == nil && c.text == "" {
		return false
	}
	from, to, op := []byte(e.Data), []byte(e.Data2), e.Op
	if e.Name == "cmp" && op == "gte" && w.i < len(w.exprs) {
		if n := &w.exprs[w.i]; n.Name == "cmp" && n.Op == "lte" && n.SReg == e.SReg {
			to, op = n.Data, "eq"
			w.i++
		}
	}
	if len(e.Opaque) > 0 || len(from) == 0 {
		return false
	}
	w.establish(c, op, from, to)
	if w.relation(c, op, from, to) {
		return true
	}
	if op == "eq" && to == nil && c.mask == nil && !c.swapped && w.split(c.load, from) {
		return true
	}
	w.raw = true
	defer func() { w.raw = false }()
	return w.relation(c, op, from, to)
}

// hash takes a hash of what registers hold.
func (w *ruleText) hash(e *schema.Expr) bool {
	c := &cell{load: e}
	if e.Op == "jhash" {
		fields, ok := w.fieldsAt(e.SReg, int(e.Len))
		if !ok {
			return false
		}
		c.hashed = fieldNames(fields)
	}
	return w.store(e.DReg, c)
}

// split takes a comparison of several fields at once, which nft joins when they stand side by side.
func (w *ruleText) split(l *schema.Expr, v []byte) bool {
	if l == nil || l.Name != "payload" || len(v) != int(l.Len) {
		return false
	}
	for n := 1; n < len(v); n++ {
		head, tail := *l, *l
		head.Len = uint32(n)
		tail.Offset, tail.Len = l.Offset+uint32(n), l.Len-uint32(n)
		if f, ok := w.field(&cell{load: &head}); !ok || f.prefix != 0 {
			continue
		}
		if !w.relation(&cell{load: &head}, "eq", v[:n], nil) {
			return false
		}
		return w.relation(&cell{load: &tail}, "eq", v[n:], nil) || w.split(&tail, v[n:])
	}
	return false
}

// relation says "LHS OP RHS".
func (w *ruleText) relation(c *cell, op string, from, to []byte) bool {
	f, ok := w.field(c)
	if !ok {
		return false
	}
	if bytes.Count(f.mask, []byte{0xff}) == len(f.mask) {
		f.mask = nil
	}
	if f.mask != nil {
		return to == nil && w.masked(f, op, from)
	}
	if full := int(typeLen(f.typ)); (f.typ == typeIPAddr || f.typ == typeIP6Addr) && to == nil && len(from) < full {
		f.prefix = full
	}
	var rhs string
	switch {
	case to != nil:
		a, okA := w.bound(f, from)
		b, okB := w.bound(f, to)
		if !okA || !okB {
			return false
		}
		rhs = a + "-" + b
	case f.prefix > 0:
		rhs, ok = prefixValue(from, f)
	default:
		rhs, ok = w.value(f.typ, f.unshift(from), f.big)
		if f.typ == typeIfName && bytes.IndexByte(from, 0) < 0 && len(from) < 16 {
			rhs = quoted(string(from) + "*")
		}
	}
	if !ok {
		return false
	}
	sign := ""
	switch op {
	case "eq":
		if f.typ == typeTCPFlag {
			sign = "== "
		}
	case "neq":
		sign = "!= "
	case "lt":
		sign = "< "
	case "lte":
		sign = "<= "
	case "gt":
		sign = "> "
	case "gte":
		sign = ">= "
	}
	w.stmts = append(w.stmts, f.text+" "+sign+rhs)
	w.noteDependency(c, op)
	return true
}

// bound writes an end of a range; nft has no words there for types of ICMP.
func (w *ruleText) bound(f field, b []byte) (string, bool) {
	switch f.typ {
	case typeICMPType, typeICMP6Type, typeICMPCode, typeICMP6Code, typeInetProto:
		f.typ = typeInteger
	case typeTime:
		return fmt.Sprintf("%ds", number64(b, f.big)/1000), true
	}
	return w.value(f.typ, f.unshift(b), f.big)
}

// prefixValue writes the first bytes of an address, which is how nft compares prefixes of whole bytes.
func prefixValue(b []byte, f field) (string, bool) {
	full := make([]byte, f.prefix)
	if len(b) >= len(full) {
		return "", false
	}
	copy(full, b)
	return fmt.Sprintf("%s/%d", addrText(full), 8*len(b)), true
}

// masked says a comparison under a mask: a prefix, flags, or bits.
func (w *ruleText) masked(f field, op string, v []byte) bool {
	if len(v) != len(f.mask) || op != "eq" && op != "neq" {
		return false
	}
	not := ""
	if op == "neq" {
		not = "!= "
	}
	zero := len(bytes.Trim(v, "\x00")) == 0
	switch f.typ {
	case typeIPAddr, typeIP6Addr:
		if ones, ok := maskOnes(f.mask); ok {
			w.say("%s %s%s/%d", f.text, not, addrText(v), ones)
			return true
		}
	case typeTCPFlag, typeCTState, typeCTStatus:
		return w.flags(f, op, v, zero)
	case typeMark:
		if ones, ok := maskOnes(bigEndian(f.mask, f.big)); ok && op == "eq" {
			rhs, ok := w.value(f.typ, v, f.big)
			w.say("%s %s/%d", f.text, rhs, ones)
			return ok
		}
	}
	m, okM := w.value(f.typ, f.mask, f.big)
	rhs, okV := w.value(f.typ, v, f.big)
	if !okM || !okV {
		return false
	}
	rel := "== "
	if op == "neq" {
		rel = "!= "
	}
	w.say("%s & %s %s%s", f.text, m, rel, rhs)
	return true
}

// bigEndian turns a number in the order of the machine around.
func bigEndian(b []byte, isBig bool) []byte {
	if isBig || !isLittleEndian() {
		return b
	}
	out := slices.Clone(b)
	slices.Reverse(out)
	return out
}

// flags says "tcp flags syn / syn,rst", "ct state new", "ct status ! dnat".
func (w *ruleText) flags(f field, op string, v []byte, zero bool) bool {
	list, ok := flagList(f.typ, f.mask, ",")
	if !ok {
		return false
	}
	if zero {
		if op == "neq" {
			w.say("%s %s", f.text, list)
		} else {
			w.say("%s ! %s", f.text, list)
		}
		return true
	}
	set, ok := flagList(f.typ, v, ",")
	if !ok {
		return false
	}
	not := ""
	if op == "neq" {
		not = "!= "
	}
	w.say("%s %s%s / %s", f.text, not, set, list)
	return true
}

func flagList(typ uint32, b []byte, sep string) (string, bool) {
	n := hostU32(b)
	var names []string
	for _, f := range flagNames(typ) {
		if n&f.bit != 0 {
			names = append(names, f.name)
			n &^= f.bit
		}
	}
	return strings.Join(names, sep), n == 0 && len(names) > 0
}

// establish notes what a comparison says about the headers that follow.
func (w *ruleText) establish(c *cell, op string, v, to []byte) {
	if op != "eq" || to != nil || c.mask != nil || c.load == nil {
		return
	}
	switch l := c.load; {
	case l.Name == "meta" && l.Key == "nfproto" && len(v) == 1:
		w.l3 = familyName(v[0])
	case l.Name == "meta" && l.Key == "protocol", l.Name == "payload" && l.Base == "link" && l.Offset == 12 && l.Len == 2:
		if len(v) == 2 {
			w.l3 = etherProtocol(binary.BigEndian.Uint16(v))
		}
	case l.Name == "meta" && l.Key == "l4proto" && len(v) == 1, w.isProtocolField(l) && len(v) == 1:
		w.l4 = int(v[0])
	case l.Name == "payload" && l.Base == "link" && l.Offset == 16 && len(v) == 2 && w.l3 == "vlan":
		w.l3 = etherProtocol(binary.BigEndian.Uint16(v))
	case l.Name == "payload" && l.Base == "transport" && l.Offset == 0 && len(v) == 1 && (w.l4 == unix.IPPROTO_ICMP || w.l4 == unix.IPPROTO_ICMPV6):
		w.icmp = int(v[0])
	}
}

func etherProtocol(n uint16) string {
	switch n {
	case 0x0800:
		return "ip"
	case 0x86dd:
		return "ip6"
	case 0x0806:
		return "arp"
	case 0x8100:
		return "vlan"
	}
	return ""
}

// isProtocolField: ip protocol, ip6 nexthdr.
func (w *ruleText) isProtocolField(l *schema.Expr) bool {
	return l.Name == "payload" && l.Base == "network" && l.Len == 1 && (w.l3 == "ip" && l.Offset == 9 || w.l3 == "ip6" && l.Offset == 6)
}

// noteDependency remembers the statement just said, when a field of the next header makes it superfluous.
func (w *ruleText) noteDependency(c *cell, op string) {
	if c.load == nil || op != "eq" || c.mask != nil {
		return
	}
	switch l := c.load; {
	case l.Name == "meta" && l.Key == "iiftype":
		w.l2dep = len(w.stmts) - 1
	case l.Name == "meta" && (l.Key == "nfproto" || l.Key == "protocol"),
		l.Name == "payload" && l.Base == "link" && (l.Offset == 12 || l.Offset == 16):
		w.l3dep = len(w.stmts) - 1
	case l.Name == "meta" && l.Key == "l4proto":
		w.l4dep = len(w.stmts) - 1
		if w.l4 == unix.IPPROTO_ICMPV6 && w.l3 == "ip6" || w.l4 == unix.IPPROTO_ICMP && w.l3 == "ip" {
			w.dropL3()
		}
	case w.isProtocolField(l) && (w.table.Family == "ip" || w.table.Family == "ip6"):
		w.l4dep = len(w.stmts) - 1
	case l.Name == "payload" && l.Base == "transport" && l.Offset == 0 && l.Len == 1:
		w.icmpdep = len(w.stmts) - 1
	}
}
