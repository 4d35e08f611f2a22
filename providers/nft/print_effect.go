package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

// setMSS takes "tcp option maxseg size set …".
func (w *ruleText) setMSS(e *schema.Expr) bool {
	c := w.at(e.SReg)
	if c == nil || e.Op != "tcpopt" || e.Type != 2 || e.Offset != 2 || e.Len != 2 || len(e.Opaque) > 0 {
		return false
	}
	switch {
	case len(c.data) == 2:
		w.say("tcp option maxseg size set %d", binary.BigEndian.Uint16(c.data))
	case c.load != nil && c.load.Name == "rt" && c.load.Key == "tcpmss" && c.swapped && c.mask == nil:
		c.use()
		w.say("tcp option maxseg size set rt mtu")
	default:
		return false
	}
	return true
}

func (w *ruleText) objref(e *schema.Expr) bool {
	kinds := map[uint32]string{
		1: "counter name", 2: "quota name", 3: "ct helper set", 4: "limit name", 7: "ct timeout set", 8: "secmark set", 9: "ct expectation set",
		10: "synproxy name",
	}
	if e.Set != "" || kinds[e.Type] == "" || len(e.Opaque) > 0 {
		return false
	}
	w.say("%s %s", kinds[e.Type], quoted(e.Key))
	return true
}

func (w *ruleText) reject(e *schema.Expr) bool {
	switch {
	case len(e.Opaque) > 0:
		return false
	case e.Type == 1:
		if w.table.Family == "ip" || w.table.Family == "ip6" {
			w.dropL4()
		}
		w.say("reject with tcp reset")
		return true
	case e.Type == 2:
		names := []string{"no-route", "port-unreachable", "host-unreachable", "admin-prohibited"}
		if e.Code >= uint32(len(names)) {
			return false
		}
		w.sayReject("icmpx", names[e.Code])
		return true
	}
	proto, typ := "icmp", uint32(typeICMPCode)
	if w.l3 == "ip6" {
		proto, typ = "icmpv6", typeICMP6Code
	}
	name, ok := codeName(typ, e.Code)
	if !ok || w.l3 != "ip" && w.l3 != "ip6" {
		return false
	}
	w.dropL3()
	w.sayReject(proto, name)
	return true
}

// sayReject leaves out what is the default.
func (w *ruleText) sayReject(proto, code string) {
	if code == "port-unreachable" && (proto == "icmpx" || w.table.Family == "ip" || w.table.Family == "ip6") {
		w.say("reject")
		return
	}
	w.say("reject with %s %s", proto, code)
}

// synproxy takes "synproxy mss 1460 wscale 7 timestamp sack-perm".
func (w *ruleText) synproxy(e *schema.Expr) bool {
	var mss, scale, flags uint32
	a := attrs{b: e.Opaque}
	for a.next() {
		switch a.typ {
		case 1: // NFTA_SYNPROXY_MSS
			mss = uint32(a.u16())
		case 2: // NFTA_SYNPROXY_WSCALE
			scale = uint32(a.u8())
		case 3: // NFTA_SYNPROXY_FLAGS
			flags = a.u32()
		default:
			return false
		}
	}
	s := "synproxy"
	if flags&1 != 0 {
		s += fmt.Sprintf(" mss %d", mss)
	}
	if flags&2 != 0 {
		s += fmt.Sprintf(" wscale %d", scale)
	}
	if flags&8 != 0 {
		s += " timestamp"
	}
	if flags&4 != 0 {
		s += " sack-perm"
	}
	w.say("%s", s)
	return a.err == nil && flags&^0xf == 0
}

// tproxy takes "tproxy ip to 127.0.0.1:50080".
func (w *ruleText) tproxy(e *schema.Expr) bool {
	if len(e.Opaque) > 0 {
		return false
	}
	s := "tproxy"
	if w.table.Family == "inet" && e.Family != "unspec" {
		s += " " + e.Family
	}
	addr := ""
	if e.SReg != 0 {
		c := w.at(e.SReg)
		if !isAddr(c) {
			return false
		}
		if addr = addrText(c.data); len(c.data) == 16 {
			addr = "[" + addr + "]"
		}
	}
	ports, ok := w.natPorts(e.SReg2, 0)
	w.say("%s to %s%s", s, addr, ports)
	return ok
}

