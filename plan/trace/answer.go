package trace

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// clientPort is the source port of an ordinary packet, anyPort its destination where every service is meant.
const (
	clientPort = 40000
	anyPort    = 50051
)

// mostParts bounds the parts of an answer.
const mostParts = 12

// Ask answers a Query for every packet it is about: all that come from its one set of addresses and go to the other, by the
// service it names (none: TCP and UDP to every port, and an ICMP echo), from a port that clients take. Where a set is open, it is all
// the addresses that the host routes to that side. An address of the host itself, a broadcast and the like are never meant.
//
// What of a packet a Query does not say (its TTL, its length) counts as anything: a packet passes when it does so whatever
// they are, else it depends.
func (w *Walker) Ask(q Query) Answer { return w.answer(q, true) }

// Judge is Ask without the words: Packets of the Parts is "".
func (w *Walker) Judge(q Query) Answer { return w.answer(q, false) }

func (w *Walker) answer(q Query, told bool) Answer {
	var all []Answer
	spoken := w.spoken(&q)
	for i := range spoken {
		a := w.ask(&spoken[i], told)
		for k := range a.Parts {
			a.Parts[k].Share /= float64(len(spoken))
		}
		if len(a.Parts) > 0 {
			all = append(all, a)
		}
	}
	return Join(all...).cut()
}

// cut leaves the largest parts of each kind, and says how many are not told.
func (a Answer) cut() Answer {
	weight := map[Verdict]int{Block: 0, Depends: 1, Pass: 2}
	slices.SortStableFunc(a.Parts, func(x, y Part) int {
		return cmp.Or(cmp.Compare(weight[x.Verdict], weight[y.Verdict]), -cmp.Compare(x.Share, y.Share))
	})
	for len(a.Parts) > mostParts { // the last two that are alike become one
		i := len(a.Parts) - 1
		for i > 1 && (a.Parts[i].Verdict != a.Parts[i-1].Verdict) {
			i--
		}
		a.Parts[i-1].Share += a.Parts[i].Share
		a.Parts[i-1].Packets += "; and " + a.Parts[i].Packets
		if n := len(a.Parts) - mostParts; n > 1 || len(a.Parts[i-1].Packets) > 200 {
			a.Parts[i-1].Packets = a.Parts[i-1].Packets[:min(len(a.Parts[i-1].Packets), 200)] + "…"
		}
		a.Parts = slices.Delete(a.Parts, i, i+1)
	}
	return a
}

// speech is a Query for one protocol.
type speech struct {
	q     *Query
	proto string
	ports []schema.PortRange // of the packet as it is sent; none for protocols without
	flow  Flow
}

// spoken lists what a query speaks.
func (w *Walker) spoken(q *Query) []speech {
	every := []schema.PortRange{{First: 1, Last: 65535}}
	s := q.Service
	var out []speech
	add := func(proto string, ports []schema.PortRange) {
		f := Flow{From: q.From, To: q.To, Src: q.Src, Dst: q.Dst, Proto: proto, Anywhere: q.Anywhere}
		f.Local = q.Local || q.To == "" && q.From != "" && q.Via == nil && !q.Anywhere && w.local(q.Dst)
		if proto == "icmp" {
			ports = nil
		}
		out = append(out, speech{q, proto, ports, f})
	}
	switch {
	case q.Via != nil:
		if s.Proto == "" || s.Proto == q.Via.Proto {
			add(q.Via.Proto, []schema.PortRange{q.Via.Ports})
			out[0].flow.WantDst = netip.AddrPortFrom(q.WantDst, q.Via.Ports.First)
			if len(s.Ports) > 0 {
				out[0].flow.WantDst = netip.AddrPortFrom(q.WantDst, s.Ports[0].First)
			}
		}
	case s.Proto == "":
		add("tcp", every)
		add("udp", every)
		add("icmp", nil)
	case len(s.Ports) == 0:
		add(s.Proto, every)
	default:
		add(s.Proto, s.Ports)
	}
	return out
}

// asking is one question on its way.
type asking struct {
	*speech
	r *sweep
	// whole are the packets asked about; loose the same, with those that somebody would send to himself.
	whole, loose bdd.Node
	self         bdd.Node
	src, dst     cells
	dport, sport cells
	told         bool // in words too
}

