package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// flagOwner is the flag of a table that only the program that made it may change (NFT_TABLE_F_OWNER): newer firewalld asks
// for it (NftablesTableOwner in firewalld.conf(5), "yes" by default).
const flagOwner = 2

// firewalldDoor lists the ways to let flows past a rule of firewalld: a policy of firewalld's own for good, and what that
// policy will say at once. Only a reload could bring a new policy to work, and it would cost everybody else's rules:
// firewalld 1.3 flushes all tables of iptables-nft (fw.py, flush), and forgets what its runtime alone was told.
func (h *healer) firewalldDoor(g *schema.Goal, c culprit, acc []accept) []road {
	reload := road{
		title:  "a policy of firewalld, and its reload",
		closed: "when it reloads, firewalld forgets what only its runtime was told, and before 2.0 it flushes the iptables rules of everybody else",
	}
	ask := road{title: "a policy of firewalld for exactly these flows, to last, and the same at once in front of its zones"}
	at, why := firewalldFront(c)
	var live []accept
	for _, a := range acc {
		if why != "" {
			break
		}
		var grants []*schema.Grant
		if grants, why = h.firewalldGrants(g, c, a); why != "" {
			break
		}
		atOnce := false
		for _, grant := range grants {
			ask.drafts = append(ask.drafts, h.grantDraft(h.atItsPlace(grant), g))
			atOnce = atOnce || !firewalldRuns(c.table, grant)
		}
		if atOnce {
			live = append(live, a)
		}
	}
	switch {
	case why != "":
		ask.closed, ask.drafts = why, nil
	case len(live) == 0:
		ask.title = "firewalld's policy for these flows, which is at work"
	case c.table.Flags&flagOwner != 0:
		ask.closed, ask.drafts = "nobody but firewalld can write to its table (NftablesTableOwner=yes in firewalld.conf), and a new policy is at work after its next reload only: "+
			"set that to no, or make the policy yourself (firewall-cmd --permanent --new-policy) and reload", nil
	}
	next := nextText(c.base, at)
	for _, a := range live {
		if ask.closed == "" {
			ask.drafts = append(ask.drafts, h.insert(c.table, c.base, a.rule(c.table), at, next, g))
			at++
		}
	}
	return []road{reload, ask}
}

// firewalldFront is the place in a base chain of firewalld from which all that it was told is reached: its zones, and
// policies. A culprit before that is firewalld's own; the text says so.
func firewalldFront(c culprit) (int, string) {
	if c.table.Legacy || c.table.Compat {
		return 0, `firewalld uses iptables here (FirewallBackend=iptables): with its default, nftables, it could be asked`
	}
	at := slices.IndexFunc(c.base.Rules, func(r *schema.Rule) bool {
		return slices.ContainsFunc(r.Exprs, func(e schema.Expr) bool {
			return e.Verdict != nil && (strings.HasSuffix(e.Verdict.Chain, "_ZONES") || strings.HasSuffix(e.Verdict.Chain, "_POLICIES_pre"))
		})
	})
	switch {
	case at < 0 || !slices.Contains([]string{"forward", "input", "output"}, c.base.Hook):
		return 0, "nothing that firewalld can be asked for is in its chain " + c.base.Name
	case c.chain == c.base && c.rule != nil && c.index < at:
		return 0, fmt.Sprintf("chain %s comes to this rule before all that firewalld can be asked for; firewalld.conf(5) has its settings", c.base.Name)
	}
	return at, ""
}

// firewalldRuns tells whether firewalld is at work with the policy of a grant: a rule added to it counts at once.
func firewalldRuns(t *schema.Table, g *schema.Grant) bool {
	return slices.ContainsFunc(t.Chains, func(c *schema.Chain) bool { return strings.HasSuffix(c.Name, "_policy_"+g.Policy()+"_allow") })
}

// firewalldGrants is an accept in firewalld's words, or why it has none for it. A rule of a policy tells packets apart by
// address, protocol and port; interfaces by the zones that the policy lies between.
func (h *healer) firewalldGrants(goal *schema.Goal, c culprit, a accept) ([]*schema.Grant, string) {
	switch {
	case a.state != ctAny || a.sport != (schema.PortRange{}):
		return nil, "firewalld cannot be asked for packets of known connections only: it lets those through by itself, and was changed"
	}
	g := schema.Grant{
		Manager: schema.ManagerFirewalld, Address: a.address, Forward: c.base.Hook == "forward", In: a.in, Out: a.out,
		Src: prefixOrAny(a.src), Dst: prefixOrAny(a.dst), Proto: a.proto, Ports: a.dport,
	}
	var why string
	if g.Zone, why = h.firewalldZone(c, "in", a.in, goal.From); why == "" {
		g.ToZone, why = h.firewalldZone(c, "out", a.out, goal.To)
	}
	if why != "" {
		return nil, why
	}
	if g.ToZone == schema.ZoneAny {
		g.Out = "" // the policy does not say
	}
	if g.Zone == schema.ZoneAny && g.ToZone != schema.ZoneHost && !g.Src.IsValid() && !g.Dst.IsValid() && g.Proto == "" {
		return nil, "it would let everything through"
	}
	return inFamilies(g), ""
}

