package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/vmnet/vmnet/schema"
)

// end is one side of a policy or expectation.
type end struct {
	kind    string // as in schema.Endpoint
	network *network
	guest   *guest
	prefix  netip.Prefix
	at      where
}

// flow is what allow, deny and expect have in common. No from or to: any.
type flow struct {
	from, to []end
	services []schema.Service
	bad      bool // something in it was complained about
}

// policy is an allow or deny block.
type policy struct {
	inst  *instance
	allow bool
	flow  flow
	at    where
}

// expect is a decoded expect block.
type expect struct {
	inst  *instance
	flow  flow
	allow bool
	probe bool
}

func (l *loader) decodeFirewall(i *instance) {
	for _, b := range i.body.Blocks {
		if b.Type != "allow" && b.Type != "deny" {
			continue
		}
		p := &policy{inst: i, allow: b.Type == "allow", flow: l.flow(i.inner(b)), at: where{rng: &b.TypeRange, in: i.block()}}
		for _, e := range slices.Concat(p.flow.from, p.flow.to) {
			if e.kind == "guest" && len(e.guest.ips()) == 0 && e.guest.first.status == absent && e.guest.second.status == absent {
				l.fail(codeEndpoint, e.at, "%s has no address, and the firewall tells guests apart by address. Add address to the guest (%s), or name its network.", e.guest.address(), e.guest.inst.at().place())
			}
		}
		l.policies = append(l.policies, p)
	}
}

func (l *loader) decodeExpect(i *instance) {
	x := &expect{inst: i, allow: true, flow: l.flow(i)}
	for _, name := range []string{"from", "to"} {
		l.require(i, l.get(i, name).status, name)
	}
	if f := l.flag(i, "allow"); f.ok() {
		x.allow = f.v
	}
	x.probe = l.flag(i, "probe").v
	l.expects = append(l.expects, x)
}

// flow reads from, to, tcp, udp and icmp.
func (l *loader) flow(i *instance) flow {
	before := len(l.diags)
	f := flow{from: l.ends(i, "from"), to: l.ends(i, "to"), services: l.services(i)}
	f.bad = len(l.diags) > before
	l.checkFamilies(f)
	return f
}

// services reads tcp, udp and icmp; none of them gives none.
func (l *loader) services(i *instance) []schema.Service {
	var out []schema.Service
	for _, proto := range []string{"tcp", "udp"} {
		ports, _ := l.ports(i, proto)
		s := schema.Service{Proto: proto}
		for _, p := range ports {
			if p.ok() {
				s.Ports = append(s.Ports, p.v)
			}
		}
		if len(s.Ports) > 0 {
			out = append(out, s)
		}
	}
	icmp := as(l, codeService, l.get(i, "icmp"), func(v cty.Value) (bool, string) {
		if v.Type() != cty.Bool {
			return false, fmt.Sprintf("icmp is true, or is left out; it is not %s.", article(v.Type()))
		}
		return v.True(), ""
	})
	if icmp.v {
		out = append(out, schema.Service{Proto: "icmp"})
	}
	return out
}

// ends reads from or to. A list may be nested: several references to blocks with for_each give lists of lists.
func (l *loader) ends(i *instance, name string) []end {
	a := i.body.Attributes[name]
	if a == nil {
		return nil
	}
	if t, ok := a.Expr.(*hclsyntax.TupleConsExpr); ok {
		var out []end
		for _, x := range t.Exprs {
			l.addEnds(&out, l.eval(x, i), i.placeOf(x), name)
		}
		if len(t.Exprs) == 0 {
			l.fail(codeEndpoint, i.placeOf(a.Expr), "The list is empty, so %s would be nobody. Leave the attribute out for any, or name somebody.", name)
		}
		return out
	}
	f := l.get(i, name)
	if !f.ok() {
		return nil
	}
	var out []end
	l.addEnds(&out, f.v, f.at, name)
	return out
}

