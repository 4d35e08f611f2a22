package trace

import (
	"encoding/binary"
	"maps"
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
		lost = c.unasked(lost)
		o.tell(c, as, "across "+br+" ", lost, lost)
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
	x := c.x
	was, is := c.come(0), c.come(1)
	opened = x.And(opened, is)
	if more := x.Diff(is, was); more != bdd.False {
		c.fixed = nil
		opened = x.Or(opened, c.run(1, more).passed)
	}
	return opened
}

// come are the packets that come to the forward hook of a side: what is forwarded, and frames on bridges whatever the switches
// say.
func (c *comparison) come(side int) bdd.Node {
	come := c.gate(side)
	c.bridgedPackets(side, func(_ *device, both bdd.Node) { come = c.x.Or(come, both) })
	return come
}

// bridgedPackets calls do for each bridge whose frames are shown to IP: they come in and go out by the bridge itself.
func (c *comparison) bridgedPackets(side int, do func(d *device, both bdd.Node)) {
	w := c.o.walker(side)
	in, out := c.a.ifaces(w, varIn), c.a.ifaces(w, varOut)
	for i, d := range in.devs {
		if d.bridge && w.callsIP(d, c.st.v6) {
			do(d, c.x.And(in.is(c.x, i), out.is(c.x, i)))
		}
	}
	for _, d := range w.devices {
		if d.bridge && w.callsIP(d, c.st.v6) && !listed(in, d.name) {
			do(d, c.x.And(in.is(c.x, len(in.devs)), out.is(c.x, len(out.devs))))
			return
		}
	}
}

// real keeps to packets that can come by, as far as routing tells: forwarded ones leave by the interface that their
// addresses, their mark and the interface they came in by lead to, which is neither lo nor a bridge's port; frames on a bridge
// are for no machine that is on the link of another, nor for this host. One that leaves by the link it came in by is left out too: whom it is
// for the sender reaches without this host. Only the forward hook has both interfaces.
func (c *comparison) real(side int, pc bdd.Node) bdd.Node {
	w, x := c.o.walker(side), c.x
	for _, alt := range c.alternatives(w) {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(w.devices)), func(n string) bool { return !listed(alt, n) }) {
			pc = x.Diff(pc, alt.is(x, len(alt.devs))) // there is no other
		}
	}
	if c.st.bridged {
		for _, alt := range c.alternatives(w) {
			for i, d := range alt.devs {
				if w.devices[d.name] == d && !d.bridge && (d.master == nil || !d.master.bridge) {
					pc = x.Diff(pc, alt.is(x, i)) // no bridge sees it
				}
			}
		}
	}
	if c.st.hook != forward || c.st.bridged || pc == bdd.False {
		return pc
	}
	r := c.sweep(w, nil)
	defer func() { c.a.nextSoft = r.nextSoft }()
	p := &r.p
	for _, ru := range w.fib[family(c.st.v6)].rules {
		if ru.IIF != "" && !listed(p.inAny, ru.IIF) {
			return pc // one of the interfaces that are not told apart here
		}
	}
	r.pc, r.live = pc, pc
	ways := r.ways(question{src: p.src(), dst: p.dst(), in: p.in, inAny: p.inAny, mark: p.mark, tos: p.tos(r.x)}, pc)
	there := bdd.False
	pc = r.forwardable(pc, p.src(), p.dst())
	for _, o := range ways {
		switch {
		case o.k.kind != "unicast" && o.k.kind != "multicast":
		case o.k.dev == nil || !listed(p.outAny, o.k.dev.name):
			there = x.Or(there, x.And(o.cond, p.outAny.is(x, len(p.outAny.devs))))
		default:
			there = x.Or(there, x.And(o.cond, r.isDevice(nil, p.outAny, o.k.dev)))
		}
	}
	for i, d := range p.inAny.devs {
		if known := w.devices[d.name] == d; d == w.lo || known && d.master != nil && d.master.bridge {
			there = x.Diff(there, p.inAny.is(x, i))
		}
		there = x.Diff(there, x.And(p.inAny.is(x, i), p.outAny.is(x, i)))
	}
	c.bridgedPackets(side, func(d *device, both bdd.Node) {
		for _, o := range ways {
			if o.k.kind == "unicast" && o.k.dev != nil && o.k.dev != d && !o.k.gateway.IsValid() || o.k.kind == "local" || o.k.kind == "broadcast" {
				both = x.Diff(both, o.cond)
			}
		}
		there = x.Or(there, both)
	})
	return x.And(pc, there)
}

