package trace

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/vmnet/vmnet/schema"
)

// table, chain and rule are their schema namesakes made ready to run: names resolved, expressions as small ops.
type table struct {
	t      *schema.Table
	ref    schema.Ref
	list   []*chain
	chains map[string]*chain
	sets   map[string]*set
	usesCT bool
	// looksAtMACs says that a rule reads link headers.
	looksAtMACs bool
}

type chain struct {
	t     *table
	c     *schema.Chain
	rules []rule
	ops   []op
	// writes and reads say whether a rule of this chain, or of one it leads to, changes what other base chains may look
	// at (marks, tracking, bytes of the packet), or looks at such.
	writes, reads bool
	drops         bool // a rule can end the packet
	// rewrites says that one of them writes into packets, or does with them what nobody can foresee.
	rewrites bool
	visited  *chain // the root that spread came from last
	indexing sync.Once
	index    *index // once asked for
}

type rule struct {
	r        *schema.Rule
	from, to int // in chain.ops
}

type opcode uint8

const (
	opMaybe      opcode = iota // a match nobody can foresee
	opPayload                  // loads
	opMeta                     //
	opCT                       //
	opFIB                      //
	opRT                       //
	opExthdr                   //
	opForeseen                 // a load whose value is unknown, and which may fail
	opImm                      //
	opBitwise                  //
	opShift                    //
	opMix                      // bitwise of two registers
	opOrder                    // byteorder
	opCmp                      // matches
	opRange                    //
	opLookup                   //
	opIn                       //
	opAny                      // alternatives
	opFlow                     // a connection is handed to a flow table
	opVerdict                  // effects
	opReject                   //
	opMetaSet                  //
	opCTSet                    //
	opPayloadW                 //
	opNotrack                  //
	opNAT                      //
	opMasq                     //
	opRedir                    //
	opNetmap                   //
	opHops                     // TTL and HL
	opBlurMark                 // a target that writes marks in a way not understood
	opUnmodelled               // an effect nobody can foresee
	opBreak                    // never matches
)

// compare operations of cmp and range.
const (
	cmpEq = iota
	cmpNeq
	cmpLt
	cmpLte
	cmpGt
	cmpGte
)

type op struct {
	code         opcode
	cmp          uint8
	neg          bool
	dreg, sreg   uint8 // offsets in bytes into the registers
	sreg2, sreg3 uint8
	sreg4        uint8
	has          uint8 // which of sreg..sreg4 are used: bits 0 to 3
	len          uint8
	base, off    uint32
	data, data2  []byte
	set          *set
	chain        *chain
	any          [][]op // of opAny
	e            *schema.Expr
}

const regBytes = 64 // NFT_REG32_COUNT words

// reg gives the offset of a register in bytes; ok is false for the verdict register and for numbers that do not exist.
func reg(n uint32) (off uint8, ok bool) {
	switch {
	case n >= 1 && n <= 4:
		return uint8(n-1) * 16, true
	case n >= 8 && n <= 23:
		return uint8(n-8) * 4, true
	}
	return 0, false
}

func compileTable(t *schema.Table) *table {
	ct := &table{t: t, ref: t.Ref(), chains: map[string]*chain{}, sets: map[string]*set{}}
	for _, c := range t.Chains {
		cc := &chain{t: ct, c: c}
		ct.chains[c.Name] = cc
		ct.list = append(ct.list, cc)
	}
	for _, s := range t.Sets {
		ct.sets[s.Name] = compileSet(ct, s)
	}
	for _, c := range ct.list {
		c.compile()
	}
	for _, c := range ct.list {
		c.spread(c)
	}
	return ct
}

// compile translates the rules of a chain.
func (c *chain) compile() {
	n := 0
	for _, r := range c.c.Rules {
		n += len(r.Exprs)
	}
	c.ops = make([]op, 0, n)
	c.rules = make([]rule, len(c.c.Rules))
	for i, r := range c.c.Rules {
		from := len(c.ops)
		for k := range r.Exprs {
			if o, ok := c.t.compileExpr(&r.Exprs[k]); ok {
				c.ops = append(c.ops, o)
			}
		}
		c.rules[i] = rule{r, from, len(c.ops)}
	}
}

