package ruleset

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// Policy is an allow or deny of a firewall block.
type Policy struct {
	// Address is the block: "firewall.lab".
	Address string
	Allow   bool
	// From and To are the ends; empty is any. Service is what is spoken; empty is any.
	From, To []schema.Endpoint
	Service  []schema.Service
}

// Tables returns our own tables: what the modes of the networks imply, the forwards, and the policies in the order of the
// file, of which the first match wins. It returns nil when nothing of that needs a rule, else the one table inet vmnet.
func Tables(networks []schema.Network, forwards []schema.Forward, policies []Policy) []*schema.Table {
	b := newBuilder(networks, forwards)
	b.addNetworks(policies)
	b.addForwards()
	rules := b.policies(policies)
	t := &schema.Table{Family: "inet", Name: "vmnet"}
	for _, c := range []*schema.Chain{
		b.rawPrerouting(), b.natPrerouting(), b.natOutput(), b.natPostrouting(),
		b.filterForward(rules[hookForward]), filterInput(rules[hookInput]), filterOutput(rules[hookOutput]),
	} {
		if len(c.Rules) > 0 {
			t.Chains = append(t.Chains, c)
		}
	}
	if len(t.Chains) == 0 {
		return nil
	}
	slices.SortFunc(t.Chains, func(a, b *schema.Chain) int { return cmp.Compare(a.Name, b.Name) })
	t.Sets = usedSets(t, b.sorted())
	return []*schema.Table{t}
}

// usedSets keeps the sets that a rule looks into.
func usedSets(t *schema.Table, all []*schema.Set) []*schema.Set {
	used := map[string]bool{}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			for i := range r.Exprs {
				used[r.Exprs[i].Set] = true
			}
		}
	}
	return slices.DeleteFunc(all, func(s *schema.Set) bool { return !used[s.Name] })
}

// The names of the sets. Those of addresses end in 4 or 6.
const (
	guestLinks    = "guest_links"
	hostOnlyLinks = "host_only_links"
	sameLink      = "same_link"
	natAnywhere   = "nat"
	natUplink     = "nat_uplink"
	forwardMap    = "forward"
	forwarded     = "forwarded"
	forwardLinks  = "forward_links"
	bridgedLinks  = "forward_bridges"
	hairpin       = "hairpin"
	lan           = "lan"
)

func families() []family { return []family{ipv4, ipv6} }

// builder gathers the sets, and knows the blocks while the rules are written.
type builder struct {
	sets
	networks []schema.Network
	forwards []schema.Forward
	byName   map[string]*schema.Network // address
	inside   map[string]bool            // devices of nat and host_only networks
}

func newBuilder(networks []schema.Network, forwards []schema.Forward) *builder {
	b := &builder{networks: networks, forwards: forwards, byName: map[string]*schema.Network{}, inside: map[string]bool{}}
	for i := range networks {
		n := &networks[i]
		b.byName[n.Address] = n
		if routed(n) {
			b.inside[n.Device] = true
		}
	}
	return b
}

// routed tells whether the network is one whose guests reach others through this host only.
func routed(n *schema.Network) bool { return n.Mode == "nat" || n.Mode == "host_only" }

func links() *schema.Set { return newSet(0, ifName()) }

func linkPairs() *schema.Set { return newSet(0, ifName(), ifName()) }

// addresses makes a set of addresses, of intervals unless all are single ones: those need no tree to be found.
func addresses(f family, single bool) func() *schema.Set {
	return func() *schema.Set { return newSet(interval(single), address(f)) }
}

func linkAddresses(f family, single bool) func() *schema.Set {
	return func() *schema.Set { return newSet(interval(single), ifName(), address(f)) }
}

func interval(single bool) uint32 {
	if single {
		return 0
	}
	return schema.SetInterval
}

func (b *builder) addLink(set, device, comment string) {
	b.add(set, links, schema.Element{Key: linkName(device), Comment: comment})
}

