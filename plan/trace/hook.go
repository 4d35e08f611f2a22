package trace

import (
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// entry is what stands at a priority of a hook: a base chain, or a piece of the kernel.
type entry struct {
	prio int32
	kind entryKind
	base *base
}

type entryKind uint8

const (
	entryChain   entryKind = iota
	entryTrack             // conntrack looks the packet up
	entryNAT               // the NAT core, which runs its own list of chains
	entryCallIP            // br_netfilter shows a bridged packet to IP's hooks
	entryConfirm           // br_netfilter confirms the connection of a broadcast that goes up
)

// ipHook runs a hook of the packet's IP family.
func (r *sweep) ipHook(h hook) bool {
	inBridge := r.inBridge
	r.hook, r.inBridge = h, false
	defer func() { r.inBridge = inBridge }()
	return r.groups(r.w.groups[family(r.p.v6)][h])
}

// bridgeHook runs a hook of the bridge family.
func (r *sweep) bridgeHook(h hook) bool {
	r.hook, r.inBridge = h, true
	defer func() { r.inBridge = false }()
	if !r.tagUnseen(r.w.bridge[h]) {
		return false
	}
	return r.groups(r.w.bridge[h])
}

func (r *sweep) groups(gs [][]entry) bool {
	for _, g := range gs {
		for _, e := range r.ordered(g) {
			if !r.entry(e) {
				return false
			}
		}
	}
	return true
}

func (r *sweep) entry(e entry) bool {
	switch e.kind {
	case entryTrack:
		if r.p.talk != 0 && (!r.inBridge || r.w.bridgeTracks) { // nf_ct_bridge_pre, icmpv6_error: left alone
			r.p.setState(bitUntracked)
			return true
		}
		if !r.inBridge || r.w.bridgeTracks {
			return r.track()
		}
		return true
	case entryNAT:
		return r.rerouted(r.natHook)
	case entryCallIP:
		return r.detour()
	case entryConfirm:
		r.confirmEarly()
		return true
	}
	if !r.usable(e.base) {
		return true
	}
	if !e.base.route {
		return r.traverse(e.base)
	}
	return r.rerouted(func() bool { return r.traverse(e.base) })
}

// usable tells whether a chain of a table is for this packet: inet tables hooked to a device see both families, and
// tables of other families must not be asked.
func (r *sweep) usable(b *base) bool {
	f := b.c.t.t.Family
	if r.p.arp() {
		return f == "netdev" || f == "bridge" || f == "arp"
	}
	return f == "netdev" || f == "bridge" || familyMatches(f, r.p.v6)
}

// rerouted runs something at the output hook and routes again when it changed where the packet belongs
// (ip_route_me_harder in net/ipv4/netfilter.c).
func (r *sweep) rerouted(do func() bool) bool {
	p := &r.p
	if r.hook != output || r.inBridge || p.talk != 0 { // neighbours are on the link they are asked for on
		return do()
	}
	src, dst, mark := r.copyOf(p.src()), r.copyOf(p.dst()), r.copyOf(p.mark)
	if !do() {
		return false
	}
	same := r.x.And(src.same(r.x, p.src()), r.x.And(dst.same(r.x, p.dst()), mark.same(r.x, p.mark)))
	if r.holds(same) {
		return true
	}
	return r.routeOut()
}

// ordered gives the members of a group in an order. Where members of equal priority could influence each other, which
// one runs first is not known from a snapshot (the newest registration does): it becomes a question.
func (r *sweep) ordered(g []entry) []entry {
	if len(g) == 1 || !r.orderMatters(g) {
		return g
	}
	st := station{stage: hookNames[r.hook], rule: -1, text: "the order of " + names(g) + " is not known: their priorities are equal"}
	for _, e := range g {
		if e.base != nil {
			st.ref, st.chain, st.base = e.base.c.t.ref, e.base.c.c.Name, e.base.c.c.Name
			break
		}
	}
	i := r.pick(len(g), names(g), st)
	out := append([]entry{g[i]}, g[:i]...)
	return append(out, g[i+1:]...)
}

func names(g []entry) string {
	var s []string
	for _, e := range g {
		switch e.kind {
		case entryChain:
			s = append(s, e.base.id)
		case entryTrack:
			s = append(s, "conntrack")
		case entryNAT:
			s = append(s, "NAT")
		case entryCallIP, entryConfirm:
			s = append(s, "br_netfilter")
		}
	}
	return strings.Join(s, ", ")
}

// orderMatters tells whether one member of a group would change, for this packet, what another looks at.
func (r *sweep) orderMatters(g []entry) bool {
	writers, readers, nats := 0, 0, 0
	for _, e := range g {
		if e.kind != entryChain {
			if e.kind == entryTrack && r.inBridge && !r.w.bridgeTracks || e.kind == entryCallIP && !r.detours() || e.kind == entryConfirm && r.confirms() == bdd.False {
				continue
			}
			writers++
			continue
		}
		if e.base.c.reads || e.base.c.writes || e.base.nat {
			readers++
		}
		if (e.base.c.writes || e.base.nat) && r.wouldAct(e.base) {
			writers++
			if e.base.nat {
				nats++
			}
		}
	}
	if g[0].base != nil && g[0].base.nat {
		return nats > 1
	}
	return writers > 0 && readers > 0 && writers+readers > 1 && len(g) > 1 && !(writers == 1 && readers == 1 && r.alone(g))
}

// alone tells whether the one writer and the one reader are the same chain.
func (r *sweep) alone(g []entry) bool {
	for _, e := range g {
		if e.kind == entryChain && e.base.c.writes && r.wouldAct(e.base) {
			return true
		}
	}
	return false
}

// wouldAct tells whether a chain would change something (or, for NAT, stop the packet); "perhaps" counts as yes.
func (r *sweep) wouldAct(b *base) bool {
	if !r.usable(b) {
		return false
	}
	pc, at := r.pc, r.at
	r.dry, r.effect = true, bdd.False
	r.traverse(b)
	acts := r.effect != bdd.False || b.nat && r.pc != pc
	r.dry, r.effect = false, bdd.False
	r.pc, r.at = pc, at
	return acts
}

// egressHook runs the base chains for what leaves by a device.
func (r *sweep) egressHook(d *device) bool {
	in, out := r.p.in, r.p.out
	r.atEgress, r.p.in, r.p.out = true, nil, d // nf_hook_egress
	defer func() { r.atEgress, r.p.in, r.p.out = false, in, out }()
	return r.deviceHook(r.w.egress, d)
}

// ingressHook runs those for what a device receives.
func (r *sweep) ingressHook(d *device) bool {
	r.p.in, r.p.out = d, nil
	return r.deviceHook(r.w.ingress, d)
}

// deviceHook runs the base chains hooked to a device.
func (r *sweep) deviceHook(chains map[string][][]entry, d *device) bool {
	if d == nil {
		return true
	}
	if d.unknown {
		return r.somePort(chains, d)
	}
	return r.tagUnseen(chains[d.name]) && r.groups(chains[d.name])
}

// somePort is deviceHook for a port of a bridge of which nobody knows which it is: each that has chains is a way of its own.
func (r *sweep) somePort(chains map[string][][]entry, unknown *device) bool {
	var ports []*device
	for name := range chains {
		if d := r.w.devices[name]; d != nil && d.master == unknown.master && len(chains[name]) > 0 {
			ports = append(ports, d)
		}
	}
	if len(ports) == 0 {
		return true
	}
	slices.SortFunc(ports, func(a, b *device) int { return strings.Compare(a.name, b.name) })
	st := station{stage: "bridge", ref: schema.LinkRef(unknown.master.name), rule: -1, text: "which port of " + unknown.master.name + " it is"}
	if i := r.pick(len(ports)+1, nth{"port of " + unknown.master.name, r.asked}, st); i > 0 {
		return r.groups(chains[ports[i-1].name])
	}
	return r.pc != bdd.False
}
