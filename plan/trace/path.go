package trace

import (
	"net/netip"

	"github.com/vmnet/vmnet/schema"
)

// flow follows all three packets; it always sets r.end.
func (r *run) flow() {
	if r.request() && r.reply() && r.established() && r.resolves() {
		r.end = &ending{Pass, "", -1}
	}
	if r.end == nil {
		r.unmodelled("link", schema.Ref{}, "the packet got lost: this is a bug in vmnet")
	}
}

// resolves guards against rules for ARP, which is not walked: where one can drop, an IPv4 packet that has to find a
// neighbour depends on it.
func (r *run) resolves() bool {
	b := r.w.arp
	if b == nil || r.p.v6 || r.f.From == "" && r.arrived.local {
		return true
	}
	st := r.station(b, b.c, -1)
	st.text, st.action = "rules for ARP", "depends"
	return r.over(Depends, st)
}

// request sends the first packet.
func (r *run) request() bool {
	f := r.f
	r.p.half = "request"
	v6 := f.Dst.Is6() && !f.Dst.Is4In6()
	proto, ok := protoNumber(f.Proto, v6)
	if !f.Dst.IsValid() || !ok || f.Src.IsValid() && f.Src.Unmap().Is6() != v6 || !f.Src.IsValid() && f.From != "" {
		return r.unmodelled("link", schema.Ref{}, "this is no packet that can be followed")
	}
	sport := f.SrcPort
	if sport == 0 && hasPorts(proto) {
		sport = 40000
	}
	r.p = packet{half: "request", v6: v6, proto: proto, src: f.Src.Unmap(), dst: f.Dst.Unmap(), sport: sport, dport: f.DstPort}
	if !hasPorts(proto) {
		r.p.sport, r.p.dport = 0, 0
	}
	r.dest = f.To
	if !r.send(first, f.From, false, false) {
		return false
	}
	if c := r.conn; c != nil {
		c.status |= ipsConfirmed
	}
	r.reached = r.p.tuple()
	return r.ledWell()
}

// ledWell checks that the request got where the flow wants it.
func (r *run) ledWell() bool {
	f, p := r.f, &r.p
	want := f.WantDst
	switch {
	case f.Local && !r.arrived.local:
		return r.block(CodeNoAddress, "route", schema.Ref{}, p.dst.String()+" is no address of this host", "leaves the host")
	case f.To != "" && f.To != "lo" && r.arrived.local:
		return r.block(CodeNotLed, "local", schema.Ref{}, "the packet ends at the host itself, not at "+f.To, "not led on")
	case want.IsValid() && (p.dst != want.Addr().Unmap() || p.hasPorts() && want.Port() != 0 && p.dport != want.Port()):
		return r.block(CodeNotLed, "nat", schema.Ref{}, "the packet arrives at "+netip.AddrPortFrom(p.dst, p.dport).String()+", not at "+want.String(), "not led on")
	}
	if port := r.arrived.port; !want.IsValid() && p.dst != f.Dst.Unmap() && port != nil && port.name == f.To {
		return r.stillThere(port)
	}
	return true
}

// stillThere checks that an address to which NAT led a packet is behind the port that the flow wants.
func (r *run) stillThere(port *device) bool {
	switch d := r.w.portOf(r.arrived.out, r.p.dst); d {
	case port:
		return true
	case nil:
		return r.unmodelled("nat", schema.LinkRef(port.name), "NAT leads to "+r.p.dst.String()+"; whether that is behind "+port.name+" is not known")
	default:
		return r.block(CodeNotLed, "nat", schema.LinkRef(d.name), "NAT leads to "+r.p.dst.String()+", which is behind "+d.name, "not led on")
	}
}

// reply sends the answer back from wherever the request arrived.
func (r *run) reply() bool {
	f := r.f
	req := r.p
	there := r.arrived
	sAny, dAny := req.portsUnknown()
	r.p = packet{half: "reply", v6: req.v6, proto: req.proto, src: req.dst, dst: req.src, sport: req.dport, dport: req.sport}
	r.dest = f.From
	if toMany(req.dst) && there.local {
		return r.serverReply(there)
	}
	from := ""
	if !there.local {
		from = there.out.name
		if there.port != nil && !there.port.unknown {
			from = there.port.name
		}
	}
	if !r.send(answer, from, dAny, sAny) {
		return false
	}
	return r.cameBack()
}

// toMany tells whether an address is for many: the answer then comes from one of them.
func toMany(a netip.Addr) bool { return a == limitedBroadcast || a.IsMulticast() }

