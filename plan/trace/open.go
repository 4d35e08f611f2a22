package trace

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// Opening is a set of packets that a hook lets through in one state and not in another.
type Opening struct {
	// Hook is as in Asked.
	Hook string `json:"hook"`
	// Packets says which, in the words of a rule.
	Packets string `json:"packets"`
	// Witness is one of them: "10.20.0.11:40000 > 203.0.113.10:22 tcp new in virbr-lab out eno1".
	Witness string `json:"witness"`
	// Share is how much they are of all packets of their family at the hook, from 0 to 1, each counting alike.
	Share float64 `json:"share"`
	// Elsewhere says that the rules of the hook are not what lets them through now, but do not stop them either: they are what they
	// are at another hook that they pass, which knows less of them.
	Elsewhere bool `json:"elsewhere,omitempty"`
}

// String prints "forward: from 10.20.0.0/24 to 203.0.113.10 tcp dport 443".
func (o Opening) String() string { return o.Hook + ": " + o.Packets }

// more stands for the openings of a hook that are not told apart.
const more = "and more"

// mostOpenings bounds how many openings of one hook are told apart.
const mostOpenings = 8

// Opened gives the packets that the hooks of after let through and those of before do not, but for those asked for: at
// every hook of IP, of bridges and of devices, in the words of the packets as they are there. What counts beside the rules is
// forwarding (of all and of each link) and whether bridged packets are shown to IP. Where a rule differs that changes packets
// (marks, notrack, NAT), those it is about count as let through anew: what comes later may decide otherwise.
//
// It says too much rather than too little: a packet listed may die at another hook, or be none that can be; one that is
// not listed goes where it went before, or dies at another hook that knows more of it (where connections are known). A match that nobody can foresee counts as holding where that would open something,
// but for the same packet it is the same in both states. What the states' links, addresses and routes change is not
// looked at, unless a rule asks for it. An error means that nothing is known.
//
// A forged packet, with the address of one of the holders, counts even if it is asked for by its form.
func Opened(before, after *Walker, asked []Asked, holders ...Holder) ([]Opening, error) {
	o := &opener{before: before, after: after, asked: asked, holders: holders, space: bdd.New(0), routes: routing(before.state, after.state)}
	for _, st := range o.stages() {
		if err := o.stage(st); err != nil {
			return nil, fmt.Errorf("compare what passes %s: %w", st.name, err)
		}
	}
	for f := range 2 {
		for _, br := range o.unshown(f == 1) {
			if err := o.across(br, f == 1); err != nil {
				return nil, fmt.Errorf("compare what crosses %s: %w", br, err)
			}
		}
	}
	return joined(o.list), nil
}

// opener compares two states.
type opener struct {
	before, after *Walker
	asked         []Asked
	holders       []Holder
	space         *bdd.Space
	routes        bool // addresses or routes differ
	list          []said
}

// said is an Opening of one family.
type said struct {
	Opening
	v6, placed bool // placed: it names addresses
}

// stage is a part of a hook between whose chains nothing but rules touches a packet: NAT, and the detour that bridged packets
// take to IP, begin another. The chains of NAT are a stage of their own.
type stage struct {
	name    string
	hook    hook
	v6      bool
	bridged bool
	nat     bool
	arp     bool
	dev     string // of ingress and egress
	side    [2][]entry
}

// stages lists those of both states that hold chains.
func (o *opener) stages() []*stage {
	var out []*stage
	add := func(st stage, a, b [][]entry) {
		out = append(out, st.cut(a, b)...)
		if unordered(a) || unordered(b) {
			out = append(out, st.cut(turned(a), turned(b))...)
		}
	}
	for f := range 2 {
		for h := range hooks {
			name := hookNames[h]
			add(stage{name: name, hook: h, v6: f == 1}, o.before.groups[f][h], o.after.groups[f][h])
			add(stage{name: name, hook: h, v6: f == 1, nat: true}, o.before.nat[f][h], o.after.nat[f][h])
			add(stage{name: "bridge " + name, hook: h, v6: f == 1, bridged: true}, o.before.bridge[h], o.after.bridge[h])
		}
		for _, dev := range bothKeys(o.before.ingress, o.after.ingress) {
			add(stage{name: "ingress " + dev, hook: prerouting, v6: f == 1, dev: dev}, o.before.ingress[dev], o.after.ingress[dev])
		}
		for _, dev := range bothKeys(o.before.egress, o.after.egress) {
			add(stage{name: "egress " + dev, hook: postrouting, v6: f == 1, dev: dev}, o.before.egress[dev], o.after.egress[dev])
		}
	}
	o.arpStages(add)
	return out
}

// cut makes the stages of a hook.
func (st stage) cut(before, after [][]entry) []*stage {
	a, b := segments(before), segments(after)
	out := make([]*stage, max(len(a), len(b)))
	for i := range out {
		one := st
		if i < len(a) {
			one.side[0] = a[i]
		}
		if i < len(b) {
			one.side[1] = b[i]
		}
		out[i] = &one
	}
	return out
}

// unordered tells whether entries of equal priority, of which nobody knows which comes first, may influence each other.
func unordered(groups [][]entry) bool {
	return slices.ContainsFunc(groups, func(g []entry) bool {
		return len(g) > 1 && slices.ContainsFunc(g, func(e entry) bool { return e.kind != entryChain || e.base.c.writes || e.base.nat })
	})
}

