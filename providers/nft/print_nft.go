package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// nft writes a rule in the syntax of nft(8). ok is false for one it cannot write.
func (p *printer) nft(r *schema.Rule) (text string, ok bool) {
	if len(p.lowered[r]) > 0 {
		return "", false
	}
	w := &ruleText{printer: p, exprs: r.Exprs, l3: p.table.Family, l4: -1, l2dep: -1, l3dep: -1, l4dep: -1}
	for w.i < len(w.exprs) {
		e := &w.exprs[w.i]
		w.i++
		if !w.take(e) {
			return "", false
		}
	}
	if !w.allUsed() {
		return "", false
	}
	if r.Comment != "" {
		w.say("comment %s", quoted(r.Comment))
	}
	return strings.Join(slices.DeleteFunc(w.stmts, func(s string) bool { return s == "" }), " "), true
}

// quoted writes a string as nft does: nft has no escapes.
func quoted(s string) string { return `"` + s + `"` }

// ruleText rebuilds the statements of one rule from its bytecode: what is loaded into a register is kept until something
// compares it, looks it up or writes it.
type ruleText struct {
	*printer
	exprs []schema.Expr
	i     int
	regs  [20]*cell
	stmts []string
	// l3 is the protocol of the network header ("ip", "ip6", "arp", or the family when that says nothing), l4 that of the
	// transport header, -1 when not known. l3dep and l4dep are the statements that established them and that nft leaves out
	// when a field of the header follows.
	l3                  string
	l4                  int
	l2dep, l3dep, l4dep int
	loads               []*bool
}

// cell is what a register holds.
type cell struct {
	load *schema.Expr
	mask []byte // of a bitwise, with xor
	xor  []byte
	text string // of a map's result
	typ  uint32 // its type
	data []byte // of an immediate
	// swapped says that a number was turned to network order.
	swapped bool
	// used says that something was done with it. A load that nothing uses still ends the rule when it fails, and nft has no
	// words for that.
	used *bool
}

func (w *ruleText) say(format string, args ...any) {
	w.stmts = append(w.stmts, fmt.Sprintf(format, args...))
}

func (w *ruleText) store(reg uint32, c *cell) bool {
	i := registerWord(reg)
	if i < 0 || i >= len(w.regs) {
		return false
	}
	if c.used == nil && c.data == nil {
		c.used = new(bool)
		w.loads = append(w.loads, c.used)
	}
	w.regs[i] = c
	return true
}

// allUsed tells whether every load was printed.
func (w *ruleText) allUsed() bool {
	for _, used := range w.loads {
		if !*used {
			return false
		}
	}
	return true
}

// use marks what a register holds as printed.
func (c *cell) use() {
	if c != nil && c.used != nil {
		*c.used = true
	}
}

func (w *ruleText) at(reg uint32) *cell {
	i := registerWord(reg)
	if i < 0 || i >= len(w.regs) {
		return nil
	}
	return w.regs[i]
}

func (w *ruleText) take(e *schema.Expr) bool {
	switch e.Name {
	case "payload", "rt", "fib", "socket", "exthdr", "numgen":
		return len(e.Opaque) == 0 && w.store(e.DReg, &cell{load: e})
	case "meta", "ct":
		if e.Write {
			return w.write(e)
		}
		return len(e.Opaque) == 0 && w.store(e.DReg, &cell{load: e})
	case "bitwise":
		return w.bitwise(e)
	case "byteorder":
		return w.byteorder(e)
	case "cmp", "range":
		return w.compare(e)
	case "lookup":
		return w.lookup(e)
	case "immediate":
		if e.Verdict == nil {
			return w.store(e.DReg, &cell{data: e.Data})
		}
		w.say("%s", verdictText(e.Verdict))
		return true
	}
	return w.statement(e)
}

func (w *ruleText) byteorder(e *schema.Expr) bool {
	c := w.at(e.SReg)
	if c == nil || c.load == nil || c.mask != nil || e.Op != "hton" || len(e.Opaque) > 0 || e.Size != 4 && e.Size != 2 {
		return false
	}
	n := *c
	n.swapped = !n.swapped
	return w.store(e.DReg, &n)
}

func (w *ruleText) bitwise(e *schema.Expr) bool {
	c := w.at(e.SReg)
	if c == nil || c.load == nil || c.mask != nil || e.Op != "bool" || len(e.Opaque) > 0 {
		return false
	}
	n := *c
	n.mask, n.xor = e.Data, e.Data2
	return w.store(e.DReg, &n)
}

// statement takes what neither loads nor compares.
func (w *ruleText) statement(e *schema.Expr) bool {
	switch e.Name {
	case "counter", "notrack":
		w.say("%s", e.Name)
	case "log", "limit", "quota":
		w.say("%s", e.Text)
	case "connlimit":
		over := ""
		if e.Flags&1 != 0 {
			over = "over "
		}
		w.say("ct count %s%d", over, e.Size)
	case "objref":
		return w.objref(e)
	case "reject":
		return w.reject(e)
	case "masq", "redir", "nat":
		return w.nat(e)
	case "dynset":
		return w.dynset(e)
	case "exthdr_w":
		return w.setMSS(e)
	case "flow_offload":
		w.say("flow add @%s", e.Key)
	default:
		return false
	}
	return true
}

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
	kinds := map[uint32]string{1: "counter name", 2: "quota name", 3: "ct helper set", 4: "limit name"}
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