// connected takes packets of connections away that nobody can open: where neither a first packet of theirs gets through nor
// one of the other direction, in either state. Related ones are known by what a helper expects, but for ICMP's errors.
// Connections that were opened under rules that are in neither state are not thought of.
func (c *comparison) connected(set bdd.Node) bdd.Node {
	if c.st.hook != forward || c.st.bridged || set == bdd.False {
		return set
	}
	x := c.x
	est, rel, first := x.Var(varState+bitEstablished), x.Var(varState+bitRelated), x.Var(varState+bitNew)
	icmp := byte(protoICMP)
	if c.st.v6 {
		icmp = protoICMPv6
	}
	proto := newCells(1)
	proto.freeAll(varProto)
	isICMP := proto.equal(x, []byte{icmp})
	later := x.And(set, x.Or(est, x.Diff(rel, isICMP)))
	if later == bdd.False {
		return set
	}
	stateless := func(f bdd.Node) bdd.Node {
		return x.Exists(f, func(v int) bool { return v < varIn || v >= varState && v < varDst || v >= varCTMark })
	}
	headers := stateless(later)
	headers = x.Or(headers, x.And(isICMP, x.Exists(x.And(headers, isICMP), func(v int) bool { return v >= varDPort && v < varSrc || v >= varSPort && v < varMark })))
	opens := bdd.False
	c.fixed = x.literals(x.And(headers, first))
	for _, c.turned = range []bool{false, true} {
		for _, side := range []int{1, 0} {
			if x.Implies(later, opens) { // all can be opened: nothing to take away
				c.turned = false
				return set
			}
			asks := x.And(x.And(headers, first), c.opensConnection(isICMP))
			passed := stateless(c.real(side, x.And(c.run(side, asks).passed, c.come(side))))
			echo := x.Exists(x.And(passed, isICMP), func(v int) bool { return v >= varDPort && v < varSrc || v >= varSPort && v < varMark })
			opens = x.Or(opens, x.Or(x.Diff(passed, isICMP), x.And(echo, isICMP)))
		}
	}
	c.turned = false
	return x.Diff(set, x.Diff(later, opens))
}

// opensConnection leaves of ICMP what conntrack takes for a first packet (nf_conntrack_proto_icmp.c, valid_new): questions.
func (c *comparison) opensConnection(isICMP bdd.Node) bdd.Node {
	questions := []byte{8, 13, 15, 17} // echo, timestamp, information, address mask
	if c.st.v6 {
		questions = []byte{128, 139} // echo, node information
	}
	r := c.sweep(c.o.after, nil)
	kind := r.p.sport().at(0, 1)
	asks := bdd.False
	for _, q := range questions {
		asks = c.x.Or(asks, kind.equal(c.x, []byte{q}))
	}
	return c.x.Or(c.x.Not(isICMP), asks)
}

// alternatives are the interfaces of the stage's packets that may be any.
func (c *comparison) alternatives(w *Walker) []*ifaces {
	r := c.sweep(w, nil)
	var out []*ifaces
	for _, alt := range []*ifaces{r.p.inAny, r.p.outAny} {
		if alt != nil {
			out = append(out, alt)
		}
	}
	return out
}

// forwardable leaves packets between addresses that no router turns down.
func (r *sweep) forwardable(pc bdd.Node, ends ...cells) bdd.Node {
	for _, c := range ends {
		for _, o := range byAddress(r, pc, c, classes, func(a netip.Addr) bool { return classOf(a) == plain }) {
			if !o.k {
				pc = r.x.Diff(pc, o.cond)
			}
		}
	}
	return pc
}

func listed(alt *ifaces, name string) bool {
	return slices.ContainsFunc(alt.devs, func(d *device) bool { return d.name == name })
}

// gate is where packets come from that a side forwards.
func (c *comparison) gate(side int) bdd.Node {
	x, w := c.x, c.o.walker(side)
	r := c.sweep(w, nil)
	defer func() { c.a.nextSoft = r.nextSoft }()
	open := bdd.False
	r.p.inAny.each(x, func(is bdd.Node, d *device) {
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
		if c.isHere(a.Hook) && len(a.Began) == 0 {
			set = c.x.Diff(set, c.box(r, a.Box))
		}
	}
	return set
}

// unbegun takes out of a set what somebody asks for by who began the connection, for which there are no words.
func (c *comparison) unbegun(set bdd.Node) bdd.Node {
	if set == bdd.False {
		return set
	}
	r := c.sweep(c.o.after, nil)
	c.named = map[namesKey]bdd.Node{}
	for _, a := range c.o.asked {
		if p := &r.p; c.isHere(a.Hook) && len(a.Began) > 0 && p.ct != nil {
			set = c.x.Diff(set, c.x.And(c.box(r, a.Box), c.prefixes(a.Began, p.ct.at(ctOrig+tupleSrc, p.alen()))))
		}
	}
	return set
}

// isHere tells whether packets of a hook pass the stage. A link of a bridge sees what the bridge's hooks do.
func (c *comparison) isHere(name string) bool {
	if c.st.dev == "" || name == c.st.name {
		return name == c.st.name
	}
	front := ""
	if c.st.arp {
		front = "arp "
	}
	if d := c.o.after.device(c.st.dev); d.master != nil && d.master.bridge {
		return name == front+"bridge "+hookNames[c.st.hook]
	}
	return name == front+hookNames[c.st.hook] || c.st.arp && c.st.hook == prerouting && name == "arp input" || c.st.arp && c.st.hook == postrouting && name == "arp output"
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
