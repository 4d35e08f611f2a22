package trace

import (
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/bdd"
)

// Barred tells that no packet of a query gets through because one base chain lets nothing new pass between the links at its
// ends, whatever it bears, unless its destination was translated, and because no rule translates it. That is the usual fate
// of what must not get through, and takes a small part of an answer to prove. The Result is one of the packets. ok is false
// where only Ask can tell.
func (w *Walker) Barred(q Query) (res Result, ok bool) {
	if q.Via != nil || q.Anywhere || q.Local || len(w.blind) > 0 || !q.Dst.IsValid() || w.rewrites {
		return Result{}, false
	}
	b := border{w.border(q.From), w.border(q.To), q.Dst.Is6() && !q.Dst.Is4In6()}
	if b.in == nil || b.out == nil || b.in == b.out || !w.closed(b) || !w.untranslated(b, &q) {
		return Result{}, false
	}
	s := w.spoken(&q)
	res = w.Walk((&asking{speech: &s[0]}).plain())
	return res, res.Verdict == Block
}

// border is where the host routes from one of its links to another.
type border struct {
	in, out *device
	v6      bool
}

// border is the link by which what a device receives comes to layer 3 of the host, and what is for it leaves: its bridge, or
// itself. nil where there could be several (802.1q), or where it is not known.
func (w *Walker) border(name string) *device {
	d := w.devices[name]
	if d != nil && d.masterName != "" {
		d = d.master
		if d != nil && !d.bridge {
			return nil
		}
	}
	if d == nil || d == w.lo || d.lower != nil || d.index == 0 {
		return nil
	}
	for k := range w.over {
		if k.lower == d.index {
			return nil
		}
	}
	return d
}

// mostBarring is how many rules a chain may have to be asked: what closes a border is mostly a short one.
const mostBarring = 1000

// closed tells whether a base chain at the forward hook stops everything that crosses a border. Each is asked by itself
// about packets of which nothing is known, so that what others write into them does not matter.
func (w *Walker) closed(b border) bool {
	if is, ok := w.borders.Load(b); ok {
		return is.(bool)
	}
	is := slices.ContainsFunc(w.groups[family(b.v6)][forward], func(g []entry) bool {
		return slices.ContainsFunc(g, func(e entry) bool {
			return e.kind == entryChain && (e.base.drop || e.base.c.drops) && len(e.base.c.rules) <= mostBarring &&
				familyMatches(e.base.c.t.t.Family, b.v6) && w.stops(e.base, b)
		})
	})
	w.borders.Store(b, is)
	return is
}

// stops tells whether a chain stops everything new that crosses a border but what was translated: the first packet of a
// connection is none that conntrack knows (nf_conntrack_in), and bears the status of a translated one only where NAT has
// changed its destination (nf_nat_setup_info).
func (w *Walker) stops(c *base, b border) bool {
	r, a := w.crossing(b, forward)
	r.p.out = b.out
	passes := bdd.False
	r.onEnd = func(pc bdd.Node, v Verdict, _ station) {
		if v != Block {
			passes = a.x.Or(passes, pc)
		}
	}
	r.traverse(c)
	dnat := r.p.ct.at(ctStatus, 4).bit(a.x.Space, hostBit(dnatBit))
	return a.x.Diff(a.x.Or(r.pc, passes), dnat) == bdd.False && a.x.Err() == nil
}

// dnatBit is IPS_DST_NAT_BIT.
const dnatBit = 5

// untranslated tells whether no NAT rule meets new packets that come to a border for the other end of a query. Every chain is
// asked by itself, as if it were the first.
func (w *Walker) untranslated(b border, q *Query) bool {
	k := untouched{b.in, addressesOf(destination(q), b.v6)}
	if is, ok := w.untouched.Load(k); ok {
		return is.(bool)
	}
	is := true
	for _, g := range w.nat[family(b.v6)][prerouting] {
		for _, e := range g {
			is = is && (!familyMatches(e.base.c.t.t.Family, b.v6) || len(e.base.c.rules) <= mostBarring && w.ignores(e.base, b, q))
		}
	}
	w.untouched.Store(k, is)
	return is
}

// ignores tells whether a NAT chain lets such packets be.
func (w *Walker) ignores(c *base, b border, q *Query) bool {
	r, a := w.crossing(b, prerouting)
	r.pc = (&asking{speech: &speech{q: q}, r: r}).address(r.p.dst(), destination(q), r.pc)
	ignores := true
	r.onNAT = func(bdd.Node) { ignores = false }
	r.onEnd = func(_ bdd.Node, v Verdict, _ station) { ignores = ignores && v == Block }
	r.traverse(c)
	return ignores && a.x.Err() == nil
}

// crossing makes new packets at a hook of which nothing is known but the link that received them.
func (w *Walker) crossing(b border, h hook) (*sweep, *anyPacket) {
	a := newAnyPacket(bdd.New(maxNodes), nil)
	r := newSweep(w, a.x)
	r.hook = h
	r.p = a.parcel(w, h, b.v6, false)
	r.p.in, r.p.inAny, r.p.outAny = b.in, nil, nil
	for _, known := range []*bdd.Node{&r.p.state[bitEstablished], &r.p.state[bitRelated], &r.p.answer} {
		*known = bdd.False
	}
	r.p.has = r.p.state[bitNew]
	r.pc = a.possible(r, h)
	return r, a
}

// untouched are addresses as somebody asks for them who is behind a device.
type untouched struct {
	in *device
	to addresses
}

// addresses is what is kept of an end of questions: the addresses that somebody there can have.
type addresses struct {
	first  int
	link   string
	set    string
	v6     bool
	routed bool
	// other and otherLink are those of the other end, where the way depends on it.
	other     netip.Addr
	otherLink string
}

// addressesOf names them.
func addressesOf(s side, v6 bool) addresses {
	var b []byte
	for _, p := range s.set {
		b = p.AppendTo(b)
		b = append(b, ' ')
	}
	k := addresses{first: s.first, link: s.link, set: string(b), v6: v6, routed: s.routed}
	if s.routed || len(s.set) == 0 {
		k.other, k.otherLink = s.other, s.otherLink
	}
	return k
}