func (w *Walker) ask(s *speech, told bool) Answer {
	r := w.sweep()
	defer w.pool.Put(r)
	a := &asking{speech: s, r: r, told: told}
	a.follow()
	if r.x.Err() != nil {
		r.forget()
		return a.unanswered("too large to decide")
	}
	if a.whole == bdd.False && len(r.log.fates) == 0 {
		return Answer{}
	}
	if a.src.len() == 0 { // it did not come to a packet
		return a.unanswered("")
	}
	out := a.answer()
	if r.x.Err() != nil {
		r.forget()
		return a.unanswered("too large to decide")
	}
	return out
}

// follow carries the packets along every way.
func (a *asking) follow() {
	a.r.log.full = false
	o := opening{f: &a.flow, fill: a.fill}
	if q := a.q; q.Via != nil && q.Via.Ports.First != q.Via.Ports.Last {
		o.want = a.wanted
	}
	a.r.follow(o)
}

// unanswered is the answer where there is none for all packets: that of one, which cannot be better than depends.
func (a *asking) unanswered(why string) Answer {
	res := a.r.w.Walk(a.plain())
	p := Part{Verdict: res.Verdict, Packets: a.proto, Witness: res, Share: 1}
	if why != "" {
		p.Verdict, p.Packets = Depends, a.proto+": "+why
		if res.Decider == nil {
			p.Witness.Verdict, p.Witness.Half = Depends, "request"
			p.Witness.Decider = &Hop{Half: "request", Stage: "local", Rule: -1, Text: why, Action: "depends: " + why}
			p.Witness.Hops = append(p.Witness.Hops, *p.Witness.Decider)
		}
	}
	return Answer{p.Verdict, []Part{p}}
}

// plain is the representative packet.
func (a *asking) plain() Flow {
	f := a.flow
	if len(a.ports) > 0 {
		f.SrcPort, f.DstPort = clientPort, a.ports[0].First
		if f.DstPort <= 1 {
			f.DstPort = anyPort
		}
	}
	return f
}

// fill writes the sets of the query into the first packet.
func (a *asking) fill(p *parcel, pc bdd.Node) bdd.Node {
	r, q := a.r, a.q
	pc = a.address(p.src(), source(q), pc)
	pc = a.address(p.dst(), destination(q), pc)
	if p.hasPorts() {
		pc = a.port(p.dport(), varDPort, a.ports, pc)
		pc = a.port(p.sport(), varSPort, a.clientPorts(), pc)
		a.sport, a.dport = r.copyOf(p.sport()), r.copyOf(p.dport())
	}
	a.src, a.dst = r.copyOf(p.src()), r.copyOf(p.dst())
	a.loose, a.self = pc, bdd.False
	// Nobody sends packets to himself over a wire. Between ends that have nothing in common, the question costs much.
	if q.Via == nil && q.From != "" && a.comparable() {
		a.self = p.src().same(r.x, p.dst())
		pc = r.x.Diff(pc, a.self)
	}
	a.whole = pc
	return pc
}

// comparable tells whether few bits of the addresses are open, and none that is not tells them apart.
func (a *asking) comparable() bool {
	n := 0
	for i := range a.src.unk {
		if (a.src.b[i]^a.dst.b[i])&^(a.src.unk[i]|a.dst.unk[i]) != 0 {
			return false
		}
		n += bits.OnesCount8(a.src.unk[i] & a.dst.unk[i])
	}
	return n <= 12
}

// firstClientPort begins the range that clients take their ports from (net.ipv4.ip_local_port_range; others begin higher).
// A rule about lower ones is about servers.
const firstClientPort = 32768

// clientPorts are those that a packet may come from.
func (a *asking) clientPorts() []schema.PortRange {
	if a.proto == "udp" && len(a.ports) == 1 && a.ports[0].First == a.ports[0].Last {
		switch a.ports[0].First {
		case 67:
			return []schema.PortRange{{First: 68, Last: 68}}
		case 547:
			return []schema.PortRange{{First: 546, Last: 546}}
		}
	}
	return []schema.PortRange{{First: firstClientPort, Last: 65535}}
}

func (a *asking) port(c cells, first int, in []schema.PortRange, pc bdd.Node) bdd.Node {
	if len(in) == 1 && in[0].First == in[0].Last {
		c.put(binary.BigEndian.AppendUint16(nil, in[0].First))
		return pc
	}
	c.freeAll(first)
	lowest, highest := uint16(0xffff), uint16(0)
	for _, x := range in {
		lowest, highest = min(lowest, x.First), max(highest, x.Last)
	}
	for i := range bits.LeadingZeros16(lowest ^ highest) { // what they share is constant, so that a rule about others costs nothing
		c.setBit(i, boolean(lowest>>(15-i)&1 != 0))
	}
	f := bdd.False
	for _, x := range in {
		f = a.r.x.Or(f, c.within(a.r.x, binary.BigEndian.AppendUint16(nil, x.First), binary.BigEndian.AppendUint16(nil, x.Last)))
	}
	return a.r.x.And(pc, f)
}

