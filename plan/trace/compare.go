package trace

import (
	"fmt"
	"maps"
	"slices"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// comparison is one stage of two states, in one space.
type comparison struct {
	o        *opener
	st       *stage
	x        *space
	a        *anyPacket
	named    map[namesKey]bdd.Node
	writes   bool // a rule changes what later ones look at
	possible bdd.Node
	fixed    map[int]bool // bits of the packet that the region settles
	// turned makes the packets answers: what is the source of the one is the destination of the other.
	turned bool
	// forged are the packets found that are, see forgeries.
	forged bdd.Node
	// followed says that the stage does not differ: packets of another come by.
	followed bool
}

func (o *opener) comparison(st *stage) *comparison {
	c := &comparison{o: o, st: st, forged: bdd.False}
	c.a = newAnyPacket(o.space, o.names(st))
	c.x = c.a.x
	for side := range 2 {
		for _, b := range st.chains(side) {
			c.writes = c.writes || b.c.writes
		}
	}
	r := c.sweep(o.before, nil)
	c.possible = c.valid(r)
	return c
}

// walker is that of a side.
func (o *opener) walker(side int) *Walker { return []*Walker{o.before, o.after}[side] }

// sweep makes ready to run a side's rules over every packet; of fixed variables the values are put in.
func (c *comparison) sweep(w *Walker, fixed map[int]bool) *sweep {
	a := c.a
	r := newSweep(w, a.x)
	r.steps, r.hook, r.inBridge, r.unknowns, r.softs, r.nextSoft = a.steps, c.st.hook, c.st.bridged, a.unknowns, a.softs, a.nextSoft
	r.name = w.contentOf
	r.p = a.parcel(w, c.st.hook, c.st.v6, c.st.bridged)
	p := &r.p
	if c.st.arp {
		p.anyARP()
	}
	if c.turned {
		p.turn()
	}
	switch {
	case c.st.dev == "":
	case c.st.hook == prerouting:
		p.inAny, p.in, p.ct, p.has, p.answer = nil, w.device(c.st.dev), nil, bdd.False, bdd.False
	default:
		p.inAny, p.outAny, p.out = nil, nil, w.device(c.st.dev)
	}
	p.settle(fixed)
	return r
}

// turn makes of a packet that may be any its answer.
func (p *parcel) turn() {
	p.src().freeAll(varDst)
	p.dst().freeAll(varSrc)
	p.sport().freeAll(varDPort)
	p.dport().freeAll(varSPort)
	if p.inAny != nil && p.outAny != nil {
		p.inAny.first, p.outAny.first = p.outAny.first, p.inAny.first
	}
}

// settle puts values in for variables of the packet.
func (p *parcel) settle(fixed map[int]bool) {
	if len(fixed) == 0 {
		return
	}
	for _, c := range []cells{p.image, p.layer4, p.mark, p.kind} {
		for i := range 8 * c.len() {
			if c.unk[i/8]&(0x80>>(i%8)) == 0 || c.n[i] >= 0 {
				continue
			}
			if v, ok := fixed[int(-c.n[i])-1]; ok {
				c.setBit(i, map[bool]bdd.Node{true: bdd.True, false: bdd.False}[v])
			}
		}
	}
	if p.layer4.known() {
		p.proto = p.layer4.b[0]
	}
	p.in, p.inAny = settled(p.in, p.inAny, fixed)
	p.out, p.outAny = settled(p.out, p.outAny, fixed)
}

// settled is the interface when all bits of its number are settled.
func settled(dev *device, alt *ifaces, fixed map[int]bool) (*device, *ifaces) {
	if alt == nil {
		return dev, nil
	}
	number, n := alt.number(), 0
	for i := range ifaceBits {
		n <<= 1
		if number.unk[i/8]&(0x80>>(i%8)) == 0 {
			continue
		}
		v, ok := fixed[alt.first+i]
		if !ok {
			return nil, alt
		}
		if v {
			n |= 1
		}
	}
	if n >= len(alt.devs) {
		return nil, alt
	}
	return alt.devs[n], nil
}

// valid keeps to packets that there can be: of one state, or of none where conntrack may not have seen them, and through one
// interface each.
func (c *comparison) valid(r *sweep) bdd.Node {
	x := c.x
	one, none := bdd.False, bdd.True
	for i := range stateBits {
		if i == 4 || i == 5 {
			continue
		}
		f := x.Var(varState + i)
		one = x.Or(x.Diff(one, f), x.And(none, f))
		none = x.Diff(none, f)
	}
	switch {
	case c.tracked(c.o.before, 0) && c.tracked(c.o.after, 1): // a rule says notrack, the packet does not
		one = x.Diff(one, x.Var(varState+bitUntracked))
	case c.st.bridged: // conntrack need not look at bridged packets
		one = x.Or(one, none)
	}
	var alts []*ifaces
	for _, f := range []*ifaces{r.p.inAny, r.p.outAny} {
		if f != nil {
			alts = append(alts, f)
			one = x.And(one, f.valid(x))
		}
	}
	// An interface in no list bears none of the names in it.
	name := newCells(16)
	r.fixed(name, "name of "+elsewhere.name)
	c.a.nextSoft = r.nextSoft
	for _, f := range alts {
		other := f.is(x, len(f.devs))
		for _, d := range f.devs {
			n := make([]byte, 16)
			copy(n, d.name)
			one = x.Diff(one, x.And(other, name.equal(x, n)))
		}
	}
	return one
}

// tracked is whether conntrack looks at packets within the stage: what comes before it sees no connection.
func (c *comparison) tracked(w *Walker, side int) bool {
	return slices.ContainsFunc(c.st.side[side], func(e entry) bool { return e.kind == entryTrack }) && (!c.st.bridged || w.bridgeTracks)
}

// outcome of a side: which packets leave the stage, and as what.
type leaving struct {
	passed bdd.Node
	p      parcel
	notrak bdd.Node
}

// run carries the packets of pc through the chains of a side.
func (c *comparison) run(side int, pc bdd.Node) leaving {
	w := c.o.walker(side)
	r := c.sweep(w, c.fixed)
	lost := &guesses{r: r}
	r.onEnd = lost.ended
	r.pc = c.x.And(pc, c.possible)
	seen := r.p
	tracked := c.tracked(w, side)
	if tracked {
		r.p.ct, r.p.has, r.p.answer, r.p.state = nil, bdd.False, bdd.False, [stateBits]bdd.Node{}
	}
	for _, e := range c.st.side[side] {
		switch {
		case r.pc == bdd.False:
		case e.kind == entryTrack && tracked:
			r.trackAny(seen)
		case e.kind != entryChain || !slices.Contains(c.st.chains(side), e.base):
		default:
			r.traverse(e.base)
		}
	}
	c.a.nextSoft, c.a.steps = r.nextSoft, r.steps
	return leaving{c.x.Or(r.pc, lost.all), r.p, r.p.state[bitUntracked]}
}

// trackAny is conntrack's look at packets that may have any state: those of which a rule said notrack have none.
func (r *sweep) trackAny(seen parcel) {
	not := r.p.state[bitUntracked]
	r.p.ct = seen.ct
	r.p.answer = seen.answer
	for i, f := range seen.state {
		r.p.state[i] = r.x.Diff(f, not)
	}
	r.p.state[bitUntracked] = not
	r.p.has = r.x.Diff(seen.has, not)
}

// guesses gathers packets whose fate is not known: whether they get through is a boolean for each rule that does not say.
type guesses struct {
	r   *sweep
	all bdd.Node
}

// undecided is a rule that does not say what becomes of packets.
type undecided struct {
	ref   schema.Ref
	chain string
	text  string
}

func (g *guesses) ended(pc bdd.Node, v Verdict, st station) {
	if v != Depends {
		return
	}
	text := st.text
	if st.r != nil {
		text = ruleText(st.r)
	}
	u := g.r.unknown(undecided{st.ref, st.chain, text})
	g.all = g.r.x.Or(g.all, g.r.x.And(pc, u))
}

// opened compares the two sides for the packets of pc: those that only after lets through, and those that both do but not
// alike, so that later hooks may decide otherwise.
func (c *comparison) opened(pc bdd.Node) bdd.Node {
	x := c.x
	if pc == bdd.False || x.Err() != nil {
		return bdd.False
	}
	c.fixed = x.literals(pc)
	was, is := c.run(0, pc), c.run(1, pc)
	opened := x.Diff(is.passed, was.passed)
	both := x.And(is.passed, was.passed)
	if both == bdd.False || !c.writes {
		return opened
	}
	unlike := x.Xor(was.notrak, is.notrak)
	for _, pair := range [][2]cells{{was.p.image, is.p.image}, {was.p.mark, is.p.mark}, {was.p.kind, is.p.kind}} {
		unlike = x.Or(unlike, pair[0].unlike(x, pair[1]))
	}
	if was.p.ct != nil && is.p.ct != nil {
		unlike = x.Or(unlike, x.And(was.p.has, was.p.ct.unlike(x, is.p.ct.cells)))
	}
	return x.Or(opened, x.And(both, unlike))
}

// translated gives the packets of pc that the chains of NAT do not do the same to: for which another rule sets up the mapping,
// or which they stop no more.
func (c *comparison) translated(d *differ, pc bdd.Node) bdd.Node {
	x := c.x
	if pc == bdd.False || x.Err() != nil {
		return bdd.False
	}
	c.fixed = x.literals(pc)
	was, passed := c.translations(d, 0, pc)
	is, passes := c.translations(d, 1, pc)
	out := x.Diff(passes, passed)
	for k, f := range was {
		out = x.Or(out, x.Xor(f, is[k]))
	}
	for k, f := range is {
		out = x.Or(out, x.Diff(f, was[k]))
	}
	return out
}

// translation is what a rule of NAT does, known by what it says: the same rule in both states does the same, if neither it
// nor a set it looks into was changed.
type translation struct {
	text string
	side int // of a rule that was; else 0
}

// translations gives the packets of pc that each rule of NAT translates first, and those that are not stopped.
func (c *comparison) translations(d *differ, side int, pc bdd.Node) (by map[translation]bdd.Node, passed bdd.Node) {
	r := c.sweep(c.o.walker(side), c.fixed)
	by = map[translation]bdd.Node{}
	lost := &guesses{r: r}
	r.onEnd = lost.ended
	r.onNAT = func(live bdd.Node) {
		k := translation{text: fmt.Sprintf("%+v", r.at.c.rules[r.at.i].r.Exprs)}
		if slices.Contains(d.rules, changed{r.at.c, r.at.i}) {
			k.side = 1 + side
		}
		by[k] = c.x.Or(by[k], live)
		passed = c.x.Or(passed, live)
	}
	r.pc = c.x.And(pc, c.possible)
	for _, b := range c.st.chains(side) {
		if r.pc != bdd.False {
			r.traverse(b)
		}
	}
	c.a.nextSoft, c.a.steps = r.nextSoft, r.steps
	return by, c.x.Or(passed, c.x.Or(r.pc, lost.all))
}

// unlike tells for which packets two runs of cells hold different values.
func (c cells) unlike(x *space, o cells) bdd.Node {
	f := bdd.False
	for i := range 8 * c.len() {
		m := byte(0x80) >> (i % 8)
		if c.unk[i/8]&m == o.unk[i/8]&m && (c.unk[i/8]&m == 0 && c.b[i/8]&m == o.b[i/8]&m || c.unk[i/8]&m != 0 && c.n[i] == o.n[i]) {
			continue
		}
		f = x.Or(f, x.Xor(c.bit(x.Space, i), o.bit(x.Space, i)))
	}
	return f
}

// apart is how many rules are looked at one by one, which costs less than together: what a rule settles about its packets
// decides nearly all the others at once.
const apart = 64

// regions are sets of packets outside of which both sides do the same.
func (c *comparison) regions(d *differ) []bdd.Node {
	switch {
	case d.whole || len(d.rules) > 0 && c.rewritten():
		return []bdd.Node{bdd.True}
	case len(d.rules) == 0:
		return nil
	}
	var each []bdd.Node
	for _, ru := range d.rules {
		each = append(each, c.x.Exists(c.x.And(c.match(ru), c.possible), c.volatile))
	}
	if len(each) <= apart {
		return each
	}
	all := bdd.False
	for _, m := range each {
		all = c.x.Or(all, m)
	}
	return []bdd.Node{all}
}

// volatile are the variables that say nothing of what a rule matches: what nobody can foresee, and what a rule before it may
// have written.
func (c *comparison) volatile(v int) bool {
	return v < varIn || v >= varSoft ||
		c.writes && (v >= varMark && v < varTuples || v >= varKind && v < varRest || v >= varState && v < varStatus)
}

// match is what a rule matches when nothing was written before, or more.
func (c *comparison) match(ru changed) bdd.Node {
	side := 0
	if slices.Contains(c.o.after.tables, ru.c.t) {
		side = 1
	}
	w := c.o.walker(side)
	tracked := c.tracked(w, side)
	r := c.sweep(w, nil)
	defer func() { c.a.nextSoft = r.nextSoft }()
	m := bdd.True
	rule := &ru.c.rules[ru.i]
	for k := rule.from; k < rule.to && m != bdd.False; k++ {
		o := &ru.c.ops[k]
		switch {
		case o.code >= opVerdict, o.code == opLookup && o.set.vmap && o.has&8 == 0:
			return m
		case tracked && o.contains(opCT): // the chain may stand before conntrack
			return bdd.True
		case o.code == opMaybe:
			continue
		}
		r.live = m
		m = c.x.And(m, r.match(o))
	}
	return m
}

// rewritten tells whether a rule of the stage may write into packets, so that a rule may match what did not look so.
func (c *comparison) rewritten() bool {
	for side := range 2 {
		for _, b := range c.st.chains(side) {
			for _, ch := range b.c.t.list {
				if b.c.writes && slices.ContainsFunc(ch.ops, func(o op) bool { return o.code >= opVerdict && !slices.Contains(leavesHeaders, o.code) }) {
					return true
				}
			}
		}
	}
	return false
}

// leavesHeaders are the effects that are none, or on what volatile holds: marks, the kind of packet, conntrack's state.
var leavesHeaders = []opcode{opVerdict, opReject, opMetaSet, opCTSet, opNotrack, opBlurMark, opNAT, opMasq, opRedir, opNetmap, opBreak}

// literals are the variables that have one value wherever a is true.
func (x *space) literals(a bdd.Node) map[int]bool {
	out := map[int]bool{}
	for _, v := range x.Support(a) {
		switch {
		case x.Restrict(a, v, true) == bdd.False:
			out[v] = false
		case x.Restrict(a, v, false) == bdd.False:
			out[v] = true
		}
	}
	return out
}

// inWords leaves of a set what there are words for: packets that some packet of it looks like.
func (c *comparison) inWords(set bdd.Node) bdd.Node { return c.only(c.aspects(), set) }

// only leaves of a set some aspects.
func (c *comparison) only(as []aspect, set bdd.Node) bdd.Node {
	return c.x.Exists(set, func(v int) bool {
		return !slices.ContainsFunc(as, func(a aspect) bool { return v >= a.first && v < a.first+a.bits })
	})
}

// aspects are those of the stage's packets, in the order of their variables.
func (c *comparison) aspects() []aspect {
	n := 32
	if c.st.v6 {
		n = 128
	}
	names := append(slices.Clone(c.a.names), anotherIface)
	var out []aspect
	if c.st.dev == "" && c.st.hook != output {
		out = append(out, aspect{aspectIface, "in", varIn, ifaceBits, names})
	}
	if c.st.dev == "" && c.st.hook != prerouting && c.st.hook != input {
		out = append(out, aspect{aspectIface, "out", varOut, ifaceBits, names})
	}
	if c.st.arp {
		return append(out, aspect{aspectAddr, "to", varDst, n, nil}, aspect{aspectAddr, "from", varSrc, n, nil})
	}
	return append(out, aspect{aspectProto, "proto", varProto, 8, nil}, aspect{aspectState, "ct state", varState, stateBits, nil},
		aspect{aspectAddr, "to", varDst, n, nil}, aspect{aspectPort, "dport", varDPort, 16, nil},
		aspect{aspectAddr, "from", varSrc, n, nil}, aspect{aspectPort, "sport", varSPort, 16, nil})
}

// fewLinks is how many interfaces are named whether or not a rule names them.
const fewLinks = 32

// names are the interfaces that rules, switches or wishes tell from others.
func (o *opener) names(st *stage) []string {
	seen := map[string]bool{}
	for side := range 2 {
		w := o.walker(side)
		for _, b := range st.chains(side) {
			if b.c.t.mentions(seen) {
				for n := range w.devices {
					seen[n] = true
				}
			}
		}
		for n, d := range w.devices {
			if len(w.devices) <= fewLinks || d.bridge && o.shownOtherwise(n) || st.hook == forward && d.forwarding >= 0 && d.forwarding != w.forward[0] {
				seen[n] = true
			}
		}
	}
	for _, a := range o.asked {
		for _, n := range slices.Concat(a.Box.IIF.List, a.Box.OIF.List) {
			seen[n] = true
		}
	}
	delete(seen, "")
	return slices.Sorted(maps.Keys(seen))
}

// shownOtherwise tells whether a bridge's packets are shown to IP in one state only.
func (o *opener) shownOtherwise(br string) bool {
	a, b := o.before.devices[br], o.after.devices[br]
	return a != nil && b != nil && (o.before.callsIP(a, false) != o.after.callsIP(b, false) || o.before.callsIP(a, true) != o.after.callsIP(b, true))
}

// mentions gathers the names of interfaces that the rules of a table look for; all is true when they look at more of an
// interface than its name, or ask the routing tables about it. A name that ends in "*" stands for those that begin so.
func (t *table) mentions(seen map[string]bool) (all bool) {
	for _, c := range t.list {
		for i := range c.rules {
			all = c.mentions(&c.rules[i], seen) || all
		}
	}
	return all
}

func (c *chain) mentions(ru *rule, seen map[string]bool) (all bool) {
	held := -1 // where in the registers a name lies
	for k := ru.from; k < ru.to; k++ {
		o := &c.ops[k]
		switch {
		case o.code == opFIB, o.code == opAny && o.contains(opFIB, opMeta):
			return true
		case o.code == opMeta:
			switch o.e.Key {
			case "iifname", "oifname":
				held = int(o.dreg)
			case "iif", "oif", "iifgroup", "oifgroup", "iifkind", "oifkind", "iiftype", "oiftype", "ibrname", "obrname", "physin", "physout":
				return true
			default:
				if int(o.dreg) == held {
					held = -1
				}
			}
		case held < 0:
		case int(o.dreg) == held && slices.Contains(loads, o.code):
			held = -1
		case o.code == opLookup:
			if at := held - int(o.sreg); at < 0 || at+16 > (o.set.keyLen+3)&^3 {
				continue
			}
			for _, e := range o.set.s.Elements {
				seen[nameIn(e.Key, held-int(o.sreg))] = true
			}
		case int(o.sreg) == held:
			seen[nameIn(o.data, 0)] = true
			for _, x := range o.e.Ranges {
				seen[nameIn(x[0], 0)] = true
			}
		}
	}
	return false
}

// loads are the ops that put something else into a register.
var loads = []opcode{opPayload, opCT, opRT, opExthdr, opForeseen, opImm, opBitwise, opShift, opMix, opOrder}

// nameIn reads the name of an interface that begins at an offset of a key.
func nameIn(key []byte, off int) string {
	if off < 0 || off >= len(key) {
		return ""
	}
	return ifname(key[off:min(off+16, len(key))])
}
