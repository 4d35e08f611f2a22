package trace

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/vmnet/vmnet/plan/bdd"
)

// ifaces stand for every interface at once: a number (in ifaceBits variables) that says which, and one more for an
// interface that is in no list.
type ifaces struct {
	first int // variable
	devs  []*device
	names *ifaceNames // nil: not kept
}

// ifaceNames are the names of interfaces in a register: they are asked for by many rules.
type ifaceNames struct {
	cells cells // none: not made yet
	equal map[string]bdd.Node
}

// hold tells whether a register holds the name, or the begin of it.
func (f *ifaceNames) hold(g cells) bool {
	n := g.len()
	return f != nil && f.cells.len() >= n && bytes.Equal(f.cells.unk[:n], g.unk) && bytes.Equal(f.cells.b[:n], g.b) && slices.Equal(f.cells.n[:8*n], g.n)
}

// named compares a register with the name of an interface, if it holds one; ok is false when it does not.
func (r *sweep) named(g cells, name []byte) (is bdd.Node, ok bool) {
	for _, f := range []*ifaces{r.p.inAny, r.p.outAny} {
		if f == nil || !f.names.hold(g) {
			continue
		}
		if is, ok = f.names.equal[string(name)]; !ok {
			one := newCells(16)
			r.each(nil, f, func(cond bdd.Node, d *device) {
				r.nameCells(one, d)
				is = r.x.Or(is, r.x.And(cond, one.equal(r.x, name)))
			})
			f.names.equal[string(name)] = is
		}
		return is, true
	}
	return bdd.False, false
}

// number is the cells of the number: as many variables as it takes, the last of those there are.
func (f *ifaces) number() cells {
	n := newCells(2)
	mask := 1<<bits.Len(uint(len(f.devs))) - 1
	n.free(0, byte(mask>>8), f.first)
	n.free(1, byte(mask), f.first)
	return n
}

// is tells for which packets it is interface i; i = len(devs) for another one.
func (f *ifaces) is(x *space, i int) bdd.Node {
	return f.number().equal(x, []byte{byte(i >> 8), byte(i)})
}

// valid keeps the number in its range.
func (f *ifaces) valid(x *space) bdd.Node {
	return f.number().compare(x, cmpLte, []byte{byte(len(f.devs) >> 8), byte(len(f.devs))})
}

// isDevice tells for which packets an interface is that device.
func (r *sweep) isDevice(dev *device, alt *ifaces, d *device) bdd.Node {
	if alt == nil {
		return boolean(dev == d)
	}
	for i, x := range alt.devs {
		if x == d {
			return alt.is(r.x, i)
		}
	}
	return bdd.False
}

// each calls do for every device that an interface may be, nil for none; the one that is in no list is unknown.
func (r *sweep) each(dev *device, alt *ifaces, do func(cond bdd.Node, d *device)) {
	if alt == nil {
		do(bdd.True, dev)
		return
	}
	for i, d := range alt.devs {
		do(alt.is(r.x, i), d)
	}
	do(alt.is(r.x, len(alt.devs)), elsewhere)
}

// elsewhere is an interface of which nothing is known.
var elsewhere = &device{name: "another interface", unknown: true}

func (r *sweep) loadName(at uint8, dev *device, alt *ifaces) {
	g := r.reg(at, 16)
	if alt == nil {
		r.nameCells(g, dev)
		return
	}
	if alt.names != nil && alt.names.cells.len() > 0 && g.len() == 16 {
		g.copyFrom(alt.names.cells)
		return
	}
	one := newCells(16)
	r.each(dev, alt, func(cond bdd.Node, d *device) {
		r.nameCells(one, d)
		g.merge(r.x.Space, cond, one)
	})
	if alt.names != nil && g.len() == 16 {
		alt.names.cells, alt.names.equal = r.copyOf(g), map[string]bdd.Node{}
	}
}