// inFamilies makes of a grant without a family one that firewalld takes: a rule without addresses and protocol needs one,
// and so does ICMP, which is another in IPv6.
func inFamilies(g schema.Grant) []*schema.Grant {
	switch {
	case g.Src.IsValid() || g.Dst.IsValid():
		g.Family = "ip"
		if g.Src.IsValid() && g.Src.Addr().Is6() || g.Dst.IsValid() && g.Dst.Addr().Is6() {
			g.Family = "ip6"
		}
	case g.Proto == "" || g.Proto == "icmp":
		v4, v6 := g, g
		v4.Family, v6.Family = "ip", "ip6"
		return []*schema.Grant{&v4, &v6}
	}
	return []*schema.Grant{&g}
}

// firewalldZone is the zone of one end of a flow: that which an interface is in alone, or one of our own for a network that
// nobody has put into a zone.
func (h *healer) firewalldZone(c culprit, way, device string, end schema.Endpoint) (string, string) {
	hook := c.base.Hook
	switch {
	case way == "out" && hook == "input", way == "in" && hook == "output":
		return schema.ZoneHost, ""
	case device == "":
		return schema.ZoneAny, ""
	}
	zone, shared := zoneOfDevice(c.table, device)
	ours := slices.ContainsFunc(h.r.Networks, func(n schema.Network) bool { return n.Device == device && n.Mode != "bridge" })
	switch {
	case zone != "" && !shared:
		return zone, ""
	case way == "out" && end.Kind == "outside":
		return schema.ZoneAny, "" // wherever the route leads is what was asked for
	case zone != "":
		return "", fmt.Sprintf("%s shares firewalld's zone %s with others, and a policy is for a whole zone: put it into one of its own (firewall-cmd --permanent --new-zone, --change-interface)", device, zone)
	case !ours:
		return "", device + " is in no zone of firewalld but the default, with the host's other interfaces: put it into one of its own (firewall-cmd --permanent --new-zone, --change-interface)"
	}
	return schema.FirewalldZone(device), ""
}

// zoneOfDevice reads from firewalld's table which zone an interface was put into, "" for none, and whether it shares that.
func zoneOfDevice(t *schema.Table, device string) (zone string, shared bool) {
	const prefix = "filter_IN_"
	c := t.Chain("filter_INPUT_ZONES")
	if c == nil {
		return "", false
	}
	targets := map[string]int{}
	for _, r := range c.Rules {
		target := jumpTarget(r)
		targets[target]++
		if strings.HasPrefix(r.Text, fmt.Sprintf("iifname %q ", device)) {
			zone = target
		}
	}
	return strings.TrimPrefix(zone, prefix), targets[zone] > 1
}

func jumpTarget(r *schema.Rule) string {
	for _, e := range r.Exprs {
		if e.Verdict != nil && e.Verdict.Chain != "" {
			return e.Verdict.Chain
		}
	}
	return ""
}

// seenAnyway tells whether a grant without rules in the kernel is needed can be seen all the same: firewalld is at work
// without the policy, and where a flow needs it the same accept stands in front of its zones.
func seenAnyway(s *schema.State, g *schema.Grant) bool {
	return g.Manager == schema.ManagerFirewalld && s.Get((&schema.Table{Family: "inet", Name: "firewalld"}).Ref()) != nil
}

// grantNotes say in words what a grant of firewalld brings along: its policy, and zones of ours.
func grantNotes(g *schema.Grant) []string {
	if g.Manager != schema.ManagerFirewalld {
		return nil
	}
	out := []string{fmt.Sprintf("policy %s: from zone %s to %s, made with its first rule, gone with its last", g.Policy(), g.Zone, g.ToZone)}
	for _, z := range [][2]string{{g.Zone, g.In}, {g.ToZone, g.Out}} {
		if schema.OwnFirewalldZone(z[0]) {
			out = append(out, fmt.Sprintf("zone %s: as the default zone, for %s alone; made and gone with the policies that need it", z[0], z[1]))
		}
	}
	return slices.Compact(out)
}
