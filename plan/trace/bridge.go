package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// diversion is where NAT led a frame in br_netfilter's detour.
type diversion uint8

const (
	undiverted     diversion = iota
	divertedUp               // to the host
	divertedAcross           // to another port
)

// bridged is a frame that a port of a bridge receives (net/bridge/br_input.c).
func (r *sweep) bridged(br, port *device) bool {
	p := &r.p
	if !r.linkUp(br) {
		return false
	}
	vid, ok := r.admitted(br, port)
	if !ok {
		return false
	}
	if port.unknown && !r.ingressHook(port) {
		return false
	}
	l3, ok := r.hostIn(br, vid)
	if !ok {
		return false
	}
	up, known := r.forHost(br, l3)
	if r.pc == bdd.False {
		return false
	}
	if !known {
		return r.unmodelled("bridge", schema.LinkRef(br.name), l3.name+" has no address: how a guest reaches the host's other addresses is not for this host to know")
	}
	if p.cast == unicast && (up && !p.framed || p.framed && br.link.MAC != nil && macText(p.image.b[:6]) == *br.link.MAC) { // br_handle_frame
		p.kind.put([]byte{unicast})
	}
	switch {
	case p.framed || p.cast != unicast || r.f.DstMAC != "" && p.half != "reply":
	case up && br.link.MAC != nil:
		p.setMACs(r.senderMAC(l3), hardwareAddress(*br.link.MAC))
	case !up:
		p.setMACs(r.senderMAC(l3), r.neighbourMAC(l3, p.dst()))
	}
	if !up && port.unknown {
		r.rekind(unicast, toOther)
	}
	p.in, p.physIn, p.out = port, port, nil
	r.above, r.diverted = l3, undiverted
	if !r.bridgeHook(prerouting) || !r.loosed() {
		return false
	}
	switch r.diverted {
	case undiverted:
	case divertedUp:
		up = true
	case divertedAcross: // neigh_hh_bridge: the new destination's MAC, the sender's stays
		up = false
		from := r.copyOf(p.image.at(linkOff+6, 6))
		if !p.framed {
			from = r.senderMAC(br)
		}
		p.setMACs(from, r.neighbourMAC(br, p.dst()))
	}
	if r.pc == bdd.False {
		return false
	}
	if !up {
		return r.bridgeForward(br, l3, port, vid)
	}
	p.in = port
	r.hostIsAsked(l3, br, port, r.tag)
	if !r.copiesAlike(br) || !r.comesUp(br, l3, vid) || !r.bridgeHook(input) || !r.trackedAnew() {
		return false
	}
	if !r.ingressHook(br) {
		return false
	}
	r.tag = 0
	if l3 != br && (!r.linkUp(l3) || !r.ingressHook(l3)) {
		return false
	}
	return r.receive(l3)
}

// rekind changes what kind of packet it is, where it is of that kind.
func (r *sweep) rekind(from, to byte) {
	k := &r.p.kind
	one := newCells(1)
	one.put([]byte{to})
	k.merge(r.x.Space, k.equal(r.x, []byte{from}), one)
}

// bridgedNAT decides where a frame goes whose destination NAT changed in the detour (br_nf_pre_routing_finish, and that of
// IPv6): to another port if the new address lies on the bridge, else up. IPv4 asks for forwarding even then (measured,
// Linux 6.18: the error route that the lookup gives is no failure).
func (r *sweep) bridgedNAT(br *device) (up, ok bool) {
	p := &r.p
	if p.v6 {
		res, ok := r.decide(r.ofPacket(p.src(), p.dst(), br))
		return !(res.kind == "unicast" && res.dev == br), ok
	}
	res, local, ok := r.routeIn(br)
	return local || res.dev != br, ok
}

// senderMAC is the MAC address of whoever sent the frame that a link receives: as the flow says, else as the neighbour
// table does; no cells where neither knows.
func (r *sweep) senderMAC(d *device) cells {
	mac := r.f.SrcMAC
	if r.p.half == "reply" {
		if mac = r.f.DstMAC; mac != "" && (r.w.ownMAC(d, mac) || d.master != nil && r.w.ownMAC(d.master, mac)) {
			mac = "" // the request was for the host to route: who answers is somebody else
		}
	}
	if mac != "" {
		return hardwareAddress(strings.ToLower(mac))
	}
	if d.master != nil {
		d = d.master
	}
	return r.neighbourMAC(d, r.p.src())
}

