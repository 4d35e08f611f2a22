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

// unshown lists the bridges whose packets IP's rules saw before and do not see after.
func (o *opener) unshown(v6 bool) []string {
	var out []string
	for n, d := range o.after.devices {
		if was := o.before.devices[n]; was != nil && was.bridge && o.before.callsIP(was, v6) && d.bridge && !o.after.callsIP(d, v6) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// across finds what IP's rules stopped on its way over a bridge, and stop no more.
func (o *opener) across(br string, v6 bool) error {
	for _, st := range o.stages() {
		if st.bridged || st.nat || st.dev != "" || st.v6 != v6 || st.hook != prerouting && st.hook != forward && st.hook != postrouting {
			continue
		}
		st.name = "bridge forward"
		c := o.comparison(st)
		pc := bdd.True
		for _, first := range []int{varIn, varOut} {
			in := first == varIn
			if in && st.hook == postrouting || !in && st.hook == prerouting {
				continue
			}
			f := c.a.ifaces(o.before, first)
			f.each(c.x, func(is bdd.Node, d *device) {
				if d.name == br {
					pc = c.x.And(pc, is)
				}
			})
		}
		c.fixed = c.x.literals(pc)
		pc = c.x.And(pc, c.possible)
		as := slices.DeleteFunc(c.aspects(), func(a aspect) bool { return a.kind == aspectIface })
		lost := c.only(as, c.x.Diff(pc, c.run(0, pc).passed))
		o.tell(c, as, "across "+br+" ", c.unasked(lost))
		err := c.x.Err()
		o.space.Reset()
		if err != nil {
			return err
		}
	}
	return nil
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

// unasked takes out of a set what somebody asks for. Of an interface in no list it is not known that somebody does, unless
// every interface will do.
func (c *comparison) unasked(set bdd.Node) bdd.Node {
	if set == bdd.False {
		return set
	}
	r := c.sweep(c.o.after, c.x.literals(set)) // what all packets of the set share rules out most boxes at once
	c.named = map[namesKey]bdd.Node{}
	for _, a := range c.o.asked {
		if c.isHere(a.Hook) {
			set = c.x.Diff(set, c.box(r, a.Box))
		}
	}
	return set
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
func (c *comparison) box(r *sweep, b Box) bdd.Node {
	if b.Empty || !b.Exact || c.st.v6 && !b.V6 || !c.st.v6 && !b.V4 {
		return bdd.False
	}
	is := bdd.True
	for _, part := range []func() bdd.Node{ // what rules most out comes first
		func() bdd.Node { return c.through(b.IIF, r.p.in, r.p.inAny) },
		func() bdd.Node { return c.through(b.OIF, r.p.out, r.p.outAny) },
		func() bdd.Node { return c.proto(b.Proto, r.p.layer4) },
		func() bdd.Node { return c.prefixes(b.Src, r.p.src()) },
		func() bdd.Node { return c.ports(b.SPort, r.p.sport()) },
		func() bdd.Node { return c.prefixes(b.Dst, r.p.dst()) },
		func() bdd.Node { return c.ports(b.DPort, r.p.dport()) },
		func() bdd.Node { return c.states(b.CT) },
	} {
		if is = c.x.And(is, part()); is == bdd.False {
			break
		}
	}
	return is
}

func (c *comparison) proto(name string, layer4 cells) bdd.Node {
	if name == "" {
		return bdd.True
	}
	n, ok := protoNumber(name, c.st.v6)
	if !ok {
		return bdd.False
	}
	return layer4.equal(c.x, []byte{n})
}

func (c *comparison) states(mask uint32) bdd.Node {
	if mask == 0 {
		return bdd.True
	}
	is := bdd.False
	for i := range stateBits {
		if mask&(1<<i) != 0 {
			is = c.x.Or(is, c.x.Var(varState+i))
		}
	}
	return is
}

// namesKey is a Names on one side of a packet.
type namesKey struct {
	first int // variable of the interface
	not   bool
	list  string
}

func (c *comparison) through(n Names, dev *device, alt *ifaces) bdd.Node {
	switch {
	case len(n.List) == 0:
		return bdd.True
	case alt == nil:
		return boolean(dev != nil && n.Contains(dev.name))
	}
	key := namesKey{alt.first, n.Not, strings.Join(n.List, " ")}
	is, known := c.named[key]
	if known {
		return is
	}
	wild := slices.ContainsFunc(n.List, func(s string) bool { return strings.HasSuffix(s, "*") })
	alt.each(c.x, func(cond bdd.Node, d *device) {
		if d == elsewhere && (!n.Not || wild) || d != elsewhere && !n.Contains(strings.TrimSuffix(d.name, "*")) {
			return
		}
		is = c.x.Or(is, cond)
	})
	c.named[key] = is
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
