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

// nft writes a rule in the syntax of nft(8). ok is false for one it cannot write.
func (p *printer) nft(r *schema.Rule) (text string, ok bool) {
	if len(p.lowered[r]) > 0 {
		return "", false
	}
	w := p.scratch
	if w == nil {
		w = &ruleText{}
	}
	w.reset(p, r.Exprs)
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
	w.stmts = slices.DeleteFunc(w.stmts, func(s string) bool { return s == "" })
	return strings.Join(w.stmts, " "), true
}

// reset makes ready for a rule.
func (w *ruleText) reset(p *printer, exprs []schema.Expr) {
	w.printer, w.exprs, w.i = p, exprs, 0
	w.regs = [20]*cell{}
	w.stmts, w.loads, w.usedCells, w.usedFlags = w.stmts[:0], w.loads[:0], 0, 0
	w.raw, w.l3, w.l4, w.icmp = false, p.table.Family, -1, -1
	w.l2dep, w.l3dep, w.l4dep, w.icmpdep = -1, -1, -1, -1
}

// newCell is &c, out of a store for as many as most rules need.
func (w *ruleText) newCell(c cell) *cell {
	if w.usedCells == len(w.store0) {
		n := new(cell)
		*n = c
		return n
	}
	w.store0[w.usedCells] = c
	w.usedCells++
	return &w.store0[w.usedCells-1]
}

func (w *ruleText) newFlag() *bool {
	if w.usedFlags == len(w.flags0) {
		return new(bool)
	}
	w.flags0[w.usedFlags] = false
	w.usedFlags++
	return &w.flags0[w.usedFlags-1]
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
	l3                   string
	l4                   int
	raw                  bool // say what has no name by its place
	icmp                 int  // the type of ICMP, -1 when not known
	l2dep, l3dep, l4dep  int
	icmpdep              int
	loads                []*bool
	store0               [32]cell
	flags0               [32]bool
	usedCells, usedFlags int // how many of them are in use
}

// cell is what a register holds.
type cell struct {
	load   *schema.Expr
	mask   []byte // of a bitwise, with xor
	xor    []byte
	text   string // of a map's result
	typ    uint32 // its type
	data   []byte // of an immediate
	hashed string // what a hash is made of
	joined bool   // the result of the map is a concatenation
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
		c.used = w.newFlag()
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
	case "exthdr":
		if e.DReg == 0 && e.Op == "tcpopt" && len(e.Opaque) == 0 {
			name, _ := optionFields(e.Type)
			w.say("reset tcp option %s", name)
			return name != ""
		}
		return len(e.Opaque) == 0 && w.store(e.DReg, w.newCell(cell{load: e}))
	case "payload", "rt", "fib", "socket", "numgen":
		return len(e.Opaque) == 0 && w.store(e.DReg, w.newCell(cell{load: e}))
	case "hash":
		return w.hash(e)
	case "payload_w":
		return w.payloadWrite(e)
	case "meta", "ct":
		if e.Write {
			return w.write(e)
		}
		return len(e.Opaque) == 0 && w.store(e.DReg, w.newCell(cell{load: e}))
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
			return w.store(e.DReg, w.newCell(cell{data: e.Data}))
		}
		w.stmts = append(w.stmts, verdictText(e.Verdict))
		return true
	}
	return w.statement(e)
}

func (w *ruleText) byteorder(e *schema.Expr) bool {
	c := w.at(e.SReg)
	if c == nil || c.load == nil || c.mask != nil || e.Op != "hton" || len(e.Opaque) > 0 || e.Size != 4 && e.Size != 2 && e.Size != 8 {
		return false
	}
	n := w.newCell(*c)
	n.swapped = !n.swapped
	return w.store(e.DReg, n)
}

func (w *ruleText) bitwise(e *schema.Expr) bool {
	c := w.at(e.SReg)
	if c == nil || c.load == nil || c.mask != nil || e.Op != "bool" || len(e.Opaque) > 0 {
		return false
	}
	n := w.newCell(*c)
	n.mask, n.xor = e.Data, e.Data2
	return w.store(e.DReg, n)
}

// statement takes what neither loads nor compares.
func (w *ruleText) statement(e *schema.Expr) bool {
	switch e.Name {
	case "counter", "notrack":
		w.stmts = append(w.stmts, e.Name)
	case "log", "limit", "quota":
		w.stmts = append(w.stmts, e.Text)
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
	case "synproxy":
		return w.synproxy(e)
	case "tproxy":
		return w.tproxy(e)
	case "dup", "fwd":
		return w.send(e)
	default:
		return false
	}
	return true
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
