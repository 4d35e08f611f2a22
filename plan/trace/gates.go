package trace

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// switched tells whether forwarding differs between the states.
func (o *opener) switched(v6 bool) bool {
	f := family(v6)
	if o.before.forward[f] != o.after.forward[f] {
		return true
	}
	if v6 {
		return false
	}
	for n, d := range o.after.devices {
		if was := o.before.devices[n]; was != nil && was.forwarding != d.forwarding {
			return true
		}
	}
	return false
}

// routed keeps, of what the chains of the forward hook opened, the packets that come to it, and adds those that a switch
// brings to it now.
func (c *comparison) routed(opened bdd.Node) bdd.Node {
	x, w := c.x, c.o.after
	was, is := c.gate(0), c.gate(1)
	shown := bdd.False // bridged packets come to it whatever the switches say
	in := c.a.ifaces(w, varIn)
	in.each(x, func(is bdd.Node, d *device) {
		if d == elsewhere || d.bridge && w.callsIP(d, c.st.v6) {
			shown = x.Or(shown, is)
		}
	})
	opened = x.And(opened, x.Or(is, shown))
	if more := x.Diff(is, was); more != bdd.False {
		c.fixed = nil
		opened = x.Or(opened, c.run(1, more).passed)
	}
	return opened
}

// gate is where packets come from that a side forwards.
func (c *comparison) gate(side int) bdd.Node {
	x, w := c.x, c.o.walker(side)
	r := c.sweep(w, nil)
	defer func() { c.a.nextSoft = r.nextSoft }()
	open := bdd.False
	c.a.ifaces(w, varIn).each(x, func(is bdd.Node, d *device) {
		on := w.forward[family(c.st.v6)]
		if !c.st.v6 && w.devices[d.name] == d && d.forwarding >= 0 {
			on = d.forwarding
		}
		switch {
		case on > 0:
			open = x.Or(open, is)
		case on < 0:
			open = x.Or(open, x.And(is, r.fixedBit("forwarding of "+d.name)))
		}
	})
	return open
}

// each calls do for every interface.
func (f *ifaces) each(x *space, do func(is bdd.Node, d *device)) {
	for i, d := range f.devs {
		do(f.is(x, i), d)
	}
	do(f.is(x, len(f.devs)), elsewhere)
}

// wanted are the packets of the stage that somebody asks for. Of an interface in no list it is not known that somebody does,
// unless every interface will do.
func (c *comparison) wanted() bdd.Node {
	all := bdd.False
	for _, a := range c.o.asked {
		if c.isHere(a.Hook) {
			all = c.x.Or(all, c.box(a.Box))
		}
	}
	return all
}

// isHere tells whether packets of a hook pass the stage. A link of a bridge sees what the bridge's hooks do.
func (c *comparison) isHere(name string) bool {
	if c.st.dev == "" || name == c.st.name {
		return name == c.st.name
	}
	if d := c.o.after.device(c.st.dev); d.master != nil && d.master.bridge {
		return name == "bridge "+hookNames[c.st.hook]
	}
	return name == hookNames[c.st.hook]
}

// box is a Box as a set.
func (c *comparison) box(b Box) bdd.Node {
	if b.Empty || !b.Exact || c.st.v6 && !b.V6 || !c.st.v6 && !b.V4 {
		return bdd.False
	}
	x := c.x
	r := c.sweep(c.o.after, nil)
	is := x.And(c.through(b.IIF, r.p.in, r.p.inAny), c.through(b.OIF, r.p.out, r.p.outAny))
	proto := bdd.True
	if b.Proto != "" {
		n, ok := protoNumber(b.Proto, c.st.v6)
		if !ok {
			return bdd.False
		}
		proto = r.p.layer4.equal(x, []byte{n})
	}
	state := bdd.True
	if b.CT != 0 {
		state = bdd.False
		for i := range stateBits {
			if b.CT&(1<<i) != 0 {
				state = x.Or(state, x.Var(varState+i))
			}
		}
	}
	for _, part := range []bdd.Node{proto, state, c.prefixes(b.Dst, r.p.dst()), c.ports(b.DPort, r.p.dport()), c.prefixes(b.Src, r.p.src()), c.ports(b.SPort, r.p.sport())} {
		is = x.And(is, part)
	}
	return is
}

func (c *comparison) through(n Names, dev *device, alt *ifaces) bdd.Node {
	switch {
	case len(n.List) == 0:
		return bdd.True
	case alt == nil:
		return boolean(dev != nil && n.Contains(dev.name))
	}
	is := bdd.False
	wild := slices.ContainsFunc(n.List, func(s string) bool { return strings.HasSuffix(s, "*") })
	alt.each(c.x, func(cond bdd.Node, d *device) {
		if d == elsewhere && (!n.Not || wild) || d != elsewhere && !n.Contains(strings.TrimSuffix(d.name, "*")) {
			return
		}
		is = c.x.Or(is, cond)
	})
	return is
}

func (c *comparison) prefixes(ps []netip.Prefix, addr cells) bdd.Node {
	if len(ps) == 0 {
		return bdd.True
	}
	is := bdd.False
	for _, p := range ps {
		is = c.x.Or(is, addr.in(c.x, p))
	}
	return is
}

func (c *comparison) ports(rs []schema.PortRange, port cells) bdd.Node {
	if len(rs) == 0 {
		return bdd.True
	}
	is := bdd.False
	for _, r := range rs {
		is = c.x.Or(is, port.within(c.x, binary.BigEndian.AppendUint16(nil, r.First), binary.BigEndian.AppendUint16(nil, r.Last)))
	}
	return is
}