// neighbourMAC is the MAC address that the neighbour table knows for an address; no cells for none.
func (r *sweep) neighbourMAC(d *device, addr cells) cells {
	if a, ok := addr.addr(); ok {
		return hardwareAddress(r.w.macs[neighbour{d.name, a}])
	}
	if !r.w.looksAtMACs {
		return cells{}
	}
	out := newCells(6)
	r.fixed(out, "MAC of an unknown neighbour on "+d.name)
	for _, a := range r.w.neighbours(d, r.p.v6) {
		is := addr.in(r.x, a)
		if mac := hardwareAddress(r.w.macs[neighbour{d.name, a.Addr()}]); mac.len() > 0 && !r.x.Disjoint(r.pc, is) {
			out.merge(r.x.Space, is, mac)
		}
	}
	return out
}

// forwarding checks the state of a port that carries a frame out.
func (r *sweep) forwarding(br, port *device) bool {
	h := r.w.fabrics[br.name].closed(port.link)
	return h == nil || r.halted(h)
}

// forHost tells whether a frame is addressed to the bridge itself (to be delivered or routed), or to another port. A
// frame's MAC address says so (l3 is the link by which the host is in its VLAN, mostly the bridge); where the flow does not give it, it is the one a guest would use: its peer's in its own
// network, else its gateway's.
func (r *sweep) forHost(br, l3 *device) (up, known bool) {
	p, w := &r.p, r.w
	if p.framed {
		return p.cast != unicast || w.ownMAC(br, macText(p.image.b[:6])), p.cast != toMany
	}
	if mac := r.f.DstMAC; mac != "" && p.half != "reply" {
		return w.ownMAC(br, mac), true
	}
	if p.cast != unicast {
		d := w.devices[r.dest]
		return d == nil || d.master != br, true
	}
	own, ok := r.isLocal(p.dst())
	if !ok {
		return false, false
	}
	if own {
		if why := r.claimedTwice(l3); why != "" && r.pc != bdd.False {
			r.unmodelled("bridge", schema.LinkRef(l3.name), why)
			return false, true
		}
		dst, _ := r.class(p.dst())
		return true, hasAddr(l3, p.v6) || dst == linkLocal
	}
	if !hasAddr(l3, p.v6) {
		return false, true
	}
	inside := r.dest == br.name || r.dest == l3.name
	if d := w.devices[r.dest]; d != nil && d.master == br {
		inside = true
	}
	src, dst, both, ok := r.onBridge(l3)
	switch {
	case !ok:
		return false, false
	case both:
		return r.answersFor(l3)
	case src && dst: // two networks on one bridge meet at the host
		return true, true
	case dst: // from beyond the LAN: its router, behind a port, sends to the guest itself
		return false, true
	case !src || inside:
		return !inside, true
	case r.dest != "":
		return true, true
	}
	res, _ := r.decide(r.ofPacket(p.src(), p.dst(), l3))
	return !(res.kind == "unicast" && res.dev == l3 && res.gateway.IsValid()), true
}

// onBridge forks by whether the two ends are in networks of a bridge, and both in the same.
func (r *sweep) onBridge(br *device) (src, dst, both, ok bool) {
	var nets []netip.Prefix
	for _, a := range br.addrs {
		if a.Prefix.Addr().Is6() == r.p.v6 {
			nets = append(nets, a.Prefix.Masked())
		}
	}
	nets = byLength(nets)
	in := func(c cells) (string, bool) { // which of the networks hold the address
		return which(r, c, nets, func(a netip.Addr) string {
			b := make([]byte, len(nets))
			for i, n := range nets {
				if n.Contains(a) {
					b[i] = 1
				}
			}
			return string(b)
		})
	}
	s, ok1 := in(r.p.src())
	d, ok2 := in(r.p.dst())
	for i := range min(len(s), len(d)) {
		src, dst, both = src || s[i] == 1, dst || d[i] == 1, both || s[i] == 1 && d[i] == 1
	}
	return src, dst, both, ok1 && ok2
}

