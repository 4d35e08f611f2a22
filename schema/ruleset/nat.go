package ruleset

import (
	"net/netip"

	"github.com/vmnet/vmnet/schema"
)

// Priorities of the hooks we use (NF_IP_PRI_* in uapi/linux/netfilter_ipv4.h).
const (
	prioRaw    = -300
	prioDstNAT = -100
	prioFilter = 0
	prioSrcNAT = 100
)

func chain(typ, hook string, priority int32) *schema.Chain {
	return &schema.Chain{Name: chainName(typ, hook, priority), Type: typ, Hook: hook, Priority: priority, Policy: "accept"}
}

// chainName is "nat_prerouting": no keyword of nft(8), which no chain could bear.
func chainName(typ, hook string, priority int32) string {
	if priority == prioRaw {
		typ = "raw"
	}
	return typ + "_" + hook
}

func add(c *schema.Chain, comment string, parts ...exprs) {
	c.Rules = append(c.Rules, rule(comment, parts...))
}

func loopback() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8) }

// rawPrerouting keeps guests from the host's loopback addresses. A forward from 127.0.0.1 needs route_localnet on the
// guests' bridge, and that setting opens them to the guests (ip-sysctl, route_localnet). Before conntrack (-200): the
// answers to such forwards get their loopback address back only in the nat chains.
func (b *builder) rawPrerouting() *schema.Chain {
	c := chain("filter", "prerouting", prioRaw)
	if !b.has(forwardLinks) || !b.has(forwardMap+ipv4.suffix()) {
		return c
	}
	for _, e := range []end{destination, source} {
		add(c, "loopback addresses do not come in from guests",
			linkIn(source, forwardLinks), ofFamily(ipv4), inPrefix(e, loopback()), drop())
	}
	return c
}

// natPrerouting leads forwarded ports of this host to guests. Only what is for the host itself: the guests' own
// connections to the same port elsewhere are left alone.
func (b *builder) natPrerouting() *schema.Chain {
	c := chain("nat", "prerouting", prioDstNAT)
	b.addDNAT(c, nil)
	return c
}

// natOutput is the twin for what the host itself connects to: locally made packets never see prerouting. Not for ::1, from
// which IPv6 leads nowhere: with masquerade and all, no answer comes back (tried on Linux 6.18). So [::1] refuses at once,
// and who asked for localhost goes on with 127.0.0.1.
func (b *builder) natOutput() *schema.Chain {
	c := chain("nat", "output", prioDstNAT)
	b.addDNAT(c, exprs{
		payload("network", destination.offset(ipv6), ipv6.addrLen(), 1),
		compare("neq", netip.IPv6Loopback().AsSlice()),
	})
	return c
}

func (b *builder) addDNAT(c *schema.Chain, only6 exprs) {
	if set := forwardMap + ipv4.suffix(); b.has(set) {
		add(c, "forwards", ofFamily(ipv4), toLocal(), dnatByMap(ipv4, set))
	}
	if set := forwardMap + ipv6.suffix(); b.has(set) {
		add(c, "forwards", ofFamily(ipv6), only6, toLocal(), dnatByMap(ipv6, set))
	}
}

// natPostrouting gives guests the address of the host.
func (b *builder) natPostrouting() *schema.Chain {
	c := chain("nat", "postrouting", prioSrcNAT)
	b.addLocalhost(c)
	b.addHairpin(c)
	b.addMasquerade(c)
	return c
}

// addLocalhost: a forward asked for at 127.0.0.1 leaves with that source, to which no guest can answer.
func (b *builder) addLocalhost(c *schema.Chain) {
	if !b.has(forwardLinks) || !b.has(forwardMap+ipv4.suffix()) {
		return
	}
	add(c, "forwards from localhost",
		linkIn(destination, forwardLinks), ofFamily(ipv4), inPrefix(source, loopback()), masquerade())
}

// addHairpin: a guest that answers its neighbour directly answers with an address the neighbour never asked. In a bridge
// network that holds for every client, for the guest's gateway is not this host.
func (b *builder) addHairpin(c *schema.Chain) {
	for _, f := range families() {
		if set := hairpin + f.suffix(); b.has(set) && b.has(forwardMap+f.suffix()) {
			add(c, "forwards from the guest's own network", dnatted(), ofFamily(f),
				linkAddrIn(destination, source, f, set), masquerade())
		}
		if b.has(bridgedLinks) && b.has(forwarded+f.suffix()) {
			add(c, "forwards to bridged guests", dnatted(), linkIn(destination, bridgedLinks),
				toTarget(f, forwarded+f.suffix()), masquerade())
		}
	}
}

func (b *builder) addMasquerade(c *schema.Chain) {
	wanted := false
	for _, f := range families() {
		wanted = wanted || b.has(natAnywhere+f.suffix()) || b.has(natUplink+f.suffix())
	}
	if !wanted {
		return
	}
	add(c, "networks see each other as they are", linkIn(destination, guestLinks), verdict("return"))
	for _, f := range families() {
		if !b.has(natAnywhere+f.suffix()) && !b.has(natUplink+f.suffix()) {
			continue
		}
		add(c, "no multicast", ofFamily(f), inPrefix(destination, multicast(f)), verdict("return"))
		if set := natAnywhere + f.suffix(); b.has(set) {
			add(c, "guests to the outside", ofFamily(f), addrIn(source, f, set), masquerade())
		}
		if set := natUplink + f.suffix(); b.has(set) {
			add(c, "guests to their uplink", ofFamily(f), linkAddrIn(destination, source, f, set), masquerade())
		}
	}
}

func multicast(f family) netip.Prefix {
	if f == ipv4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 4)
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xff}), 8)
}
