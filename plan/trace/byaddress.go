package trace

import (
	"net/netip"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// byAddress asks f for the addresses that packets of pc have, given that f cannot tell two addresses apart which lie in the
// same of the prefixes: one address of each class stands for all. The prefixes are sorted, the longest first.
func byAddress[K comparable](r *sweep, pc bdd.Node, addr cells, prefixes []netip.Prefix, f func(netip.Addr) K) []outcome[K] {
	if a, ok := addr.addr(); ok {
		return []outcome[K]{{pc, f(a)}}
	}
	var out []outcome[K]
	class := func(c bdd.Node) {
		if a, ok := r.someAddr(addr, c); ok {
			out = add(r.x, out, c, f(a))
		}
	}
	for _, p := range prefixes {
		in := addr.in(r.x, p)
		if in == bdd.False {
			continue
		}
		if c := r.x.And(pc, in); c != bdd.False {
			class(c)
			if pc = r.x.Diff(pc, in); pc == bdd.False {
				break
			}
		}
	}
	if pc != bdd.False {
		class(pc)
	}
	return out
}

// byAddressKept is byAddress for an f that is the same for as long as the Walker is, and known as what. Where the bits of the
// address are free, all its classes are kept: a host has many prefixes, and most sets of packets lie in one class.
func byAddressKept[K comparable](r *sweep, what any, pc bdd.Node, addr cells, prefixes []netip.Prefix, f func(netip.Addr) K) []outcome[K] {
	if addr.known() || !addr.ownBits(r.x) {
		return byAddress(r, pc, addr, prefixes, f)
	}
	k := classesOf{what, vecKey(addr.vec(r.x.Space, r.x.buf[:]))}
	all, ok := r.classes[k].([]outcome[K])
	if !ok {
		all = byAddress(r, bdd.True, addr, prefixes, f)
		r.classes[k] = all
	}
	var out []outcome[K]
	for i := range all {
		o := &all[(i+len(all)-1)%len(all)] // the last is everywhere else, mostly all there is
		c := r.x.And(pc, o.cond)
		if c == bdd.False {
			continue
		}
		if out = append(out, outcome[K]{c, o.k}); c == pc {
			break
		}
	}
	return out
}

// classesOf is a question that byAddressKept has an answer for.
type classesOf struct {
	what any
	addr string
}

// lookedUp is what a routing table says that a rule leads to.
type lookedUp struct {
	t   *rtable
	ru  *schema.PolicyRule
	tos uint8   // of the packet, one that the table has routes for; else 0
	in  *device // the link it came in by, where IPv6 looks at that; else nil
	raw bool    // a program made the packet of IPv6 down to its header
}

// typeOn is what type an address has for those on a link, nil for any.
type typeOn struct{ d *device }

// ownAddress is whether an address is the host's own, linkAddress whether one of its links has it, theirAddress whether somebody else
// can have it, addressClass of which kind it is.
type (
	ownAddress   struct{}
	linkAddress  struct{}
	theirAddress struct{ open bool }
	addressClass struct{}
)

// ownBits tells whether the bits of the cells that are not constant are variables, each another one.
func (c cells) ownBits(x *space) bool {
	last := -1
	for i := range 8 * c.len() {
		if c.unk[i>>3]&(0x80>>(i&7)) == 0 {
			continue
		}
		v, lo, hi, ok := x.Branch(c.bit(x.Space, i))
		if !ok || lo != bdd.False || hi != bdd.True || v <= last {
			return false
		}
		last = v
	}
	return true
}
