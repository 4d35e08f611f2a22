package trace

import (
	"net/netip"
	"strconv"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// arpLen is the length of ARP for IPv4 over Ethernet (RFC 826).
const arpLen = 28

// Offsets in it: operation, and the MAC and IP addresses of the sender and of the target (struct arphdr and what follows).
const (
	arpOp        = 6
	arpSenderMAC = 8
	arpSenderIP  = 14
	arpTargetMAC = 18
	arpTargetIP  = 24
)

// arpHook runs a hook of the arp family.
func (r *sweep) arpHook(h hook) bool {
	r.hook, r.inBridge = h, false
	return r.groups(r.w.arp[h])
}

// arpDetour is br_nf_forward_arp: br_netfilter shows ARP that passes a bridge to the forward hook of the arp family, with the
// ports as its interfaces. Only arptables-legacy has chains there. Where the module is there, it is taken to do so: what a bridge
// itself says of it (nf_call_arptables) is in no State.
func (r *sweep) arpDetour() bool {
	port := r.p.physIn
	if r.hook != forward || port == nil || port.master == nil || r.w.callARP < 0 {
		return true
	}
	defer func() { r.inBridge = true }()
	return r.arpHook(forward)
}

// utter makes the packet of a talk: 1 the question, 2 the answer.
func (r *sweep) utter(t *talk, what byte) {
	if r.speech.image.len() == 0 {
		r.speech = newParcel()
	}
	s := &r.speech
	r.p = parcel{half: Resolution, v6: t.v6, talk: what, image: s.image, mark: s.mark, kind: s.kind, layer4: s.layer4, by: t.by, of: t.of}
	p := &r.p
	p.image.zero()
	p.mark.zero()
	p.kind.zero()
	p.layer4.zero()
	p.cast = unicast
	if t.v6 {
		r.utterND(t)
	} else {
		r.utterARP(t)
	}
	p.kind.put([]byte{byte(p.cast)})
	if t.asker.host == (what == 1) && (t.asker.host || t.owner.host) {
		p.kind.put([]byte{unicast}) // the host's own: skb->pkt_type is 0
	}
	p.filled = p.end
}

func (r *sweep) utterARP(t *talk) {
	p := &r.p
	p.trans, p.end = netOff+arpLen, netOff+arpLen
	p.image.at(12, 2).put([]byte{0x08, 0x06})
	h := p.image.at(netOff, arpLen)
	h.put([]byte{0, 1, 8, 0, 6, 4, 0, p.talk}) // ARPOP_REQUEST 1, ARPOP_REPLY 2
	if p.talk == 1 {
		h.at(arpSenderMAC, 6).copyFrom(t.byMAC)
		h.at(arpSenderIP, 4).copyFrom(t.by)
		h.at(arpTargetIP, 4).copyFrom(t.of)
		if !t.asker.host { // some fill it in; the kernel does not
			r.fixed(h.at(arpTargetMAC, 6), "MAC address that a question is for")
		}
		p.setMACs(t.byMAC, constant([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))
		p.cast = toAll
		return
	}
	h.at(arpSenderMAC, 6).copyFrom(t.ofMAC)
	h.at(arpSenderIP, 4).copyFrom(t.of)
	h.at(arpTargetMAC, 6).copyFrom(t.byMAC)
	h.at(arpTargetIP, 4).copyFrom(t.by)
	p.setMACs(t.ofMAC, t.byMAC)
}

// addressesOf gives the addresses that a talk is between: of who asks, and the one asked for. ok is false where there is
// nothing to ask.
func (r *sweep) addressesOf(q *inquiry) (by, of cells, ok bool) {
	r.p.half, r.p.v6 = Resolution, q.v6 // whose variables these are
	switch {
	case q.asker.host:
		if r.isForMany(q) {
			return by, of, false
		}
		return r.hostAddress(q), q.target, true
	case q.owner.host:
		of, ok = r.askedOfHost(q)
		return r.senderAddress(q, q.src), of, ok
	}
	return r.senderAddress(q, q.src), r.beyondHost(q), true
}

// isForMany tells whether a packet of the host is for a network's broadcast address: then it needs no neighbour.
func (r *sweep) isForMany(q *inquiry) bool {
	a, ok := q.target.addr()
	return ok && (r.w.addrType(a, nil) == "broadcast" || a.IsMulticast())
}

// hostAddress is the address that the host asks from: that of the packet where it is its own and arp_announce allows it, else
// one of the link (arp_solicit); in IPv6 the packet's where the link has it, else a link-local one (ndisc_solicit).
func (r *sweep) hostAddress(q *inquiry) cells {
	announce := max(r.w.arpAnnounce, q.l3.arpAnnounce)
	own := bdd.False
	for _, a := range r.w.own[family(q.v6)] {
		is := q.src.equal(r.x, a.ip.AsSlice())
		switch {
		case q.v6 && a.link != q.l3.name, !q.v6 && announce >= 2:
			is = bdd.False
		case !q.v6 && announce == 1:
			is = r.x.And(is, r.sameNetwork(q.l3, a.ip, q.target))
		}
		own = r.x.Or(own, is)
	}
	out := r.linkAddress(q)
	out.merge(r.x.Space, own, q.src)
	return out
}

// linkAddress is one of the link's own for a question.
func (r *sweep) linkAddress(q *inquiry) cells {
	out := newCells(q.target.len())
	if !q.v6 {
		src, none := r.sourceFor(q.l3, q.target, r.pc)
		out.copyFrom(src)
		if none != bdd.False { // 0.0.0.0
			out.merge(r.x.Space, none, newCells(4))
		}
		return out
	}
	r.fixed(out, "link-local address of "+q.l3.name)
	out.at(0, 8).put([]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0})
	for _, a := range q.l3.addrs {
		if ip := a.Prefix.Addr(); ip.Is6() && ip.IsLinkLocalUnicast() {
			out.put(ip.AsSlice())
		}
	}
	return out
}

// sameNetwork tells where a network of a link holds an address of its and another (inet_addr_onlink).
func (r *sweep) sameNetwork(d *device, own netip.Addr, other cells) bdd.Node {
	is := bdd.False
	for _, a := range d.addrs {
		if a.Prefix.Contains(own) {
			is = r.x.Or(is, other.in(r.x, a.Prefix.Masked()))
		}
	}
	return is
}

// ownAddr is an address of the host, and the link it is on.
type ownAddr struct {
	link string
	ip   netip.Addr
}

// senderAddress is the address that another machine asks from: its own, where the packet is from a network of the link; else
// that of the router there, which is the gateway of the host's routes, or is not known.
func (r *sweep) senderAddress(q *inquiry, addr cells) cells {
	inside := r.inside(q.l3, addr)
	out := r.copyOf(addr)
	if q.l3 == nil || inside == bdd.True || len(q.l3.addrs) == 0 {
		return out
	}
	router := newCells(addr.len())
	if a := r.w.routers[linkFamily{q.l3.name, q.v6}]; a.IsValid() {
		router.put(a.AsSlice())
	} else {
		r.fixed(router, "address of a router on "+q.l3.name)
	}
	out.merge(r.x.Space, r.x.Not(inside), router)
	return out
}

// inside tells where an address is of a network of a link.
func (r *sweep) inside(d *device, addr cells) bdd.Node {
	is := bdd.False
	for _, a := range d.addrs {
		if a.Prefix.Addr().Is6() == (addr.len() == 16) {
			is = r.x.Or(is, addr.in(r.x, a.Prefix.Masked()))
		}
	}
	return is
}

// askedOfHost is the address of the host that another machine asks for: the packet's own destination where that is in its
// network, else its gateway, which is one of those that the link has.
func (r *sweep) askedOfHost(q *inquiry) (of cells, ok bool) {
	of = newCells(q.src.len())
	if q.standsIn {
		of.copyFrom(q.dst)
		return of, true
	}
	var may []netip.Addr
	for _, a := range q.l3.addrs {
		if ip := a.Prefix.Addr(); ip.Is6() == q.v6 && (q.v6 || !r.x.Disjoint(r.pc, q.src.in(r.x, a.Prefix.Masked()))) {
			may = append(may, ip)
		}
	}
	for _, a := range q.l3.addrs {
		if ip := a.Prefix.Addr(); len(may) == 0 && ip.Is6() == q.v6 {
			may = append(may, ip)
		}
	}
	if len(may) == 0 {
		return of, false
	}
	r.oneOf(of, bdd.True, r.pc, may, station{stage: "link", ref: schema.LinkRef(q.l3.name), rule: -1, text: "which address of " + q.l3.name + " is asked for"})
	for _, a := range r.w.own[family(q.v6)] {
		of.merge(r.x.Space, r.x.And(q.dst.equal(r.x, a.ip.AsSlice()), r.sameNetwork(q.l3, a.ip, q.dst)), constant(a.ip.AsSlice()))
	}
	return of, true
}

// beyondHost is the address that one guest asks for to reach another: its own where it is of a network that the host knows; that of a
// router behind the other port, or of the machine itself, where not.
func (r *sweep) beyondHost(q *inquiry) cells {
	if len(q.l3.addrs) > 0 {
		return r.senderAddress(q, q.dst)
	}
	router := newCells(q.dst.len())
	r.fixed(router, "address of a router in "+q.br.name)
	out := r.copyOf(q.dst)
	out.merge(r.x.Space, r.fixedBit("sent by a router in "+q.br.name), router)
	return out
}

// partyMAC is a party's MAC address, as far as the host knows.
func (r *sweep) partyMAC(q *inquiry, who party, addr cells) cells {
	out := newCells(6)
	if who.host {
		if q.l3.link.MAC != nil {
			if own := hardwareAddress(*q.l3.link.MAC); own.len() == 6 {
				return own
			}
		}
		r.fixed(out, "MAC address of "+who.name)
		return out
	}
	r.fixed(out, "MAC address behind "+who.name)
	for _, n := range r.w.neighbours(q.l3, q.v6) {
		is := addr.in(r.x, n)
		if mac := hardwareAddress(r.w.macs[neighbour{q.l3.name, n.Addr()}]); mac.len() == 6 && !r.x.Disjoint(r.pc, is) {
			out.merge(r.x.Space, is, mac)
		}
	}
	if r.f.SrcMAC != "" && who.name == r.f.From {
		if mac := hardwareAddress(r.f.SrcMAC); mac.len() == 6 {
			return mac
		}
	}
	return out
}

// hostAnswers tells whether the host answers a question for an address of its own: arp_ignore and arp_filter of
// net/ipv4/arp.c.
func (r *sweep) hostAnswers(t *talk) bool {
	d := t.l3
	switch {
	case d.noARP:
		return r.block(CodeARPSilent, "link", schema.LinkRef(d.name), d.text(), "ARP is off there: the host does not answer")
	case t.standsIn: // arp_process asks no more
		return true
	}
	key, level := strongest("arp_ignore", r.w.arpIgnore, d.arpIgnore, d.name)
	no := bdd.False
	switch level {
	case 1, 2: // inet_confirm_addr: an address of that link
		no = bdd.True
		for _, a := range d.addrs {
			if a.Prefix.Addr().Is6() {
				continue
			}
			is := t.of.equal(r.x, a.Prefix.Addr().AsSlice())
			if level == 2 {
				is = r.x.And(is, r.sameNetwork(d, a.Prefix.Addr(), t.by))
			}
			no = r.x.Diff(no, is)
		}
	case 3:
		for _, o := range r.w.devices {
			for _, a := range o.addrs {
				if a.Scope != nil && *a.Scope == "host" && a.Prefix.Addr().Is4() {
					no = r.x.Or(no, t.of.equal(r.x, a.Prefix.Addr().AsSlice()))
				}
			}
		}
	case 8:
		no = bdd.True
	}
	why := func() string {
		return key + " = " + strconv.Itoa(level) + ": the host does not answer ARP for " + r.text(t.of) + " on " + d.name
	}
	if !r.blockIf(no, CodeARPSilent, "link", schema.SysctlRef(key), why, "not answered") {
		return false
	}
	return r.filtered(t)
}

// filtered is arp_filter: the host answers by the link only by which it would send to who asks.
func (r *sweep) filtered(t *talk) bool {
	key, level := strongest("arp_filter", r.w.arpFilter, t.l3.arpFilter, t.l3.name)
	if level <= 0 {
		return true
	}
	elsewhere := bdd.False
	for _, o := range r.ways(question{src: t.of, dst: t.by, in: r.w.lo}, r.pc) {
		if o.k.dev != t.l3 {
			elsewhere = r.x.Or(elsewhere, o.cond)
		}
	}
	why := func() string {
		return key + " = 1: what the host sends to " + r.text(t.by) + " does not leave by " + t.l3.name
	}
	return r.blockIf(elsewhere, CodeARPSilent, "link", schema.SysctlRef(key), why, "not answered")
}

// strongest is a setting of which the larger of that of all links and the link's own counts (IN_DEV_MAXCONF), and its key.
func strongest(name string, all, own int, link string) (key string, level int) {
	if all > own {
		return schema.LinkSysctl("ipv4", "all", name), all
	}
	return schema.LinkSysctl("ipv4", link, name), own
}