// nameCells is a device's name as a register holds it; the empty one for no device.
func (r *sweep) nameCells(g cells, dev *device) {
	switch {
	case dev == nil:
		g.zero()
	case dev.unknown:
		r.fixed(g, "name of "+dev.name)
	default:
		g.fill([]byte(dev.name[:min(len(dev.name), 15)]))
	}
}

func (r *sweep) loadIndex(at uint8, dev *device, alt *ifaces) {
	g := r.reg(at, 4)
	if alt == nil {
		r.indexCells(g, dev)
		return
	}
	one := newCells(4)
	r.each(dev, alt, func(cond bdd.Node, d *device) {
		r.indexCells(one, d)
		g.merge(r.x.Space, cond, one)
	})
}

func (r *sweep) indexCells(g cells, dev *device) {
	switch {
	case dev == nil:
		g.zero()
	case dev.unknown || dev.index == 0:
		r.fixed(g, "index of "+dev.name)
	default:
		g.word32(uint32(dev.index))
	}
}

func (r *sweep) bridgeName(at uint8, dev *device, alt *ifaces) bdd.Node {
	g, ok := r.reg(at, 16), bdd.False
	one := newCells(16)
	r.each(dev, alt, func(cond bdd.Node, d *device) {
		switch {
		case d == nil:
			return
		case d.master != nil && d.master.bridge:
			r.nameCells(one, d.master)
		case d.bridge:
			r.nameCells(one, d)
		case d == elsewhere:
			r.fixed(one, "bridge of "+d.name)
			cond = r.x.And(cond, r.fixedBit("whether it is in a bridge"))
		default:
			return
		}
		g.merge(r.x.Space, cond, one)
		ok = r.x.Or(ok, cond)
	})
	return ok
}

// ofDevice loads a property of a device; one that has it not breaks the rule.
func (r *sweep) ofDevice(at uint8, n int, key string, of func(*device) (v []byte, known, ok bool)) bdd.Node {
	dev, alt := r.p.in, r.p.inAny
	if key[0] == 'o' {
		dev, alt = r.p.out, r.p.outAny
	} else if key == "iiftype" && dev == nil && alt == nil && (r.inBridge || r.hook != output) {
		dev, alt = r.p.out, r.p.outAny // of the device the packet is at (measured, Linux 6.18)
	}
	g, has := r.reg(at, (n+3)&^3), bdd.False
	one := newCells(g.len())
	r.each(dev, alt, func(cond bdd.Node, d *device) {
		if d == nil {
			return
		}
		v, known, ok := of(d)
		switch {
		case !ok:
			return
		case known:
			one.fill(v)
		default:
			one.zero()
			r.fixed(one.at(0, n), key+" of "+d.name)
			if key[1:] == "ifkind" {
				cond = r.x.And(cond, r.fixedBit("has "+key))
			}
		}
		g.merge(r.x.Space, cond, one)
		has = r.x.Or(has, cond)
	})
	return has
}

func groupOf(d *device) (v []byte, known, ok bool) {
	if d.unknown || d.link.Facts == nil {
		return nil, false, true
	}
	return binary.NativeEndian.AppendUint32(nil, d.link.Facts.Group), true, true
}

// hardware is the ARPHRD_ number of a device.
func hardware(d *device) (v []byte, known, ok bool) {
	t := uint16(arpEther)
	switch {
	case d.unknown:
		return nil, false, true
	case d.link.Type == "loopback":
		t = arpLoopback
	case d.link.Type == "tun" || d.link.Type == "wireguard":
		t = arpNone
	case d.link.MAC == nil || *d.link.MAC == "":
		return nil, false, true
	}
	return binary.NativeEndian.AppendUint16(nil, t), true, true
}

// kindOf is the name of a device's rtnl_link_ops.
func kindOf(d *device) (v []byte, known, ok bool) {
	switch {
	case d.unknown:
		return nil, false, true
	case d.link.Type == "" || d.link.Type == "device" || d.link.Type == "loopback":
		return nil, false, false
	case d.link.Type == "tap":
		return []byte("tun"), true, true
	}
	return []byte(d.link.Type[:min(len(d.link.Type), 15)]), true, true
}