// serverReply is the answer of a server on the host to a broadcast, such as DHCP: a packet of its own, by the link the
// question came in by, to a client that may not have an address yet (RFC 2131, section 4.1).
func (r *run) serverReply(there arrival) bool {
	p := &r.p
	p.src = netip.Addr{}
	for _, a := range there.in.addrs {
		if a.Prefix.Addr().Is6() == p.v6 {
			p.src = a.Prefix.Addr()
			break
		}
	}
	if !p.src.IsValid() {
		return r.block(CodeNoAddress, "local", schema.LinkRef(there.in.name), there.in.name+" has no address to answer from", "no address")
	}
	if p.dst.IsUnspecified() {
		p.dst = limitedBroadcast
	}
	p.made = true
	p.build(answer, false, false)
	p.out = there.in
	return r.ipHook(output) && r.ipHook(postrouting) && r.leave(there.in)
}

// cameBack checks that the reply reached the sender, and with the addresses it waits for.
func (r *run) cameBack() bool {
	f, p := r.f, &r.p
	if f.From == "" && !r.arrived.local {
		return r.block(CodeNoRoute, "route", schema.Ref{}, "the answer does not come back to the host", "lost")
	}
	if f.From != "" && r.arrived.local {
		return r.block(CodeNotUndone, "local", schema.Ref{}, "the answer ends at the host itself", "lost")
	}
	want := r.sent.invert()
	if p.src != want.src || p.dst != want.dst || p.hasPorts() && (p.sport != want.sport || p.dport != want.dport) {
		return r.block(CodeNotUndone, "nat", schema.Ref{}, "the answer comes from "+p.src.String()+", not from "+want.src.String()+": it passes the host by, where its NAT would be undone", "not undone")
	}
	return true
}

// established sends a later packet of the side that opened the connection.
func (r *run) established() bool {
	f := r.f
	if toMany(f.Dst.Unmap()) {
		return true // there is no connection
	}
	src, sport, dport := r.sent.src, r.sent.sport, r.sent.dport
	r.p = packet{half: "established", v6: r.p.v6, proto: r.p.proto, src: src, dst: f.Dst.Unmap(), sport: sport, dport: dport}
	r.dest = f.To
	if !r.send(later, f.From, false, false) || !r.ledWell() {
		return false
	}
	if t := r.p.tuple(); !t.meets(r.reached) { // a rule that writes into packets wrote into this one only
		return r.block(CodeNotLed, "nat", schema.Ref{}, "the packet arrives at "+netip.AddrPortFrom(t.dst, t.dport).String()+", the first one at "+netip.AddrPortFrom(r.reached.dst, r.reached.dport).String(), "not led on")
	}
	return true
}

// send builds the packet and starts it at a link, or at the host for "".
func (r *run) send(kind int, from string, sAny, dAny bool) bool {
	r.arrived, r.gateway, r.preDone = arrival{}, netip.Addr{}, false
	if from == "" {
		return r.fromHost(kind, sAny, dAny)
	}
	r.build(kind, sAny, dAny)
	d := r.w.devices[from]
	if d == nil {
		return r.block(CodeNoLink, "link", schema.LinkRef(from), "Device \""+from+"\" does not exist.", "missing")
	}
	return r.fromLink(d)
}

// build makes the packet's image and remembers what the sender of the request sent.
func (r *run) build(kind int, sAny, dAny bool) {
	r.p.build(kind, sAny, dAny)
	if p := &r.p; p.half == "request" {
		r.sent = tuple{src: p.src, dst: p.dst, sport: p.sport, dport: p.dport}
	}
}

// fromLink is a packet that a link receives.
func (r *run) fromLink(d *device) bool {
	r.p.in = d
	if !r.linkUp(d) {
		return false
	}
	r.linkHeader(d)
	r.note(station{stage: "link", ref: schema.LinkRef(d.name), rule: -1, text: d.link.String(), action: "in"})
	if !r.deviceHook(r.w.ingress, d) {
		return false
	}
	switch {
	case d.bridge:
		return r.bridged(d, &device{name: "a port of " + d.name, unknown: true, master: d, up: true, carrier: true, link: &schema.Link{}})
	case d.masterName == "":
		if r.orphan(d) {
			return r.block(CodeNoMaster, "link", schema.LinkRef(d.name), d.link.String(), "no master")
		}
		return r.receive(d)
	case d.master == nil:
		return r.block(CodeBridgeDown, "bridge", schema.LinkRef(d.masterName), "Device \""+d.masterName+"\" does not exist.", "missing")
	case !d.master.bridge:
		return r.unmodelled("link", schema.LinkRef(d.masterName), d.master.link.String())
	}
	return r.bridged(d.master, d)
}

// orphan tells a guest's port that is in no bridge from a link the host itself uses: it has neither address nor route.
func (r *run) orphan(d *device) bool {
	switch d.link.Type {
	case "tap", "veth":
		return !hasAddr(d, false) && !hasAddr(d, true) && !d.routed
	}
	return false
}