// ownMAC tells whether a frame to a MAC address is for the host: the bridge's own or one of its ports' (br_fdb_local).
func (w *Walker) ownMAC(br *device, mac string) bool {
	mac = strings.ToLower(mac)
	if br.link.MAC != nil && *br.link.MAC == mac {
		return true
	}
	for _, d := range w.devices {
		if (d.master == br || d == br) && d.link.MAC != nil && *d.link.MAC == mac {
			return true
		}
	}
	return false
}

// bridgeForward is a frame from one port to another (br_forward.c), with br_netfilter's detour at its end.
func (r *sweep) bridgeForward(br, l3, port *device, vid uint16) bool {
	p := &r.p
	var out *device
	ok := false
	if p.framed && r.dest == "" {
		out, ok = r.flood(br, vid)
	} else {
		out, ok = r.outPort(br, l3, vid)
	}
	if !ok {
		return false
	}
	if out.unknown && !port.unknown && !r.f.Anywhere && p.half == "request" && !r.holds(p.dst().same(r.x, r.sent.at(tupleDst, p.alen()))) {
		if r.pc == bdd.False {
			return false
		}
		return r.unmodelled("bridge", schema.LinkRef(br.name), "NAT leads to "+r.text(p.dst())+": behind which port of "+br.name+" that is, is not known")
	}
	if !r.leavesBy(br, port, out, vid) {
		return false
	}
	p.in, p.out = port, out
	if !r.bridgeHook(forward) {
		return false
	}
	p.in, p.out = nil, out
	if !r.bridgeHook(postrouting) {
		return false
	}
	if r.preDone && !r.tagHides() { // NF_BR_PRI_LAST
		kind := r.copyOf(p.kind)
		p.in, p.out = nil, br
		r.rekind(toOther, unicast)
		r.physOut = out
		ok := r.ipHook(postrouting)
		r.physOut = nil
		if !ok {
			return false
		}
		p.out = out
		p.kind.merge(r.x.Space, kind.equal(r.x, []byte{toOther}), kind)
	}
	if !r.egressHook(out) {
		return false
	}
	r.guestAsks(l3, br, port, out, r.tag)
	r.leftBy(br, br, out, vid)
	return true
}

// detours tells whether br_netfilter shows this frame to IP.
func (r *sweep) detours() bool {
	port := r.p.physIn
	return port != nil && port.master != nil && !r.p.arp() && r.w.callsIP(port.master, r.p.v6) && !r.tagHides()
}

// detour is br_netfilter at a bridge hook: IP's hook of the same name, with the bridge as both interfaces.
func (r *sweep) detour() bool {
	if r.p.arp() {
		return r.arpDetour()
	}
	if !r.detours() || r.hook == forward && !r.preDone {
		return true
	}
	p := &r.p
	in, out, h, kind := p.in, p.out, r.hook, r.copyOf(p.kind)
	br := p.physIn.master
	p.in = br
	if h == forward {
		p.out, r.physOut = br, out
	}
	r.rekind(toOther, unicast)
	dst := r.copyOf(p.dst())
	ok := r.ipHook(h)
	r.physOut = nil
	r.preDone = true
	r.hook, p.in, p.out = h, in, out
	p.kind.merge(r.x.Space, kind.equal(r.x, []byte{toOther}), kind) // nf_bridge_info.pkt_otherhost; what a rule set stays
	return ok && (h != prerouting || r.divert(br, dst))
}

// divert is what br_netfilter does with a frame that NAT leads elsewhere (br_nf_pre_routing_finish, and that of IPv6). The
// chains of the bridge that come later see it.
func (r *sweep) divert(br *device, was cells) bool {
	p := &r.p
	if !r.loosed() {
		return false
	}
	if r.holds(p.dst().same(r.x, was)) || r.pc == bdd.False {
		return r.pc != bdd.False
	}
	if r.above != br {
		return r.unmodelled("bridge", schema.LinkRef(br.name), "NAT of a frame that is in a VLAN of "+br.name)
	}
	up, ok := r.bridgedNAT(br)
	switch {
	case !ok:
		return false
	case !up:
		r.diverted = divertedAcross
		return r.pc != bdd.False
	}
	r.diverted = divertedUp
	if br.link.MAC != nil {
		p.image.at(linkOff, 6).copyFrom(hardwareAddress(*br.link.MAC))
	}
	p.kind.put([]byte{unicast})
	return r.pc != bdd.False
}

