package ruleset

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// hook is a filter chain that policies go into.
type hook int

const (
	hookForward hook = iota
	hookInput
	hookOutput
)

// alternative is one way in which an end of a packet's way can match: exprs, in one family or in both.
type alternative struct {
	family family
	exprs  exprs
}

// policies compiles the policies into rules for each chain. One policy becomes few rules, however many ends it lists:
// one for each shape of match (device, address, both) and family.
func (b *builder) policies(policies []Policy) map[hook][]*schema.Rule {
	out := map[hook][]*schema.Rule{}
	count := map[string]int{}
	for _, p := range policies {
		count[p.Address]++
		c := compiler{builder: b, policy: p, name: setName(p.Address, count[p.Address])}
		for _, h := range []hook{hookForward, hookInput, hookOutput} {
			out[h] = append(out[h], c.rules(h)...)
		}
	}
	return out
}

// setName begins the names of a policy's sets: "firewall_lab_1". They stay the same while the block does.
func setName(address string, nth int) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, address)
	if clean != strings.ReplaceAll(address, ".", "_") || len(clean) > maxSetName {
		h := fnv.New32a()
		h.Write([]byte(address))
		clean = fmt.Sprintf("%s_%08x", clean[:min(len(clean), maxSetName)], h.Sum32())
	}
	return clean + "_" + strconv.Itoa(nth)
}

// maxSetName keeps names readable. The kernel takes 255 bytes (NFT_SET_MAXNAMELEN).
const maxSetName = 48

type compiler struct {
	*builder
	policy Policy
	name   string
}

func (c *compiler) rules(h hook) []*schema.Rule {
	final := drop()
	if c.policy.Allow {
		final = verdict("accept")
	}
	var out []*schema.Rule
	for _, from := range c.end(source, h) {
		for _, to := range c.end(destination, h) {
			f, ok := both(from.family, to.family)
			if !ok {
				continue
			}
			for _, s := range c.services(f) {
				out = append(out, rule(schema.AliasFor(c.policy.Address), ofFamily(s.family), from.exprs, to.exprs, s.exprs, final))
			}
		}
	}
	return out
}

// both is the family of a packet that is of family a and of family b.
func both(a, b family) (family, bool) {
	switch {
	case a == anyFamily:
		return b, true
	case b == anyFamily, a == b:
		return a, true
	}
	return anyFamily, false
}

// end lists the alternatives by which a packet in a chain can match From or To. None: it cannot.
func (c *compiler) end(e end, h hook) []alternative {
	ends := c.policy.From
	if e == destination {
		ends = c.policy.To
	}
	// The host is this end in the chain where packets begin or finish; there, no device is to be asked.
	local := (h == hookInput && e == destination) || (h == hookOutput && e == source)
	if len(ends) == 0 {
		return []alternative{{}}
	}
	s := shapes{compiler: c, end: e}
	for i := range ends {
		if s.take(&ends[i], local) {
			return []alternative{{}}
		}
	}
	return s.alternatives()
}

// shapes sorts the ends of a policy by how they are matched.
type shapes struct {
	*compiler
	end      end
	links    []string
	prefixes []netip.Prefix
	both     []linkPrefix
	outside  bool
}

type linkPrefix struct {
	link   string
	prefix netip.Prefix
}

// take adds an end; true says that it matches everything.
func (s *shapes) take(e *schema.Endpoint, local bool) bool {
	switch e.Kind {
	case "any":
		return true
	case "host":
		return local
	case "prefix":
		s.prefixes = append(s.prefixes, e.Prefixes...)
		return false
	}
	if local {
		return false
	}
	switch e.Kind {
	case "outside":
		s.outside = true
	case "network":
		s.takeNetwork(e)
	case "guest":
		// A guest without an address cannot be told from others here.
		s.takePrefixes(e.Device, e.Prefixes)
	}
	return false
}

func (s *shapes) takeNetwork(e *schema.Endpoint) {
	device, prefixes := e.Device, e.Prefixes
	n := s.byName[e.Address]
	if n != nil && device == "" {
		device = n.Device
	}
	if n != nil && !routed(n) && len(prefixes) > 0 {
		// The rest of the world lies behind a bridge's device too.
		s.takePrefixes(device, prefixes)
		return
	}
	s.links = append(s.links, device)
}

func (s *shapes) takePrefixes(device string, prefixes []netip.Prefix) {
	for _, p := range prefixes {
		if device == "" {
			s.prefixes = append(s.prefixes, p)
		} else {
			s.both = append(s.both, linkPrefix{device, p})
		}
	}
}

// setFor is the name of a set of this end: "firewall_lab_1_from4".
func (s *shapes) setFor(what string) string {
	side := "from"
	if s.end == destination {
		side = "to"
	}
	return s.name + "_" + side + what
}