// linkUp checks what stops a link from carrying anything. A bridge whose ports are not known is not asked for a
// carrier: it has one as soon as a guest is there.
func (r *run) linkUp(d *device) bool {
	ref, text := schema.LinkRef(d.name), d.link.String()
	port := d.master != nil && d.master.bridge
	switch {
	case !d.up && d.bridge:
		return r.block(CodeBridgeDown, "bridge", ref, text, "down")
	case !d.up && port:
		return r.block(CodePortDown, "bridge", ref, text, "down")
	case !d.up:
		return r.block(CodeLinkDown, "link", ref, text, "down")
	case !d.carrier && !d.bridge:
		return r.block(CodeNoCarrier, "link", ref, text, "no carrier")
	}
	switch d.link.Type {
	case "macvtap", "ipvlan", "ipvtap":
		return r.unmodelled("link", ref, text)
	}
	return true
}

// linkHeader fills in the MAC addresses of a frame that a link receives.
func (r *run) linkHeader(d *device) {
	src, dst := r.senderMAC(d), ""
	if r.p.half != "reply" {
		dst = r.f.DstMAC
	}
	r.p.setMACs(src, dst)
	if dst == "" && d.master == nil && !d.bridge && d.link.MAC != nil {
		r.p.setMACs(src, *d.link.MAC)
	}
	switch {
	case r.p.dst == limitedBroadcast:
		r.p.pkttype = 1
		r.p.setMACs(src, "ff:ff:ff:ff:ff:ff")
	case r.p.dst.IsMulticast():
		r.p.pkttype = 2
	default:
		r.p.pkttype = 0
	}
}

// receive is layer 3 of the host: prerouting, routing, and on.
func (r *run) receive(in *device) bool {
	p := &r.p
	p.in, p.out = in, nil
	if p.v6 && in.noIPv6 {
		key := schema.LinkSysctl("ipv6", in.name, "disable_ipv6")
		return r.block(CodeNoIPv6, "route", schema.SysctlRef(key), key+" = 1", "no IPv6")
	}
	if !r.preDone && !r.ipHook(prerouting) {
		return false
	}
	if in == r.w.lo && p.made {
		return r.deliver(in) // the route was found on the way out
	}
	res, local, ok := r.routeIn(in)
	if !ok {
		return false
	}
	if local {
		return r.deliver(in)
	}
	return r.forwardTo(res)
}

func (r *run) deliver(in *device) bool {
	r.p.in, r.p.out = in, nil
	if !r.ipHook(input) {
		return false
	}
	r.arrived = arrival{local: true, in: in}
	r.note(station{stage: "local", rule: -1, ref: schema.LinkRef(in.name), text: "delivered to the host", action: "accept"})
	return true
}

func (r *run) forwardTo(res found) bool {
	r.gateway = res.gateway
	if !r.leadsThere(res) {
		return false
	}
	r.p.out = res.dev
	r.note(station{stage: "route", ref: res.ref(), rule: -1, text: res.text(), action: "forward"})
	return r.ipHook(forward) && r.ipHook(postrouting) && r.leave(res.dev)
}

// leadsThere checks that a route ends where this half must get to.
func (r *run) leadsThere(res found) bool {
	if res.dev == nil {
		if res.devName == "" {
			return r.unmodelled("route", res.ref(), res.text())
		}
		return r.block(CodeNoLink, "route", schema.LinkRef(res.devName), "Device \""+res.devName+"\" does not exist.", "missing")
	}
	d := r.w.devices[r.dest]
	switch {
	case r.dest == "" || r.dest == res.dev.name:
		return true
	case d == nil:
		return r.block(CodeNoLink, "link", schema.LinkRef(r.dest), "Device \""+r.dest+"\" does not exist.", "missing")
	case d.master == res.dev:
		return true
	case res.dev.bridge && r.orphan(d) || res.dev.bridge && d.master != nil && d.master.bridge && r.p.half == "request":
		return r.block(CodeNoMaster, "bridge", schema.LinkRef(d.name), d.link.String(), "not a port of "+res.dev.name)
	case r.p.half == "reply" && r.p.dst != r.sent.src:
		return r.block(CodeNotUndone, "route", res.ref(), "the answer goes to "+r.p.dst.String()+", not to "+r.sent.src.String(), "not undone")
	case r.p.half == "reply" && (d.routed || d.masterName == "") && !d.bridge && !r.orphan(d):
		// Whether the sender can be reached another way is not for this host to know.
		return r.unmodelled("route", res.ref(), res.text()+": the answer leaves by "+res.dev.name+", not by "+r.dest)
	}
	return r.block(CodeNoRoute, "route", res.ref(), res.text(), "leaves by "+res.dev.name+", not by "+r.dest)
}

