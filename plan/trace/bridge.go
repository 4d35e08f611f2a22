package trace

import (
	"net/netip"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// bridged is a frame that a port of a bridge receives (net/bridge/br_input.c).
func (r *run) bridged(br, port *device) bool {
	p := &r.p
	if !r.linkUp(br) || !r.forwarding(port) {
		return false
	}
	if v := br.link.Bridge; v != nil && v.VLANFilter != nil && *v.VLANFilter {
		return r.unmodelled("bridge", schema.LinkRef(br.name), br.name+": vlan_filtering on")
	}
	up, known := r.forHost(br)
	if !known {
		return r.unmodelled("bridge", schema.LinkRef(br.name), br.name+" has no address: how a guest reaches the host's other addresses is not for this host to know")
	}
	switch {
	case p.pkttype != 0 || r.f.DstMAC != "" && p.half != "reply":
	case up && br.link.MAC != nil:
		p.setMACs(r.senderMAC(br), *br.link.MAC)
	case !up:
		p.setMACs(r.senderMAC(br), r.w.macs[neighbour{br.name, p.dst}])
	}
	if !up && p.pkttype == 0 {
		p.pkttype = 3 // another host's
	}
	p.in, p.physIn, p.out = port, port, nil
	dst := p.dst
	if !r.bridgeHook(prerouting) {
		return false
	}
	if p.dst != dst {
		var ok bool
		if up, ok = r.bridgedNAT(br); !ok {
			return false
		}
		if !up { // neigh_hh_bridge: the new destination's MAC, the sender's stays
			p.setMACs(r.senderMAC(br), r.w.macs[neighbour{br.name, p.dst}])
		}
	}
	if !up {
		return r.bridgeForward(br, port)
	}
	if p.pkttype == 3 { // NAT brought it here
		p.pkttype = 0
	}
	p.in = port
	if !r.bridgeHook(input) {
		return false
	}
	return r.receive(br)
}

// bridgedNAT decides where a frame goes whose destination NAT changed in the detour (br_nf_pre_routing_finish, and that of
// IPv6): to another port if the new address lies on the bridge, else up. IPv4 asks for forwarding even then (measured,
// Linux 6.18: the error route that the lookup gives is no failure).
func (r *run) bridgedNAT(br *device) (up, ok bool) {
	p := &r.p
	if p.v6 {
		res := r.route(query{src: p.src, dst: p.dst, in: br, mark: p.mark})
		if r.end != nil {
			return false, false
		}
		return !(res.kind == "unicast" && res.dev == br), true
	}
	res, local, ok := r.routeIn(br)
	return local || res.dev != br, ok
}

// senderMAC is the MAC address of whoever sent the frame that a link receives: as the flow says, else as the neighbour
// table does; "" where neither knows.
func (r *run) senderMAC(d *device) string {
	mac := r.f.SrcMAC
	if r.p.half == "reply" {
		if mac = r.f.DstMAC; mac != "" && (r.w.ownMAC(d, mac) || d.master != nil && r.w.ownMAC(d.master, mac)) {
			mac = "" // the request was for the host to route: who answers is somebody else
		}
	}
	if mac != "" {
		return strings.ToLower(mac)
	}
	if d.master != nil {
		d = d.master
	}
	return r.w.macs[neighbour{d.name, r.p.src}]
}

// forwarding checks the state of a port that carries a frame in or out.
func (r *run) forwarding(port *device) bool {
	if port.unknown || port.link.Port == nil || port.link.Port.State == nil {
		return true
	}
	if s := *port.link.Port.State; s != "forwarding" && s != "" {
		return r.block(CodePortState, "bridge", schema.LinkRef(port.name), port.link.String()+" state "+s, s)
	}
	return true
}

// forHost tells whether a frame is addressed to the bridge itself (to be delivered or routed), or to another port. A
// frame's MAC address says so; where the flow does not give it, it is the one a guest would use: its peer's in its own
// network, else its gateway's.
func (r *run) forHost(br *device) (up, known bool) {
	p, w := &r.p, r.w
	if mac := r.f.DstMAC; mac != "" && p.half != "reply" {
		return w.ownMAC(br, mac), true
	}
	if p.dst == limitedBroadcast || p.dst.IsMulticast() {
		d := w.devices[r.dest]
		return d == nil || d.master != br, true
	}
	if w.local(p.dst) {
		return true, hasAddr(br, p.v6) || p.dst.IsLinkLocalUnicast()
	}
	if !hasAddr(br, p.v6) {
		return false, true
	}
	inside := r.dest == br.name
	if d := w.devices[r.dest]; d != nil && d.master == br {
		inside = true
	}
	var src, dst bool
	for _, a := range br.addrs {
		s, d := a.Prefix.Contains(p.src), a.Prefix.Contains(p.dst)
		if s && d {
			return false, true
		}
		src, dst = src || s, dst || d
	}
	switch {
	case src && dst: // two networks on one bridge meet at the host
		return true, true
	case dst: // from beyond the LAN: its router, behind a port, sends to the guest itself
		return false, true
	case !src || inside:
		return !inside, true
	case r.dest != "":
		return true, true
	}
	res := r.route(query{src: p.src, dst: p.dst, in: br})
	return !(res.kind == "unicast" && res.dev == br && res.gateway.IsValid()), true
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
func (r *run) bridgeForward(br, port *device) bool {
	p := &r.p
	out, ok := r.outPort(br)
	if !ok {
		return false
	}
	if out.unknown && !port.unknown && p.half == "request" && p.dst != r.f.Dst.Unmap() {
		return r.unmodelled("bridge", schema.LinkRef(br.name), "NAT leads to "+p.dst.String()+": behind which port of "+br.name+" that is, is not known")
	}
	isolated := func(d *device) bool {
		return d.link.Port != nil && d.link.Port.Isolated != nil && *d.link.Port.Isolated
	}
	hairpin := port.link.Port != nil && port.link.Port.Hairpin != nil && *port.link.Port.Hairpin
	switch {
	case port == out && !hairpin:
		return r.block(CodePortState, "bridge", schema.LinkRef(port.name), port.link.String()+" hairpin off", "hairpin off")
	case isolated(port) && isolated(out):
		return r.block(CodeIsolated, "bridge", schema.LinkRef(out.name), "both "+port.name+" and "+out.name+" are isolated", "isolated")
	}
	p.in, p.out = port, out
	if !r.bridgeHook(forward) {
		return false
	}
	p.in, p.out = nil, out
	if !r.bridgeHook(postrouting) {
		return false
	}
	if r.preDone { // NF_BR_PRI_LAST
		kind := p.pkttype
		p.in, p.out, p.pkttype = nil, br, 0
		if !r.ipHook(postrouting) {
			return false
		}
		p.out, p.pkttype = out, kind
	}
	if !r.deviceHook(r.w.egress, out) {
		return false
	}
	r.arrived = arrival{out: br, port: out}
	r.note(station{stage: "bridge", ref: schema.LinkRef(br.name), rule: -1, text: br.link.String(), action: "out by " + out.name})
	return true
}

// detours tells whether br_netfilter shows this frame to IP.
func (r *run) detours() bool {
	port := r.p.physIn
	return port != nil && port.master != nil && r.w.callsIP(port.master, r.p.v6)
}

// detour is br_netfilter at a bridge hook: IP's hook of the same name, with the bridge as both interfaces.
func (r *run) detour() bool {
	if !r.detours() || r.hook == forward && !r.preDone {
		return true
	}
	p := &r.p
	in, out, h, kind := p.in, p.out, r.hook, p.pkttype
	br := p.physIn.master
	p.in = br
	if h == forward {
		p.out = br
	}
	if p.pkttype == 3 {
		p.pkttype = 0
	}
	ok := r.ipHook(h)
	r.preDone = true
	r.hook, p.in, p.out, p.pkttype = h, in, out, kind
	return ok
}

// bridgeOut is a packet of the host, or one it routes, that leaves by a bridge.
func (r *run) bridgeOut(br *device) bool {
	p := &r.p
	out, ok := r.outPort(br)
	if !ok {
		return false
	}
	p.out, p.in = out, nil
	if br.link.MAC != nil {
		p.setMACs(*br.link.MAC, r.w.macs[neighbour{br.name, or(r.gateway, p.dst)}])
	}
	if !r.bridgeHook(output) || !r.bridgeHook(postrouting) || !r.deviceHook(r.w.egress, out) {
		return false
	}
	p.out = br
	r.arrived = arrival{out: br, port: out}
	r.note(station{stage: "bridge", ref: schema.LinkRef(br.name), rule: -1, text: br.link.String(), action: "out by " + out.name})
	return true
}

// outPort is the port a frame leaves by: the one this half must get to, or some port where that is not known.
func (r *run) outPort(br *device) (*device, bool) {
	d := r.w.devices[r.dest]
	switch {
	case r.dest == "" || r.dest == br.name || toMany(r.p.dst) && d == nil:
		if d := r.w.portOf(br, r.p.dst); d != nil {
			return d, r.linkUp(d) && r.forwarding(d)
		}
		return &device{name: "a port of " + br.name, unknown: true, master: br, up: true, carrier: true, link: &schema.Link{}}, true
	case d == nil:
		return nil, r.block(CodeNoLink, "link", schema.LinkRef(r.dest), "Device \""+r.dest+"\" does not exist.", "missing")
	case d.master != br:
		if d.masterName == "" && !r.orphan(d) || d.bridge {
			return nil, r.block(CodeNoRoute, "bridge", schema.LinkRef(br.name), br.link.String(), "leaves by "+br.name+", not by "+d.name)
		}
		return nil, r.block(CodeNoMaster, "bridge", schema.LinkRef(d.name), d.link.String(), "not a port of "+br.name)
	}
	return d, r.linkUp(d) && r.forwarding(d)
}

// portOf is the port of a bridge behind which a neighbour is, as far as the neighbour table and the forwarding database
// know; else nil.
func (w *Walker) portOf(br *device, ip netip.Addr) *device {
	mac := w.macs[neighbour{br.name, ip}]
	if mac == "" {
		return nil
	}
	return w.ports[fdbKey{br.name, mac}]
}