func (s *shapes) alternatives() []alternative {
	var out []alternative
	if len(s.links) > 0 {
		out = append(out, alternative{exprs: s.matchLinks()})
	}
	for _, f := range families() {
		if p := ofFamilyOnly(f, s.prefixes); len(p) > 0 {
			out = append(out, alternative{f, s.matchPrefixes(f, p)})
		}
		var pairs []linkPrefix
		for _, lp := range s.both {
			if lp.prefix.IsValid() && familyOf(lp.prefix.Addr()) == f {
				pairs = append(pairs, lp)
			}
		}
		if len(pairs) > 0 {
			out = append(out, alternative{f, s.matchPairs(f, pairs)})
		}
	}
	if s.outside {
		out = append(out, s.matchOutside()...)
	}
	return out
}

func (s *shapes) matchLinks() exprs {
	slices.Sort(s.links)
	s.links = slices.Compact(s.links)
	if len(s.links) == 1 {
		return link(s.end, s.links[0])
	}
	set := s.setFor("_links")
	for _, l := range s.links {
		s.addLink(set, l, "")
	}
	return linkIn(s.end, set)
}

func (s *shapes) matchPrefixes(f family, prefixes []netip.Prefix) exprs {
	for _, p := range prefixes {
		if p.Bits() == 0 {
			return nil
		}
	}
	if len(prefixes) == 1 {
		return inPrefix(s.end, prefixes[0])
	}
	set := s.setFor("") + f.suffix()
	single := !slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return !p.IsSingleIP() })
	for _, p := range prefixes {
		s.add(set, addresses(f, single), prefixElement(p, ""))
	}
	return addrIn(s.end, f, set)
}

func (s *shapes) matchPairs(f family, pairs []linkPrefix) exprs {
	if len(pairs) == 1 {
		return join(link(s.end, pairs[0].link), inPrefix(s.end, pairs[0].prefix))
	}
	set := s.setFor("_link") + f.suffix()
	single := !slices.ContainsFunc(pairs, func(p linkPrefix) bool { return !p.prefix.IsSingleIP() })
	for _, p := range pairs {
		s.add(set, linkAddresses(f, single), prefixElement(p.prefix, "", linkName(p.link)))
	}
	return linkAddrIn(s.end, s.end, f, set)
}

// matchOutside is everything that is neither the host nor a network of the file: not behind the device of a nat or
// host_only network, and not in the subnets of a bridge network, behind whose device the rest of the world lies too.
func (s *shapes) matchOutside() []alternative {
	var device exprs
	if s.has(guestLinks) {
		device = linkNotIn(s.end, guestLinks)
	}
	if !s.has(lan+ipv4.suffix()) && !s.has(lan+ipv6.suffix()) {
		return []alternative{{exprs: device}}
	}
	var out []alternative
	for _, f := range families() {
		a := alternative{f, device}
		if set := lan + f.suffix(); s.has(set) {
			a.exprs = join(device, addrNotIn(s.end, f, set))
		}
		out = append(out, a)
	}
	return out
}

// services lists the alternatives of what is spoken, for packets of a family.
func (c *compiler) services(f family) []alternative {
	if len(c.policy.Service) == 0 {
		return []alternative{{family: f}}
	}
	ports := map[byte][]schema.PortRange{}
	whole := map[byte]bool{}
	for _, s := range c.policy.Service {
		switch proto := protoNumber(s.Proto); {
		case s.Proto == "":
			return []alternative{{family: f}}
		case proto == 0:
		case len(s.Ports) == 0:
			whole[proto] = true
		default:
			ports[proto] = append(ports[proto], s.Ports...)
		}
	}
	var out []alternative
	for _, proto := range []byte{protoTCP, protoUDP} {
		switch {
		case whole[proto]:
			out = append(out, alternative{f, l4(proto)})
		case len(ports[proto]) > 0:
			out = append(out, alternative{f, join(l4(proto), c.matchPorts(proto, merged(ports[proto])))})
		}
	}
	if whole[protoICMP] && f != ipv6 {
		out = append(out, alternative{ipv4, l4(protoICMP)})
	}
	if whole[protoICMP] && f != ipv4 {
		out = append(out, alternative{ipv6, l4(protoICMPv6)})
	}
	return out
}

// protoNumber is the protocol of a Service; 0 for one it cannot have.
func protoNumber(name string) byte {
	switch name {
	case "tcp":
		return protoTCP
	case "udp":
		return protoUDP
	case "icmp":
		return protoICMP
	}
	return 0
}

func (c *compiler) matchPorts(proto byte, ranges []schema.PortRange) exprs {
	dport := payload("transport", 2, 2, 1)
	if r := ranges[0]; len(ranges) == 1 {
		if r.First == r.Last {
			return exprs{dport, compare("eq", net16(r.First))}
		}
		return exprs{dport, compare("gte", net16(r.First)), compare("lte", net16(r.Last))}
	}
	set := c.name + map[byte]string{protoTCP: "_tcp", protoUDP: "_udp"}[proto]
	for _, r := range ranges {
		e := schema.Element{Key: net16(r.First)}
		if r.Last != r.First {
			e.KeyEnd = net16(r.Last)
		}
		c.add(set, func() *schema.Set { return newSet(schema.SetInterval, inetService()) }, e)
	}
	return exprs{dport, lookup(set)}
}
