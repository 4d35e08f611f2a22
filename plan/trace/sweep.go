package trace

import (
	"slices"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// sweep carries packets through hooks: all that satisfy pc, at once. A rule takes out of pc what it stops, and goes on with
// the rest; what it changes it changes where its matches hold. The state of the packets is meaningful under pc only.
type sweep struct {
	w  *Walker
	x  *space
	pc bdd.Node
	// live are the packets that the expressions of the rule at hand have let through so far.
	live bdd.Node
	p    parcel
	g    cells // the registers

	steps  int
	within []*chain // those that are being run
	// accepted are the packets that left the base chain at hand alive; mapped those for which a NAT rule set up a mapping.
	accepted, mapped bdd.Node
	at               place
	hook             hook
	inBridge         bool
	atEgress         bool
	dry              bool // only find out what a chain would change
	effect           bdd.Node
	gateway          cells // of the route taken; no cells for none

	// handed are packets of connections that a flow table may have taken over.
	handed bdd.Node

	// unknowns gives the variables for what nobody can foresee; name, when set, tells by what a rule's are told apart.
	unknowns map[unknownKey]int
	softs    map[unknownKey]int
	nextSoft int
	used     map[slotKey][]bdd.Node
	members  map[memberKey]bdd.Node
	name     func(*op) any
	// ends and classes are kept from question to question like members, as long as x is.
	ends    map[addresses]bdd.Node
	classes map[classesOf]any

	log *journal
	// onEnd, when set, is told of packets whose way ends, instead of log.
	onEnd func(pc bdd.Node, v Verdict, st station)
	// onNAT, when set, is told of packets that the rule at hand translates, instead of translating them.
	onNAT func(live bdd.Node)

	// What follows is of a flow on its way through the host.
	open   opening
	f      *Flow
	parcel parcel // the memory of p
	conn   *entryCT
	memory [2]*entryCT
	conns  int
	// sent is the tuple of the request as it was made, reached as it arrived.
	sent, reached cells
	gate          cells // the memory of gateway
	t1, t2        cells
	picks, sizes  []int   // forks taken, and how many ways each has
	given, asked  int     // how many were given to this run, how many it has met
	way           way     // the way a packet of the host takes
	many          bool    // the request is for many: a broadcast, a multicast
	physOut       *device // the port by which a bridged packet is about to leave, while br_netfilter shows it to IP
	preDone       bool    // IP prerouting has run, by the detour from the bridge
	above         *device // the link by which the host is in the VLAN of a frame in a bridge
	diverted      diversion
	dest          string
	arrived       arrival
	there         arrival // of the request, where its reply begins
	tag           uint16  // the VLAN of the tag that the frame bears, 0 for none
	tagSent       uint16  // the same, of the request as it was made

	// What follows is of the questions for MAC addresses.
	inquiries []inquiry // of the half at hand
	standsIn  bool      // the host answers for the packet's destination, which is another's
	known     map[acquainted]int
	warm      bdd.Node // the packets whose senders may know the address that is asked for
	speech    parcel   // the memory of what they say
}

type unknownKey struct {
	what any
	half string
	n    int
}

type slotKey struct {
	what any
	half string
}

type memberKey struct {
	set *set
	bit int
	key string
}

// setStep is what a rule costs that matches some packets and others not, as many as rules that match none.
const setStep = 50

// maxDepth bounds jumps and gotos in one another. The kernel loads none deeper than NFT_JUMP_STACK_SIZE, and none in circles.
const maxDepth = 32

// traverse runs a base chain for the packets of pc, and says whether any survives. Those are pc then.
func (r *sweep) traverse(b *base) bool {
	outer := r.accepted
	r.accepted, r.within = bdd.False, r.within[:0]
	left := r.chain(b, b.c, r.pc)
	if left != bdd.False {
		r.policy(b, left)
	}
	r.pc, r.accepted = r.accepted, outer
	return r.pc != bdd.False
}

// policy is the end of a base chain.
func (r *sweep) policy(b *base, pc bdd.Node) {
	if b.drop {
		if !r.dry {
			st := r.station(b, b.c, -1)
			st.text, st.action = "policy drop", "drop"
			r.ended(pc, Block, st)
		}
		return
	}
	if len(b.c.rules) > 0 && !b.nat && !r.dry {
		st := r.station(b, b.c, -1)
		st.text, st.action = "policy accept", "accept"
		r.note(pc, st)
	}
	r.accepted = r.x.Or(r.accepted, pc)
}

// chain runs the rules of a chain for the packets of pc, and gives those that come back from it.
func (r *sweep) chain(b *base, c *chain, pc bdd.Node) (back bdd.Node) {
	if len(r.within) == maxDepth || slices.Contains(r.within, c) { // the kernel loads no such ruleset
		r.giveUp(place{b, c, -1}, pc, "jumps too deep to follow, or in circles")
		return bdd.False
	}
	r.within = append(r.within, c)
	may := r.mayMatch(c)
	for i := may.next(0); i < len(c.rules); i = may.next(i + 1) {
		if r.steps--; r.steps < 0 {
			r.giveUp(place{b, c, i}, pc, "too many rules to follow")
			pc = bdd.False
			break
		}
		ru := &c.rules[i]
		for k := ru.from; k < ru.to; k++ { // nearly all rules end here: the first known miss
			o := &c.ops[k]
			if o.code >= opVerdict || o.code == opLookup && o.set.vmap && o.has&8 == 0 {
				pc = r.rule(b, c, i, k, pc, bdd.True, &back)
				break
			}
			r.live = pc
			m := r.match(o)
			if m == bdd.False {
				break
			}
			if m != bdd.True {
				pc = r.rule(b, c, i, k+1, pc, m, &back)
				break
			}
		}
		if pc == bdd.False {
			break
		}
	}
	r.within = r.within[:len(r.within)-1]
	return r.x.Or(back, pc)
}

// rule goes on with a rule from expression k for the packets of pc that it matched so far, and gives what is left of pc for
// the next rule. Matches are put together before pc is looked at, which may be a large function: each by itself can be far
// from where pc begins, and would go through all of it.
func (r *sweep) rule(b *base, c *chain, i, k int, pc, matched bdd.Node, back *bdd.Node) bdd.Node {
	r.steps -= setStep
	ru := &c.rules[i]
	live, parted := pc, bdd.False
	for ; k < ru.to; k++ {
		o := &c.ops[k]
		vmap := o.code == opLookup && o.set.vmap && o.has&8 == 0
		match := o.code < opVerdict && !vmap
		if !match || !o.certain() {
			if live, matched = r.x.And(live, matched), bdd.True; live == bdd.False {
				return pc
			}
			r.live = live
		}
		if match {
			if matched = r.x.And(matched, r.match(o)); matched == bdd.False {
				return pc
			}
			continue
		}
		if o.code == opBreak {
			return pc
		}
		r.at = place{b, c, i}
		if live != pc && live != parted {
			r.part(pc, live)
			parted = live
		}
		switch {
		case vmap:
			pc, live = r.verdictMap(o, pc, live, back)
		case o.code == opVerdict:
			pc, live = r.verdict(verdictStep(o.e.Verdict.Kind), o.chain, pc, live, back)
		case o.code == opReject:
			pc, live = r.verdict(stepReject, nil, pc, live, back)
		case o.code == opUnmodelled:
			r.giveUp(r.at, live, "")
			pc, live = r.x.Diff(pc, live), bdd.False
		case o.code >= opNAT && o.code <= opNetmap && r.onNAT != nil:
			r.onNAT(live)
			pc, live = r.x.Diff(pc, live), bdd.False
		case o.code >= opNAT && o.code <= opNetmap:
			pc, live = r.nat(o, pc, live)
		default:
			r.act(o, live)
		}
		if live == bdd.False {
			return pc
		}
	}
	return pc
}

// certain tells whether what a match says of a packet follows from the packet, so that it need not know which packets ask.
func (o *op) certain() bool {
	switch o.code {
	case opCmp, opRange, opBitwise, opImm, opOrder, opShift, opMix:
		return true
	case opPayload:
		return o.off < 64 && o.len <= 16
	case opMeta:
		return slices.Contains(certainMeta, o.e.Key)
	case opCT:
		return slices.Contains(certainCT, o.e.Key)
	case opLookup:
		return !o.set.dynamic
	case opAny:
		return !slices.ContainsFunc(o.any, func(a []op) bool { return slices.ContainsFunc(a, func(x op) bool { return !x.certain() }) })
	case opIn:
		return !slices.ContainsFunc(o.e.Ranges, func(x [2]schema.Bytes) bool { return len(x[0]) != int(o.e.Len) || len(x[1]) != int(o.e.Len) })
	}
	return false
}

var (
	certainMeta = []string{"iifname", "oifname", "iif", "oif", "l4proto", "nfproto", "protocol", "mark", "pkttype"}
	certainCT   = []string{"state", "status", "mark", "direction", "saddr", "daddr", "proto_src", "proto_dst", "protocol"}
)

// part notes that a rule acts on some packets and not on others.
func (r *sweep) part(pc, live bdd.Node) {
	if !r.dry {
		st := r.station(r.at.b, r.at.c, r.at.i)
		st.action = "may match"
		r.parted(pc, live, st)
	}
}

// verdict lets a verdict come over live. It gives what is left for the next rule, and for the rest of this one.
func (r *sweep) verdict(s step, to *chain, pc, live bdd.Node, back *bdd.Node) (rest, on bdd.Node) {
	here := r.at
	rest = r.x.Diff(pc, live)
	switch s {
	case stepNext:
		return pc, live
	case stepAccept:
		r.accepted = r.x.Or(r.accepted, live)
		if !r.dry {
			st := r.station(here.b, here.c, here.i)
			st.action = "accept"
			r.note(live, st)
		}
	case stepDrop, stepReject:
		if !r.dry {
			st := r.station(here.b, here.c, here.i)
			st.action = "drop"
			if s == stepReject {
				st.action = "reject"
			}
			r.ended(live, Block, st)
		}
	case stepReturn:
		*back = r.x.Or(*back, live)
	case stepJump:
		rest = r.x.Or(rest, r.chain(here.b, to, live))
	case stepGoto:
		*back = r.x.Or(*back, r.chain(here.b, to, live))
	}
	return rest, bdd.False
}

// giveUp ends the way of packets with Depends: this is not modelled.
func (r *sweep) giveUp(at place, pc bdd.Node, why string) {
	if r.dry {
		r.effect = r.x.Or(r.effect, pc)
		return
	}
	st := r.station(at.b, at.c, at.i)
	st.action = "depends"
	if why != "" {
		st.action = "depends: " + why
	}
	r.ended(pc, Depends, st)
}

// station is a Hop in a base chain.
func (r *sweep) station(b *base, c *chain, i int) station {
	st := station{stage: b.stage, ref: c.t.ref, chain: c.c.Name, base: b.c.c.Name, rule: i}
	if i >= 0 {
		st.r = c.rules[i].r
	}
	return st
}

// verdictMap asks a vmap: each of its verdicts comes over the packets whose key leads to it. A miss breaks the rule.
func (r *sweep) verdictMap(o *op, pc, live bdd.Node, back *bdd.Node) (rest, on bdd.Node) {
	here := r.at
	on = bdd.False
	for _, h := range r.hits(o.set, r.g.at(int(o.sreg), o.set.keyLen), o) {
		part := r.x.And(live, h.cond)
		v := o.set.s.Elements[h.elem].Verdict
		if part == bdd.False || v == nil {
			continue
		}
		s, to := verdictStep(v.Kind), o.set.elemChain[h.elem]
		r.at = here
		if part != live {
			r.part(pc, part)
		}
		if v.Kind == "queue" || (s == stepJump || s == stepGoto) && to == nil {
			r.giveUp(here, part, "")
			pc = r.x.Diff(pc, part)
			continue
		}
		var next bdd.Node
		pc, next = r.verdict(s, to, pc, part, back)
		on = r.x.Or(on, next)
	}
	r.at = here
	return pc, on
}

// act is an effect on the packets in live, which stay in the rule.
func (r *sweep) act(o *op, live bdd.Node) {
	p := &r.p
	if r.dry {
		if o.code == opNotrack {
			live = r.trackless(live)
		}
		r.effect = r.x.Or(r.effect, live)
		return
	}
	switch o.code {
	case opMetaSet:
		r.metaSet(o, live)
	case opCTSet:
		if p.ct != nil && o.e.Key == "mark" && o.has&1 != 0 {
			p.ct.at(ctMark, 4).merge(r.x.Space, r.x.And(live, p.has), r.g.at(int(o.sreg), 4))
		}
	case opPayloadW:
		r.write(o, live)
	case opHops:
		r.setHops(o, live)
	case opBlurMark:
		m := newCells(4)
		r.blur(m, o)
		p.mark.merge(r.x.Space, live, m)
		if p.ct != nil {
			p.ct.at(ctMark, 4).merge(r.x.Space, r.x.And(live, p.has), m)
		}
	case opNotrack:
		live = r.trackless(live)
		p.state[bitInvalid] = r.x.Diff(p.state[bitInvalid], live)
		p.state[bitUntracked] = r.x.Or(p.state[bitUntracked], live)
	}
}

// trackless are packets without an entry that are not untracked already: notrack works on those that conntrack has not seen,
// and on those that it found invalid (nft_notrack_eval).
func (r *sweep) trackless(live bdd.Node) bdd.Node {
	s := r.x
	return s.Diff(live, s.Diff(r.p.seen(s.Space), r.p.state[bitInvalid]))
}

func (r *sweep) metaSet(o *op, live bdd.Node) {
	if o.has&1 == 0 {
		return
	}
	switch o.e.Key {
	case "mark":
		r.p.mark.merge(r.x.Space, live, r.g.at(int(o.sreg), 4))
	case "pkttype":
		r.p.kind.merge(r.x.Space, live, r.g.at(int(o.sreg), 1))
	}
}

// write is payload_w: the packet itself changes, and what is read from it later.
func (r *sweep) write(o *op, live bdd.Node) {
	p := &r.p
	from, ok := r.offset(o)
	n := int(o.e.Len)
	if !ok || from+n > p.end || n > regBytes {
		return
	}
	p.image.at(from, n).merge(r.x.Space, live, r.g.at(int(o.sreg), n))
}

// offset is where a payload expression looks in the image.
func (r *sweep) offset(o *op) (int, bool) {
	p := &r.p
	at := linkOff
	switch o.base {
	case 0:
		if !p.linked {
			return 0, false
		}
	case 1:
		at = netOff
	case 2:
		if p.arp() {
			return 0, false
		}
		if at = p.trans; r.atAuth() {
			at = p.auth
		}
	default:
		return 0, false
	}
	return at + int(min(o.off, 1<<16)), true
}

// unknown is a boolean that nobody can foresee: a new one for each time the same packet asks.
func (r *sweep) unknown(what any) bdd.Node {
	return r.x.Var(r.number(r.unknowns, what, func() int { return varUnknown + len(r.unknowns) }))
}

// number is the variable kept for a key, or a new one.
func (r *sweep) number(in map[unknownKey]int, what any, next func() int) int {
	switch o := what.(type) {
	case *op:
		if r.name != nil {
			what = r.name(o)
		}
	case unsure:
		if r.name != nil {
			what = unsureOf{r.name(o.o), o.n}
		}
	}
	k := unknownKey{what, r.p.half, r.turn(what)}
	v, ok := in[k]
	if !ok {
		v = next()
		in[k] = v
	}
	return v
}

// turn counts how often a packet has come by: packets that have nothing in common share a turn.
func (r *sweep) turn(what any) int {
	k := slotKey{what, r.p.half}
	for n, was := range r.used[k] {
		if r.x.Disjoint(was, r.live) {
			r.used[k][n] = r.x.Or(was, r.live)
			return n
		}
	}
	r.used[k] = append(r.used[k], r.live)
	return len(r.used[k]) - 1
}

// blur makes cells unknown, anew for each time.
func (r *sweep) blur(c cells, what any) {
	c.freeAll(r.number(r.softs, what, func() int { return r.soft(8 * c.len()) }))
}

// fixed makes cells unknown, but the same each time the half asks for them.
func (r *sweep) fixed(c cells, what string) {
	k := unknownKey{what, r.p.half, 0}
	v, ok := r.softs[k]
	if !ok {
		v = r.soft(8 * c.len())
		r.softs[k] = v
	}
	c.freeAll(v)
}

func (r *sweep) soft(bits int) int {
	v := r.nextSoft
	r.nextSoft += bits
	return v
}

// fixedBit is a boolean that is the same each time the half asks for it.
func (r *sweep) fixedBit(what string) bdd.Node {
	var c [1]byte
	var u [1]byte
	var n [8]bdd.Node
	one := cells{c[:], u[:], n[:]}
	r.fixed(one, what)
	return one.bit(r.x.Space, 0)
}