// send takes dup and fwd: a link, an address, or both.
func (w *ruleText) send(e *schema.Expr) bool {
	if len(e.Opaque) > 0 {
		return false
	}
	link := ""
	if d := w.at(e.SReg2); e.SReg2 != 0 {
		var ok bool
		if link, ok = w.linkOperand(d); !ok {
			return false
		}
	}
	a := w.at(e.SReg)
	switch {
	case e.SReg == 0:
		w.say("%s to %s", e.Name, link)
		return e.SReg2 != 0
	case !isAddr(a):
		link, ok := w.linkOperand(a)
		w.say("%s to %s", e.Name, link)
		return ok && e.SReg2 == 0 && e.Name == "dup" && w.table.Family == "netdev"
	}
	family := ""
	if e.Name == "fwd" {
		family = " " + e.Family
	}
	if w.table.Family == "netdev" && e.Name == "dup" {
		return false
	}
	s := fmt.Sprintf("%s%s to %s", e.Name, family, addrText(a.data))
	if link != "" {
		s += " device " + link
	}
	w.say("%s", s)
	return true
}

// linkOperand is a link by its index, or the one that a register holds.
func (w *ruleText) linkOperand(c *cell) (string, bool) {
	switch {
	case c == nil:
		return "", false
	case len(c.data) == 4:
		return w.value(typeIfIndex, c.data, false)
	case c.load != nil && c.load.Name == "meta" && (c.load.Key == "iif" || c.load.Key == "oif"):
		c.use()
		return c.load.Key, true
	}
	return "", false
}

// payloadWrite takes "ip saddr set …", "ip dscp set …".
func (w *ruleText) payloadWrite(e *schema.Expr) bool {
	c := w.at(e.SReg)
	if c == nil || len(e.Opaque) > 0 {
		return false
	}
	target := schema.Expr{Name: "payload", Base: e.Base, Offset: e.Offset, Len: e.Len}
	plain := &cell{load: &target}
	value := c.data
	if c.load != nil { // what surrounds the field is read, and written back
		if c.load.Name != "payload" || c.load.Base != e.Base || c.load.Offset != e.Offset || len(c.mask) != int(e.Len) || len(c.xor) != len(c.mask) {
			return false
		}
		c.use()
		plain.mask = make([]byte, len(c.mask))
		for i := range c.mask {
			plain.mask[i] = ^c.mask[i]
		}
		value = c.xor
	}
	if len(value) != int(e.Len) {
		return false
	}
	w.raw = c.load == nil
	f, ok := w.field(plain)
	w.raw = false
	if !ok || f.mask != nil || f.prefix != 0 {
		return false
	}
	v, ok := w.value(f.typ, f.unshift(value), true)
	w.say("%s set %s", f.text, v)
	return ok
}

// write takes "meta KEY set …" and "ct KEY set …".
func (w *ruleText) write(e *schema.Expr) bool {
	c := w.at(e.SReg)
	typ, big, ok := w.keyType(e)
	if c == nil || !ok || len(e.Opaque) > 0 {
		return false
	}
	if e.Name == "meta" && e.Key == "priority" {
		typ = typeClassID
	}
	var v string
	switch {
	case c.text != "":
		c.use()
		v = c.text
	case c.data != nil:
		v, ok = w.value(typ, c.data, big)
	case c.mask != nil:
		v, ok = w.bits(c, typ)
	default:
		var f field
		f, ok = w.field(c)
		v = f.text
	}
	if !ok {
		return false
	}
	w.say("%s set %s", w.keyText(e), v)
	return true
}

// bits writes "meta mark | 0x10" and "meta mark & 0xf0".
func (w *ruleText) bits(c *cell, typ uint32) (string, bool) {
	plain := *c
	plain.mask, plain.xor = nil, nil
	f, ok := w.field(&plain)
	if !ok || len(c.mask) != 4 || len(c.xor) != 4 {
		return "", false
	}
	m, x := hostU32(c.mask), hostU32(c.xor)
	op, operand := "&", c.mask
	switch {
	case x != 0 && x&m == 0 && m != ^x: // bits cleared, and some of them set
		clearing, okC := w.value(typ, binary.NativeEndian.AppendUint32(nil, m|x), false)
		setting, okS := w.value(typ, c.xor, false)
		return fmt.Sprintf("%s & %s | %s", f.text, clearing, setting), okC && okS
	case x == 0:
	case m == ^x:
		op, operand = "|", c.xor
	case m == 1<<32-1:
		op, operand = "^", c.xor
	default:
		return "", false
	}
	v, ok := w.value(typ, operand, false)
	return fmt.Sprintf("%s %s %s", f.text, op, v), ok
}
