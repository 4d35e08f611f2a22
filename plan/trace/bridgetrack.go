package trace

import (
	"maps"
	"slices"

	"github.com/vmnet/vmnet/plan/bdd"
)

// confirms tells for which packets br_netfilter confirms a new connection before it goes up to the host: those that are not for
// the host alone, of which there may be copies (br_nf_local_in in net/bridge/br_netfilter_hooks.c; Linux 6.8, and the stable
// kernels of March 2024). No NAT rule changes a confirmed connection any more.
func (r *sweep) confirms() bdd.Node {
	p := &r.p
	if p.ct == nil || p.state[bitNew] == bdd.False || p.kind.equal(r.x, []byte{unicast}) == bdd.True {
		return bdd.False
	}
	others := r.x.Diff(r.pc, p.kind.equal(r.x, []byte{unicast}))
	return r.x.Diff(r.x.And(others, r.x.And(p.has, p.state[bitNew])), p.ct.status(r.x, ipsConfirmed))
}

func (r *sweep) confirmEarly() {
	if early := r.confirms(); early != bdd.False {
		c := r.p.ct
		c.setStatus(ipsConfirmed, r.x.Or(c.status(r.x, ipsConfirmed), early))
	}
}

// trackedAnew is conntrack of the bridge at the end of its input hook (nf_ct_bridge_in in
// net/bridge/netfilter/nf_conntrack_bridge.c): what is not for the host alone, and not confirmed yet, is let go, and looked
// up anew by IP.
func (r *sweep) trackedAnew() bool {
	p := &r.p
	if !r.w.bridgeTracks {
		return true
	}
	if loose := r.confirms(); loose != bdd.False && r.holds(loose) {
		p.ct, p.has, p.answer = nil, bdd.False, bdd.False
		p.setState(-1)
	}
	return r.pc != bdd.False
}

// copiesAlike stops a frame for many where NAT could touch the copies of it that the bridge sends out by its ports, which come
// first: they are of one connection with the host's own, and that would be changed in the same way.
func (r *sweep) copiesAlike(br *device) bool {
	p := &r.p
	if p.cast == unicast || p.ct == nil || p.state[bitNew] == bdd.False {
		return true
	}
	in, h, phys := p.in, r.hook, r.physOut
	r.hook, p.in, p.out = input, br, nil
	acts := r.wouldMap()
	if !r.preDone && acts == nil {
		r.hook = prerouting
		acts = r.wouldMap()
	}
	r.hook, p.in, p.out = postrouting, nil, br
	for _, name := range slices.Sorted(maps.Keys(r.w.devices)) {
		if d := r.w.devices[name]; acts == nil && d.master == br && d != p.physIn {
			r.physOut = d
			acts = r.wouldMap()
		}
	}
	p.in, p.out, r.hook, r.physOut = in, nil, h, phys
	return acts == nil || r.unmodelled("nat", acts.c.t.ref, "NAT of the copies of a frame for many that "+br.name+" sends out")
}

// wouldMap finds a chain of type nat that could act on a packet at this hook: on its copies, where rules on the way there
// write into packets, any that has rules.
func (r *sweep) wouldMap() *base {
	f := family(r.p.v6)
	rewritten := r.hook == postrouting && slices.ContainsFunc([][][]entry{r.w.bridge[forward], r.w.bridge[postrouting], r.w.groups[f][forward], r.w.groups[f][postrouting]}, func(gs [][]entry) bool {
		return slices.ContainsFunc(slices.Concat(gs...), func(e entry) bool { return e.base != nil && e.base.c.writes })
	})
	for _, e := range slices.Concat(r.w.nat[f][r.hook]...) {
		if rewritten && len(e.base.c.c.Rules) > 0 || r.wouldAct(e.base) {
			return e.base
		}
	}
	return nil
}
