package trace

import (
	"net/netip"
	"strings"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// Bounds of what is followed for one question.
const (
	maxWays  = 256        // ways through the pipeline
	maxSteps = 10_000_000 // rules
	maxNodes = 4 << 20
	// keepNodes is the size up to which a diagram is kept for the next walk.
	keepNodes = 1 << 18
	// dropNodes is the size from which on its memory is given back.
	dropNodes = 1 << 19
)

// arrival is where a packet got to.
type arrival struct {
	local bool
	in    *device // layer 3, for a local one
	out   *device // layer 3; the bridge itself for a bridged frame
	port  *device // of a bridge
	tag   uint16  // of the frame, there
	vid   uint16  // in which it was in the bridge; 0 where that does not look
}

// station is a Hop before its texts are made.
type station struct {
	half, stage string
	ref         schema.Ref
	chain, base string
	rule        int
	r           *schema.Rule
	text        string
	action      string
	code        string
	v           view
	pc          bdd.Node // the packets that come by
}

// fate is how packets end, and at which station; -1 for none.
type fate struct {
	pc      bdd.Node
	verdict Verdict
	half    string
	at      int
}

// parting is where packets part because of something nobody knows: those taken do what the station says.
type parting struct {
	taken bdd.Node
	at    int
}

// journal records what becomes of packets. Where a way is followed again up to a fork, nothing is recorded twice: on is
// false until the fork is passed.
type journal struct {
	on       bool
	full     bool // the stations on the way are wanted too
	stations []station
	fates    []fate
	partings []parting
}

func (j *journal) clear() {
	j.stations, j.fates, j.partings = j.stations[:0], j.fates[:0], j.partings[:0]
}

// put keeps a station.
func (r *sweep) put(pc bdd.Node, st station) int {
	st.half, st.pc = r.p.half, pc
	if r.log.full {
		st.v = r.p.view(r)
	}
	r.log.stations = append(r.log.stations, st)
	return len(r.log.stations) - 1
}

// note adds a station to the way of some packets.
func (r *sweep) note(pc bdd.Node, st station) {
	if r.log.on && r.log.full && !r.dry {
		r.put(pc, st)
	}
}

// ended ends the way of some packets.
func (r *sweep) ended(pc bdd.Node, v Verdict, st station) {
	switch {
	case r.dry || pc == bdd.False:
	case r.onEnd != nil:
		r.onEnd(pc, v, st)
	case v == Block && r.handed != bdd.False && r.p.talk == 0 && !r.x.Disjoint(pc, r.handed):
		was := r.handed
		r.handed = bdd.False
		r.ended(r.x.Diff(pc, was), v, st)
		st.action = "depends: a flow table takes connections over, whose packets then do not come here"
		r.ended(r.x.And(pc, was), Depends, st)
		r.handed = was
	case r.p.talk != 0 && v == Block && r.warm != bdd.False:
		r.endedTalk(pc, st)
	case r.log.on:
		r.log.fates = append(r.log.fates, fate{pc, v, r.p.half, r.put(pc, st)})
	}
}

// parted notes that the packets of pc part.
func (r *sweep) parted(pc, taken bdd.Node, st station) {
	if r.log.on && r.log.full && !r.dry {
		r.log.partings = append(r.log.partings, parting{taken, r.put(pc, st)})
	}
}

// over ends the way of all packets; it returns false, so that stages can say "return r.over(…)".
func (r *sweep) over(v Verdict, st station) bool {
	r.ended(r.pc, v, st)
	r.pc = bdd.False
	return false
}

// block ends the way for a reason that is no rule's.
func (r *sweep) block(code, stage string, ref schema.Ref, text, action string) bool {
	return r.over(Block, station{stage: stage, ref: ref, rule: -1, code: code, text: text, action: action})
}

// blockIf does so for some of the packets, and tells whether any go on.
func (r *sweep) blockIf(cond bdd.Node, code, stage string, ref schema.Ref, text func() string, action string) bool {
	bad := r.x.And(r.pc, cond)
	if bad == bdd.False {
		return true
	}
	r.ended(bad, Block, station{stage: stage, ref: ref, rule: -1, code: code, text: text(), action: action})
	r.pc = r.x.Diff(r.pc, bad)
	return r.pc != bdd.False
}

// unmodelled ends the way where the packets meet something this package does not know.
func (r *sweep) unmodelled(stage string, ref schema.Ref, text string) bool {
	return r.over(Depends, station{stage: stage, ref: ref, rule: -1, text: text, action: "depends"})
}

// choose follows one of several conditions; the others are followed in runs of their own. It gives -1 where none holds for
// any packet.
func (r *sweep) choose(conds ...bdd.Node) int {
	var first, n int
	for i, c := range conds {
		if !r.x.Disjoint(r.pc, c) {
			if n == 0 {
				first = i
			}
			n++
		}
	}
	switch n {
	case 0:
		r.pc = bdd.False
		return -1
	case 1:
		r.pc = r.x.And(r.pc, conds[first])
		return first
	}
	if r.asked == len(r.picks) {
		r.picks, r.sizes = append(r.picks, 0), append(r.sizes[:r.asked], n)
	}
	pick := r.picks[r.asked]
	if r.asked++; r.asked >= r.given {
		r.log.on = true
	}
	for i, c := range conds {
		if r.x.Disjoint(r.pc, c) {
			continue
		}
		if pick == 0 {
			r.pc = r.x.And(r.pc, c)
			return i
		}
		pick--
	}
	r.pc = bdd.False
	return -1
}

// fork is choose for outcomes.
func fork[K comparable](r *sweep, outs []outcome[K]) (k K, ok bool) {
	if len(outs) == 1 {
		r.pc = r.x.And(r.pc, outs[0].cond)
		return outs[0].k, r.pc != bdd.False
	}
	conds := make([]bdd.Node, len(outs))
	for i := range outs {
		conds[i] = outs[i].cond
	}
	i := r.choose(conds...)
	if i < 0 {
		return k, false
	}
	return outs[i].k, true
}

// which forks by what f says of an address; see byAddress.
func which[K comparable](r *sweep, addr cells, prefixes []netip.Prefix, f func(netip.Addr) K) (k K, ok bool) {
	if a, ok := addr.addr(); ok {
		return f(a), true
	}
	return fork(r, byAddress(r, r.pc, addr, prefixes, f))
}

// holds forks by a condition.
func (r *sweep) holds(cond bdd.Node) bool {
	switch {
	case cond == bdd.True:
		return true
	case cond == bdd.False:
		return false
	}
	return r.choose(r.x.Not(cond), cond) == 1
}

// pick is one of n answers that nobody knows.
func (r *sweep) pick(n int, what any, st station) int {
	conds := make([]bdd.Node, n)
	rest := r.pc
	r.live = r.pc
	for i := range n {
		conds[i] = rest
		if i < n-1 {
			u := r.unknown(nth{what, i})
			conds[i], rest = r.x.Diff(rest, u), r.x.And(rest, u)
		}
	}
	st.action = "may match"
	r.parted(r.pc, r.x.Diff(r.pc, conds[0]), st)
	return max(r.choose(conds...), 0)
}

type nth struct {
	what any
	i    int
}

// next sets the picks for the next way, the last fork first; false when there is none.
func (r *sweep) next() bool {
	for k := r.asked - 1; k >= 0; k-- {
		if r.picks[k]+1 < r.sizes[k] {
			r.picks[k]++
			r.picks = r.picks[:k+1]
			return true
		}
	}
	return false
}

// sweep takes what a walk needs from those that were used before.
func (w *Walker) sweep() *sweep {
	if r, ok := w.pool.Get().(*sweep); ok {
		switch {
		case r.x.Size() > dropNodes:
			r.x.Space = bdd.New(maxNodes)
			r.forget()
		case r.x.Size() > keepNodes || r.x.Err() != nil:
			r.forget()
		}
		clear(r.unknowns)
		clear(r.softs)
		r.log.clear()
		return r
	}
	r := newSweep(w, &space{Space: bdd.New(maxNodes)})
	r.parcel = newParcel()
	return r
}

// forget empties the space.
func (r *sweep) forget() {
	r.x.Reset()
	clear(r.ends)
	clear(r.members)
	clear(r.classes)
}

func newSweep(w *Walker, x *space) *sweep {
	return &sweep{
		w: w, x: x, g: newCells(regBytes), log: &journal{}, steps: maxSteps, nextSoft: varSoft,
		unknowns: map[unknownKey]int{}, softs: map[unknownKey]int{}, used: map[slotKey][]bdd.Node{}, members: map[memberKey]bdd.Node{}, known: map[acquainted]int{},
		ends: map[addresses]bdd.Node{}, classes: map[classesOf]any{},
		sent: newCells(tupleLen), reached: newCells(tupleLen), gate: newCells(16), t1: newCells(tupleLen), t2: newCells(tupleLen),
	}
}

// opening is what the sender of the first packet sends.
type opening struct {
	f *Flow
	// fill writes addresses and ports into the first packet and says which of them are meant; nil for those of f.
	fill func(p *parcel, pc bdd.Node) bdd.Node
	// want is where NAT must have led the port, given the port that was sent; nil for f.WantDst.
	want  func(sent cells) cells
	frame []byte // all of the packet, instead of fill
	only  bool   // the first packet alone
	// stands says that the connection exists already, later that conntrack did not see its first packet.
	stands, later bool
}

// follow follows packets along every way they may take.
func (r *sweep) follow(o opening) {
	r.restart(o)
	for n := 0; n == 0 || r.next(); n++ {
		r.again()
		if n == maxWays || r.x.Err() != nil || len(r.unknowns) >= maxUnknown {
			r.log.on = true
			r.over(Depends, station{stage: "local", rule: -1, text: "too many ways to follow", action: "depends: too many ways to follow"})
			return
		}
		r.flow()
	}
}

// restart forgets what was followed before.
func (r *sweep) restart(o opening) {
	r.open, r.f = o, o.f
	r.steps, r.nextSoft = maxSteps, varSoft
	r.picks, r.sizes, r.asked = r.picks[:0], r.sizes[:0], 0
	r.again()
}

// again begins one more way, that of the picks.
func (r *sweep) again() {
	clear(r.used)
	r.g.zero()
	r.pc, r.live = bdd.True, bdd.True
	r.given, r.asked = len(r.picks), 0
	r.log.on = r.given == 0
	r.conn, r.conns = nil, 0
	r.dest, r.preDone, r.arrived, r.gateway = "", false, arrival{}, cells{}
	r.tag, r.tagSent, r.there = 0, 0, arrival{}
	r.inquiries, r.warm, r.handed = r.inquiries[:0], bdd.False, bdd.False
	clear(r.known)
	r.p = parcel{half: "request"}
}

// Walk follows one flow through a state: its request, its reply (with NAT undone), and a later packet of the established
// connection. The first that does not get through decides. Use New for more than one flow.
func Walk(s *schema.State, f Flow) Result { return New(s).Walk(f) }

// Walk follows one flow, as the function Walk does.
func (w *Walker) Walk(f Flow) Result { return w.walk(opening{f: &f}) }

// walkFrame follows the frame that a link receives, as the first packet of a connection that conntrack has not seen: every
// bit is known. Its answer is not asked for.
func (w *Walker) walkFrame(in string, frame []byte) Result {
	f := Flow{From: in}
	return w.walk(opening{f: &f, frame: frame, only: true})
}

func (w *Walker) walk(o opening) Result {
	r := w.sweep()
	defer w.pool.Put(r)
	return r.walk(o)
}

func (r *sweep) walk(o opening) Result {
	r.log.full = true
	r.follow(o)
	if r.x.Err() != nil {
		r.log.clear()
		r.log.on = true
		r.forget()
		r.pc, r.p = bdd.True, parcel{half: "request"} // what it held is forgotten too
		r.over(Depends, station{stage: "local", rule: -1, text: "too large to decide", action: "depends: too large to decide"})
	}
	return r.result(*o.f)
}

// region narrows packets to those for which nothing unknown comes true from a parting on.
func (r *sweep) region(pc bdd.Node, from int) bdd.Node {
	for _, p := range r.log.partings[from:] {
		if rest := r.x.Diff(pc, p.taken); rest != bdd.False {
			pc = rest
		}
	}
	return pc
}

// fateOf is how such packets end.
func (r *sweep) fateOf(pc bdd.Node) *fate {
	for i := range r.log.fates {
		if f := &r.log.fates[i]; !r.x.Disjoint(f.pc, pc) {
			return f
		}
	}
	return &r.log.fates[len(r.log.fates)-1]
}

// result answers for one packet: the way on which nothing unknown comes true; if another one ends otherwise, it depends on
// the first unknown that makes the difference.
func (r *sweep) result(f Flow) Result {
	if len(r.log.fates) == 0 {
		r.pc, r.log.on = bdd.True, true
		r.unmodelled("link", schema.Ref{}, "the packet got lost: this is a bug in vmnet")
	}
	base := r.region(bdd.True, 0)
	end := r.fateOf(base)
	if r.hidden(end) {
		r.log.on = true
		r.p.half = "request"
		r.pc = base
		at := r.put(base, station{stage: "local", rule: -1, text: "rules that could not be read (" + strings.Join(r.w.blind, ", ") + ")", action: "depends"})
		return r.told(f, base, fate{verdict: Depends, half: "request", at: at})
	}
	soon := end.verdict == Depends && end.at >= 0 && r.log.stations[end.at].action == forgotten
	if end.verdict == Depends && !soon || !r.differ(end.verdict) {
		return r.told(f, base, *end)
	}
	other, at := r.difference(base, end.verdict)
	otherEnd := r.fateOf(other)
	if otherEnd.verdict == Depends {
		return r.told(f, other, *otherEnd)
	}
	if end.verdict == Block { // show the way that is blocked
		other = base
	}
	if at < 0 {
		at = otherEnd.at
		if at < 0 {
			at = end.at
		}
	}
	r.log.stations[at].action = "depends"
	return r.told(f, other, fate{verdict: Depends, half: r.log.stations[at].half, at: at})
}

func (r *sweep) differ(v Verdict) bool {
	for i := range r.log.fates {
		if r.log.fates[i].verdict != v {
			return true
		}
	}
	return false
}

// difference finds packets that end otherwise, and the station where they part: first those for which one single unknown
// comes true, from the first on; then any.
func (r *sweep) difference(base bdd.Node, v Verdict) (other bdd.Node, at int) {
	pc := bdd.True
	for i, p := range r.log.partings {
		taken, rest := r.x.And(pc, p.taken), r.x.Diff(pc, p.taken)
		if rest == bdd.False {
			continue
		}
		pc = rest
		if taken == bdd.False {
			continue
		}
		if alt := r.region(taken, i+1); r.fateOf(alt).verdict != v {
			return alt, p.at
		}
	}
	for i := range r.log.fates {
		f := &r.log.fates[i]
		if f.verdict == v {
			continue
		}
		for _, p := range r.log.partings {
			if alt := r.x.And(f.pc, p.taken); alt != bdd.False && r.x.Disjoint(base, p.taken) && !r.x.Disjoint(base, r.log.stations[p.at].pc) {
				return alt, p.at
			}
		}
		return f.pc, -1
	}
	return base, -1
}

// hidden tells whether a verdict rests on rules that could not be read. What stops a packet before any rule does not.
func (r *sweep) hidden(e *fate) bool {
	if len(r.w.blind) == 0 || e.verdict == Depends {
		return false
	}
	if e.verdict == Pass {
		return true
	}
	code := r.log.stations[e.at].code
	return code == "" || code >= "VN3"
}

// told makes the texts of the stations that some packets come by.
func (r *sweep) told(f Flow, pc bdd.Node, end fate) Result {
	if both := r.x.And(pc, end.pc); both != bdd.False { // such as end this way
		pc = both
	}
	vals, _ := r.x.Pick(pc, func(int) bool { return false })
	of := func(v int) bool { return vals[v] }
	res := Result{Flow: f, Verdict: end.verdict, Hops: make([]Hop, 0, len(r.log.stations))}
	for i := range r.log.stations {
		st := &r.log.stations[i]
		if st.stage == "" || !r.x.Eval(st.pc, of) && i != end.at {
			continue
		}
		res.Hops = append(res.Hops, st.hop(r, of))
		if i == end.at && end.verdict != Pass {
			d := res.Hops[len(res.Hops)-1]
			res.Decider, res.Half = &d, end.half
		}
	}
	return res
}

func (st *station) hop(r *sweep, of func(int) bool) Hop {
	h := Hop{
		Half: st.half, Stage: st.stage, Ref: st.ref, Chain: st.chain, Base: st.base, Rule: st.rule,
		Text: st.text, Action: st.action, Code: st.code, Packet: st.v.settled(r, of).String(),
		In: st.v.in, Out: st.v.out, Talk: st.v.talk,
	}
	if st.r != nil && h.Text == "" {
		h.Text = ruleText(st.r)
	}
	return h
}
