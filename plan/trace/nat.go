package trace

import (
	"encoding/binary"
	"net/netip"

	"github.com/vmnet/vmnet/schema"
)

// Flags of NAT ranges (uapi linux/netfilter/nf_nat.h).
const (
	natRandom = 1<<2 | 1<<4
	natNetmap = 1 << 6
)

// track is conntrack's look at the packet (nf_conntrack_in): it finds the entry, or makes one for a first packet.
func (r *run) track() bool {
	p := &r.p
	if p.ctState != 0 { // untracked by a rule, or seen before: bridge, loopback
		return true
	}
	t := p.tuple()
	if p.half == "request" {
		r.conn = &conn{orig: t, reply: t.invert()}
		p.ct, p.ctState = r.conn, ctNew
		return true
	}
	if c := r.conn; c != nil {
		switch {
		case t.meets(c.reply):
			p.ct, p.ctState, p.ctReply = c, ctEstablished, true
			c.status |= ipsSeenReply
			return true
		case t.meets(c.orig):
			r.trackLater(c)
			return true
		}
	}
	// No entry: an answer alone does not begin a connection (tcp_new, icmp_new), a later TCP segment does (tcp_loose).
	if p.half == "reply" && (p.proto == protoTCP || p.proto == protoICMP || p.proto == protoICMPv6) {
		p.ctState = ctInvalid
		return true
	}
	if r.conn != nil && !toMany(r.sent.dst) && !r.dry {
		// The NAT core sees to it that no two entries look alike, and this one nearly does: what it picks nobody knows.
		return r.unmodelled("nat", schema.Ref{}, "this packet belongs to no connection that conntrack knows, though the first one did: a rule writes into packets")
	}
	p.ct, p.ctState = &conn{orig: t, reply: t.invert()}, ctNew
	return true
}

// trackLater is a later packet of the side that opened the connection: established once conntrack saw an answer.
func (r *run) trackLater(c *conn) {
	p := &r.p
	switch {
	case c.status&ipsSeenReply != 0:
		p.ct, p.ctState = c, ctEstablished
	case p.proto == protoTCP: // an ACK in state SYN_SENT (tcp_conntracks)
		p.ctState = ctInvalid
	default:
		p.ct, p.ctState = c, ctNew
	}
}

func (p *packet) tuple() tuple {
	sAny, dAny := p.portsUnknown()
	return tuple{p.src, p.dst, p.sport, p.dport, sAny, dAny}
}

func (t tuple) invert() tuple { return tuple{t.dst, t.src, t.dport, t.sport, t.anyD, t.anyS} }

// meets tells whether two tuples are the same as far as their ports are known.
func (t tuple) meets(o tuple) bool {
	return t.src == o.src && t.dst == o.dst &&
		(t.sport == o.sport || t.anyS || o.anyS) && (t.dport == o.dport || t.anyD || o.anyD)
}

// natHook is the NAT core at a hook (nf_nat_inet_fn): a first packet is shown to the NAT chains until one sets up a
// mapping; then, as for every later packet, the mapping is applied.
func (r *run) natHook() bool {
	p := &r.p
	c := p.ct
	if c == nil {
		return true
	}
	source := r.hook == postrouting || r.hook == input
	done := uint32(ipsDstNATDone)
	if source {
		done = ipsSrcNATDone
	}
	if p.ctState == ctNew && c.status&done == 0 {
		if !r.natChains(r.w.nat[family(p.v6)][r.hook]) {
			return false
		}
		c.status |= done
	}
	r.applyNAT(source)
	return true
}

func (r *run) natChains(groups [][]entry) bool {
	r.mapped = ""
	for _, g := range groups {
		for _, e := range r.ordered(g) {
			r.mapped = ""
			if !r.traverse(e.base) {
				return false
			}
			if r.mapped != "" {
				r.mapped = ""
				return true
			}
		}
	}
	return true
}

