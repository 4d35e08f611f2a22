package trace

import (
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/bdd"
)

// Holder is a machine that an address belongs to. A packet that comes from the machine's bridge with the address, but from
// another network card or by another port, is forged: nobody asks for it.
type Holder struct {
	Addr netip.Addr
	// MAC is that of the machine's network card, nil where it is not known.
	MAC []byte
	// Bridge is the one that the machine is on, and Port its port of it, "" where that is not known.
	Bridge, Port string
}

// forgedFront stands before forged packets that are let through.
const forgedFront = "forged, with the address of a guest from another MAC address or port: "

// forgeries are the packets of a set that are forged, where the rules tell them from others: no packet with the same address,
// or of the same card or port, that is what it says it is, is in the set.
func (c *comparison) forgeries(set bdd.Node) bdd.Node {
	if set == bdd.False || len(c.o.holders) == 0 || c.st.nat || c.st.arp || c.st.hook != input && c.st.hook != forward && c.st.hook != prerouting {
		return bdd.False
	}
	x := c.x
	r := c.sweep(c.o.after, nil)
	c.named = map[namesKey]bdd.Node{}
	card := r.p.image.at(6, 6)
	address, name, mac := row{varSrc, 128}, row{varIn, ifaceBits}, row{varRest + 8*6, 8 * 6}
	found, honest := bdd.False, bdd.False
	for _, o := range c.o.holders {
		if o.Addr.Is6() != c.st.v6 {
			continue
		}
		is := bdd.True
		claims := x.And(set, r.p.src().equal(x, o.Addr.AsSlice()))
		onPort := c.st.bridged || c.st.dev != "" && c.st.dev != o.Bridge
		switch {
		case !onPort:
			claims = x.And(claims, c.through(Names{List: []string{o.Bridge}}, r.p.in, r.p.inAny))
		case o.Port != "":
			is = c.through(Names{List: []string{o.Port}}, r.p.in, r.p.inAny)
		}
		if len(o.MAC) == card.len() {
			is = x.And(is, card.equal(x, o.MAC))
		}
		found = x.Or(found, x.Diff(claims, is))
		genuine := x.And(claims, is)
		for _, others := range [][]row{{name, mac}, {address, mac}, {address, name}} {
			honest = x.Or(honest, x.Exists(genuine, func(v int) bool {
				return slices.ContainsFunc(others, func(s row) bool { return v >= s.first && v < s.first+s.bits })
			}))
		}
	}
	return c.inWords(x.Diff(found, honest))
}

// row is a row of variables.
type row struct{ first, bits int }
