package trace

import (
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// Resolution is the half of a Result in which a machine looks for the MAC address of its next hop: by ARP, or by the neighbour
// discovery of IPv6. It is walked as packets are: the question from who sends, the answer from who has the address.
const Resolution = "resolution"

// forgotten is the action of a rule that stops a question or an answer where the one who asks may know the address already.
const forgotten = "drop, as soon as who sends has forgotten the MAC address"

// Forgotten tells that what the result depends on is how long a neighbour's MAC address stays known: when it is forgotten,
// the rule that decides drops the question or the answer, and the packet does not get through.
func (r *Result) Forgotten() bool {
	return r.Verdict == Depends && r.Decider != nil && r.Decider.Action == forgotten
}

// party is one of the two who talk about an address: the host, by a link of layer 3, or a machine behind a link or a
// bridge's port.
type party struct {
	host bool
	name string // of the link or port
}

// inquiry is a question for a MAC address that a packet makes necessary, and its answer. It goes over one link, or one bridge.
type inquiry struct {
	v6           bool
	asker, owner party
	l3           *device // the host's link; for what passes a bridge, the one that has addresses in the network
	br           *device // nil where there is no bridge
	port         *device // of the bridge: of the machine that is one party
	other        *device // of the bridge: of the machine that owns the address, where another asks
	tag          uint16  // the frames bear a tag at the bridge's hooks
	src, dst     cells   // of the packet
	target       cells   // the next hop, where the host asks
	standsIn     bool    // the host answers for somebody else
}

type acquainted struct {
	who, with party
	v6        bool
}

// needs notes that a packet of the half at hand needs a MAC address there.
func (r *sweep) needs(q inquiry) {
	p := &r.p
	if r.w.acquainted || p.framed || p.talk != 0 || p.cast != unicast {
		return
	}
	q.v6, q.src, q.dst = p.v6, r.copyOf(p.src()), r.copyOf(p.dst())
	if q.asker.host || q.owner.host {
		if !resolves(q.l3) || !r.w.matters(q.l3, p.v6) && !q.l3.noARP {
			return
		}
	} else if !r.w.matters(nil, p.v6) {
		return
	}
	r.inquiries = append(r.inquiries, q)
}

// resolves tells whether a link has neighbours whose MAC addresses must be found: ARPHRD_ETHER, and neither IFF_NOARP nor
// IFF_POINTOPOINT.
func resolves(d *device) bool {
	switch d.link.Type {
	case "loopback", "tun", "wireguard", "dummy", "ipip", "sit", "gre", "ip6tnl", "ip6gre", "vti", "vti6", "ppp", "xfrm", "vrf", "nlmon", "can", "vcan":
		return false
	}
	return d.link.MAC == nil || len(*d.link.MAC) == 17
}

// matters tells whether there is anything that could stop a question or an answer.
func (w *Walker) matters(l3 *device, v6 bool) bool {
	if v6 {
		return w.seesND
	}
	return w.seesARP || l3 != nil && (w.arpIgnore > 0 || w.arpFilter > 0 || l3.arpIgnore > 0 || l3.arpFilter > 0)
}

// hostAsks notes that the host looks for its next hop behind a link, or behind a port of the bridge it is, or lies over.
func (r *sweep) hostAsks(l3, br, port *device, tag uint16) {
	q := inquiry{asker: party{true, l3.name}, l3: l3, br: br, port: port, tag: tag, owner: party{false, l3.name}}
	if port != nil {
		q.owner.name = port.name
	}
	if r.gateway.len() > 0 {
		q.target = r.copyOf(r.gateway)
	} else {
		q.target = r.copyOf(r.p.dst())
	}
	r.needs(q)
}

// hostIsAsked notes that a machine behind a link, or a port, looks for the host.
func (r *sweep) hostIsAsked(l3, br, port *device, tag uint16) {
	q := inquiry{asker: party{false, l3.name}, owner: party{true, l3.name}, l3: l3, br: br, port: port, tag: tag}
	q.standsIn = r.standsIn
	if port != nil {
		q.asker.name = port.name
	}
	r.needs(q)
}

// guestAsks notes that a machine behind one port of a bridge looks for one behind another.
func (r *sweep) guestAsks(l3, br, port, other *device, tag uint16) {
	r.needs(inquiry{asker: party{false, port.name}, owner: party{false, other.name}, l3: l3, br: br, port: port, other: other, tag: tag})
}

// resolved walks what the packets of this half need to know of their neighbours. It is done when the packets have got to where
// they were to go: what stops them themselves is told first.
func (r *sweep) resolved() bool {
	if len(r.inquiries) == 0 {
		return r.pc != bdd.False
	}
	p, hook, in, out, kept := r.p, r.hook, r.preDone, r.physOut, r.tag
	for _, q := range r.inquiries {
		r.resolve(&q)
		if r.pc == bdd.False {
			break
		}
	}
	r.inquiries = r.inquiries[:0]
	r.p, r.hook, r.preDone, r.physOut, r.tag, r.warm = p, hook, in, out, kept, bdd.False
	return r.pc != bdd.False
}

// resolve walks one. Who has just asked another is known to it (arp_process and ndisc_recv_ns learn the sender of what they
// answer), for as long as a neighbour table keeps what nobody confirms.
func (r *sweep) resolve(q *inquiry) {
	key := acquainted{q.asker, q.owner, q.v6}
	if r.known[key] == sure {
		return
	}
	fixed, warm := r.tableKnows(q)
	if r.known[key] == heard || r.w.answersItself(q) {
		warm = bdd.True
	}
	all := r.pc
	r.warm = warm
	if r.pc = r.x.Diff(all, fixed); r.pc != bdd.False && q.asker.host && q.l3.noARP {
		r.warm = bdd.False
		r.block(CodeARPSilent, "link", schema.LinkRef(q.l3.name), q.l3.text(), "ARP is off there: the host knows only what somebody entered")
	} else if r.pc != bdd.False {
		r.talk(q)
	}
	r.pc = r.x.Or(r.pc, r.x.And(all, fixed))
	r.known[key] = sure
	if back := (acquainted{q.owner, q.asker, q.v6}); r.known[back] != sure && !r.x.Implies(all, fixed) {
		r.known[back] = heard
	}
}

// How well one party knows another: heard says that its table may forget.
const (
	heard = 1 + iota
	sure
)

// tableKnows tells for which packets no question is asked: the table of the host has an entry for good. Warm are those for
// which there is one that comes and goes: the host's own, and where another asks the host, what the host knows of him, for
// they have talked to each other. Of two guests that the bridge has heard nobody knows whether they have.
func (r *sweep) tableKnows(q *inquiry) (fixed, warm bdd.Node) {
	fixed, warm = bdd.False, bdd.False
	addr := q.target
	switch {
	case !q.asker.host && !q.owner.host:
		if r.w.heardBehind(q.br, q.port) && r.w.heardBehind(q.br, q.other) {
			warm = bdd.True
		}
		return fixed, warm
	case !q.asker.host:
		addr = q.src
		if !r.onLink(q.l3, addr) { // a router's, and which is not known
			if len(r.w.entries[linkFamily{q.l3.name, q.v6}]) > 0 {
				warm = bdd.True
			}
			return fixed, warm
		}
	}
	for _, e := range r.w.entries[linkFamily{q.l3.name, q.v6}] {
		is := addr.equal(r.x, e.ip.AsSlice())
		switch {
		case is == bdd.False:
		case e.fixed && q.asker.host:
			fixed = r.x.Or(fixed, is)
		default:
			warm = r.x.Or(warm, is)
		}
	}
	return fixed, warm
}

// onLink tells whether an address may be one of a network of a link.
func (r *sweep) onLink(d *device, addr cells) bool {
	return slices.ContainsFunc(d.addrs, func(a *schema.Address) bool {
		return a.Prefix.Addr().Is6() == (addr.len() == 16) && !r.x.Disjoint(r.pc, addr.in(r.x, a.Prefix.Masked()))
	})
}

// heardBehind tells whether a bridge has heard somebody behind a port.
func (w *Walker) heardBehind(br, port *device) bool {
	if port.unknown {
		return true
	}
	b := w.fabrics[br.name]
	if b == nil {
		return false
	}
	for _, e := range b.fdb {
		if e.Link == port.name && e.State != "permanent" {
			return true
		}
	}
	return false
}

// answersItself tells whether a bridge may answer for its ports' machines (br_do_proxy_suppress_arp): then rules are not asked,
// or not all of them.
func (w *Walker) answersItself(q *inquiry) bool {
	b := w.fabrics[nameOf(q.br)]
	return b != nil && slices.ContainsFunc(b.ports, func(l *schema.Link) bool {
		return l.Port != nil && (on(l.Port.NeighSuppr) || on(l.Port.ProxyARPWiFi)) || l.Facts != nil && l.Facts.PortFacts != nil && l.Facts.PortFacts.ProxyARP
	})
}

func nameOf(d *device) string {
	if d == nil {
		return ""
	}
	return d.name
}

// linkFamily is a key: the entries of one family on a link.
type linkFamily struct {
	link string
	v6   bool
}

// entryOf is an entry of the neighbour table that has a MAC address.
type entryOf struct {
	ip    netip.Addr
	fixed bool
}

// readEntries keeps those of the host's neighbour table that are of use (NUD_VALID in net/neighbour.h), its addresses, and the
// one gateway of its routes on a link; none for several.
func (w *Walker) readEntries() {
	w.entries, w.routers = map[linkFamily][]entryOf{}, map[linkFamily]netip.Addr{}
	for _, d := range w.devices {
		for _, a := range d.addrs {
			f := family(a.Prefix.Addr().Is6())
			w.own[f] = append(w.own[f], ownAddr{d.name, a.Prefix.Addr()})
		}
	}
	for f := range w.own {
		slices.SortFunc(w.own[f], func(a, b ownAddr) int { return a.ip.Compare(b.ip) })
	}
	for _, a := range w.own[0] {
		w.ownPrefixes = append(w.ownPrefixes, netip.PrefixFrom(a.ip, 32))
	}
	w.ownPrefixes = byLength(w.ownPrefixes)
	for rt := range schema.Each[*schema.Route](w.state) {
		if rt.Gateway.IsValid() {
			k := linkFamily{rt.Link, rt.Gateway.Is6()}
			if was, ok := w.routers[k]; ok && was != rt.Gateway {
				w.routers[k] = netip.Addr{}
			} else {
				w.routers[k] = rt.Gateway
			}
		}
	}
	for n := range schema.Each[*schema.Neighbour](w.state) {
		if n.MAC == nil || *n.MAC == "" || n.Proxy || n.State == "failed" || n.State == "incomplete" {
			continue
		}
		k := linkFamily{n.Link, n.IP.Is6()}
		w.entries[k] = append(w.entries[k], entryOf{n.IP, n.Permanent != nil && *n.Permanent || n.State == "noarp" || n.State == "permanent"})
	}
}

// talk walks the question and its answer.
func (r *sweep) talk(q *inquiry) {
	by, of, ok := r.addressesOf(q)
	if !ok {
		return
	}
	t := &talk{inquiry: q, by: by, of: of}
	t.byMAC, t.ofMAC = r.partyMAC(q, q.asker, by), r.partyMAC(q, q.owner, of)
	r.converse(t, 1)
	if r.pc == bdd.False || q.owner.host && !q.v6 && !r.hostAnswers(t) {
		return
	}
	r.converse(t, 2)
}

// talk is an inquiry with what is said in it.
type talk struct {
	*inquiry
	by, of       cells // the address of who asks, and the one asked for
	byMAC, ofMAC cells
}

// converse carries one of the two packets: 1 the question, 2 the answer.
func (r *sweep) converse(t *talk, what byte) {
	from, in, out, action := t.asker, t.port, t.other, "ask"
	if what == 2 {
		from, in, out, action = t.owner, t.other, t.port, "answer"
	}
	r.utter(t, what)
	r.preDone, r.tag, r.physOut = false, t.tag, nil
	text := "the host"
	if !from.host {
		text = "who is behind " + from.name
	}
	r.note(r.pc, station{stage: "link", ref: schema.LinkRef(from.name), rule: -1, text: text, action: action})
	switch {
	case from.host:
		r.hostSpeaks(t)
	case t.asker.host || t.owner.host:
		r.hostHears(t)
	default:
		r.passesBridge(t, in, out)
	}
}

// hostSpeaks carries a packet of the host to a link: arp_xmit, ndisc_send_skb.
func (r *sweep) hostSpeaks(t *talk) bool {
	p := &r.p
	p.in, p.out, p.linked = nil, t.l3, false
	if p.v6 {
		if !r.ipHook(output) || !r.ipHook(postrouting) {
			return false
		}
	} else if !r.arpHook(output) {
		return false
	}
	p.linked = true
	if !r.atLink(t, func() bool { return r.egressHook(t.l3) }) {
		return false
	}
	if t.br == nil || t.tag != 0 {
		return r.pc != bdd.False
	}
	if t.br != t.l3 && !r.egressHook(t.br) {
		return false
	}
	p.in, p.out = nil, t.port
	return r.bridgeHook(output) && r.bridgeHook(postrouting) && r.egressHook(t.port)
}

// atLink runs the rules at the host's own link, whose frames bear no tag.
func (r *sweep) atLink(t *talk, do func() bool) bool {
	r.tag = 0
	ok := do()
	r.tag = t.tag
	return ok
}

// hostHears carries a packet to the host: arp_rcv, ndisc_rcv.
func (r *sweep) hostHears(t *talk) bool {
	p := &r.p
	if t.br != nil && t.tag == 0 {
		r.arrivesAt(t.port)
		if !r.ingressHook(t.port) {
			return false
		}
		p.in, p.physIn, p.out = t.port, t.port, nil
		if p.cast == unicast {
			p.kind.put([]byte{unicast})
		}
		if !r.bridgeHook(prerouting) || !r.bridgeHook(input) || !r.ingressHook(t.br) {
			return false
		}
	}
	if (t.br == nil || t.br != t.l3) && !r.atLink(t, func() bool { return r.ingressHook(t.l3) }) {
		return false
	}
	p.in, p.out = t.l3, nil
	if !p.v6 {
		return r.arpHook(input)
	}
	return (r.preDone || r.ipHook(prerouting)) && r.ipHook(input)
}

// arrivesAt sets the kind of a frame that a bridge's port receives.
func (r *sweep) arrivesAt(port *device) {
	if r.p.cast != unicast {
		return
	}
	r.p.kind.put([]byte{toOther})
	if port.unknown {
		r.p.kind.merge(r.x.Space, r.fixedBit("frame to the MAC address of its own port"), constant([]byte{unicast}))
		return
	}
	if port.master != nil && port.master.link.MAC != nil {
		r.portKind(port)
	}
}

// passesBridge carries a packet from one port of a bridge to another.
func (r *sweep) passesBridge(t *talk, in, out *device) bool {
	p := &r.p
	if t.tag != 0 {
		return true // the packet itself meets the same rules with its tag, and depends on them
	}
	if p.cast == unicast {
		p.kind.put([]byte{toOther})
	}
	if !r.ingressHook(in) {
		return false
	}
	p.in, p.physIn, p.out = in, in, nil
	if !r.bridgeHook(prerouting) {
		return false
	}
	p.in, p.out = in, out
	if !r.bridgeHook(forward) {
		return false
	}
	p.in, p.out = nil, out
	if !r.bridgeHook(postrouting) {
		return false
	}
	if r.preDone { // br_netfilter, as in bridgeForward
		p.out, r.physOut = t.br, out
		ok := r.ipHook(postrouting)
		r.physOut = nil
		if !ok {
			return false
		}
	}
	return r.egressHook(out)
}

// endedTalk ends the way of packets whose question or answer is stopped: those for sure whose senders know nothing, the others
// as soon as they have forgotten.
func (r *sweep) endedTalk(pc bdd.Node, st station) {
	was := r.warm
	r.warm = bdd.False
	r.ended(r.x.Diff(pc, was), Block, st)
	st.action = forgotten
	r.ended(r.x.And(pc, was), Depends, st)
	r.warm = was
}
