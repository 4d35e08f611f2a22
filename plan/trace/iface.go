package trace

import (
	"encoding/binary"

	"github.com/vmnet/vmnet/plan/bdd"
)

// ifaces stand for every interface at once: a number (in ifaceBits variables) that says which, and one more for an
// interface that is in no list.
type ifaces struct {
	first int // variable
	devs  []*device
}

// is tells for which packets it is interface i; i = len(devs) for another one.
func (f *ifaces) is(x *space, i int) bdd.Node {
	n := newCells(2)
	n.freeAll(f.first)
	v := []byte{byte(i >> 8), byte(i)}
	if i == len(f.devs) {
		return n.compare(x, cmpEq, v)
	}
	return n.equal(x, v)
}

// valid keeps the number in its range.
func (f *ifaces) valid(x *space) bdd.Node {
	n := newCells(2)
	n.freeAll(f.first)
	return n.compare(x, cmpLte, []byte{byte(len(f.devs) >> 8), byte(len(f.devs))})
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
	one := newCells(16)
	r.each(dev, alt, func(cond bdd.Node, d *device) {
		r.nameCells(one, d)
		g.merge(r.x.Space, cond, one)
	})
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
