package trace

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// Flags of NAT ranges (uapi linux/netfilter/nf_nat.h).
const (
	natRandom = 1<<2 | 1<<4
	natNetmap = 1 << 6
)

// The bits of "ct status" by number (enum ip_conntrack_status).
const (
	ipsSeenReply  = 1
	ipsAssured    = 2
	ipsConfirmed  = 3
	ipsSrcNAT     = 4
	ipsDstNAT     = 5
	ipsSrcNATDone = 7
	ipsDstNATDone = 8
)

func (c *entryCT) status(x *space, bit int) bdd.Node {
	return c.at(ctStatus, 4).bit(x.Space, hostBit(bit))
}

func (c *entryCT) setStatus(bit int, f bdd.Node) { c.at(ctStatus, 4).setBit(hostBit(bit), f) }

// entry makes an entry of conntrack for the packet at hand.
func (r *sweep) newEntry() *entryCT {
	if r.conns == len(r.memory) {
		r.conns--
	}
	c := r.memory[r.conns]
	if c == nil {
		c = &entryCT{cells: newCells(ctCells)}
		r.memory[r.conns] = c
	}
	r.conns++
	*c = entryCT{cells: c.cells}
	c.zero()
	r.tuple(c.at(ctOrig, tupleLen))
	invert(c.at(ctReply, tupleLen), c.at(ctOrig, tupleLen))
	return c
}

// track is conntrack's look at the packet (nf_conntrack_in): it finds the entry, or makes one for a first packet.
func (r *sweep) track() bool {
	p := &r.p
	if seen := p.seen(r.x.Space); r.holds(seen) { // untracked by a rule, or seen before: bridge, loopback
		if p.stateOf() == 0 {
			p.setState(bitUntracked)
		}
		return true
	}
	p.setState(-1)
	state, known := r.opens()
	switch {
	case p.half != "request" || known && state == bitNew:
	case !known:
		return r.unmodelled("conntrack", schema.Ref{}, "what begins this connection stands beyond the bytes that are looked at")
	default:
		p.setState(state)
		return true
	}
	if p.half == "request" {
		r.conn = r.newEntry()
		r.found(r.conn, bitNew, bdd.False)
		return true
	}
	reply, orig := r.directions()
	switch r.choose(reply, r.x.Diff(orig, reply), r.x.Not(r.x.Or(orig, reply))) {
	case 0:
		r.conn.setStatus(ipsSeenReply, bdd.True)
		r.conn.seen = true
		r.found(r.conn, bitEstablished, bdd.True)
		return true
	case 1:
		r.trackLater()
		return true
	}
	// No entry: an answer alone does not begin a connection (tcp_new, icmp_new), a later TCP segment does (tcp_loose).
	if p.half == "reply" && (p.proto == protoTCP || p.proto == protoICMP || p.proto == protoICMPv6) {
		p.setState(bitInvalid)
		return true
	}
	if r.conn != nil && !r.many {
		// The NAT core sees to it that no two entries look alike, and this one nearly does: what it picks nobody knows.
		return r.unmodelled("nat", schema.Ref{}, "this packet belongs to no connection that conntrack knows, though the first one did: a rule writes into packets")
	}
	r.found(r.newEntry(), bitNew, bdd.False)
	return true
}

// directions tells which packets are of the connection's reply direction, and which of the original one. The one that is to
// be expected is asked for first: mostly it holds for all, and to compare addresses with others costs much.
func (r *sweep) directions() (reply, orig bdd.Node) {
	c := r.conn
	if c == nil {
		return bdd.False, bdd.False
	}
	meets := func(dir int) bdd.Node { return r.meetsTuple(c.at(dir, tupleLen)) }
	if r.p.half == "reply" {
		if reply = meets(ctReply); !r.x.Implies(r.pc, reply) {
			orig = meets(ctOrig)
		}
		return reply, orig
	}
	if orig = meets(ctOrig); !r.x.Implies(r.pc, orig) {
		reply = meets(ctReply)
	}
	return reply, orig
}

func (r *sweep) found(c *entryCT, state int, answer bdd.Node) {
	r.p.ct, r.p.has, r.p.answer = c, bdd.True, answer
	r.p.setState(state)
}

// trackLater is a later packet of the side that opened the connection: established once conntrack saw an answer.
func (r *sweep) trackLater() {
	switch {
	case r.conn.seen:
		r.found(r.conn, bitEstablished, bdd.False)
	case r.p.proto == protoTCP: // an ACK in state SYN_SENT (tcp_conntracks)
		r.p.setState(bitInvalid)
	default:
		r.found(r.conn, bitNew, bdd.False)
	}
}