// applyNAT is nf_nat_packet: destinations before routing, sources after it; for an answer the other way round.
func (r *run) applyNAT(source bool) {
	p, c := &r.p, r.p.ct
	sAny, dAny := p.portsUnknown()
	switch {
	case !p.ctReply && !source && c.status&ipsDstNAT != 0:
		p.dst, p.dport, dAny = c.reply.src, c.reply.sport, c.reply.anyS
	case !p.ctReply && source && c.status&ipsSrcNAT != 0:
		p.src, p.sport, sAny = c.reply.dst, c.reply.dport, c.reply.anyD
	case p.ctReply && !source && c.status&ipsSrcNAT != 0:
		p.dst, p.dport, dAny = c.orig.src, c.orig.sport, c.orig.anyS
	case p.ctReply && source && c.status&ipsDstNAT != 0:
		p.src, p.sport, sAny = c.orig.dst, c.orig.dport, c.orig.anyD
	default:
		return
	}
	p.putAddrs()
	if p.hasPorts() {
		p.putPorts(sAny, dAny)
	}
}

// mapping is what a NAT rule asks for.
type mapping struct {
	source   bool
	min, max netip.Addr // invalid: the address stays
	netmap   bool
	ports    bool
	pmin     uint16
	pmax     uint16
	random   bool
	name     string
}

// translate runs nat, masq, redir and netmap: it sets up the mapping and accepts.
func (r *run) translate(o *op) step {
	if r.p.ct == nil || !r.at.b.nat {
		r.giveUp(r.at.b, r.at.c, r.at.i, "")
		return stepEnd
	}
	e := o.e
	if e.Family == "ip" && r.p.v6 || e.Family == "ip6" && !r.p.v6 {
		return stepNext // nft_nat_inet_eval
	}
	m := mapping{random: e.Flags&natRandom != 0, netmap: e.Flags&natNetmap != 0}
	ok := true
	switch o.code {
	case opNAT:
		m.source = e.Op == "snat"
		m.name = e.Op
		if o.has&1 != 0 {
			m.min, ok = r.regAddr(o.sreg)
			m.max = m.min
			if ok && o.has&2 != 0 {
				m.max, ok = r.regAddr(o.sreg2)
			}
		}
		ok = ok && r.regPorts(&m, o.has&4 != 0, o.sreg3, o.has&8 != 0, o.sreg4)
	case opNetmap:
		m.source = e.Op == "snat" || e.Op == "" && (r.hook == postrouting || r.hook == input)
		m.name = "netmap"
		m.netmap = true
		m.min, m.max, ok = prefixRange(e.Data, e.Data2)
	case opMasq:
		m.source, m.name = true, "masquerade"
		ok = r.regPorts(&m, o.has&1 != 0, o.sreg, o.has&2 != 0, o.sreg2)
	case opRedir:
		m.name = "redirect"
		ok = r.regPorts(&m, o.has&1 != 0, o.sreg, o.has&2 != 0, o.sreg2)
	}
	if !ok || m.source != (r.hook == postrouting || r.hook == input) || m.min.IsValid() && m.min.Is6() != r.p.v6 {
		r.giveUp(r.at.b, r.at.c, r.at.i, "")
		return stepEnd
	}
	return r.setUp(o.code, m)
}

// setUp finds the addresses of masquerade and redirect, and records the mapping.
func (r *run) setUp(code opcode, m mapping) step {
	p := &r.p
	switch code {
	case opMasq:
		if p.src.IsUnspecified() {
			return stepAccept
		}
		nh := p.dst
		if r.gateway.IsValid() {
			nh = r.gateway
		}
		m.min = r.sourceFor(p.out, nh)
	case opRedir:
		m.min = r.ownAddress()
	}
	m.max = or(m.max, m.min)
	if r.end != nil {
		return stepEnd
	}
	if (code == opMasq || code == opRedir) && !m.min.IsValid() {
		return stepDrop // nf_nat_masquerade_ipv4: no address, no packet
	}
	addr, ok := r.pickAddr(m)
	if !ok {
		r.giveUp(r.at.b, r.at.c, r.at.i, "")
		return stepEnd
	}
	port, unknown := r.pickPort(m)
	if r.end != nil {
		return stepEnd
	}
	r.record(m, addr, port, unknown)
	return stepAccept
}

func or(a, b netip.Addr) netip.Addr {
	if a.IsValid() {
		return a
	}
	return b
}

