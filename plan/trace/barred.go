package trace

import (
	"net/netip"
	"slices"
	"sync"

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
	w.crossings.Lock()
	defer w.crossings.Unlock()
	c := w.crossings.of(w)
	is := slices.ContainsFunc(w.groups[family(b.v6)][forward], func(g []entry) bool {
		return slices.ContainsFunc(g, func(e entry) bool {
			return e.kind == entryChain && (e.base.drop || e.base.c.drops) && len(e.base.c.rules) <= mostBarring &&
				familyMatches(e.base.c.t.t.Family, b.v6) && c.stops(e.base, b)
		})
	})
	w.borders.Store(b, is)
	return is
}

// stops tells whether a chain stops everything new that crosses a border but what was translated: the first packet of a
// connection is none that conntrack knows (nf_conntrack_in), and bears the status of a translated one only where NAT has
// changed its destination (nf_nat_setup_info).
func (c *crossings) stops(chain *base, b border) bool {
	c.arrive(b, forward)
	r, x := c.r, c.a.x
	r.p.out = b.out
	passes := bdd.False
	r.onEnd = func(pc bdd.Node, v Verdict, _ station) {
		if v != Block {
			passes = x.Or(passes, pc)
		}
	}
	r.traverse(chain)
	r.onEnd = nil
	dnat := r.p.ct.at(ctStatus, 4).bit(x.Space, hostBit(dnatBit))
	return x.Diff(x.Or(r.pc, passes), dnat) == bdd.False && x.Err() == nil
}

// dnatBit is IPS_DST_NAT_BIT.
const dnatBit = 5

// untranslated tells whether no NAT rule meets new packets that come to a border for the other end of a query.
func (w *Walker) untranslated(b border, q *Query) bool {
	w.crossings.Lock()
	defer w.crossings.Unlock()
	c := w.crossings.of(w)
	f, ok := c.led[untouched{b.in, b.v6}]
	if !ok {
		f = c.translated(b)
		c.led[untouched{b.in, b.v6}] = f
	}
	return c.a.x.Disjoint(f, c.destinations(b, q)) && c.a.x.Err() == nil
}

// translated are new packets that come to a border and meet a NAT rule, or the end of what is modelled. Every chain is asked by
// itself, as if it were the first.
func (c *crossings) translated(b border) bdd.Node {
	f := bdd.False
	for _, g := range c.w.nat[family(b.v6)][prerouting] {
		for _, e := range g {
			switch {
			case !familyMatches(e.base.c.t.t.Family, b.v6):
			case len(e.base.c.rules) > mostBarring:
				return bdd.True
			default:
				f = c.a.x.Or(f, c.meets(e.base, b))
			}
		}
	}
	return f
}

// meets are the packets that a NAT chain does not let be.
func (c *crossings) meets(chain *base, b border) bdd.Node {
	c.arrive(b, prerouting)
	r, x := c.r, c.a.x
	f := bdd.False
	r.onNAT = func(live bdd.Node) { f = x.Or(f, live) }
	r.onEnd = func(pc bdd.Node, v Verdict, _ station) {
		if v != Block {
			f = x.Or(f, pc)
		}
	}
	r.traverse(chain)
	r.onNAT, r.onEnd = nil, nil
	return f
}

// destinations are packets that come to a border for the other end of a query.
func (c *crossings) destinations(b border, q *Query) bdd.Node {
	c.arrive(b, prerouting)
	dst, free := c.r.copyOf(c.r.p.dst()), c.r.p.dst()
	f := (&asking{speech: &speech{q: q}, r: c.r}).address(dst, destination(q), bdd.True)
	return c.a.x.And(f, free.same(c.a.x, dst)) // what all of them share is constant in dst
}

// crossings is where packets at borders are asked about, of which nothing is known but the links. What is found out of sets and
// addresses serves for the next border.
type crossings struct {
	sync.Mutex
	w   *Walker
	a   *anyPacket
	r   *sweep
	led map[untouched]bdd.Node
}

// of makes room where there is none.
func (c *crossings) of(w *Walker) *crossings {
	if c.a == nil || c.a.x.Size() > keepNodes || c.a.x.Err() != nil || len(c.r.unknowns) > maxUnknown/2 {
		c.w, c.a, c.led = w, newAnyPacket(bdd.New(maxNodes), nil), map[untouched]bdd.Node{}
		c.r = newSweep(w, c.a.x)
	}
	return c
}

// arrive puts new packets at a hook of which nothing is known but the link that received them.
func (c *crossings) arrive(b border, h hook) {
	r := c.r
	r.hook, r.steps = h, maxSteps
	r.p = c.a.parcel(c.w, h, b.v6, false)
	r.p.in, r.p.inAny, r.p.outAny = b.in, nil, nil
	for _, known := range []*bdd.Node{&r.p.state[bitEstablished], &r.p.state[bitRelated], &r.p.answer} {
		*known = bdd.False
	}
	r.p.has = r.p.state[bitNew]
	r.pc = c.a.possible(r, h)
}

// untouched is a device that receives packets of a family.
type untouched struct {
	in *device
	v6 bool
}

// addresses is what is kept of an end of questions: the addresses that somebody there can have.
type addresses struct {
	first  int
	link   string
	set    string
	v6     bool
	routed bool
	// refused is that of a side.
	refused bool
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
	k := addresses{first: s.first, link: s.link, set: string(b), v6: v6, routed: s.routed, refused: s.refused}
	if s.routed || len(s.set) == 0 {
		k.other, k.otherLink = s.other, s.otherLink
	}
	return k
}