// address makes an end of the packet a set: the one given, or for an open one all that the host routes to a link. An end
// at the host is the one address it is asked about; an invalid one is chosen by routing.
func (a *asking) address(c cells, s side, pc bdd.Node) bdd.Node {
	r, set := a.r, s.set
	switch {
	case s.fixed:
		if usual := s.usual.Unmap(); usual.IsValid() {
			c.put(usual.AsSlice())
		}
		return pc
	case len(set) == 1 && set[0].IsSingleIP():
		c.put(set[0].Addr().AsSlice())
		return pc
	}
	whole := s
	if v6 := c.len() == 16; !r.w.fib[family(v6)].bySource { // the way is the same from everywhere
		if s.other = (netip.Addr{}); !v6 { // whose tables look at the link
			s.otherLink = ""
		}
	}
	c.freeAll(s.first)
	in := a.given(c, set) // it makes bits of c constants, too
	k := addressesOf(s, c.len() == 16)
	f, ok := r.ends[k]
	if !ok {
		certain := true
		switch {
		case len(set) == 0:
			in, certain = a.beyond(c, s)
		case s.routed:
			var there bdd.Node
			there, certain = a.beyond(c, s)
			in = r.x.And(in, there)
		}
		f = a.theirs(c, in, len(set) == 0)
		if certain { // what nobody can foresee (one of several hops) is another's in the next question
			r.ends[k] = f
		}
	}
	if len(set) == 0 || s.routed {
		f = r.x.Diff(f, a.among(c, whole, r.w.devices[s.link]))
	}
	return r.x.And(pc, f)
}

// theirs leaves of addresses those that somebody else than the host can have. Link-local ones are meant where they are named
// only: elsewhere they are another's.
func (a *asking) theirs(c cells, in bdd.Node, open bool) bdd.Node {
	r := a.r
	special := func(p netip.Addr) bool {
		k := classOf(p)
		return k != plain && (k != linkLocal || open) || r.w.addrType(p, nil) != ""
	}
	ours := bdd.False
	for _, o := range byAddressKept(r, theirAddress{open}, in, c, r.w.fib[family(c.len() == 16)].theirPrefixes(), special) {
		if o.k {
			ours = r.x.Or(ours, o.cond)
		}
	}
	return r.x.Diff(in, ours)
}

// given is a set of addresses as it is asked about. What its prefixes share is made constant, so that a rule about other
// addresses costs nothing.
func (a *asking) given(c cells, set []netip.Prefix) bdd.Node {
	var in []netip.Prefix
	shared := -1
	for _, p := range set {
		if p.Addr().BitLen() != 8*c.len() {
			continue
		}
		if in = append(in, p.Masked()); shared < 0 {
			shared = p.Bits()
			continue
		}
		x, y := in[0].Addr().AsSlice(), p.Addr().AsSlice()
		shared = min(shared, p.Bits())
		for i := range shared {
			if (x[i/8]^y[i/8])>>(7-i%8)&1 != 0 {
				shared = i
				break
			}
		}
	}
	f := bdd.False
	for i := range max(shared, 0) {
		c.setBit(i, boolean(in[0].Addr().AsSlice()[i/8]>>(7-i%8)&1 != 0))
	}
	for _, p := range in {
		f = a.r.x.Or(f, c.in(a.r.x, p))
	}
	return f
}

// side is an end of a query: the link, the addresses, and the other end, of which the way to them may depend.
type side struct {
	first  int
	link   string
	set    []netip.Prefix
	usual  netip.Addr
	routed bool // those of the set that the host routes to the link
	fixed  bool // the usual address alone
	// refused means those, too, to whom a route says no: who asks what becomes of all packets asks about them.
	refused bool

	other     netip.Addr
	otherLink string
}

func source(q *Query) side {
	s := side{first: varSrc, link: cmp.Or(q.SrcLink, q.From), set: q.SrcSet, usual: q.Src, routed: q.SrcRouted, fixed: q.From == "", other: q.Dst, otherLink: q.To}
	s.refused = q.Anywhere && len(q.SrcSet) == 0
	if q.Via != nil {
		s.other = q.WantDst
	}
	return s
}

