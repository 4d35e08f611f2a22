package trace

import (
	"bytes"
	"net/netip"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// How many a frame is for, and whether it is for somebody else: the PACKET_* of if_packet.h.
const (
	unicast = iota
	toAll
	toMany
	toOther
)

// flow follows all three packets along one way.
func (r *sweep) flow() {
	through := false
	switch {
	case r.open.stands:
		through = r.standing()
	case r.request():
		through = r.open.only || r.resolved() && r.reply() && r.resolved() && r.established() && r.resolved()
	}
	if through {
		if r.log.on {
			r.log.fates = append(r.log.fates, fate{r.pc, Pass, "", -1})
		}
	}
}

// request sends the first packet.
func (r *sweep) request() bool {
	f := r.f
	if r.open.frame != nil {
		if ok, why := r.parse(r.open.frame); !ok {
			return r.unmodelled("link", schema.Ref{}, why)
		}
		return r.start(f.From)
	}
	v6 := f.Dst.Is6() && !f.Dst.Is4In6()
	proto, ok := protoNumber(f.Proto, v6)
	if !f.Dst.IsValid() || !ok || f.Src.IsValid() && f.Src.Unmap().Is6() != v6 || !f.Src.IsValid() && f.From != "" {
		return r.unmodelled("link", schema.Ref{}, "this is no packet that can be followed")
	}
	p := r.begin("request", v6, proto)
	kind := first
	if r.open.later {
		kind = later
	}
	p.build(kind)
	if r.open.fill != nil {
		if r.pc = r.open.fill(p, r.pc); r.pc == bdd.False {
			return false
		}
	} else {
		r.plainRequest(p)
	}
	return r.start(f.From)
}

// plainRequest writes the addresses and ports of the flow.
func (r *sweep) plainRequest(p *parcel) {
	f := r.f
	if f.Src.IsValid() {
		p.src().put(f.Src.Unmap().AsSlice())
	}
	p.dst().put(f.Dst.Unmap().AsSlice())
	if p.hasPorts() {
		sport := f.SrcPort
		if sport == 0 {
			sport = 40000
		}
		p.sport().put([]byte{byte(sport >> 8), byte(sport)})
		p.dport().put([]byte{byte(f.DstPort >> 8), byte(f.DstPort)})
	}
}

// start sends the request from where it is made.
func (r *sweep) start(from string) bool {
	dst, ok := r.class(r.p.dst())
	if !ok {
		return false
	}
	r.many = dst == multicast || dst == broadcast
	r.dest = r.f.To
	r.tuple(r.sent)
	if !r.send(from) {
		return false
	}
	if c := r.conn; c != nil {
		c.setStatus(ipsConfirmed, bdd.True)
	}
	r.tuple(r.reached)
	return r.open.only || r.ledWell()
}

// ledWell checks that the request got where the flow wants it.
func (r *sweep) ledWell() bool {
	f, p := r.f, &r.p
	switch {
	case f.Anywhere && r.dest == "":
		return r.pc != bdd.False
	case f.Local && !r.arrived.local:
		return r.block(CodeNoAddress, "route", schema.Ref{}, r.text(p.dst())+" is no address of this host", "leaves the host")
	case f.To != "" && f.To != "lo" && r.arrived.local:
		return r.block(CodeNotLed, "local", schema.Ref{}, "the packet ends at the host itself, not at "+f.To, "not led on")
	case f.WantDst.IsValid():
		return r.led()
	}
	if port := r.arrived.port; port != nil && port.name == f.To && !r.holds(p.dst().same(r.x, r.sent.at(tupleDst, p.alen()))) {
		return r.pc != bdd.False && r.stillThere(port)
	}
	return r.pc != bdd.False
}

// loosed lets packets that NAT led to another address go wherever that is, where the flow only asks where they get to.
func (r *sweep) loosed() bool {
	if r.f.Anywhere && r.dest != "" && r.p.half != "reply" && !r.holds(r.p.dst().same(r.x, r.sent.at(tupleDst, r.p.alen()))) {
		r.dest = ""
	}
	return r.pc != bdd.False
}

// led checks that NAT led the packet where a forward wants it.
func (r *sweep) led() bool {
	f, p := r.f, &r.p
	right := p.dst().equal(r.x, f.WantDst.Addr().Unmap().AsSlice())
	want := f.WantDst.Port()
	switch {
	case !p.hasPorts():
	case r.open.want != nil:
		right = r.x.And(right, p.dport().same(r.x, r.open.want(r.sent.at(tupleDPort, 2))))
	case want != 0:
		right = r.x.And(right, p.dport().equal(r.x, []byte{byte(want >> 8), byte(want)}))
	}
	return r.blockIf(r.x.Not(right), CodeNotLed, "nat", schema.Ref{}, func() string {
		return "the packet arrives at " + r.textEnd(p.dst(), p.dport()) + ", not at " + f.WantDst.String()
	}, "not led on")
}

// textEnd prints an address with a port.
func (r *sweep) textEnd(addr, port cells) string {
	a, ok := addr.addr()
	n, ok2 := port.u16()
	if !ok || !ok2 {
		return "another address or port"
	}
	if !r.p.hasPorts() {
		n = 0
	}
	return netip.AddrPortFrom(a, n).String()
}

// stillThere checks that an address to which NAT led a packet is behind the port that the flow wants.
func (r *sweep) stillThere(port *device) bool {
	d, ok := r.portOf(r.arrived.out, r.arrived.vid, r.p.dst())
	switch {
	case !ok:
		return false
	case d == port:
		return true
	case d == nil:
		return r.unmodelled("nat", schema.LinkRef(port.name), "NAT leads to "+r.text(r.p.dst())+"; whether that is behind "+port.name+" is not known")
	}
	return r.block(CodeNotLed, "nat", schema.LinkRef(d.name), "NAT leads to "+r.text(r.p.dst())+", which is behind "+d.name, "not led on")
}

// packet makes a new packet of another half, between the ends of a tuple.
func (r *sweep) packet(half string, kind int, t cells) {
	v6, proto := r.p.v6, r.p.proto
	p := r.begin(half, v6, proto)
	p.build(kind)
	p.src().copyFrom(t.at(tupleSrc, p.alen()))
	p.dst().copyFrom(t.at(tupleDst, p.alen()))
	p.putPorts(t.at(tupleSPort, 2), t.at(tupleDPort, 2))
}

// reply sends the answer back from wherever the request arrived.
func (r *sweep) reply() bool {
	there := r.arrived
	r.there = there
	arrivedMany := false
	if there.local {
		dst, ok := r.class(r.p.dst())
		if !ok {
			return false
		}
		arrivedMany = dst == multicast || dst == broadcast
	}
	invert(r.t1, r.reached)
	r.packet("reply", answer, r.t1)
	r.dest = r.f.From
	if arrivedMany {
		return r.serverReply(there)
	}
	from := ""
	if !there.local {
		from = there.out.name
		if there.port != nil && !there.port.unknown {
			from = there.port.name
		}
	}
	return r.send(from) && r.cameBack()
}

// serverReply is the answer of a server on the host to a broadcast, such as DHCP: a packet of its own, by the link the
// question came in by, to a client that may not have an address yet (RFC 2131, section 4.1).
func (r *sweep) serverReply(there arrival) bool {
	p := &r.p
	found := false
	for _, a := range there.in.addrs {
		if a.Prefix.Addr().Is6() == p.v6 {
			p.src().put(a.Prefix.Addr().AsSlice())
			found = true
			break
		}
	}
	if !found {
		return r.block(CodeNoAddress, "local", schema.LinkRef(there.in.name), there.in.name+" has no address to answer from", "no address")
	}
	dst, ok := r.class(p.dst())
	if !ok {
		return false
	}
	if dst == zero && !p.v6 {
		p.dst().put(limitedBroadcast.AsSlice())
	}
	p.made = true
	p.out = there.in
	return r.ipHook(output) && r.ipHook(postrouting) && r.leave(there.in)
}

// cameBack checks that the reply reached the sender, and with the addresses it waits for.
func (r *sweep) cameBack() bool {
	f := r.f
	if f.From == "" && !r.arrived.local {
		return r.block(CodeNoRoute, "route", schema.Ref{}, "the answer does not come back to the host", "lost")
	}
	if f.From != "" && r.arrived.local {
		return r.block(CodeNotUndone, "local", schema.Ref{}, "the answer ends at the host itself", "lost")
	}
	want := newCells(tupleLen)
	invert(want, r.sent)
	return r.blockIf(r.x.Not(r.meetsTuple(want)), CodeNotUndone, "nat", schema.Ref{}, func() string {
		return r.otherAnswer(want) + ": it passes the host by, where its NAT would be undone"
	}, "not undone")
}

// otherAnswer says what tells the answer from the one that is waited for: the ports where the addresses are the same.
func (r *sweep) otherAnswer(want cells) string {
	n := r.p.alen()
	r.tuple(r.t1)
	says := func(verb, by string, addr, port int) string {
		got, wanted := r.text(r.t1.at(addr, n)), r.text(want.at(addr, n))
		if got == wanted {
			got, wanted = r.textEnd(r.t1.at(addr, n), r.t1.at(port, 2)), r.textEnd(want.at(addr, n), want.at(port, 2))
		}
		if got == wanted {
			return ""
		}
		return "the answer " + verb + " " + by + " " + got + ", not " + by + " " + wanted
	}
	if s := says("comes", "from", tupleSrc, tupleSPort); s != "" {
		return s
	}
	if s := says("goes", "to", tupleDst, tupleDPort); s != "" {
		return s
	}
	return "the answer is not what the sender waits for"
}

// established sends a later packet of the side that opened the connection.
func (r *sweep) established() bool {
	if r.many {
		return true // there is no connection
	}
	r.packet("established", later, r.sent)
	r.dest = r.f.To
	if !r.send(r.f.From) || !r.ledWell() {
		return false
	}
	// A rule that writes into packets may have written into this one only.
	return r.blockIf(r.x.Not(r.meetsTuple(r.reached)), CodeNotLed, "nat", schema.Ref{}, func() string {
		n := r.p.alen()
		return "the packet arrives at " + r.textEnd(r.p.dst(), r.p.dport()) + ", the first one at " + r.textEnd(r.reached.at(tupleDst, n), r.reached.at(tupleDPort, 2))
	}, "not led on")
}

// send starts the packet at a link, or at the host for "".
func (r *sweep) send(from string) bool {
	r.arrived, r.gateway, r.preDone, r.tag, r.standsIn = arrival{}, cells{}, false, 0, false
	if from == "" {
		return r.fromHost()
	}
	d := r.w.devices[from]
	if d == nil {
		return r.block(CodeNoLink, "link", schema.LinkRef(from), "Device \""+from+"\" does not exist.", "missing")
	}
	return r.fromLink(d)
}

// fromLink is a packet that a link receives.
func (r *sweep) fromLink(d *device) bool {
	r.p.in = d
	if !r.linkUp(d) || !r.belowUp(d) || !r.linkHeader(d) || !r.sendsTagged(d) {
		return false
	}
	r.note(r.pc, station{stage: "link", ref: schema.LinkRef(d.name), rule: -1, text: d.text(), action: "in"})
	br := r.w.under(d)
	if !br.bridge && !r.ingressHook(d) { // a bridge's are met on the way up
		return false
	}
	switch {
	case br.bridge:
		return r.bridged(br, &device{name: "a port of " + br.name, unknown: true, master: br, up: true, carrier: true, link: &schema.Link{}})
	case d.masterName == "":
		if r.orphan(d) {
			return r.block(CodeNoMaster, "link", schema.LinkRef(d.name), d.text(), "no master")
		}
		if !r.sentHere(d) {
			return false
		}
		r.hostIsAsked(d, nil, nil, 0)
		return r.receive(d)
	case d.master == nil:
		return r.block(CodeBridgeDown, "bridge", schema.LinkRef(d.masterName), "Device \""+d.masterName+"\" does not exist.", "missing")
	case !d.master.bridge:
		return r.unmodelled("link", schema.LinkRef(d.masterName), d.master.text())
	}
	return r.bridged(d.master, d)
}

// orphan tells a guest's port that is in no bridge from a link the host itself uses: it has neither address nor route.
func (r *sweep) orphan(d *device) bool {
	switch d.link.Type {
	case "tap", "veth":
		return !hasAddr(d, false) && !hasAddr(d, true) && !d.routed
	}
	return false
}

// linkUp checks what stops a link from carrying anything. A bridge whose ports are not known is not asked for a
// carrier: it has one as soon as a guest is there.
func (r *sweep) linkUp(d *device) bool {
	ref, text := schema.LinkRef(d.name), d.text()
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
func (r *sweep) linkHeader(d *device) bool {
	p := &r.p
	if p.framed {
		r.framedHeader(d)
		return true
	}
	dst, ok := r.class(p.dst())
	if !ok {
		return false
	}
	mac := cells{}
	switch {
	case p.half != "reply" && r.f.DstMAC != "":
		mac = hardwareAddress(r.f.DstMAC)
	case d.master == nil && !d.bridge && d.link.MAC != nil:
		mac = hardwareAddress(*d.link.MAC)
	}
	p.cast = unicast
	switch dst { //nolint:exhaustive // the others are for one
	case broadcast:
		p.cast, mac = toAll, hardwareAddress("ff:ff:ff:ff:ff:ff")
	case multicast:
		p.cast = toMany
	}
	p.kind.put([]byte{byte(p.cast)})
	if p.cast == unicast && d.master != nil && d.master.bridge {
		r.portKind(d)
	}
	p.setMACs(r.senderMAC(d), mac)
	return true
}

// portKind is pkttype as a port of a bridge sees it, before the bridge does: eth_type_trans compares with the port's own MAC
// address, which is not the bridge's, or may be.
func (r *sweep) portKind(d *device) {
	r.p.kind.put([]byte{toOther})
	if d.link.MAC != nil && d.master.link.MAC != nil && *d.link.MAC != *d.master.link.MAC {
		return
	}
	own := newCells(1)
	own.put([]byte{unicast})
	r.p.kind.merge(r.x.Space, r.fixedBit("frame to the MAC address of its own port"), own)
}

// framedHeader is linkHeader for a frame that is given (eth_type_trans).
func (r *sweep) framedHeader(d *device) {
	p := &r.p
	dst := p.image.b[:6]
	p.linked = true
	own := d.link.MAC == nil || bytes.Equal(dst, hardwareAddress(*d.link.MAC).b)
	switch {
	case bytes.Equal(dst, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}):
		p.cast = toAll
	case dst[0]&1 != 0:
		p.cast = toMany
	default:
		p.cast = unicast
	}
	kind := p.cast
	if kind == unicast && !own {
		kind = toOther
	}
	p.kind.put([]byte{byte(kind)})
}

// receive is layer 3 of the host: prerouting, routing, and on.
func (r *sweep) receive(in *device) bool {
	p := &r.p
	p.in, p.out = in, nil
	if p.v6 && in.noIPv6 {
		key := schema.LinkSysctl("ipv6", in.name, "disable_ipv6")
		return r.block(CodeNoIPv6, "route", schema.SysctlRef(key), key+" = 1", "no IPv6")
	}
	if !r.forUs(toOther) || !r.preDone && !r.ipHook(prerouting) || !r.loosed() {
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

// forUs stops packets of a kind (pkttype): the host takes none for another, and forwards only those addressed to itself.
func (r *sweep) forUs(kind byte) bool {
	is := r.p.kind.equal(r.x, []byte{kind})
	return is == bdd.False || r.blockIf(is, CodeMartian, "route", schema.Ref{}, func() string { return "the frame is not addressed to this host (pkttype)" }, "not for this host")
}

func (r *sweep) deliver(in *device) bool {
	r.p.in, r.p.out = in, nil
	if !r.ipHook(input) {
		return false
	}
	if p := &r.p; p.framed && p.v6 {
		_, routing := findExtension(p.image.b[:p.end], 43)
		if routing && (!r.forUs(toAll) || !r.forUs(toMany) || !r.forUs(toOther)) { // ipv6_rthdr_rcv
			return false
		}
	}
	r.arrived = arrival{local: true, in: in}
	r.note(r.pc, station{stage: "local", rule: -1, ref: schema.LinkRef(in.name), text: "delivered to the host", action: "accept"})
	return true
}

func (r *sweep) forwardTo(res way) bool {
	r.setGateway(res.gateway)
	if !r.leadsThere(res) {
		return false
	}
	r.p.out = res.dev
	if !r.forUs(toAll) || !r.forUs(toMany) || !r.forUs(toOther) { // ip_forward, ip6_forward
		return false
	}
	if !r.hop(res) {
		return false
	}
	r.note(r.pc, station{stage: "route", ref: res.ref(), rule: -1, text: res.text(), action: "forward"})
	return r.ipHook(forward) && r.ipHook(postrouting) && r.leave(res.dev)
}

// hop counts down the hop limit, before the forward hook (ip_forward, ip6_forward). Where it is the sender's to choose it is
// taken to be enough for this host; where a rule or a given frame set it, that decides.
func (r *sweep) hop(res way) bool {
	limit := r.p.hops()
	if limit.known() {
		over := limit.compare(r.x, cmpLte, []byte{1})
		if !r.blockIf(over, CodeNoRoute, "route", res.ref(), func() string { return "the packet's hop limit is over" }, "hop limit over") {
			return false
		}
	}
	limit.subtractOne(r.x)
	return true
}

// setHops is iptables' TTL and HL: set, or counted up and down between the ends (ttl_tg, hl_tg6).
func (r *sweep) setHops(o *op, live bdd.Node) {
	limit := r.p.hops()
	if o.e.Op == "set" {
		limit.merge(r.x.Space, live, constant(o.e.Data))
		return
	}
	end := byte(0)
	if o.e.Op == "inc" {
		end = 0xff
	}
	to := r.copyOf(limit)
	for range o.e.Data[0] {
		atEnd := to.equal(r.x, []byte{end})
		next := r.copyOf(to)
		if o.e.Op == "inc" {
			next.invert(r.x)
		}
		next.subtractOne(r.x)
		if o.e.Op == "inc" { // one more is what the complement has less
			next.invert(r.x)
		}
		to.merge(r.x.Space, r.x.Not(atEnd), next)
	}
	limit.merge(r.x.Space, live, to)
}

// leadsThere checks that a route ends where this half must get to.
func (r *sweep) leadsThere(res way) bool {
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
	case d.master == r.w.under(res.dev):
		return true
	case res.dev.bridge && r.orphan(d) || res.dev.bridge && d.master != nil && d.master.bridge && r.p.half == "request":
		return r.block(CodeNoMaster, "bridge", schema.LinkRef(d.name), d.text(), "not a port of "+res.dev.name)
	case r.p.half == "reply" && !r.holds(r.p.dst().same(r.x, r.sent.at(tupleSrc, r.p.alen()))):
		if r.pc == bdd.False {
			return false
		}
		return r.block(CodeNotUndone, "route", res.ref(), "the answer goes to "+r.text(r.p.dst())+", not to "+r.text(r.sent.at(tupleSrc, r.p.alen())), "not undone")
	case r.p.half == "reply" && (d.routed || d.masterName == "") && !d.bridge && !r.orphan(d):
		// Whether the sender can be reached another way is not for this host to know.
		return r.unmodelled("route", res.ref(), res.text()+": the answer leaves by "+res.dev.name+", not by "+r.dest)
	}
	return r.block(CodeNoRoute, "route", res.ref(), res.text(), "leaves by "+res.dev.name+", not by "+r.dest)
}

// fromHost is a packet that the host makes.
func (r *sweep) fromHost() bool {
	p := &r.p
	p.made, p.linked = true, false
	src, ok := r.class(p.src())
	if !ok {
		return false
	}
	var from cells
	if src != zero && !p.framed { // a raw socket sends what it likes
		own, ok := r.isLocal(p.src())
		if !ok {
			return false
		}
		if !own {
			return r.block(CodeNoAddress, "route", schema.Ref{}, r.text(p.src())+" is no address of this host", "address missing")
		}
		from = p.src()
	}
	res, ok := r.fromSocket(from)
	if !ok {
		return false
	}
	if from.len() == 0 && p.v6 && r.erroneous(res) && r.asksSource() {
		return r.unmodelled("route", res.ref(), res.text()+": the kernel tries again with a source address of its choice")
	}
	out, ok := r.outDevice(res)
	if !ok {
		return false
	}
	if src == zero && !p.framed {
		if !r.chooseSource(res, out) {
			return false
		}
		if res, out, ok = r.withSource(res, out); !ok {
			return false
		}
	}
	if p.half == "request" {
		r.tuple(r.sent)
	}
	res.dev = out
	p.out, r.way = out, res
	r.setGateway(res.gateway)
	r.note(r.pc, station{stage: "route", ref: res.ref(), rule: -1, text: res.text(), action: "route"})
	if !r.ipHook(output) || !r.loosed() {
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
	if r.way.kind == "multicast" || r.way.kind == "unicast" && p.v6 { // IPv4 takes what leaves by lo for its own (__mkroute_output)
		return r.leave(out)
	}
	if !r.w.lo.up {
		return r.block(CodeLinkDown, "link", schema.LinkRef("lo"), r.w.lo.text(), "down")
	}
	if p.ct != nil {
		p.ct.setStatus(ipsConfirmed, bdd.True) // at the end of postrouting
	}
	p.setMACs(hardwareAddress("00:00:00:00:00:00"), hardwareAddress("00:00:00:00:00:00"))
	return r.egressHook(r.w.lo) && r.ingressHook(r.w.lo) && r.receive(r.w.lo)
}

// setGateway keeps the gateway of the route taken.
func (r *sweep) setGateway(a netip.Addr) {
	r.gateway = cells{}
	if a.IsValid() {
		b := a.AsSlice()
		r.gateway = r.gate.at(0, len(b))
		r.gateway.put(b)
	}
}

// outDevice is the link a packet of the host leaves by: lo for its own addresses.
func (r *sweep) outDevice(res way) (*device, bool) {
	switch res.kind {
	case "local":
		return r.w.lo, true
	case "anycast":
		if r.p.v6 {
			return r.w.lo, true
		}
	case "unicast", "broadcast", "multicast":
	default:
		return nil, r.noRoute(res)
	}
	if res.dev == nil {
		return nil, r.leadsThere(res)
	}
	src, ok := r.class(r.p.src())
	if !ok {
		return nil, false
	}
	if !r.p.v6 && src == loopback && res.dev != r.w.lo && res.dev.routeLocalnet != 1 {
		key := schema.LinkSysctl("ipv4", res.dev.name, "route_localnet")
		return nil, r.block(CodeMartian, "route", schema.SysctlRef(key), key+" = 0", "martian")
	}
	return res.dev, true
}

// routeOut routes a packet of the host again after a hook changed it. The rest of the output hook still sees the interface
// of the first route: struct nf_hook_state is filled once.
func (r *sweep) routeOut() bool {
	p := &r.p
	q := r.ofPacket(p.src(), p.dst(), r.w.lo)
	q.again = true
	if p.v6 {
		dst, ok := r.class(p.dst())
		if !ok {
			return false
		}
		if dst == linkLocal || dst == multicast { // by the same link, which for the host's own is lo (ip6_route_me_harder)
			q.by = r.way.dev
		}
	}
	res, ok := r.fromHostItself(q)
	if !ok {
		return false
	}
	out, ok := r.outDevice(res)
	if !ok {
		return false
	}
	res.dev = out
	r.way = res
	r.setGateway(res.gateway)
	r.note(r.pc, station{stage: "route", ref: res.ref(), rule: -1, text: res.text(), action: "route again"})
	return true
}

// chooseSource picks the source address of a packet of the host (ip_route_output_key, RFC 6724).
func (r *sweep) chooseSource(res way, out *device) bool {
	p := &r.p
	none := bdd.False
	switch {
	case res.route != nil && res.route.Source.IsValid():
		p.src().put(res.route.Source.AsSlice())
	case out == r.w.lo:
		p.src().copyFrom(p.dst())
	default:
		nh := r.copyOf(p.dst())
		if res.gateway.IsValid() && !p.v6 {
			nh.put(res.gateway.AsSlice())
		}
		var src cells
		src, none = r.sourceFor(out, nh, r.pc)
		p.src().copyFrom(src)
		if none != bdd.False && p.v6 {
			dst, ok := r.class(p.dst())
			if !ok {
				return false
			}
			if dst == linkLocal {
				for _, a := range out.addrs {
					if a.Prefix.Addr().IsLinkLocalUnicast() && a.Prefix.Addr().Is6() {
						p.src().put(a.Prefix.Addr().AsSlice())
						none = bdd.False
					}
				}
			}
		}
	}
	return r.blockIf(none, CodeNoAddress, "route", schema.LinkRef(out.name), func() string { return out.name + " has no address to send from" }, "address missing")
}

// addressed puts the link header of the way out in front of the packet.
func (r *sweep) addressed(d *device) {
	own := cells{}
	if d.link.MAC != nil {
		own = hardwareAddress(*d.link.MAC)
	}
	nh := r.p.dst()
	if r.gateway.len() > 0 {
		nh = r.gateway
	}
	r.p.setMACs(own, r.neighbourMAC(d, nh))
}

// leave is the way out by a link.
func (r *sweep) leave(d *device) bool {
	if d == r.w.lo {
		return r.block(CodeNoRoute, "route", schema.LinkRef(d.name), "a route by lo for what is no address of this host leads nowhere", "comes back, and goes nowhere")
	}
	if !r.linkUp(d) {
		return false
	}
	r.addressed(d)
	if !r.rightNeighbour(d) || !r.egressHook(d) || !r.belowUp(d) {
		return false
	}
	if d.bridge {
		return r.bridgeOut(d, d)
	}
	if br := r.w.under(d); br.bridge {
		r.tag = d.link.Facts.Tag.ID
		return r.linkUp(br) && r.egressHook(br) && r.bridgeOut(br, d)
	}
	r.arrived = arrival{out: d}
	r.hostAsks(d, nil, nil, 0)
	r.note(r.pc, station{stage: "link", ref: schema.LinkRef(d.name), rule: -1, text: d.text(), action: "out"})
	return true
}