// fromHost is a packet that the host makes.
func (r *run) fromHost(kind int, sAny, dAny bool) bool {
	p := &r.p
	p.made, p.linked = true, false
	if p.src.IsValid() && !p.src.IsUnspecified() && !r.w.local(p.src) {
		return r.block(CodeNoAddress, "route", schema.Ref{}, p.src.String()+" is no address of this host", "address missing")
	}
	res := r.route(query{src: p.src, dst: p.dst, in: r.w.lo, mark: p.mark})
	if r.end != nil {
		return false
	}
	out, ok := r.outDevice(res)
	if !ok {
		return false
	}
	if !p.src.IsValid() {
		if !r.chooseSource(res, out) {
			return false
		}
	}
	r.build(kind, sAny, dAny)
	res.dev = out
	p.out, r.gateway, r.way = out, res.gateway, res
	r.note(station{stage: "route", ref: res.ref(), rule: -1, text: res.text(), action: "route"})
	if !r.ipHook(output) {
		return false
	}
	if out = r.way.dev; out != r.w.lo && !r.leadsThere(r.way) {
		return false
	}
	p.out = out
	if !r.ipHook(postrouting) {
		return false
	}
	if out != r.w.lo {
		return r.leave(out)
	}
	if !r.w.lo.up {
		return r.block(CodeLinkDown, "link", schema.LinkRef("lo"), r.w.lo.link.String(), "down")
	}
	if p.ct != nil {
		p.ct.status |= ipsConfirmed // at the end of postrouting
	}
	p.setMACs("00:00:00:00:00:00", "00:00:00:00:00:00")
	return r.receive(r.w.lo)
}

// outDevice is the link a packet of the host leaves by: lo for its own addresses.
func (r *run) outDevice(res found) (*device, bool) {
	switch res.kind {
	case "local", "anycast":
		return r.w.lo, true
	case "unicast":
	case "broadcast", "multicast":
	default:
		return nil, r.noRoute(res)
	}
	if res.dev == nil {
		return nil, r.leadsThere(res)
	}
	if !r.p.v6 && r.p.src.IsLoopback() && res.dev != r.w.lo && res.dev.routeLocalnet != 1 {
		key := schema.LinkSysctl("ipv4", res.dev.name, "route_localnet")
		return nil, r.block(CodeMartian, "route", schema.SysctlRef(key), key+" = 0", "martian")
	}
	return res.dev, true
}

// routeOut routes a packet of the host again after a hook changed it. The rest of the output hook still sees the interface
// of the first route: struct nf_hook_state is filled once.
func (r *run) routeOut() bool {
	p := &r.p
	if r.dry {
		return true
	}
	res := r.route(query{src: p.src, dst: p.dst, in: r.w.lo, mark: p.mark})
	if r.end != nil {
		return false
	}
	out, ok := r.outDevice(res)
	if !ok {
		return false
	}
	res.dev = out
	r.gateway, r.way = res.gateway, res
	r.note(station{stage: "route", ref: res.ref(), rule: -1, text: res.text(), action: "route again"})
	return true
}

// chooseSource picks the source address of a packet of the host (ip_route_output_key, RFC 6724).
func (r *run) chooseSource(res found, out *device) bool {
	p := &r.p
	nh := p.dst
	if res.gateway.IsValid() {
		nh = res.gateway
	}
	switch {
	case res.route != nil && res.route.Source.IsValid():
		p.src = res.route.Source
	case out == r.w.lo:
		p.src = p.dst
	default:
		p.src = r.sourceFor(out, nh)
		if p.v6 && !p.src.IsValid() && p.dst.IsLinkLocalUnicast() {
			for _, a := range out.addrs {
				if a.Prefix.Addr().IsLinkLocalUnicast() && a.Prefix.Addr().Is6() {
					p.src = a.Prefix.Addr()
				}
			}
		}
	}
	if r.end != nil {
		return false
	}
	if !p.src.IsValid() {
		return r.block(CodeNoAddress, "route", schema.LinkRef(out.name), out.name+" has no address to send from", "address missing")
	}
	return true
}

// leave is the way out by a link.
func (r *run) leave(d *device) bool {
	if !r.linkUp(d) {
		return false
	}
	if d.bridge {
		return r.bridgeOut(d)
	}
	if !r.deviceHook(r.w.egress, d) {
		return false
	}
	r.arrived = arrival{out: d}
	r.note(station{stage: "link", ref: schema.LinkRef(d.name), rule: -1, text: d.link.String(), action: "out"})
	return true
}