// meetsTuple tells for which packets of pc their tuple is that.
func (r *sweep) meetsTuple(t cells) bdd.Node {
	r.tuple(r.t1)
	if r.t1.known() && t.known() {
		return boolean(bytes.Equal(r.t1.b, t.b))
	}
	f := r.pc
	for _, part := range [][2]int{{tupleSrc, 16}, {tupleDst, 16}, {tupleDPort, 2}, {tupleSPort, 2}} {
		same := r.t1.at(part[0], part[1]).same(r.x, t.at(part[0], part[1]))
		if f = r.x.And(f, same); f == bdd.False {
			break
		}
	}
	return f
}

// natHook is the NAT core at a hook (nf_nat_inet_fn): a first packet is shown to the NAT chains until one sets up a
// mapping; then, as for every later packet, the mapping is applied.
func (r *sweep) natHook() bool {
	p := &r.p
	c := p.ct
	if c == nil {
		return true
	}
	source := r.hook == postrouting || r.hook == input
	done, bit := &c.dstDone, ipsDstNATDone
	if source {
		done, bit = &c.srcDone, ipsSrcNATDone
	}
	if p.state[bitNew] == bdd.True && !*done {
		late := r.holds(c.status(r.x, ipsConfirmed))
		if !r.natChains(r.w.nat[family(p.v6)][r.hook]) {
			return false
		}
		if !late {
			*done = true
			c.setStatus(bit, bdd.True)
		}
		if c.status(r.x, ipsSrcNAT) != bdd.False || c.status(r.x, ipsDstNAT) != bdd.False {
			c.under(r.x, r.pc) // what all are translated to is a constant again, which rules about others cost nothing
		}
	}
	r.applyNAT(source)
	return true
}

func (r *sweep) natChains(groups [][]entry) bool {
	if !r.w.tracks[family(r.p.v6)] && slices.ContainsFunc(groups, func(g []entry) bool {
		return slices.ContainsFunc(g, func(e entry) bool { return r.wouldAct(e.base) })
	}) {
		b := groups[0][0].base
		return r.unmodelled("nat", b.c.t.ref, "chains of type nat run only where conntrack is in use, and no rule here uses it")
	}
	mapped := bdd.False
	for _, g := range groups {
		for _, e := range r.ordered(g) {
			if r.pc == bdd.False {
				break
			}
			r.mapped = bdd.False
			r.traverse(e.base)
			m := r.x.And(r.pc, r.mapped)
			mapped, r.pc = r.x.Or(mapped, m), r.x.Diff(r.pc, m)
		}
	}
	r.pc = r.x.Or(r.pc, mapped)
	return r.pc != bdd.False
}

// applyNAT is nf_nat_packet: destinations before routing, sources after it; for an answer the other way round.
func (r *sweep) applyNAT(source bool) {
	p, c := &r.p, r.p.ct
	back := p.answer == bdd.True
	bit, from := ipsSrcNAT, c.at(ctOrig, tupleLen)
	if source == back {
		bit = ipsDstNAT
	}
	if !back {
		from = c.at(ctReply, tupleLen)
	}
	on := c.status(r.x, bit)
	if on == bdd.False {
		return
	}
	n := p.alen()
	defer r.checksums(r.endsOf())
	if source {
		p.src().merge(r.x.Space, on, from.at(tupleDst, n))
	} else {
		p.dst().merge(r.x.Space, on, from.at(tupleSrc, n))
	}
	switch {
	case !p.hasPorts():
	case source:
		p.sport().merge(r.x.Space, on, from.at(tupleDPort, 2))
	default:
		p.dport().merge(r.x.Space, on, from.at(tupleSPort, 2))
	}
}

// mapping is what a NAT rule asks for.
type mapping struct {
	source bool
	lo, hi cells // no cells: the address stays
	netmap bool
	ports  bool
	pmin   cells
	pmax   cells
	random bool
	name   string
}

// endsOf copies what NAT may change: addresses, and ports where there are any.
func (r *sweep) endsOf() []cells {
	p := &r.p
	ends := []cells{r.copyOf(p.src()), r.copyOf(p.dst())}
	if p.hasPorts() {
		ends = append(ends, r.copyOf(p.sport()), r.copyOf(p.dport()))
	}
	return ends
}