// dropL2, dropL3 and dropL4 leave out the statement that a field implies.
func (w *ruleText) dropL2() { w.drop(&w.l2dep) }

func (w *ruleText) dropL3() { w.drop(&w.l3dep) }

func (w *ruleText) dropL4() { w.drop(&w.l4dep) }

func (w *ruleText) drop(dep *int) {
	if *dep >= 0 {
		w.stmts[*dep] = ""
		*dep = -1
	}
}

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
	return op == "eq" && to == nil && c.mask == nil && !c.swapped && w.split(c.load, from)
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
	if f.mask != nil {
		return to == nil && w.masked(f, op, from)
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
		rhs, ok = w.value(f.typ, from, f.big)
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
	}
	return w.value(f.typ, b, f.big)
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

// flags says "tcp flags syn / syn,rst", "ct state new", "ct status ! dnat".
func (w *ruleText) flags(f field, op string, v []byte, zero bool) bool {
	list, ok := w.flagList(f.typ, f.mask)
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
	set, ok := w.flagList(f.typ, v)
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

func (w *ruleText) flagList(typ uint32, b []byte) (string, bool) {
	n := hostU32(b)
	var names []string
	for _, f := range flagNames(typ) {
		if n&f.bit != 0 {
			names = append(names, f.name)
			n &^= f.bit
		}
	}
	return strings.Join(names, ","), n == 0 && len(names) > 0
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
		l.Name == "payload" && l.Base == "link" && l.Offset == 12:
		w.l3dep = len(w.stmts) - 1
	case l.Name == "meta" && l.Key == "l4proto":
		w.l4dep = len(w.stmts) - 1
	case w.isProtocolField(l):
		w.l4dep = len(w.stmts) - 1
	}
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

// nat takes masquerade, redirect, snat and dnat.
func (w *ruleText) nat(e *schema.Expr) bool {
	if len(e.Opaque) > 0 {
		return false
	}
	var verb, to string
	var ok bool
	switch e.Name {
	case "nat":
		verb = e.Op
		if w.table.Family == "inet" {
			verb += " " + e.Family
		}
		to, ok = w.natTarget(e)
	case "masq":
		verb = "masquerade"
		to, ok = w.natPorts(e.SReg, e.SReg2)
	case "redir":
		verb = "redirect"
		to, ok = w.natPorts(e.SReg, e.SReg2)
	}
	if !ok {
		return false
	}
	s := verb
	if to != "" {
		s += " to " + to
	}
	flags, ok := natFlags(e.Flags)
	if !ok {
		return false
	}
	w.say("%s", s+flags)
	return true
}

// natFlags are NF_NAT_RANGE_*; the two lowest say what the registers say too.
func natFlags(n uint32) (string, bool) {
	var names []string
	for _, f := range []struct {
		bit  uint32
		name string
	}{{4, "random"}, {16, "fully-random"}, {8, "persistent"}} {
		if n&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	if n&^(1|2|4|8|16) != 0 {
		return "", false
	}
	if names == nil {
		return "", true
	}
	return " " + strings.Join(names, ","), true
}

func (w *ruleText) natTarget(e *schema.Expr) (string, bool) {
	if c := w.at(e.SReg); e.SReg != 0 && c != nil && c.text != "" {
		c.use()
		// A map gives the address, or address and port in the registers that follow.
		second := registerWord(e.SReg) + 1
		if e.Family == "ip6" {
			second += 3
		}
		return c.text, (e.SReg2 == 0 || e.SReg2 == e.SReg) && (e.SReg3 == 0 || registerWord(e.SReg3) == second) && (e.SReg4 == 0 || e.SReg4 == e.SReg3)
	}
	var s string
	if e.SReg != 0 {
		from, to := w.at(e.SReg), w.at(e.SReg)
		if e.SReg2 != 0 {
			to = w.at(e.SReg2)
		}
		if !isAddr(from) || !isAddr(to) {
			return "", false
		}
		s = addrText(from.data)
		if len(from.data) == 16 && e.SReg3 != 0 {
			s = "[" + s + "]"
		}
		if !bytes.Equal(from.data, to.data) {
			if len(from.data) == 16 {
				return "", false
			}
			s += "-" + addrText(to.data)
		}
	}
	ports, ok := w.natPorts(e.SReg3, e.SReg4)
	return s + ports, ok
}

func isAddr(c *cell) bool { return c != nil && (len(c.data) == 4 || len(c.data) == 16) }

func (w *ruleText) natPorts(from, to uint32) (string, bool) {
	if from == 0 {
		return "", to == 0
	}
	a, b := w.at(from), w.at(from)
	if to != 0 {
		b = w.at(to)
	}
	if a == nil || b == nil || len(a.data) != 2 || len(b.data) != 2 {
		return "", false
	}
	s := fmt.Sprintf(":%d", binary.BigEndian.Uint16(a.data))
	if !bytes.Equal(a.data, b.data) {
		s += fmt.Sprintf("-%d", binary.BigEndian.Uint16(b.data))
	}
	return s, true
}
