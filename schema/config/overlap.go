package config

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/ruleset"
)

// comparer tells how the ends of policies and goals relate.
type comparer struct {
	networkOf map[string]string // guest to network
	inside    []netip.Prefix    // every subnet of the file: what is not outside; aggregated
	hosts     []netip.Addr      // the host's own addresses
}

func (c *compiler) newComparer() *comparer {
	k := &comparer{networkOf: map[string]string{}}
	for _, g := range c.d.Guests {
		k.networkOf[g.Address] = g.Network
	}
	for _, n := range c.d.Networks {
		k.inside = append(k.inside, n.Subnets...)
		k.hosts = append(k.hosts, n.Gateways...)
	}
	k.inside = aggregate(k.inside)
	return k
}

// anyOverlaps tells whether one of the ends shares packets with b; no ends are any.
func (k *comparer) anyOverlaps(ends []schema.Endpoint, b schema.Endpoint) bool {
	return len(ends) == 0 || slices.ContainsFunc(ends, func(a schema.Endpoint) bool { return k.meets(a, b) })
}

func (k *comparer) anyCovers(ends []schema.Endpoint, b schema.Endpoint) bool {
	return len(ends) == 0 || slices.ContainsFunc(ends, func(a schema.Endpoint) bool { return k.holds(a, b) })
}

func (k *comparer) overlaps(p *ruleset.Policy, g schema.Goal) bool {
	return k.anyOverlaps(p.From, g.From) && k.anyOverlaps(p.To, g.To) && serviceAny(p.Service, g.Service, servicesMeet)
}

func (k *comparer) covers(p *ruleset.Policy, g schema.Goal) bool {
	return k.anyCovers(p.From, g.From) && k.anyCovers(p.To, g.To) && serviceAny(p.Service, g.Service, serviceHolds)
}

func serviceAny(services []schema.Service, s schema.Service, test func(a, b schema.Service) bool) bool {
	return len(services) == 0 || slices.ContainsFunc(services, func(a schema.Service) bool { return test(a, s) })
}

// meets tells whether two ends share an address. Where that depends on the live host it says yes.
func (k *comparer) meets(a, b schema.Endpoint) bool {
	switch {
	case a.Kind == "any" || b.Kind == "any":
		return true
	case a.Kind == "host" || b.Kind == "host":
		return a.Kind == b.Kind || k.prefixHasHost(a) || k.prefixHasHost(b)
	case a.Kind == "outside" || b.Kind == "outside":
		return a.Kind == b.Kind || k.prefixReachesOut(a) || k.prefixReachesOut(b)
	case a.Kind == "prefix" || b.Kind == "prefix":
		// An end without known addresses may have any.
		return len(a.Prefixes) == 0 || len(b.Prefixes) == 0 || anyPair(a.Prefixes, b.Prefixes, netip.Prefix.Overlaps)
	case a.Kind == "guest" && b.Kind == "guest":
		return a.Address == b.Address
	}
	return k.networkName(a) == k.networkName(b)
}

// holds tells whether every address of b is one of a.
func (k *comparer) holds(a, b schema.Endpoint) bool {
	switch {
	case a.Kind == "any":
		return true
	case b.Kind == "any":
		return false
	case a.Kind == "prefix":
		return len(b.Prefixes) > 0 && allIn(b.Prefixes, a.Prefixes)
	case a.Kind == "outside" && b.Kind == "prefix":
		return !anyPair(b.Prefixes, k.inside, netip.Prefix.Overlaps) && !k.prefixHasHost(b)
	case a.Kind == "network" && b.Kind == "guest":
		return a.Address == k.networkOf[b.Address]
	case a.Kind != b.Kind:
		return false
	}
	return a.Address == b.Address
}

func (k *comparer) networkName(e schema.Endpoint) string {
	if e.Kind == "guest" {
		return k.networkOf[e.Address]
	}
	return e.Address
}

// prefixHasHost tells whether a prefix may hold an address of the host: one it is given here, or one outside of the
// file's networks.
func (k *comparer) prefixHasHost(e schema.Endpoint) bool {
	if e.Kind != "prefix" {
		return false
	}
	for _, p := range e.Prefixes {
		if slices.ContainsFunc(k.hosts, p.Contains) {
			return true
		}
	}
	return false
}

func (k *comparer) prefixReachesOut(e schema.Endpoint) bool {
	return e.Kind == "prefix" && !allIn(e.Prefixes, k.inside)
}

func anyPair(a, b []netip.Prefix, test func(x, y netip.Prefix) bool) bool {
	for _, x := range a {
		if slices.ContainsFunc(b, func(y netip.Prefix) bool { return test(x, y) }) {
			return true
		}
	}
	return false
}

// allIn tells whether each of the prefixes lies in one of outer.
func allIn(prefixes, outer []netip.Prefix) bool {
	for _, p := range prefixes {
		if !slices.ContainsFunc(outer, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) }) {
			return false
		}
	}
	return true
}

func servicesMeet(a, b schema.Service) bool {
	switch {
	case a.Proto == "" || b.Proto == "":
		return true
	case a.Proto != b.Proto:
		return false
	case len(a.Ports) == 0 || len(b.Ports) == 0:
		return true
	}
	for _, x := range a.Ports {
		if slices.ContainsFunc(b.Ports, func(y schema.PortRange) bool { return x.First <= y.Last && y.First <= x.Last }) {
			return true
		}
	}
	return false
}

func serviceHolds(a, b schema.Service) bool {
	switch {
	case a.Proto == "":
		return true
	case a.Proto != b.Proto:
		return false
	case len(a.Ports) == 0:
		return true
	case len(b.Ports) == 0:
		return false
	}
	for _, y := range b.Ports {
		if !slices.ContainsFunc(a.Ports, func(x schema.PortRange) bool { return x.First <= y.First && y.Last <= x.Last }) {
			return false
		}
	}
	return true
}

// aggregate gives the fewest prefixes with the same addresses, sorted.
func aggregate(prefixes []netip.Prefix) []netip.Prefix {
	sorted := slices.Clone(prefixes)
	slices.SortFunc(sorted, comparePrefixes)
	var out []netip.Prefix
	for _, p := range sorted {
		if n := len(out); n > 0 && out[n-1].Overlaps(p) {
			continue // lies in the one before: prefixes nest
		}
		out = append(out, p)
		for n := len(out); n > 1 && siblings(out[n-2], out[n-1]); n-- {
			out = append(out[:n-2], parent(out[n-2]))
		}
	}
	return out
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func siblings(a, b netip.Prefix) bool {
	return a != b && a.Bits() == b.Bits() && a.Bits() > 0 && a.Addr().BitLen() == b.Addr().BitLen() && parent(a) == parent(b)
}

func parent(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
}

// without takes the addresses of p out of sorted prefixes that do not overlap.
func without(prefixes []netip.Prefix, p netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, q := range prefixes {
		switch {
		case !q.Overlaps(p):
			out = append(out, q)
		case q.Bits() < p.Bits():
			// What is left of q are the siblings on the way down to p.
			for bits := p.Bits(); bits > q.Bits(); bits-- {
				out = append(out, sibling(netip.PrefixFrom(p.Addr(), bits).Masked()))
			}
		}
	}
	slices.SortFunc(out, comparePrefixes)
	return out
}

// sibling is the other half of the prefix's parent.
func sibling(p netip.Prefix) netip.Prefix {
	b := p.Addr().AsSlice()
	b[(p.Bits()-1)/8] ^= 1 << (7 - (p.Bits()-1)%8)
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, p.Bits())
}