// checksums follow what NAT has changed (RFC 1624); they are unknown where that, or what they were, is.
func (r *sweep) checksums(was []cells) {
	p := &r.p
	is := r.endsOf()
	if !p.v6 {
		r.checksum(p.image.at(netOff+10, 2), was[:2], is[:2])
	}
	at, ok := map[uint8]int{protoTCP: 16, protoUDP: 6, protoLite: 6, protoDCCP: 6, protoICMPv6: 2}[p.proto]
	if !ok || p.trans+at+2 > imageCells {
		return // ICMP's does not cover the addresses
	}
	sum := p.image.at(p.trans+at, 2)
	if p.proto == protoUDP && sum.known() && sum.b[0] == 0 && sum.b[1] == 0 {
		return // none
	}
	r.checksum(sum, was, is)
}

func (r *sweep) checksum(sum cells, was, is []cells) {
	n, known := uint32(^binary.BigEndian.Uint16(sum.b)), sum.known()
	for i := range was {
		known = known && was[i].known() && is[i].known()
		for k := 0; k < was[i].len(); k += 2 {
			n += uint32(^binary.BigEndian.Uint16(was[i].b[k:])) + uint32(binary.BigEndian.Uint16(is[i].b[k:]))
		}
	}
	if !known {
		r.blur(sum, "checksum after NAT")
		return
	}
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	sum.put(binary.BigEndian.AppendUint16(nil, ^uint16(n)))
}

// nat runs nat, masq, redir and netmap for the packets in live: it sets up the mapping and accepts. It gives what is left
// for the next rule, and for the rest of this one.
func (r *sweep) nat(o *op, pc, live bdd.Node) (rest, on bdd.Node) {
	p, e := &r.p, o.e
	rest = r.x.Diff(pc, live)
	if p.ct == nil || !r.at.b.nat {
		r.giveUp(r.at, live, "")
		return rest, bdd.False
	}
	if e.Family == "ip" && p.v6 || e.Family == "ip6" && !p.v6 {
		return pc, live // nft_nat_inet_eval
	}
	source := r.hook == postrouting || r.hook == input
	m := mapping{random: e.Flags&natRandom != 0, netmap: e.Flags&natNetmap != 0, name: e.Op}
	ok := true
	switch o.code {
	case opNAT:
		m.source = e.Op == "snat"
		if o.has&1 != 0 {
			m.lo = r.copyOf(r.reg(o.sreg, p.alen()))
			m.hi = m.lo
			if o.has&2 != 0 {
				m.hi = r.copyOf(r.reg(o.sreg2, p.alen()))
			}
		}
		r.natPorts(&m, o.has&4 != 0, o.sreg3, o.has&8 != 0, o.sreg4)
	case opNetmap:
		m.source = e.Op == "snat" || e.Op == "" && source
		m.name, m.netmap = "netmap", true
		m.lo, m.hi, ok = prefixRange(e.Data, e.Data2)
	case opMasq:
		m.source, m.name = true, "masquerade"
		r.natPorts(&m, o.has&1 != 0, o.sreg, o.has&2 != 0, o.sreg2)
	case opRedir:
		m.name = "redirect"
		r.natPorts(&m, o.has&1 != 0, o.sreg, o.has&2 != 0, o.sreg2)
	}
	if !ok || m.source != source || m.lo.len() > 0 && m.lo.len() != p.alen() {
		r.giveUp(r.at, live, "")
		return rest, bdd.False
	}
	if r.dry {
		r.effect = r.x.Or(r.effect, live)
		r.accepted = r.x.Or(r.accepted, live)
		return rest, bdd.False
	}
	r.setUp(o.code, m, live)
	return rest, bdd.False
}

// natPorts takes the range of ports from the registers.
func (r *sweep) natPorts(m *mapping, hasMin bool, lo uint8, hasMax bool, hi uint8) {
	if !hasMin {
		return
	}
	m.ports = true
	m.pmin = r.copyOf(r.reg(lo, 2))
	m.pmax = m.pmin
	if hasMax {
		m.pmax = r.copyOf(r.reg(hi, 2))
	}
}