func destination(q *Query) side {
	s := side{first: varDst, link: cmp.Or(q.DstLink, q.To), set: q.DstSet, usual: q.Dst, routed: q.DstRouted, other: q.Src, otherLink: q.From}
	s.refused = q.Anywhere && len(q.DstSet) == 0
	s.fixed = q.Via != nil || q.To == "" && (!q.Anywhere || len(q.DstSet) == 0)
	return s
}

// beyond are the addresses that the host routes to a link: those that somebody there can have. certain says that nothing that nobody
// can foresee makes a difference.
func (a *asking) beyond(c cells, s side) (there bdd.Node, certain bool) {
	r, f := a.r, bdd.False
	d := r.w.devices[s.link]
	questions := []question{r.w.leading(c, s.other, s.otherLink)}
	if s.first == varSrc { // who the host itself reaches there is there, wherever answers to others go
		questions = append(questions, r.w.leading(c, netip.Addr{}, ""))
	}
	for _, q := range questions {
		for _, o := range r.ways(q, bdd.True) {
			there := o.k.kind == "unicast" && o.k.dev != nil && (o.k.dev.name == s.link || r.w.leadsTo(o.k.dev, d))
			if there || s.refused && r.erroneous(o.k) {
				f = r.x.Or(f, o.cond)
			}
		}
	}
	there = a.seen(f)
	return there, there == f
}

// among are the addresses of the networks that the other end is in, if this end is elsewhere: whoever has one of them is
// spoken to without the host, whatever a routing table for others' packets would say.
func (a *asking) among(c cells, s side, d *device) bdd.Node {
	f, l3 := bdd.False, a.r.w.devices[s.otherLink]
	if l3 != nil && l3.master != nil && l3.master.bridge {
		l3 = l3.master
	}
	if l3 == nil || l3 == d || d != nil && a.r.w.under(d) == l3 || d != nil && d.master == l3 {
		return f
	}
	for _, x := range l3.addrs {
		if p := x.Prefix.Masked(); p.Addr().BitLen() == 8*c.len() && !p.IsSingleIP() {
			f = a.r.x.Or(f, c.in(a.r.x, p))
		}
	}
	return f
}

// wanted is the port that follows from the one sent to, where a forward leads a range of ports.
func (a *asking) wanted(sent cells) cells {
	first := a.flow.WantDst.Port()
	by := first - a.q.Via.Ports.First // modulo 65536
	out := newCells(2)
	carry := bdd.False
	for i := 15; i >= 0; i-- {
		x, y := sent.bit(a.r.x.Space, i), boolean(by>>(15-i)&1 != 0)
		half := a.r.x.Xor(x, y)
		out.setBit(i, a.r.x.Xor(half, carry))
		carry = a.r.x.Or(a.r.x.And(x, y), a.r.x.And(half, carry))
	}
	return out
}

// asked tells the variables that say which packet it is from those that nobody asked about.
func asked(v int) bool { return v >= varDst && v < varMark }

// deciding is where packets end.
type deciding struct {
	half, chain string
	ref         schema.Ref
	rule        int
	r           *schema.Rule
	code, text  string
}

// sorted sorts the packets by what becomes of them, whatever of them nobody asked about; and those that do not pass by
// where that is decided.
func (a *asking) sorted() (pass, blocked, unclear bdd.Node, by map[deciding]bdd.Node, order []deciding) {
	r, x := a.r, a.r.x
	by = map[deciding]bdd.Node{}
	for i := range r.log.fates {
		f := &r.log.fates[i]
		switch {
		case f.verdict == Pass && len(r.w.blind) == 0:
			pass = x.Or(pass, f.pc)
			continue
		case f.verdict == Block && !r.hidden(f):
			blocked = x.Or(blocked, f.pc)
		default:
			unclear = x.Or(unclear, f.pc)
		}
		if f.at < 0 {
			continue
		}
		st := &r.log.stations[f.at]
		k := deciding{half: f.half, ref: st.ref, chain: st.chain, rule: st.rule, r: st.r, code: st.code, text: st.text}
		if _, ok := by[k]; !ok {
			order = append(order, k)
		}
		by[k] = x.Or(by[k], f.pc)
	}
	pass, blocked, unclear = a.seen(pass), a.seen(blocked), a.seen(unclear)
	unclear = x.And(a.whole, x.Or(unclear, x.And(pass, blocked)))
	pass, blocked = x.And(a.whole, x.Diff(pass, unclear)), x.And(a.whole, x.Diff(blocked, unclear))
	if lost := x.Diff(a.whole, x.Or(unclear, x.Or(pass, blocked))); lost != bdd.False {
		unclear = x.Or(unclear, lost) // no way was followed to its end: never a guess
	}
	return pass, blocked, unclear, by, order
}

