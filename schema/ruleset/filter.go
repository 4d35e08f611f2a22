package ruleset

import (
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// filterForward decides on what passes through the host.
func (b *builder) filterForward(policies []*schema.Rule) *schema.Chain {
	c := chain("filter", "forward", prioFilter)
	if !b.has(guestLinks) {
		policies = untilLastDrop(policies)
	}
	if !b.has(guestLinks) && len(policies) == 0 {
		return c
	}
	if b.has(guestLinks) {
		for _, e := range []end{destination, source} {
			add(c, "segments no larger than the way takes", linkIn(e, guestLinks), synOnly(), clamp())
		}
	}
	addPolicies(c, policies)
	if b.has(guestLinks) {
		b.addModes(c)
	}
	return c
}

// addModes writes what the modes imply. The order is the meaning: a network's own traffic; nothing else from host_only;
// forwards, also from other networks; nothing else into a network of guests.
func (b *builder) addModes(c *schema.Chain) {
	if b.has(sameLink) {
		add(c, "guests of one network", exprs{
			meta("iifname", register(0)), meta("oifname", register(words(ifNameSize))), lookup(sameLink),
		}, verdict("accept"))
	}
	if b.has(hostOnlyLinks) {
		add(c, "guests of host_only networks reach their host only", linkIn(source, hostOnlyLinks), drop())
	}
	for _, f := range families() {
		if set := forwarded + f.suffix(); b.has(set) {
			add(c, "forwards", dnatted(), toTarget(f, set), verdict("accept"))
		}
	}
	add(c, "guests are reached by forwards only", linkIn(destination, guestLinks), drop())
}

// filterInput decides on what comes to the host itself.
func filterInput(policies []*schema.Rule) *schema.Chain {
	return localChain("input", source, policies)
}

// filterOutput decides on what the host itself sends.
func filterOutput(policies []*schema.Rule) *schema.Chain {
	return localChain("output", destination, policies)
}

// localChain holds policies only; without a deny it would decide nothing. What stays on lo is nobody's business.
func localChain(hook string, e end, policies []*schema.Rule) *schema.Chain {
	c := chain("filter", hook, prioFilter)
	policies = untilLastDrop(policies)
	if len(policies) == 0 {
		return c
	}
	add(c, "the host's own", link(e, "lo"), verdict("accept"))
	addPolicies(c, policies)
	return c
}

// addPolicies lets through what was let through before, then asks the policies.
func addPolicies(c *schema.Chain, policies []*schema.Rule) {
	add(c, "connections that were let through", established(), verdict("accept"))
	if len(policies) > 0 {
		add(c, "neighbour discovery, the ARP of IPv6", neighbourDiscovery(), verdict("accept"))
		c.Rules = append(c.Rules, policies...)
	}
}

// untilLastDrop cuts off the accepts behind the last drop: the policy of the chain is accept.
func untilLastDrop(rules []*schema.Rule) []*schema.Rule {
	for i, rule := range slices.Backward(rules) {
		if v := rule.Exprs[len(rule.Exprs)-1].Verdict; v != nil && v.Kind == "drop" {
			return rules[:i+1]
		}
	}
	return nil
}
