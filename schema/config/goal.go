package config

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/ruleset"
)

// maxListed is how many subnets a goal lists one by one. Beyond, they are joined where they are neighbours: the goals of a
// thousand networks would otherwise hold a million prefixes.
const maxListed = 32

// goals lists the wishes about packets: what modes imply, then forwards, allow and deny, expectations.
func (c *compiler) goals(policies []ruleset.Policy) {
	compare := c.newComparer()
	var inner []netip.Prefix // of networks that are closed to each other
	for _, n := range c.d.Networks {
		if n.Mode != "bridge" {
			inner = append(inner, n.Subnets...)
		}
	}
	slices.SortFunc(inner, comparePrefixes)
	if len(inner) > maxListed {
		inner = aggregate(inner)
	}
	for i := range c.d.Networks {
		for _, g := range c.implied(&c.d.Networks[i]) {
			if !overruled(g, policies, compare) {
				c.d.Goals = append(c.d.Goals, g)
			}
		}
		c.closedTo(&c.d.Networks[i], inner, policies, compare)
	}
	for i := range c.d.Forwards {
		c.forwardGoals(i)
	}
	c.policyGoals(policies, compare)
	for _, x := range c.expects {
		for g := range combinations(c.ends(x.flow.from), c.ends(x.flow.to), x.flow.services) {
			g.Address, g.Allow, g.Probe = x.inst.address, x.allow, x.probe
			g.Name = sentence(g)
			c.d.Goals = append(c.d.Goals, g)
		}
	}
}

// sentence says in words what a goal wants.
func sentence(g schema.Goal) string {
	verb := "reaches"
	if !g.Allow {
		verb = "must not reach"
	}
	s := fmt.Sprintf("%s %s %s", g.From, verb, g.To)
	if g.Service.Proto != "" {
		s += " by " + g.Service.String()
	}
	return s
}

// implied are the goals of a network's mode.
func (c *compiler) implied(n *schema.Network) []schema.Goal {
	self := c.endpoints[n.Address]
	host, outside := schema.Endpoint{Kind: "host"}, schema.Endpoint{Kind: "outside"}
	var out []schema.Goal
	add := func(allow bool, from, to schema.Endpoint, s schema.Service, name string) {
		out = append(out, schema.Goal{Address: n.Address, Name: name, From: from, To: to, Service: s, Allow: allow, Implied: true})
	}
	if n.Isolate {
		add(false, self, self, schema.Service{}, "guests of "+n.Address+" are kept apart")
	} else {
		add(true, self, self, schema.Service{}, "guests of "+n.Address+" reach each other")
	}
	if len(n.Gateways) > 0 {
		add(true, host, self, schema.Service{}, "the host reaches guests of "+n.Address)
	}
	if n.Mode == "bridge" {
		if len(n.Gateways) > 0 || c.hasGuests(n.Address) {
			add(true, self, outside, schema.Service{}, "guests of "+n.Address+" reach the LAN and beyond")
			add(true, outside, self, schema.Service{}, "the LAN reaches guests of "+n.Address)
		}
		return out
	}
	add(true, self, host, schema.Service{Proto: "icmp"}, "guests of "+n.Address+" ping the host")
	if n.DHCP != nil {
		dhcp := schema.Service{Proto: "udp", Ports: []schema.PortRange{{First: 67, Last: 67}}}
		// The first time from no address to everyone (RFC 2131, 4.1), later as themselves.
		fresh, everyone := self, host
		fresh.Prefixes = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 32)}
		everyone.Prefixes = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), 32)}
		add(true, fresh, everyone, dhcp, "guests of "+n.Address+" that have no address ask the host for one")
		add(true, self, host, dhcp, "guests of "+n.Address+" ask the host for addresses")
	}
	if n.DNS != nil {
		for _, proto := range []string{"udp", "tcp"} { // by TCP where an answer is too long (RFC 7766)
			add(true, self, host, schema.Service{Proto: proto, Ports: []schema.PortRange{{First: 53, Last: 53}}}, "guests of "+n.Address+" ask the host for names by "+proto)
		}
	}
	if n.Mode == "nat" {
		add(true, self, outside, schema.Service{}, "guests of "+n.Address+" reach the outside")
	} else {
		add(false, self, outside, schema.Service{}, "guests of "+n.Address+" do not reach the outside")
	}
	add(false, outside, self, schema.Service{}, "the outside does not reach guests of "+n.Address)
	return out
}

func (c *compiler) hasGuests(network string) bool {
	return slices.ContainsFunc(c.guests, func(g *guest) bool { return g.network.address() == network })
}