// seen leaves of a set what the question asks about.
func (a *asking) seen(f bdd.Node) bdd.Node {
	return a.r.x.Exists(f, func(v int) bool { return !asked(v) })
}

// mostDeciders is how many rules that decide are told apart, for each of block and depends.
const mostDeciders = 4

// answer tells what sorted finds.
func (a *asking) answer() Answer {
	x := a.r.x
	pass, blocked, unclear, by, order := a.sorted()
	share := make(map[deciding]float64, len(order))
	for _, k := range order {
		if len(order) > 1 {
			share[k] = x.Share(by[k])
		}
	}
	slices.SortStableFunc(order, func(k, l deciding) int { return -cmp.Compare(share[k], share[l]) })
	var out Answer
	seen := map[Verdict]bool{}
	add := func(v Verdict, set bdd.Node) {
		if set != bdd.False {
			p := a.part(v, set)
			out.Parts = append(out.Parts, p)
			seen[p.Verdict] = true
		}
	}
	for _, s := range []struct {
		v   Verdict
		set bdd.Node
	}{{Block, blocked}, {Depends, unclear}} {
		n := 0
		for _, k := range order {
			if s.set == bdd.False || n == mostDeciders {
				break
			}
			if x.Disjoint(s.set, by[k]) {
				continue
			}
			mine := x.And(s.set, a.seen(by[k]))
			s.set = x.Diff(s.set, mine)
			add(s.v, mine)
			n++
		}
		add(s.v, s.set)
	}
	add(Pass, pass)
	switch {
	case len(seen) == 1:
		for v := range seen {
			out.Verdict = v
		}
	case seen[Pass] && seen[Block]:
		out.Verdict = Partly
	default:
		out.Verdict = Depends
	}
	return out
}

// part tells about a set of packets.
func (a *asking) part(v Verdict, set bdd.Node) Part {
	x := a.r.x
	f := a.witness(set)
	p := Part{Verdict: v, Witness: a.r.w.Walk(f), Share: 1}
	if set != a.whole {
		p.Share = x.Share(set) / x.Share(a.whole)
	}
	if a.told {
		p.Packets = a.words(set)
	}
	if p.Witness.Verdict != v { // the two must agree; where they do not, nothing is sure
		p.Verdict = Depends
	}
	return p
}

// witness is a packet of a set, as much like the representative as can be.
func (a *asking) witness(set bdd.Node) Flow {
	f := a.plain()
	if f.Src.IsValid() && a.q.From != "" {
		f.Src = f.Src.Unmap()
	}
	want := map[int]bool{}
	prefer := func(c cells, first int, v []byte) {
		for i := range 8 * min(c.len(), len(v)) {
			want[first+i] = v[i/8]>>(7-i%8)&1 != 0
		}
	}
	prefer(a.src, varSrc, f.Src.Unmap().AsSlice())
	prefer(a.dst, varDst, f.Dst.Unmap().AsSlice())
	prefer(a.sport, varSPort, binary.BigEndian.AppendUint16(nil, f.SrcPort))
	prefer(a.dport, varDPort, binary.BigEndian.AppendUint16(nil, f.DstPort))
	got, _ := a.r.x.Pick(set, func(v int) bool { return want[v] })
	of := func(v int) bool {
		if b, ok := got[v]; ok {
			return b
		}
		return want[v]
	}
	if a.q.From != "" {
		f.Src, _ = netip.AddrFromSlice(a.src.value(a.r.x.Space, of))
	}
	f.Dst, _ = netip.AddrFromSlice(a.dst.value(a.r.x.Space, of))
	if a.sport.len() > 0 {
		f.SrcPort = binary.BigEndian.Uint16(a.sport.value(a.r.x.Space, of))
		f.DstPort = binary.BigEndian.Uint16(a.dport.value(a.r.x.Space, of))
		if f.WantDst.IsValid() {
			f.WantDst = netip.AddrPortFrom(f.WantDst.Addr(), f.WantDst.Port()+f.DstPort-a.q.Via.Ports.First)
		}
	}
	return f
}