// bridgeOut is a packet of the host, or one it routes, that leaves by a bridge: l3 is the bridge, or an 802.1q link over it.
func (r *sweep) bridgeOut(br, l3 *device) bool {
	p := &r.p
	vid, h := r.w.fabrics[br.name].admit(nil, frame{tag: r.tag})
	if h != nil {
		return r.halted(h)
	}
	out, ok := r.outPort(br, l3, vid)
	if !ok {
		return false
	}
	p.out, p.in = out, nil
	if !r.leavesBy(br, nil, out, vid) || !r.bridgeHook(output) || !r.bridgeHook(postrouting) || !r.egressHook(out) {
		return false
	}
	p.out = l3
	r.hostAsks(l3, br, out, r.tag)
	r.leftBy(br, l3, out, vid)
	return true
}

// outPort is the port a frame leaves by: the one this half must get to, or some port where that is not known.
func (r *sweep) outPort(br, l3 *device, vid uint16) (*device, bool) {
	d := r.w.devices[r.dest]
	switch {
	case r.dest == "" || r.dest == br.name || r.dest == l3.name || r.many && d == nil:
		next := r.p.dst()
		if r.gateway.len() > 0 {
			next = r.gateway
		}
		d, ok := r.portOf(l3, vid, next)
		if !ok {
			return nil, false
		}
		if d != nil {
			return d, r.linkUp(d) && r.belowUp(d) && r.forwarding(br, d)
		}
		return &device{name: "a port of " + br.name, unknown: true, master: br, up: true, carrier: true, link: &schema.Link{}}, true
	case d == nil:
		return nil, r.block(CodeNoLink, "link", schema.LinkRef(r.dest), "Device \""+r.dest+"\" does not exist.", "missing")
	case d.master != br:
		if d.masterName == "" && !r.orphan(d) || d.bridge {
			return nil, r.block(CodeNoRoute, "bridge", schema.LinkRef(br.name), br.text(), "leaves by "+br.name+", not by "+d.name)
		}
		return nil, r.block(CodeNoMaster, "bridge", schema.LinkRef(d.name), d.text(), "not a port of "+br.name)
	}
	return d, r.linkUp(d) && r.belowUp(d) && r.forwarding(br, d)
}

// flood finds the port behind which the MAC address of a frame is. One that nobody knows leads to every port; to follow it
// by one of them is enough where they are alike.
func (r *sweep) flood(br *device, vid uint16) (*device, bool) {
	p := &r.p
	d := r.w.behind(br, vid, macText(p.image.b[:6]))
	if d == nil {
		var all []*device
		for _, x := range r.w.devices {
			if x.master == br && x != p.physIn && x.up && x.carrier {
				all = append(all, x)
			}
		}
		if len(all) == 0 {
			return nil, r.block(CodePortDown, "bridge", schema.LinkRef(br.name), br.text(), "no port to leave by")
		}
		slices.SortFunc(all, func(a, b *device) int { return strings.Compare(a.name, b.name) })
		d = all[r.pick(len(all), "flood", station{stage: "bridge", ref: schema.LinkRef(br.name), rule: -1, text: "every port of " + br.name})]
	}
	return d, r.linkUp(d) && r.belowUp(d) && r.forwarding(br, d)
}

// portOf forks by the port of a bridge behind which a neighbour is, as far as the neighbour table and the forwarding
// database know; else nil. For many packets, ports that nothing tells apart are not.
func (r *sweep) portOf(l3 *device, vid uint16, addr cells) (*device, bool) {
	br := r.w.under(l3)
	of := func(a netip.Addr) *device { return r.w.behind(br, vid, r.w.macs[neighbour{l3.name, a}]) }
	if a, ok := addr.addr(); ok {
		return of(a), true
	}
	return which(r, addr, r.w.neighbours(l3, r.p.v6), of)
}

// neighbours lists the addresses known on a link.
func (w *Walker) neighbours(d *device, v6 bool) []netip.Prefix {
	var out []netip.Prefix
	for n := range w.macs {
		if n.link == d.name && n.ip.Is6() == v6 {
			out = append(out, netip.PrefixFrom(n.ip, n.ip.BitLen()))
		}
	}
	return byLength(out)
}

func macText(mac []byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])
}