func (b *builder) addNetworks(policies []Policy) {
	for i := range b.networks {
		n := &b.networks[i]
		if !routed(n) {
			b.addPrefixes(lan, n.Subnets, n.Address)
			continue
		}
		b.addLink(guestLinks, n.Device, n.Address)
		if n.Mode == "host_only" {
			b.addLink(hostOnlyLinks, n.Device, n.Address)
		}
		if !n.Isolate {
			device := linkName(n.Device)
			b.add(sameLink, linkPairs, schema.Element{Key: key(device, device), Comment: n.Address})
		}
		switch {
		case n.Mode != "nat" && !b.mayLeave(n, policies):
		case n.Uplink == "":
			b.addPrefixes(natAnywhere, n.Subnets, n.Address)
		default:
			b.addLinkPrefixes(natUplink, n.Uplink, n.Subnets, n.Address)
		}
	}
}

// mayLeave tells whether a policy lets guests of a host_only network out. They then need the host's address as those of a
// nat network do: nobody out there knows the way to theirs.
func (b *builder) mayLeave(n *schema.Network, policies []Policy) bool {
	from := func(e schema.Endpoint) bool {
		switch e.Kind {
		case "any":
			return true
		case "network", "guest":
			return e.Address == n.Address || e.Device == n.Device
		case "prefix":
			return slices.ContainsFunc(e.Prefixes, func(p netip.Prefix) bool {
				return slices.ContainsFunc(n.Subnets, p.Overlaps)
			})
		}
		return false
	}
	to := func(e schema.Endpoint) bool { return e.Kind != "host" && !b.inside[e.Device] }
	return slices.ContainsFunc(policies, func(p Policy) bool {
		return p.Allow && (len(p.From) == 0 || slices.ContainsFunc(p.From, from)) &&
			(len(p.To) == 0 || slices.ContainsFunc(p.To, to))
	})
}

func (b *builder) addPrefixes(set string, prefixes []netip.Prefix, comment string) {
	for _, p := range prefixes {
		f := familyOf(p.Addr())
		b.add(set+f.suffix(), addresses(f, false), prefixElement(p, comment))
	}
}

func (b *builder) addLinkPrefixes(set, device string, prefixes []netip.Prefix, comment string) {
	for _, p := range prefixes {
		f := familyOf(p.Addr())
		b.add(set+f.suffix(), linkAddresses(f, false), prefixElement(p, comment, linkName(device)))
	}
}

// addForwards fills the maps of the forwards; a range of ports becomes one element each.
func (b *builder) addForwards() {
	for i := range b.forwards {
		fw := &b.forwards[i]
		proto := byte(protoTCP)
		if fw.Proto == "udp" {
			proto = protoUDP
		}
		for _, ip := range fw.ToIPs {
			b.addForward(fw, proto, ip.Unmap())
		}
		b.addForwardLink(fw)
	}
}

func (b *builder) addForward(fw *schema.Forward, proto byte, ip netip.Addr) {
	f := familyOf(ip)
	createMap := func() *schema.Set {
		return newMap([]field{inetProto(), inetService()}, []field{address(f), inetService()})
	}
	createSet := func() *schema.Set { return newSet(0, address(f), inetProto(), inetService()) }
	for n := range int(fw.Ports.Last) - int(fw.Ports.First) + 1 {
		from, to := net16(fw.Ports.First+uint16(n)), net16(fw.ToPort+uint16(n))
		b.add(forwardMap+f.suffix(), createMap, schema.Element{
			Key: key([]byte{proto}, from), Data: key(ip.AsSlice(), to), Comment: fw.Address,
		})
		b.add(forwarded+f.suffix(), createSet, schema.Element{Key: key(ip.AsSlice(), []byte{proto}, to), Comment: fw.Address})
	}
}

// addForwardLink notes the network behind which a forward leads.
func (b *builder) addForwardLink(fw *schema.Forward) {
	n := b.byName[fw.Network]
	if n == nil {
		return
	}
	b.addLink(forwardLinks, n.Device, n.Address)
	if routed(n) {
		b.addLinkPrefixes(hairpin, n.Device, n.Subnets, n.Address)
	} else {
		b.addLink(bridgedLinks, n.Device, n.Address)
	}
}