// setUp finds the addresses of masquerade and redirect, and records the mapping.
func (r *sweep) setUp(code opcode, m mapping, live bdd.Node) {
	p := &r.p
	here := r.at
	none := bdd.False
	switch code {
	case opMasq:
		unspecified := r.x.And(live, p.src().equal(r.x, make([]byte, p.alen())))
		r.accepted = r.x.Or(r.accepted, unspecified)
		live = r.x.Diff(live, unspecified)
		nh := p.dst()
		if r.gateway.len() > 0 && !p.v6 {
			nh = r.gateway
		}
		m.lo, none = r.sourceFor(p.out, nh, live)
	case opRedir:
		m.lo, none = r.ownAddress(live)
	}
	r.at = here
	if m.hi.len() == 0 || code == opMasq || code == opRedir {
		m.hi = m.lo
	}
	if dead := r.x.And(live, none); dead != bdd.False { // nf_nat_masquerade_ipv4: no address, no packet
		st := r.station(here.b, here.c, here.i)
		st.action = "drop"
		r.ended(dead, Block, st)
		live = r.x.Diff(live, dead)
	}
	if live == bdd.False {
		return
	}
	if p.ct.status(r.x, ipsConfirmed) == bdd.True { // too late (nf_nat_setup_info): the rule accepts, the next chain is asked
		r.accepted = r.x.Or(r.accepted, live)
		return
	}
	side := ctReply
	old, oldPort := p.ct.at(side+tupleSrc, p.alen()), p.ct.at(side+tupleSPort, 2)
	if m.source {
		old, oldPort = p.ct.at(side+tupleDst, p.alen()), p.ct.at(side+tupleDPort, 2)
	}
	addr, live, text := r.natAddr(m, old, live)
	port, live := r.natPort(m, oldPort, live)
	if m.ports && p.hasPorts() && port.known() {
		if a, ok := addr.addr(); ok {
			n, _ := port.u16()
			text = netip.AddrPortFrom(a, n).String()
		}
	}
	st := r.station(here.b, here.c, here.i)
	st.stage, st.action = "nat", m.name+" to "+text
	if m.name == "masquerade" {
		st.action = "masquerade as " + text
	}
	r.note(live, st)
	changed := r.x.Diff(live, r.x.And(addr.same(r.x, old), port.same(r.x, oldPort)))
	old.merge(r.x.Space, live, addr)
	oldPort.merge(r.x.Space, live, port)
	bit := ipsDstNAT
	if m.source {
		bit = ipsSrcNAT
	}
	p.ct.setStatus(bit, r.x.Or(p.ct.status(r.x, bit), changed))
	r.mapped, r.accepted = r.x.Or(r.mapped, live), r.x.Or(r.accepted, live)
}

// prefixRange gives the first and last address of a lowered NETMAP.
func prefixRange(addr, mask []byte) (lo, hi cells, ok bool) {
	if len(addr) != len(mask) || len(addr) == 0 {
		return lo, hi, false
	}
	lo, hi = newCells(len(addr)), newCells(len(addr))
	for i := range addr {
		lo.b[i] = addr[i] & mask[i]
		hi.b[i] = addr[i]&mask[i] | ^mask[i]
	}
	return lo, hi, true
}

// natAddr is the address a mapping gives. Of a range the kernel's hash picks one: any, as far as we know.
func (r *sweep) natAddr(m mapping, old cells, live bdd.Node) (addr cells, still bdd.Node, text string) {
	switch {
	case m.lo.len() == 0:
		return r.copyOf(old), live, r.text(old)
	case m.netmap:
		out := newCells(old.len())
		for i := range 8 * old.len() {
			lo := m.lo.bit(r.x.Space, i)
			host := r.x.Xor(lo, m.hi.bit(r.x.Space, i))
			out.setBit(i, r.x.Ite(host, old.bit(r.x.Space, i), lo))
		}
		return out, live, r.text(out)
	case m.lo.same(r.x, m.hi) == bdd.True:
		return m.lo, live, r.text(m.lo)
	}
	out, live := r.anyOf(m.lo, m.hi, live, "address")
	return out, live, r.text(m.lo) + "-" + r.text(m.hi)
}

// anyOf is a value between two, nobody knows which.
func (r *sweep) anyOf(lo, hi cells, live bdd.Node, what string) (out cells, still bdd.Node) {
	out = newCells(lo.len())
	r.live = live
	r.blur(out, pickOf{r.at, what})
	if lo.known() && hi.known() {
		return out, r.x.And(live, out.within(r.x, lo.b, hi.b))
	}
	// Bit by bit, the first that differs decides.
	le, ge := bdd.True, bdd.True
	for i := 8*lo.len() - 1; i >= 0; i-- {
		v := out.bit(r.x.Space, i)
		ge = r.x.Ite(lo.bit(r.x.Space, i), r.x.And(v, ge), r.x.Or(v, ge))
		le = r.x.Ite(hi.bit(r.x.Space, i), r.x.Or(r.x.Not(v), le), r.x.And(r.x.Not(v), le))
	}
	return out, r.x.And(live, r.x.And(le, ge))
}

type pickOf struct {
	at   place
	what string
}

// text prints an address, if it is one.
func (r *sweep) text(c cells) string {
	if a, ok := c.addr(); ok {
		return a.String()
	}
	return "an address"
}