func (l *loader) addEnds(out *[]end, v cty.Value, at where, name string) {
	switch {
	case !v.IsKnown():
		return
	case v.IsNull():
		l.fail(codeEndpoint, at, "%s is null here. Leave it out.", name)
		return
	}
	id := idOf(v)
	switch b := l.byID[id].(type) {
	case *network:
		*out = append(*out, end{kind: "network", network: b, at: at})
		return
	case *guest:
		*out = append(*out, end{kind: "guest", guest: b, network: b.network, at: at})
		return
	}
	switch t := v.Type(); {
	case t.IsPrimitiveType():
		l.addTextEnd(out, v, at, name)
	case id != "":
		l.fail(codeEndpoint, at, "%s is neither a network nor a guest. Name one of these, a list, an address, or host, outside, any.", id)
	case isSequence(t), (t.IsObjectType() || t.IsMapType()) && l.holdsBlocks(v):
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			l.addEnds(out, e, at, name)
		}
	default:
		l.fail(codeEndpoint, at, "%s takes no %s. Write a network, a guest, a list, an address such as \"192.0.2.0/24\", or host, outside, any.", name, t.FriendlyName())
	}
}

// holdsBlocks tells whether an object is a whole block with for_each, or all blocks of a type.
func (l *loader) holdsBlocks(v cty.Value) bool {
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		if !e.IsKnown() {
			return true
		}
		if l.byID[idOf(e)] != nil || l.isInstances(e) {
			continue
		}
		return false
	}
	return true
}

func (l *loader) addTextEnd(out *[]end, v cty.Value, at where, name string) {
	s, ok := toText(v)
	switch {
	case !ok:
		l.fail(codeEndpoint, at, "%s takes no %s. Write a network, a guest, a list, an address such as \"192.0.2.0/24\", or host, outside, any.", name, v.Type().FriendlyName())
	case slices.Contains(words(), s):
		*out = append(*out, end{kind: s, at: at})
	case strings.Contains(s, "/"):
		p, why := parsePrefix(s)
		if why != "" {
			l.fail(codeAddress, at, "%s", why)
			return
		}
		if p != p.Masked() {
			l.fail(codeHostBits, at, "%s has bits set beyond its length of %d. Write %q for the network, or %q for the one address.", p, p.Bits(), p.Masked(), p.Addr())
			return
		}
		*out = append(*out, end{kind: "prefix", prefix: p, at: at})
	default:
		if a, why := parseAddr(s); why == "" {
			*out = append(*out, end{kind: "prefix", prefix: netip.PrefixFrom(a, a.BitLen()), at: at})
			return
		}
		l.unknownEnd(s, at, name)
	}
}

func (l *loader) unknownEnd(s string, at where, name string) {
	kind, _, dotted := strings.Cut(s, ".")
	switch {
	case dotted && isBlockRoot(kind):
		l.fail(codeEndpoint, at, "%q is a text. A reference stands without quotes: %s = %s.", s, name, s)
	case s == "internet" || s == "world" || s == "wan":
		l.fail(codeEndpoint, at, "%q is called outside: everything that is neither the host nor a network of this file.", s)
	default:
		l.fail(codeEndpoint, at, "%q is no address, and no word of the language.%s The words are %s.", s, didYouMean(s, words()), listOf(words()))
	}
}

// families tells which of IPv4 and IPv6 an end can speak.
func (e end) families() (v4, v6 bool) {
	switch e.kind {
	case "prefix":
		return e.prefix.Addr().Is4(), e.prefix.Addr().Is6()
	case "network":
		if len(e.network.subnets) > 0 && e.network.mode != "bridge" {
			return e.network.hasFamily(true), e.network.hasFamily(false)
		}
	case "guest":
		for _, ip := range e.guest.ips() {
			v4, v6 = v4 || ip.v.Is4(), v6 || ip.v.Is6()
		}
		if v4 || v6 {
			return v4, v6
		}
	}
	return true, true
}

// share tells whether a packet can go from one end to the other.
func (e end) share(o end) bool {
	a4, a6 := e.families()
	b4, b6 := o.families()
	return a4 && b4 || a6 && b6
}

// checkFamilies complains about an end that can talk to none of the other side: an IPv6 prefix beside an IPv4 network.
func (l *loader) checkFamilies(f flow) {
	if f.bad {
		return
	}
	for _, to := range f.to {
		if len(f.from) > 0 && !slices.ContainsFunc(f.from, to.share) {
			l.fail(codeEndpoint, to.at, "No packet can get here from what from names: one side speaks IPv4 only, the other IPv6 only. Name an address of the same family.")
		}
	}
}