// spread finds what a chain and those it leads to read and write.
func (c *chain) spread(root *chain) {
	if c.visited == root {
		return
	}
	c.visited = root
	c.spreadOps(root, c.ops)
}

func (c *chain) spreadOps(root *chain, ops []op) {
	for i := range ops {
		o := &ops[i]
		for _, alternative := range o.any {
			c.spreadOps(root, alternative)
		}
		root.rewrites = root.rewrites || o.code == opPayloadW || o.code == opHops || o.code == opUnmodelled
		switch o.code {
		case opMetaSet, opCTSet, opPayloadW, opNotrack, opHops, opBlurMark:
			root.writes = true
		case opUnmodelled:
			root.writes, root.drops = true, true
		case opReject:
			root.drops = true
		case opVerdict:
			root.drops = root.drops || o.e.Verdict.Kind == "drop"
		case opCT:
			root.reads, c.t.usesCT = true, true
		case opMeta:
			root.reads = root.reads || o.e.Key == "mark"
		case opMaybe:
			root.reads = true
		case opFlow:
			root.reads, c.t.usesCT = true, true
		case opPayload:
			c.t.looksAtMACs = c.t.looksAtMACs || o.base == 0 && o.off < 12
		}
		if o.chain != nil {
			o.chain.spread(root)
		}
		if o.set != nil {
			root.drops = root.drops || o.set.vmap
			root.rewrites = root.rewrites || o.set.queues
			for _, v := range o.set.targets {
				v.spread(root)
			}
		}
	}
}

// harmless are expressions that end in nothing a packet's way depends on.
var harmless = []string{
	"counter", "log", "last", "trace", "dup", "exthdr_w", "offload",
}

// harmlessTargets are targets of iptables without a verdict whose writes the image does not know anyway (iptables-extensions(8)).
var harmlessTargets = []string{
	"LOG", "NFLOG", "ULOG", "TRACE", "CHECKSUM", "TCPMSS", "CLASSIFY", "AUDIT", "LED",
	"IDLETIMER", "RATEEST", "SECMARK", "CONNSECMARK", "TCPOPTSTRIP", "TEE", "SET", "ACCOUNT", "DNETMAP_LOG",
}

// compileExpr translates one expression; ok is false for one that does nothing.
func (t *table) compileExpr(e *schema.Expr) (op, bool) {
	o := op{e: e}
	if slices.Contains(harmless, e.Name) {
		return o, false
	}
	if len(e.Opaque) > 0 && e.Name != "xtmatch" && e.Name != "xttarget" && e.Name != "objref" {
		return t.opaque(o)
	}
	var ok bool
	o.dreg, ok = reg(e.DReg)
	hasD := ok
	for i, r := range []uint32{e.SReg, e.SReg2, e.SReg3, e.SReg4} {
		off, ok := reg(r)
		if !ok {
			continue
		}
		o.has |= 1 << i
		*[]*uint8{&o.sreg, &o.sreg2, &o.sreg3, &o.sreg4}[i] = off
	}
	o.len, o.data, o.data2 = uint8(min(e.Len, 255)), e.Data, e.Data2
	t.shape(&o, e, hasD)
	if o.code == opMaybe && harmlessMatch(e) {
		return o, false
	}
	if o.code == opUnmodelled && e.Name == "xttarget" && slices.Contains(harmlessTargets, e.Key) {
		return o, false
	}
	if o.code == opUnmodelled && e.Name == "objref" && harmlessObject(e.Type) {
		return o, false
	}
	return o, true
}

// opaque is an expression the reader kept without understanding it: a statement with an unknown effect, or a match.
func (t *table) opaque(o op) (op, bool) {
	switch o.e.Name {
	case "limit", "quota", "connlimit", "dynset", "socket", "osf", "xfrm", "tunnel", "inner", "numgen", "hash", "time", "cgroup":
		return o, t.shapeForeseen(&o)
	}
	o.code = opUnmodelled
	return o, true
}

