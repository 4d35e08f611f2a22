package trace

import (
	"github.com/vmnet/vmnet/schema"
)

// base is a base chain.
type base struct {
	c     *chain
	id    string // "ip filter FORWARD", for the order of equals
	stage string
	drop  bool // its policy
	nat   bool
	route bool // re-routes when marks or addresses change (nft type route, iptables' mangle)
}

// step is what a rule does to the way through the chains.
type step uint8

const (
	stepNext step = iota
	stepAccept
	stepDrop
	stepReject
	stepReturn
	stepJump
	stepGoto
	stepEnd // the run is over
)

// depth is NFT_JUMP_STACK_SIZE: the kernel loads no deeper ruleset.
const depth = 16

// traverse runs a base chain and says whether the packet survives it. Where it does not, or where nothing can be said,
// the run has ended.
func (r *run) traverse(b *base) bool {
	var stack [depth]struct {
		c    *chain
		next int
	}
	sp, gotos := 0, 0
	c, i := b.c, 0
	for {
		if i >= len(c.rules) {
			if sp == 0 {
				return r.policy(b)
			}
			sp--
			c, i = stack[sp].c, stack[sp].next
			continue
		}
		if r.steps--; r.steps < 0 {
			return r.giveUp(b, c, i, "too many rules to follow")
		}
		r.at = place{b, c, i}
		switch s, to := r.rule(c, i); s {
		case stepNext:
			i++
		case stepAccept:
			r.pass(b, c, i)
			return true
		case stepDrop, stepReject:
			return r.stop(b, c, i, s)
		case stepReturn:
			if sp == 0 {
				return r.policy(b)
			}
			sp--
			c, i = stack[sp].c, stack[sp].next
		case stepJump:
			if sp == depth {
				return r.giveUp(b, c, i, "jumps too deep to follow")
			}
			stack[sp].c, stack[sp].next = c, i+1
			sp++
			c, i = to, 0
		case stepGoto:
			if gotos++; gotos > len(c.t.list)*depth { // in circles: the kernel loads no such ruleset
				return r.giveUp(b, c, i, "gotos in circles")
			}
			c, i = to, 0
		default:
			return false
		}
	}
}

// place is where a rule stands.
type place struct {
	b *base
	c *chain
	i int
}

// policy is the end of a base chain.
func (r *run) policy(b *base) bool {
	if r.dry {
		return true
	}
	st := r.station(b, b.c, -1)
	if b.drop {
		st.text, st.action = "policy drop", "drop"
		return r.over(Block, st)
	}
	if len(b.c.rules) > 0 && !b.nat {
		st.text, st.action = "policy accept", "accept"
		r.note(st)
	}
	return true
}

func (r *run) pass(b *base, c *chain, i int) {
	if r.dry || r.mapped != "" {
		return // a NAT rule has noted itself
	}
	st := r.station(b, c, i)
	st.action = "accept"
	r.note(st)
}

func (r *run) stop(b *base, c *chain, i int, s step) bool {
	if r.dry {
		return false
	}
	st := r.station(b, c, i)
	st.action = "drop"
	if s == stepReject {
		st.action = "reject"
	}
	return r.over(Block, st)
}

// giveUp ends the run with Depends: this is not modelled.
func (r *run) giveUp(b *base, c *chain, i int, why string) bool {
	if r.dry {
		r.effect = true
		return false
	}
	st := r.station(b, c, i)
	st.action = "depends"
	if why != "" {
		st.action = "depends: " + why
	}
	return r.over(Depends, st)
}

// station is a Hop in a base chain.
func (r *run) station(b *base, c *chain, i int) station {
	st := station{stage: b.stage, ref: c.t.ref, chain: c.c.Name, base: b.c.c.Name, rule: i}
	if i >= 0 {
		st.r = c.rules[i].r
	}
	return st
}

// rule runs one rule. A match that is not certain is carried along: only where the rule would then do something does it
// become a question (ask), so that rules which only count or log never do.
func (r *run) rule(c *chain, i int) (step, *chain) {
	ru := &c.rules[i]
	unsure := false
	for k := ru.from; k < ru.to; k++ {
		o := &c.ops[k]
		if o.code < opVerdict && !(o.code == opLookup && o.set.vmap && o.has&8 == 0) {
			switch r.match(o) {
			case no:
				return stepNext, nil
			case maybe:
				unsure = true
			}
			continue
		}
		if o.code == opBreak {
			return stepNext, nil
		}
		if unsure {
			if r.dry {
				r.effect = true
				return stepEnd, nil
			}
			if r.ask(2) == 0 {
				return stepNext, nil
			}
			unsure = false
		}
		s, to := r.act(o)
		if s != stepNext || r.end != nil {
			return s, to
		}
		if r.missed { // a verdict map without an answer breaks the rule
			r.missed = false
			return stepNext, nil
		}
	}
	return stepNext, nil
}