// closedTo adds the one goal that a network reaches none of the others, but for those that a policy opens.
func (c *compiler) closedTo(n *schema.Network, inner []netip.Prefix, policies []ruleset.Policy, compare *comparer) {
	if n.Mode == "bridge" {
		return
	}
	self := c.endpoints[n.Address]
	others := inner
	for _, s := range n.Subnets {
		others = without(others, s)
	}
	for i := range policies {
		p := &policies[i]
		if !p.Allow || !compare.anyOverlaps(p.From, self) {
			continue
		}
		for _, other := range c.d.Networks {
			if other.Mode == "bridge" || other.Address == n.Address || !compare.anyOverlaps(p.To, c.endpoints[other.Address]) {
				continue
			}
			for _, s := range other.Subnets {
				others = without(others, s)
			}
		}
	}
	if len(others) == 0 {
		return
	}
	c.d.Goals = append(c.d.Goals, schema.Goal{
		Address: n.Address, Name: "guests of " + n.Address + " do not reach the other networks", From: self,
		To: schema.Endpoint{Kind: "prefix", Prefixes: others}, Implied: true,
	})
}

// forwardGoals wants a forwarded port to lead to its guest, from outside and from the host.
func (c *compiler) forwardGoals(i int) {
	f, block := &c.d.Forwards[i], c.forwards[i]
	to := schema.Endpoint{Kind: "prefix", Device: block.network.device.v}
	if block.guest != nil {
		to = c.endpoints[block.guest.address()]
	}
	to.Prefixes = nil
	for _, ip := range f.ToIPs {
		to.Prefixes = append(to.Prefixes, netip.PrefixFrom(ip, ip.BitLen()))
	}
	last := f.ToPort + f.Ports.Last - f.Ports.First
	service := schema.Service{Proto: f.Proto, Ports: []schema.PortRange{{First: f.ToPort, Last: last}}}
	for _, from := range []string{"outside", "host"} {
		c.d.Goals = append(c.d.Goals, schema.Goal{
			Address: f.Address, Name: fmt.Sprintf("%s reaches %s through %s port %s of the host", from, f.To, f.Proto, f.Ports),
			From: schema.Endpoint{Kind: from}, To: to, Via: &schema.Via{Proto: f.Proto, Ports: f.Ports}, Service: service, Allow: true,
		})
	}
}

// policyGoals wants what allow and deny say. The first match wins, and a goal cannot say "except": where an earlier
// block of the other kind takes a part away, no goal is made.
func (c *compiler) policyGoals(policies []ruleset.Policy, compare *comparer) {
	for i := range policies {
		p := &policies[i]
		for g := range combinations(orAny(p.From), orAny(p.To), p.Service) {
			if slices.ContainsFunc(policies[:i], func(q ruleset.Policy) bool { return q.Allow != p.Allow && compare.overlaps(&q, g) }) {
				continue
			}
			g.Address, g.Allow = p.Address, p.Allow
			g.Name = sentence(g)
			c.d.Goals = append(c.d.Goals, g)
		}
	}
}

func orAny(ends []schema.Endpoint) []schema.Endpoint {
	if len(ends) == 0 {
		return []schema.Endpoint{{Kind: "any"}}
	}
	return ends
}

// combinations gives a goal for each pair of ends and service that can speak with each other.
func combinations(from, to []schema.Endpoint, services []schema.Service) func(func(schema.Goal) bool) {
	if len(services) == 0 {
		services = []schema.Service{{}}
	}
	return func(yield func(schema.Goal) bool) {
		for _, f := range from {
			for _, t := range to {
				if !commonFamily(f, t) {
					continue
				}
				for _, s := range services {
					if !yield(schema.Goal{From: f, To: t, Service: s}) {
						return
					}
				}
			}
		}
	}
}

// commonFamily tells whether a packet can go from one end to the other: an end without prefixes speaks both families.
func commonFamily(a, b schema.Endpoint) bool {
	if len(a.Prefixes) == 0 || len(b.Prefixes) == 0 {
		return true
	}
	for _, p := range a.Prefixes {
		if slices.ContainsFunc(b.Prefixes, func(q netip.Prefix) bool { return q.Addr().Is4() == p.Addr().Is4() }) {
			return true
		}
	}
	return false
}

// overruled tells whether the file takes back what a mode implies: a deny that covers all of what must pass, or an allow
// for some of what must not.
func overruled(g schema.Goal, policies []ruleset.Policy, compare *comparer) bool {
	return slices.ContainsFunc(policies, func(p ruleset.Policy) bool {
		if g.Allow {
			return !p.Allow && compare.covers(&p, g)
		}
		return p.Allow && compare.overlaps(&p, g)
	})
}