func (t *table) shapeForeseen(o *op) bool {
	d, ok := reg(o.e.DReg)
	o.code = opMaybe
	if ok {
		o.code, o.dreg, o.len = opForeseen, d, 16
	}
	return true
}

func harmlessMatch(e *schema.Expr) bool { return e.Name == "xtmatch" && e.Key == "comment" }

// harmlessObject tells objects that neither match nor stop: counter, helper, tunnel, timeout, secmark, expectation
// (NFT_OBJECT_* in nf_tables.h).
func harmlessObject(kind uint32) bool {
	switch kind {
	case 1, 3, 6, 7, 8, 9:
		return true
	}
	return false
}

// shape chooses the op of an expression by its name.
func (t *table) shape(o *op, e *schema.Expr, hasD bool) {
	need := func(code opcode, ok bool) {
		o.code = code
		if !ok {
			o.code = opMaybe
		}
	}
	switch e.Name {
	case "flow_offload":
		o.code = opFlow
	case "payload":
		t.shapePayload(o, e, hasD)
	case "payload_w":
		need(opPayloadW, o.has&1 != 0 && fits(o.sreg, e.Len))
		t.payloadBase(o, e)
	case "meta":
		switch {
		case e.Write || e.DReg == 0 && o.has&1 != 0:
			o.code = opMetaSet
		default:
			need(opMeta, hasD && fits(o.dreg, 16))
		}
	case "ct":
		switch {
		case (e.Write || e.DReg == 0 && o.has&1 != 0) && e.Key == "zone": // tells apart connections that are one here
			o.code = opUnmodelled
		case e.Write || e.DReg == 0 && o.has&1 != 0:
			o.code = opCTSet
		default:
			need(opCT, hasD && fits(o.dreg, 16))
		}
	case "fib":
		need(opFIB, hasD && fits(o.dreg, 16))
	case "rt":
		need(opRT, hasD && fits(o.dreg, 16))
	case "exthdr":
		if o.len = uint8(min(e.Len, 64)); o.len == 0 {
			o.len = 1
		}
		need(opExthdr, hasD && fits(o.dreg, uint32(o.len)))
	case "cmp":
		var ok bool
		o.cmp, ok = compareOp(e.Op)
		need(opCmp, ok && o.has&1 != 0 && fits(o.sreg, uint32(len(e.Data))) && len(e.Data) > 0)
	case "range":
		o.neg = e.Op == "neq"
		need(opRange, o.has&1 != 0 && len(e.Data) > 0 && len(e.Data) == len(e.Data2) && fits(o.sreg, uint32(len(e.Data))))
	case "bitwise":
		t.shapeBitwise(o, e, hasD)
	case "byteorder":
		ok := e.Size == 2 || e.Size == 4 || e.Size == 8
		need(opOrder, ok && hasD && o.has&1 != 0 && fits(o.sreg, e.Len) && fits(o.dreg, e.Len))
	case "lookup":
		t.shapeLookup(o, e, hasD)
	case "in":
		o.neg = e.Op == "neq"
		need(opIn, o.has&1 != 0 && fits(o.sreg, e.Len) && e.Len > 0 && e.Len <= regBytes)
	case "immediate":
		if e.Verdict != nil {
			t.shapeVerdict(o, e.Verdict)
			return
		}
		need(opImm, hasD && fits(o.dreg, uint32(len(e.Data))))
	default:
		t.shapeEffect(o, e)
	}
}