// turned is the other order of entries of equal priority. Of three, two of six orders are looked at.
func turned(groups [][]entry) [][]entry {
	out := make([][]entry, len(groups))
	for i, g := range groups {
		out[i] = slices.Clone(g)
		slices.Reverse(out[i])
	}
	return out
}

func bothKeys(a, b map[string][][]entry) []string {
	var out []string
	for k := range a {
		out = append(out, k)
	}
	for k := range b {
		out = append(out, k)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// segments cuts a hook where something other than chains touches packets. Conntrack's look at them is left in: it adds
// what a packet's state is.
func segments(groups [][]entry) [][]entry {
	out := [][]entry{nil}
	for _, g := range groups {
		for _, e := range g {
			if e.kind == entryNAT || e.kind == entryCallIP {
				out = append(out, nil)
				continue
			}
			k := len(out) - 1
			out[k] = append(out[k], e)
		}
	}
	return out
}

// chains are the base chains of one side that see packets of the stage.
func (st *stage) chains(side int) []*base {
	var out []*base
	for _, e := range st.side[side] {
		if st.arp && e.kind == entryChain && e.base.c.t.t.Family == "inet" {
			continue // nft_do_chain_inet_ingress
		}
		if e.kind == entryChain && (st.arp || st.bridged || st.dev != "" || familyMatches(e.base.c.t.t.Family, st.v6)) {
			out = append(out, e.base)
		}
	}
	return out
}

// stage compares one stage.
func (o *opener) stage(st *stage) error {
	d := &differ{chains: map[[2]*chain]bool{}, sets: map[[2]*schema.Set]bool{}, routes: o.routes, nat: st.nat}
	d.bases(st.chains(0), st.chains(1))
	routed := st.hook == forward && !st.bridged && !st.nat
	if !d.whole && len(d.rules) == 0 && !(routed && o.switched(st.v6)) {
		return nil
	}
	c := o.comparison(st)
	defer o.space.Reset()
	set := c.unasked(c.compared(d))
	if c.forged != bdd.False {
		o.tell(c, c.aspects(), forgedFront, c.forged, c.connected(c.real(1, c.forged)))
		set = c.x.Diff(set, c.forged)
	}
	if o.follow(c, set) {
		return c.x.Err()
	}
	o.tell(c, c.aspects(), "", set, c.connected(c.real(1, set)))
	return c.x.Err()
}

// compared is what the stage opens, as far as there are words for it.
func (c *comparison) compared(d *differ) bdd.Node {
	opened := bdd.False
	for _, pc := range c.regions(d) {
		if c.st.nat {
			opened = c.x.Or(opened, c.translated(d, pc))
		} else {
			opened = c.x.Or(opened, c.opened(pc))
		}
	}
	if c.st.hook == forward && !c.st.bridged {
		opened = c.routed(opened)
	}
	opened = c.unbegun(opened)
	c.forged = c.forgeries(opened)
	return c.inWords(opened)
}

// tell puts into words, and others in front of them, the parts of a set in which there is something real.
func (o *opener) tell(c *comparison, as []aspect, front string, set, coming bdd.Node) {
	if coming == bdd.False || c.x.Err() != nil {
		return
	}
	total := c.x.Share(c.only(as, c.possible))
	parts, whole := slabs(c.x.Space, set, as, mostOpenings)
	rest := set
	add := func(part bdd.Node, text string, placed bool) {
		if part = c.x.And(part, coming); part == bdd.False {
			return
		}
		o.list = append(o.list, said{Opening{
			Hook: c.st.name, Packets: front + text, Witness: witness(c.x.Space, as, part), Share: c.x.Share(part) / total, Elsewhere: c.followed,
		}, c.st.v6, placed || c.st.arp})
	}
	for _, p := range parts {
		part := p.rest
		for _, at := range p.at {
			part = c.x.And(part, at)
		}
		rest = c.x.Diff(rest, part)
		text, placed := phrase(c.x.Space, as, p.at)
		add(part, text, placed)
	}
	if !whole && rest != bdd.False {
		add(rest, more, true)
	}
}

// joined makes the list: what is the same in IPv4 and IPv6 is said once.
func joined(all []said) []Opening {
	var out []Opening
	for i, f := range all {
		if slices.ContainsFunc(all[:i], func(g said) bool { return g.v6 == f.v6 && g.Hook == f.Hook && g.Packets == f.Packets }) {
			continue // in the other order of equals too
		}
		twin := func(g said) bool { return g.Hook == f.Hook && g.Packets == f.Packets && g.v6 != f.v6 }
		switch k := slices.IndexFunc(all, twin); {
		case f.placed:
			out = append(out, f.Opening)
		case k < 0:
			f.Packets += map[bool]string{true: " in IPv6", false: " in IPv4"}[f.v6]
			out = append(out, f.Opening)
		case i < k:
			out = append(out, f.Opening)
		}
	}
	slices.SortStableFunc(out, func(a, b Opening) int {
		switch {
		case a.Packets == b.Packets: // twice the rest
		case a.Packets == more:
			return 1
		case b.Packets == more:
			return -1
		}
		return cmp.Compare(b.Share, a.Share)
	})
	return out
}
