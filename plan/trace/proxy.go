package trace

import (
	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// answersFor tells whether the host answers, on a link, for the destination of a packet, which is not its own: then the sender
// takes the host for it (arp_process and arp_fwd_proxy in net/ipv4/arp.c, ndisc_recv_ns in net/ipv6/ndisc.c).
func (r *sweep) answersFor(l3 *device) (is, ok bool) {
	p, f := &r.p, family(r.p.v6)
	listed := r.w.proxied[linkFamily{l3.name, p.v6}]
	switch {
	case len(listed) == 0 && (p.v6 || !l3.proxies[0]), p.v6 && (!l3.proxies[1] || l3.forwarding6 == 0):
		return false, true
	case !p.v6 && (l3.forwarding == 0 || l3.forwarding < 0 && r.w.forward[f] == 0):
		return false, true
	}
	if p.v6 || !l3.proxies[0] {
		named := bdd.False
		for _, a := range listed {
			named = r.x.Or(named, p.dst().in(r.x, a))
		}
		if !r.holds(named) {
			return false, r.pc != bdd.False
		}
	}
	if !p.v6 {
		elsewhere, ok := r.leadsOn(l3)
		if !ok || !elsewhere {
			return false, ok
		}
	}
	r.standsIn = true
	return true, true
}

// leadsOn forks by whether the host would lead a packet on by another link than that which it comes in by.
func (r *sweep) leadsOn(in *device) (is, ok bool) {
	res, ok := r.decide(question{src: r.p.src(), dst: r.p.dst(), in: in})
	return ok && res.kind == "unicast" && res.dev != in, ok
}

// sentHere is for a packet that a link receives for an address of the link's own network which is somewhere else: who is there
// asks for that address itself, and gets an answer only where the host stands for it. Whether a router there knows better is
// not for this host to know.
func (r *sweep) sentHere(d *device) bool {
	p := &r.p
	if r.w.acquainted || p.half != "request" || p.framed || p.cast != unicast || r.f.DstMAC != "" || !resolves(d) || d.noARP {
		return true
	}
	nets := r.inside(d, p.dst())
	if nets == bdd.False {
		return true
	}
	own, ok := r.isLocal(p.dst())
	if !ok || own || !r.holds(nets) {
		return r.pc != bdd.False
	}
	on, ok := r.leadsOn(d)
	if !ok || !on {
		return ok
	}
	stands, ok := r.answersFor(d)
	if !ok || stands {
		return ok
	}
	if !r.holds(r.inside(d, p.src())) {
		return r.pc != bdd.False && r.unmodelled("link", schema.LinkRef(d.name), "whether a router behind "+d.name+" sends packets for "+r.text(p.dst())+", which is of the network there, to this host")
	}
	key := schema.LinkSysctl(map[bool]string{false: "ipv4", true: "ipv6"}[p.v6], d.name, map[bool]string{false: "proxy_arp", true: "proxy_ndp"}[p.v6])
	return r.block(CodeARPSilent, "link", schema.SysctlRef(key), key+" = 0: who is behind "+d.name+" asks for "+r.text(p.dst())+" there, and the host does not answer for it", "not answered")
}