// shapeEffect handles what acts, and the matches nobody can foresee.
func (t *table) shapeEffect(o *op, e *schema.Expr) {
	switch e.Name {
	case "reject":
		o.code = opReject
	case "notrack":
		o.code = opNotrack
	case "nat":
		o.code = opNAT
	case "masq":
		o.code = opMasq
	case "redir":
		o.code = opRedir
	case "netmap":
		o.code = opNetmap
	case "hops":
		o.code = opHops
		if len(e.Data) != 1 {
			o.code = opUnmodelled
		}
	case "numgen", "hash", "socket", "osf", "xfrm", "tunnel", "inner", "limit", "quota", "connlimit", "dynset":
		t.shapeForeseen(o)
	case "xtmatch":
		if t.shapeForeseen(o); len(e.Any) > 0 {
			t.alternatives(o, e)
		}
	case "objref":
		o.code = opUnmodelled
		if o.has != 0 || e.Type == 2 || e.Type == 4 || e.Type == 5 { // quota, limit, connlimit, or by a map
			o.code = opMaybe
		}
	case "xttarget":
		switch e.Key {
		case "MARK", "CONNMARK", "HMARK":
			o.code = opBlurMark
		default:
			o.code = opUnmodelled
		}
	default:
		o.code = opUnmodelled
	}
}

func fits(off uint8, n uint32) bool { return n <= regBytes && uint32(off)+(n+3)&^3 <= regBytes }

func (t *table) payloadBase(o *op, e *schema.Expr) {
	o.off = e.Offset
	switch e.Base {
	case "link":
		o.base = 0
	case "network":
		o.base = 1
	case "transport":
		o.base = 2
	default:
		o.base = 3
	}
}

func (t *table) shapePayload(o *op, e *schema.Expr, hasD bool) {
	t.payloadBase(o, e)
	switch {
	case !hasD || !fits(o.dreg, e.Len) || e.Len == 0:
		o.code = opMaybe
	case o.base == 3:
		o.code = opForeseen
	default:
		o.code = opPayload
	}
}

func (t *table) shapeBitwise(o *op, e *schema.Expr, hasD bool) {
	ok := hasD && o.has&1 != 0 && fits(o.sreg, e.Len) && fits(o.dreg, e.Len) && e.Len > 0
	switch {
	case !ok:
		o.code = opMaybe
	case e.Op == "" || e.Op == "bool":
		o.code = opBitwise
		if len(e.Data) != int(e.Len) || len(e.Data2) != int(e.Len) && len(e.Data2) != 0 {
			o.code = opForeseen
		}
		if len(e.Data2) == 0 {
			o.data2 = make([]byte, e.Len)
		}
	case (e.Op == "lshift" || e.Op == "rshift") && len(e.Data) == 4:
		o.code, o.neg = opShift, e.Op == "rshift"
	case o.has&2 != 0 && fits(o.sreg2, e.Len) && (e.Op == "and" || e.Op == "or" || e.Op == "xor"):
		o.code = opMix
	default:
		o.code = opForeseen
	}
}

func (t *table) shapeLookup(o *op, e *schema.Expr, hasD bool) {
	o.neg = e.Op == "neq"
	o.set = t.sets[e.Set]
	switch {
	case o.set == nil || o.has&1 == 0 || !fits(o.sreg, uint32(o.set.keyLen)):
		o.code = opMaybe
		if hasD {
			o.code = opForeseen
		}
		if e.DReg == 0 && o.set != nil && o.set.vmap {
			o.code = opUnmodelled
		}
	case hasD && !fits(o.dreg, uint32(o.set.dataLen)):
		o.code = opMaybe
	default:
		o.code = opLookup
		if hasD {
			o.has |= 8
		}
	}
}

func (t *table) shapeVerdict(o *op, v *schema.Verdict) {
	o.code = opVerdict
	switch v.Kind {
	case "jump", "goto":
		if o.chain = t.chains[v.Chain]; o.chain == nil {
			o.code = opUnmodelled
		}
	case "accept", "drop", "return", "continue":
	default: // queue: a program decides
		o.code = opUnmodelled
	}
}

func compareOp(name string) (uint8, bool) {
	switch name {
	case "eq", "":
		return cmpEq, true
	case "neq":
		return cmpNeq, true
	case "lt":
		return cmpLt, true
	case "lte":
		return cmpLte, true
	case "gt":
		return cmpGt, true
	case "gte":
		return cmpGte, true
	}
	return 0, false
}