// mostWords is how many products a set is said as.
const mostWords = 3

// words says a set as a rule would. What holds for all packets of the query is not spelled out.
func (a *asking) words(set bdd.Node) string {
	x := a.r.x
	n := 8 * a.src.len()
	as := []aspect{
		{aspectProto, "proto", varProto, 8, nil},
		{aspectAddr, "to", varDst, n, nil},
		{aspectPort, "dport", varDPort, 16, nil},
		{aspectAddr, "from", varSrc, n, nil},
		{aspectPort, "sport", varSPort, 16, nil},
	}
	only := func(f bdd.Node, as aspect) bdd.Node {
		return x.Exists(f, func(v int) bool { return v < as.first || v >= as.first+as.bits })
	}
	if a.self != bdd.False { // packets to oneself are in no set, and would tear holes into the words
		own := x.And(a.self, a.loose)
		for _, s := range as[1:] {
			own = x.And(own, only(set, s))
		}
		set = x.Or(set, own)
	}
	fixed := a.constants()
	if !a.fewNodes(set) { // too many pieces to name
		return a.proto + ", in many pieces"
	}
	parts, whole := slabs(x.Space, x.And(set, fixed), as, mostWords)
	var out []string
	for _, p := range parts {
		at := slices.Clone(p.at)
		for k, s := range as[1:] {
			at[k+1] = a.widened(at[k+1], only(x.And(a.loose, fixed), s), s)
		}
		text, _ := phrase(x.Space, as, at)
		out = append(out, text)
	}
	if !whole {
		out = append(out, "…")
	}
	return strings.Join(out, "; ")
}

// mostNodes is how large a set may be to be put into words.
const mostNodes = 3000

// fewNodes tells whether a set is small enough for words.
func (a *asking) fewNodes(set bdd.Node) bool {
	seen := map[bdd.Node]bool{}
	var visit func(n bdd.Node) bool
	visit = func(n bdd.Node) bool {
		_, lo, hi, ok := a.r.x.Branch(n)
		if !ok || seen[n] {
			return true
		}
		seen[n] = true
		return len(seen) <= mostNodes && visit(lo) && visit(hi)
	}
	return visit(set)
}

// constants says by the variables what is the same for all packets.
func (a *asking) constants() bdd.Node {
	x := a.r.x
	f := bdd.True
	number, _ := protoNumber(a.proto, a.src.len() == 16)
	proto := newCells(1)
	proto.put([]byte{number})
	pin := func(c cells, first int) {
		for i := 8*c.len() - 1; i >= 0; i-- {
			if b := c.bit(x.Space, i); b <= bdd.True {
				v := x.Var(first + i)
				if b == bdd.False {
					v = x.Not(v)
				}
				f = x.And(v, f)
			}
		}
	}
	pin(a.sport, varSPort)
	if s, ok := a.src.addr(); !ok || !s.IsUnspecified() {
		pin(a.src, varSrc)
	}
	pin(a.dport, varDPort)
	pin(a.dst, varDst)
	pin(proto, varProto)
	return f
}

// cellsOf is what the packets bear there.
func (a *asking) cellsOf(s aspect) cells {
	switch s.first {
	case varSrc:
		return a.src
	case varDst:
		return a.dst
	case varDPort:
		return a.dport
	}
	return a.sport
}

// widened adds to the values of an aspect those that the query does not ask about, where that takes fewer words.
func (a *asking) widened(at, asked bdd.Node, s aspect) bdd.Node {
	x := a.r.x
	switch {
	case a.cellsOf(s).known():
		return at
	case at == asked && (s.kind == aspectPort || len(a.setOf(s)) == 0):
		return bdd.True
	}
	wide := x.Or(at, x.Not(asked))
	if set := a.setOf(s); len(set) > 0 {
		c := newCells(s.bits / 8)
		c.freeAll(s.first)
		in := bdd.False
		for _, p := range set {
			in = x.Or(in, c.in(x, p))
		}
		wide = x.And(wide, in)
	}
	few, _ := s.ranges(x.Space, at)
	fewer, more := s.ranges(x.Space, wide)
	if !more && len(fewer) < len(few) {
		return wide
	}
	return at
}

func (a *asking) setOf(s aspect) []netip.Prefix {
	switch s.first {
	case varSrc:
		return a.q.SrcSet
	case varDst:
		return a.q.DstSet
	}
	return nil
}
