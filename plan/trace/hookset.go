package trace

import (
	"fmt"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// anyPacket are the variables of a packet of which nothing is known: what a hook is asked about. It may be asked about
// hooks of several states in turn, as long as they are asked with the same anyPacket.
type anyPacket struct {
	x *space
	// names are the interfaces of all states that are asked; the number behind the last stands for any other.
	names    []string
	unknowns map[unknownKey]int
	softs    map[unknownKey]int
	nextSoft int
	steps    int
	// loaded are the names in a register, by the first variable of their interfaces: the same in every state.
	loaded map[int]*ifaceNames
}

// What the variables mean is said by the var… constants: in and out, proto, state (and reply), status, dst, dport, src, sport
// (the place of ICMP's type and code), mark, conntrack's mark and tuples, pkttype.

func newAnyPacket(s *bdd.Space, names []string) *anyPacket {
	return &anyPacket{x: &space{Space: s}, names: names, unknowns: map[unknownKey]int{}, softs: map[unknownKey]int{}, nextSoft: varSoft, steps: 10 * maxSteps, loaded: map[int]*ifaceNames{}}
}

// hookSet gives the packets of pc that all base chains at a hook let through, in their order: of the tables of IP (bridged:
// of those of bridges), iptables-legacy among them, without the NAT chains. Everything about the packet is free: interfaces,
// headers, marks, conntrack's state, status and tuples. A match that nobody can foresee is a variable, known by the rule's
// content, so that it is the same one in another state. ok is false where the rules do what is not modelled for some packet
// (those count as let through).
func (w *Walker) hookSet(a *anyPacket, h hook, v6, bridged bool, pc bdd.Node) (accepted bdd.Node, ok bool) {
	r := newSweep(w, a.x)
	r.steps, r.hook, r.inBridge, r.unknowns, r.softs, r.nextSoft = a.steps, h, bridged, a.unknowns, a.softs, a.nextSoft
	r.log.on = true
	r.name = w.contentOf
	r.p = a.parcel(w, h, v6, bridged)
	r.pc = a.x.And(pc, a.possible(r, h))
	groups := w.groups[family(v6)][h]
	if bridged {
		groups = w.bridge[h]
	}
	for _, g := range groups {
		for _, e := range g {
			if e.kind != entryChain || !(bridged || familyMatches(e.base.c.t.t.Family, v6)) || r.pc == bdd.False {
				continue
			}
			r.traverse(e.base)
		}
	}
	a.nextSoft, a.steps = r.nextSoft, r.steps
	lost := bdd.False
	for _, f := range r.log.fates {
		if f.verdict == Depends {
			lost = a.x.Or(lost, f.pc)
		}
	}
	return a.x.Or(r.pc, lost), lost == bdd.False
}

// parcel is a packet of which every bit is free.
func (a *anyPacket) parcel(w *Walker, h hook, v6, bridged bool) parcel {
	p := newParcel()
	p.half, p.v6 = "any", v6
	p.image.freeAll(varRest)
	p.filled = imageCells
	p.end, p.trans, p.linked = netOff+20, netOff+20, h != output && h != postrouting || bridged
	ethertype := []byte{0x08, 0}
	p.image.b[netOff] = 0x45
	if v6 {
		ethertype = []byte{0x86, 0xdd}
		p.image.b[netOff] = 0x60
		p.end, p.trans = netOff+40, netOff+40
	}
	p.image.unk[netOff] = 0
	p.image.at(12, 2).put(ethertype)
	p.src().freeAll(varSrc)
	p.dst().freeAll(varDst)
	p.sport().freeAll(varSPort)
	p.dport().freeAll(varDPort)
	p.end = p.trans + 8 // every protocol that rules know has as much
	p.layer4.freeAll(varProto)
	if v6 {
		p.image.at(netOff+6, 1).freeAll(varProto)
	} else {
		p.image.at(netOff+9, 1).freeAll(varProto)
	}
	p.mark.freeAll(varMark)
	p.kind.freeAll(varKind)
	p.made = h == output || h == postrouting // or not: a packet's user is unknown either way
	if h != output {
		p.inAny = a.ifaces(w, varIn)
	}
	if h != prerouting && h != input {
		p.outAny = a.ifaces(w, varOut)
	}
	p.ct = &entryCT{cells: newCells(ctCells)}
	p.ct.freeAll(varTuples)
	p.ct.at(ctStatus, 4).freeAll(varStatus)
	p.ct.at(ctMark, 4).freeAll(varCTMark)
	for i := range stateBits {
		if i != 4 && i != 5 {
			p.state[i] = a.x.Var(varState + i)
		}
	}
	p.answer = a.x.Var(varState + 7)
	p.has = a.x.Or(p.state[bitNew], a.x.Or(p.state[bitEstablished], p.state[bitRelated]))
	return p
}

// possible keeps to packets that there are: through one interface, of one state; of none where conntrack comes later.
func (a *anyPacket) possible(r *sweep, h hook) bdd.Node {
	one, none := bdd.False, bdd.True
	for _, f := range r.p.state {
		if f != bdd.False {
			one = a.x.Or(a.x.Diff(one, f), a.x.And(none, f))
			none = a.x.Diff(none, f)
		}
	}
	if h == prerouting || h == output {
		one = a.x.Or(one, none)
	}
	for _, f := range []*ifaces{r.p.inAny, r.p.outAny} {
		if f != nil {
			one = a.x.And(one, f.valid(a.x))
		}
	}
	return one
}

// ifaces are the interfaces as a state knows them: one that it does not have bears its name all the same.
func (a *anyPacket) ifaces(w *Walker, first int) *ifaces {
	if a.loaded[first] == nil {
		a.loaded[first] = &ifaceNames{}
	}
	f := &ifaces{first: first, names: a.loaded[first]}
	for _, n := range a.names {
		d := w.devices[n]
		if d == nil {
			d = &device{name: n, link: &schema.Link{Name: n}}
		}
		f.devs = append(f.devs, d)
	}
	return f
}

// content tells an expression by where it is and what it says, not by its number in the chain.
type content struct {
	table schema.Ref
	chain string
	text  string
	nth   int
}

// contentOf names an expression nobody can foresee.
func (w *Walker) contentOf(o *op) any {
	w.contents.Do(func() {
		w.contentList = map[*op]content{}
		for _, t := range w.tables {
			for _, c := range t.list {
				w.noteContents(t.ref, c, c.ops, map[string]int{})
			}
		}
	})
	if k, ok := w.contentList[o]; ok {
		return k
	}
	return o
}

func (w *Walker) noteContents(ref schema.Ref, c *chain, ops []op, seen map[string]int) {
	for i := range ops {
		x := &ops[i]
		for _, alternative := range x.any {
			w.noteContents(ref, c, alternative, seen)
		}
		if x.code > opForeseen && x.set == nil {
			continue
		}
		text := fmt.Sprintf("%+v", *x.e)
		w.contentList[x] = content{ref, c.c.Name, text, seen[text]}
		seen[text]++
	}
}
