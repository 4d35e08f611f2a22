package trace

import (
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/bdd"
)

// further is a hook at which the packets of a stage are looked at too, on their way to it or from there.
type further struct {
	hook    hook
	bridged bool
}

// furthers are those of the ways of a stage's packets, one for each: where connections are known, if anywhere. There are none
// for a stage that knows them itself, and has the last word.
func (c *comparison) furthers() []further {
	st := c.st
	coming := st.hook == prerouting || st.hook == input
	host := further{hook: output}
	if coming {
		host.hook = input
	}
	switch {
	case st.nat || st.arp:
		return nil
	case st.dev != "" || st.bridged && (st.hook == prerouting || st.hook == postrouting):
		ways := []further{{hook: forward}, host}
		if d := c.o.after.device(st.dev); st.bridged || d.masterName != "" {
			ways = append(ways, further{forward, true})
		}
		return ways
	case st.bridged && st.hook != forward, !st.bridged && st.hook == prerouting:
		return []further{{hook: forward}, host}
	}
	return nil
}

// follow tells what of a set that a stage opened gets through elsewhere on its way too, without anybody asking for it there:
// where connections are known, answers are no more taken for what looks like them. What counts is the state after: what
// dies at another hook then was not let through by it. ok is false where the way cannot be followed; nothing is told then.
//
// A packet of a connection of which NAT changes the addresses is taken for what it looks like at the stage: there is
// such a connection only where its first packet got through.
func (o *opener) follow(c *comparison, set bdd.Node) (ok bool) {
	ways := c.furthers()
	if len(ways) == 0 || set == bdd.False || o.before.rewrites || o.after.rewrites {
		return false
	}
	var there []*comparison
	for _, f := range ways {
		st, ok := o.whole(f, c.st.v6)
		if !ok {
			return false
		}
		at := o.comparison(st)
		at.followed = true
		there = append(there, at)
	}
	set = c.real(1, set)
	if c.st.hook == prerouting || c.st.hook == input {
		led := c.x.And(set, o.led(c, set)) // goes elsewhere: whom it reaches is not looked at
		o.tell(c, c.aspects(), "", led, led)
		set = c.x.Diff(set, led)
	}
	for _, at := range there {
		arrived := at.inWords(at.run(1, at.carried(c, set)).passed)
		set := at.unasked(arrived)
		switch {
		case at.st.hook == input:
			set = at.delivered(set)
		case at.st.hook == forward && !at.st.bridged:
			set = at.x.And(set, at.come(1))
		}
		o.tell(at, at.aspects(), "", set, at.connected(at.real(1, set)))
	}
	return true
}

// whole is a hook with all its chains on the stage's side of NAT.
func (o *opener) whole(f further, v6 bool) (*stage, bool) {
	st := &stage{name: hookNames[f.hook], hook: f.hook, v6: v6, bridged: f.bridged}
	if f.bridged {
		st.name = "bridge " + st.name
	}
	for side := range 2 {
		w := o.walker(side)
		groups := w.groups[family(v6)][f.hook]
		if f.bridged {
			groups = w.bridge[f.hook]
		}
		if unordered(groups) {
			return nil, false
		}
		parts := segments(groups)
		switch {
		case f.hook == output:
			st.side[side] = parts[len(parts)-1]
		case f.hook == input:
			st.side[side] = parts[0]
		default:
			st.side[side] = slices.Concat(parts...)
		}
	}
	return st, true
}

// carried is a set of another stage as this one sees its packets. Connections are as they may be where the other does not know
// them; where packets of which the source was translated leave, they had any.
func (c *comparison) carried(from *comparison, set bdd.Node) bdd.Node {
	x := c.x
	coming := from.st.hook == prerouting || from.st.hook == input
	first, leaves := varOut, true
	if coming {
		first, leaves = varIn, false
	}
	blind := from.st.bridged || from.st.dev != ""
	plain := func(f bdd.Node) bdd.Node {
		return x.Exists(f, func(v int) bool {
			return v >= varIn && v < varProto || v == varState+7 || blind && v >= varState && v < varStatus || leaves && v >= varSrc && v < varMark
		})
	}
	if from.st.dev != "" {
		return x.And(plain(set), c.behind(first, from.st.dev))
	}
	out := bdd.False
	from.a.ifaces(c.o.after, first).each(x, func(is bdd.Node, d *device) {
		if part := x.And(set, is); part != bdd.False {
			out = x.Or(out, x.And(plain(part), c.behind(first, d.name)))
		}
	})
	return out
}

// behind are the packets of the stage that come in or go out by a link, or by the bridge it is a port of: all of them where that
// is not known.
func (c *comparison) behind(first int, link string) bdd.Node {
	w := c.o.after
	if !c.st.bridged {
		d := w.border(link)
		if d == nil {
			return bdd.True
		}
		link = d.name
	}
	alt := c.a.ifaces(w, first)
	i := slices.IndexFunc(alt.devs, func(d *device) bool { return d.name == link })
	if i < 0 {
		i = len(alt.devs)
	}
	return alt.is(c.x, i)
}

// led are packets that a rule of NAT leads elsewhere when they are the first of a connection.
func (o *opener) led(c *comparison, set bdd.Node) bdd.Node {
	f := family(c.st.v6)
	st := &stage{name: hookNames[prerouting], hook: prerouting, v6: c.st.v6, nat: true}
	st.side = [2][]entry{slices.Concat(o.before.nat[f][prerouting]...), slices.Concat(o.after.nat[f][prerouting]...)}
	at := o.comparison(st)
	by, _ := at.translations(&differ{}, 1, at.carried(c, set))
	all := bdd.False
	for _, part := range by {
		all = at.x.Or(all, part)
	}
	return at.x.Exists(at.inWords(all), func(v int) bool { return v >= varIn && v < varProto || v >= varState && v < varStatus })
}

// delivered keeps to packets that are for the host: to its addresses, or to many.
func (c *comparison) delivered(pc bdd.Node) bdd.Node {
	w, x := c.o.after, c.x
	r := c.sweep(w, nil)
	defer func() { c.a.nextSoft = r.nextSoft }()
	p := &r.p
	for _, ru := range w.fib[family(c.st.v6)].rules {
		if ru.IIF != "" && !listed(p.inAny, ru.IIF) {
			return pc
		}
	}
	own := bdd.False
	for _, many := range []string{"224.0.0.0/4", "255.255.255.255/32", "ff00::/8"} {
		if m := netip.MustParsePrefix(many); m.Addr().Is6() == c.st.v6 {
			own = x.Or(own, p.dst().in(x, m))
		}
	}
	r.pc, r.live = pc, pc
	for _, o := range r.ways(question{src: p.src(), dst: p.dst(), in: p.in, inAny: p.inAny, mark: p.mark, tos: p.tos(x)}, pc) {
		if o.k.kind == "local" || o.k.kind == "broadcast" || o.k.kind == "anycast" {
			own = x.Or(own, o.cond)
		}
	}
	return x.And(pc, own)
}