// natPort is nf_nat_l4proto_unique_tuple: a port inside the range stays, one outside is replaced. What counts is the port
// conntrack knows, not the one in the packet, which a rule may have rewritten since.
func (r *sweep) natPort(m mapping, old cells, live bdd.Node) (port cells, still bdd.Node) {
	random := func(lo, hi cells) (cells, bdd.Node) {
		out, live := r.anyOf(lo, hi, live, "port")
		return out, live
	}
	constant := func(n uint16) cells {
		c := newCells(2)
		c.put([]byte{byte(n >> 8), byte(n)})
		return c
	}
	switch {
	case !r.p.hasPorts():
		return r.copyOf(old), live
	case !m.ports && !(m.source && m.random):
		return r.copyOf(old), live
	case !m.ports: // without a range, a port keeps its class
		low := r.x.And(live, old.compare(r.x, cmpLt, []byte{4, 0}))
		if low == bdd.False {
			return random(constant(1024), constant(65535))
		}
		return random(constant(1), constant(65535))
	case m.pmin.same(r.x, m.pmax) == bdd.True:
		return m.pmin, live
	case m.random || !m.pmin.known() || !m.pmax.known():
		return random(m.pmin, m.pmax)
	}
	inside := old.within(r.x, m.pmin.b, m.pmax.b)
	if r.x.Implies(live, inside) {
		return r.copyOf(old), live
	}
	out, ok := random(m.pmin, m.pmax)
	// Where the old port lies inside it stays: the picked one has no say, and is held to the lowest.
	idle := r.x.And(live, r.x.And(inside, out.equal(r.x, m.pmin.b)))
	ok = r.x.Or(r.x.Diff(ok, inside), idle)
	out.merge(r.x.Space, inside, old)
	return out, ok
}

// sourceFor is inet_select_addr: the address of a link that lies in the next hop's network, else its first; else one of
// another link. In IPv6 (ipv6_dev_get_saddr) it is the destination itself that counts. The order of several is not known. none are the packets for which there is no address.
func (r *sweep) sourceFor(dev *device, nh cells, pc bdd.Node) (addr cells, none bdd.Node) {
	addr = newCells(r.p.alen())
	if dev == nil {
		return addr, pc
	}
	none = bdd.False
	lists := map[string][]netip.Addr{}
	for _, o := range byAddress(r, pc, nh, r.w.sourcePrefixes(dev, r.p.v6), func(a netip.Addr) string {
		c := r.w.sources(dev, a)
		k := joinAddrs(c)
		lists[k] = c
		return k
	}) {
		c := lists[o.k]
		if len(c) == 0 {
			none = r.x.Or(none, o.cond)
			continue
		}
		always := o.cond
		if o.cond == pc { // nothing else is written
			always = bdd.True
		}
		r.oneOf(addr, always, o.cond, c, station{stage: "route", ref: schema.LinkRef(dev.name), rule: -1, text: "several addresses on " + dev.name})
	}
	return addr, none
}

func joinAddrs(as []netip.Addr) string {
	var b strings.Builder
	for _, a := range as {
		b.WriteString(a.String())
		b.WriteByte(' ')
	}
	return b.String()
}

// oneOf writes one of several addresses where cond holds, nobody knows which, for the packets of pc.
func (r *sweep) oneOf(out cells, cond, pc bdd.Node, as []netip.Addr, st station) {
	one := newCells(out.len())
	st.action = "may match"
	one.put(as[0].AsSlice())
	out.merge(r.x.Space, cond, one)
	for i, a := range as[1:] {
		r.live = pc
		u := r.unknown(nth{as[0], i})
		r.parted(pc, r.x.And(pc, u), st)
		one.put(a.AsSlice())
		out.merge(r.x.Space, r.x.And(cond, u), one)
	}
}

// ownAddress is where redirect leads: the loopback for the host's own packets, else the first address of the link.
func (r *sweep) ownAddress(live bdd.Node) (addr cells, none bdd.Node) {
	addr = newCells(r.p.alen())
	if r.hook == output {
		if r.p.v6 {
			addr.put(netip.IPv6Loopback().AsSlice())
		} else {
			addr.put([]byte{127, 0, 0, 1})
		}
		return addr, bdd.False
	}
	if r.p.in == nil {
		return addr, live
	}
	var all []netip.Addr
	for _, a := range r.p.in.addrs {
		ip := a.Prefix.Addr()
		if ip.Is6() == r.p.v6 && (a.Facts == nil || !a.Facts.Secondary) && !(r.p.v6 && ip.IsLinkLocalUnicast()) {
			all = append(all, ip)
		}
	}
	if len(all) == 0 {
		return addr, live
	}
	st := r.station(r.at.b, r.at.c, r.at.i)
	r.oneOf(addr, bdd.True, live, all, st)
	return addr, bdd.False
}