// set is a Set made ready to be asked.
type set struct {
	s       *schema.Set
	keyLen  int
	dataLen int
	fields  [][2]int // offset and length of each field of a concatenation
	exact   map[string]int
	sorted  []int // intervals that do not overlap, by start
	linear  []int // those that do, and intervals of concatenations
	all     int   // the catch-all element, -1 for none
	vmap    bool
	dynamic bool
	queues  bool // a verdict map that leads to a program
	// targets are the chains a verdict map leads to; elemChain the one of each element.
	targets   []*chain
	elemChain []*chain
}

func compileSet(t *table, s *schema.Set) *set {
	out := &set{s: s, all: -1, keyLen: int(min(s.KeyLen, 1<<16)), dataLen: int(min(s.DataLen, 1<<16)), exact: map[string]int{}}
	off := 0
	if len(s.Fields) > 1 {
		for _, f := range s.Fields {
			n := int(min(f, 1<<16))
			out.fields = append(out.fields, [2]int{off, n})
			off += (n + 3) &^ 3
		}
		out.keyLen = max(out.keyLen, off)
	}
	out.vmap = s.DataType == schema.VerdictType
	out.dynamic = s.Flags&schema.SetEval != 0
	out.elemChain = make([]*chain, len(s.Elements))
	for i := range s.Elements {
		out.add(t, i, &s.Elements[i])
	}
	if out.dataLen == 0 {
		for _, e := range s.Elements {
			out.dataLen = max(out.dataLen, len(e.Data))
		}
	}
	out.sortIntervals()
	return out
}

func (s *set) add(t *table, i int, e *schema.Element) {
	if v := e.Verdict; v != nil {
		s.vmap, s.queues = true, s.queues || v.Kind == "queue"
		if c := t.chains[v.Chain]; c != nil {
			s.elemChain[i] = c
			s.targets = append(s.targets, c)
		}
	}
	if e.CatchAll {
		s.all = i
		return
	}
	if s.keyLen == 0 {
		s.keyLen = len(e.Key)
	}
	if len(e.Key) > s.keyLen {
		return // cannot be met
	}
	switch {
	case len(e.KeyEnd) == 0 || bytes.Equal(e.Key, e.KeyEnd):
		k := make([]byte, s.keyLen)
		copy(k, e.Key)
		s.exact[string(k)] = i
	case len(s.fields) > 0 || len(e.KeyEnd) != len(e.Key):
		s.linear = append(s.linear, i)
	default:
		s.sorted = append(s.sorted, i)
	}
}

// sortIntervals prepares binary search; where intervals overlap, which the kernel forbids, each is looked at.
func (s *set) sortIntervals() {
	el := s.s.Elements
	slices.SortFunc(s.sorted, func(a, b int) int { return bytes.Compare(el[a].Key, el[b].Key) })
	for i := 1; i < len(s.sorted); i++ {
		if bytes.Compare(el[s.sorted[i-1]].KeyEnd, el[s.sorted[i]].Key) >= 0 {
			s.linear = append(s.linear, s.sorted...)
			s.sorted = nil
			return
		}
	}
}

// newBase makes the base chain of a chain that has a hook, else nil.
func newBase(t *table, c *chain) *base {
	if c.c.Hook == "" {
		return nil
	}
	b := &base{c: c, stage: c.c.Hook, drop: c.c.Policy == "drop"}
	b.nat = c.c.Type == "nat" || t.t.Legacy && t.t.Name == "nat"
	b.route = c.c.Type == "route" || t.t.Legacy && t.t.Name == "mangle"
	if b.nat {
		b.stage = "nat"
	}
	b.id = t.t.Family + " " + t.t.Name + " " + c.c.Name
	if t.t.Legacy {
		b.id = "legacy " + b.id
	}
	b.id = strings.TrimSpace(b.id)
	return b
}
