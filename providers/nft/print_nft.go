package nft

import (
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