// record writes the mapping into the connection, and notes the hop.
func (r *run) record(m mapping, addr netip.Addr, port uint16, unknown bool) {
	p, c := &r.p, r.p.ct
	to := addr.String()
	if m.ports && p.hasPorts() && !unknown {
		to = netip.AddrPortFrom(addr, port).String()
	}
	action := m.name + " to " + to
	if m.name == "masquerade" {
		action = "masquerade as " + to
	}
	st := r.station(r.at.b, r.at.c, r.at.i)
	st.stage, st.action = "nat", action
	r.note(st)
	r.mapped = action
	was := c.reply
	if m.source {
		c.reply.dst, c.reply.dport, c.reply.anyD = addr, port, unknown
		if c.reply != was {
			c.status |= ipsSrcNAT
		}
		return
	}
	c.reply.src, c.reply.sport, c.reply.anyS = addr, port, unknown
	if c.reply != was {
		c.status |= ipsDstNAT
	}
}

func (r *run) regAddr(at uint8) (netip.Addr, bool) {
	n := 4
	if r.p.v6 {
		n = 16
	}
	if int(at)+n > regBytes || !r.g.known(at, n) {
		return netip.Addr{}, false
	}
	a, ok := netip.AddrFromSlice(r.g.b[at : int(at)+n])
	return a, ok
}

func (r *run) regPorts(m *mapping, hasMin bool, lo uint8, hasMax bool, hi uint8) bool {
	if !hasMin {
		return true
	}
	if !r.g.known(lo, 2) || hasMax && !r.g.known(hi, 2) {
		return false
	}
	m.ports = true
	m.pmin = binary.BigEndian.Uint16(r.g.b[lo:])
	m.pmax = m.pmin
	if hasMax {
		m.pmax = binary.BigEndian.Uint16(r.g.b[hi:])
	}
	return true
}

// prefixRange gives the first and last address of a lowered NETMAP.
func prefixRange(addr, mask []byte) (lo, hi netip.Addr, ok bool) {
	if len(addr) != len(mask) {
		return lo, hi, false
	}
	first, last := make([]byte, len(addr)), make([]byte, len(addr))
	for i := range addr {
		first[i] = addr[i] & mask[i]
		last[i] = addr[i]&mask[i] | ^mask[i]
	}
	lo, ok = netip.AddrFromSlice(first)
	hi, _ = netip.AddrFromSlice(last)
	return lo, hi, ok
}

// pickAddr chooses from the range of a mapping. The kernel hashes; of a small range every choice is a way of its own.
func (r *run) pickAddr(m mapping) (netip.Addr, bool) {
	old := r.p.ct.reply.src
	if m.source {
		old = r.p.ct.reply.dst
	}
	switch {
	case !m.min.IsValid():
		return old, true
	case m.netmap:
		return netmapped(old, m.min, m.max)
	case m.min == m.max:
		return m.min, true
	}
	var all []netip.Addr
	for a := m.min; a.IsValid() && a.Compare(m.max) <= 0; a = a.Next() {
		if all = append(all, a); len(all) > maxWays {
			return netip.Addr{}, false
		}
	}
	if len(all) == 0 {
		return netip.Addr{}, false
	}
	return all[r.ask(len(all))], true
}

func netmapped(old, lo, hi netip.Addr) (netip.Addr, bool) {
	o, a, b := old.AsSlice(), lo.AsSlice(), hi.AsSlice()
	if len(o) != len(a) || len(a) != len(b) {
		return netip.Addr{}, false
	}
	for i := range o {
		host := a[i] ^ b[i]
		o[i] = o[i]&host | a[i]&^host
	}
	return netip.AddrFromSlice(o)
}

// pickPort is nf_nat_l4proto_unique_tuple: a port inside the range stays, one outside is replaced. What counts is the port
// conntrack knows, not the one in the packet, which a rule may have rewritten since.
func (r *run) pickPort(m mapping) (port uint16, unknown bool) {
	p, t := &r.p, &r.p.ct.reply
	port, unknown = t.sport, t.anyS
	if m.source {
		port, unknown = t.dport, t.anyD
	}
	switch {
	case !p.hasPorts():
		return port, unknown
	case !m.ports:
		return port, unknown || m.source && m.random
	case m.pmin == m.pmax:
		return m.pmin, false
	case !m.random && !unknown && port >= m.pmin && port <= m.pmax:
		return port, false
	case m.source || int(m.pmax)-int(m.pmin) >= maxWays || m.pmax < m.pmin:
		return m.pmin, true
	}
	return m.pmin + uint16(r.ask(int(m.pmax-m.pmin)+1)), false
}