// match runs an op that loads, computes or compares.
func (r *run) match(o *op) answer3 {
	switch o.code {
	case opPayload:
		return r.payload(o)
	case opCmp:
		return r.cmp(o)
	case opMeta:
		return r.meta(o)
	case opCT:
		return r.connection(o)
	case opLookup:
		return r.contains(o)
	case opBitwise:
		r.bitwise(o)
	case opImm:
		r.g.put(o.dreg, o.data)
	case opRange:
		return r.inRange(o)
	case opIn:
		return r.in(o)
	case opOrder:
		r.swap(o)
	case opShift:
		r.shift(o)
	case opFIB:
		return r.fibLoad(o)
	case opRT:
		return r.rt(o)
	case opExthdr:
		return r.exthdr(o)
	case opForeseen:
		r.g.blur(o.dreg, o.len)
		return maybe
	default:
		return maybe
	}
	return yes
}

// act runs an op with an effect.
func (r *run) act(o *op) (step, *chain) {
	switch o.code {
	case opVerdict:
		return verdictStep(o.e.Verdict.Kind), o.chain
	case opLookup:
		return r.verdictMap(o)
	case opReject:
		return stepReject, nil
	case opUnmodelled:
		r.giveUp(r.at.b, r.at.c, r.at.i, "")
		return stepEnd, nil
	}
	if r.dry {
		r.effect = true
		return stepEnd, nil
	}
	switch o.code {
	case opMetaSet:
		r.metaSet(o)
	case opCTSet:
		if c := r.p.ct; c != nil && o.e.Key == "mark" && o.has&1 != 0 {
			c.mark = r.g.get32(o.sreg)
		}
	case opPayloadW:
		r.write(o)
	case opBlurMark:
		r.p.mark.unk = ^uint32(0)
		if r.p.ct != nil {
			r.p.ct.mark.unk = ^uint32(0)
		}
	case opNotrack:
		if r.p.ctState == 0 {
			r.p.ctState, r.p.untracked = ctUntracked, true
		}
	case opNAT, opMasq, opRedir, opNetmap:
		return r.translate(o), nil
	}
	return stepNext, nil
}

func verdictStep(kind string) step {
	switch kind {
	case "accept":
		return stepAccept
	case "drop":
		return stepDrop
	case "return":
		return stepReturn
	case "jump":
		return stepJump
	case "goto":
		return stepGoto
	}
	return stepNext
}

// verdictMap asks a vmap. Where the key is not certain, each verdict that may come, and none, is a way of its own.
func (r *run) verdictMap(o *op) (step, *chain) {
	hit, others, certain := r.lookup(o.set, o.sreg)
	if !certain {
		if r.dry {
			r.effect = true
			return stepEnd, nil
		}
		if others = o.set.distinct(others); len(others) > maxWays {
			r.giveUp(r.at.b, r.at.c, r.at.i, "")
			return stepEnd, nil
		}
		if hit = r.ask(len(others)+1) - 1; hit < 0 {
			hit = o.set.all
		} else {
			hit = others[hit]
		}
	}
	if hit < 0 {
		r.missed = true
		return stepNext, nil
	}
	v := o.set.s.Elements[hit].Verdict
	if v == nil {
		r.missed = true
		return stepNext, nil
	}
	s := verdictStep(v.Kind)
	to := o.set.elemChain[hit]
	if v.Kind == "queue" || (s == stepJump || s == stepGoto) && to == nil {
		r.giveUp(r.at.b, r.at.c, r.at.i, "")
		return stepEnd, nil
	}
	return s, to
}

// distinct keeps one element of each verdict.
func (s *set) distinct(elems []int) []int {
	seen := map[schema.Verdict]bool{}
	var out []int
	for _, i := range elems {
		v := s.s.Elements[i].Verdict
		if v == nil || seen[*v] {
			continue
		}
		seen[*v] = true
		out = append(out, i)
	}
	return out
}

func (r *run) metaSet(o *op) {
	if o.has&1 == 0 {
		return
	}
	switch o.e.Key {
	case "mark":
		r.p.mark = r.g.get32(o.sreg)
	case "pkttype":
		r.p.pkttype = r.g.b[o.sreg]
	}
}

// write is payload_w: the packet itself changes, and what is read from it later.
func (r *run) write(o *op) {
	p := &r.p
	at := [4]int{linkOff, netOff, p.transOff(), imageLen}[o.base]
	from := at + int(min(o.off, 1<<16))
	n := int(o.e.Len)
	if from+n > p.end || n > regBytes {
		return
	}
	copy(p.b[from:from+n], r.g.b[o.sreg:])
	copy(p.unk[from:from+n], r.g.unk[o.sreg:])
	p.takeFields()
}
