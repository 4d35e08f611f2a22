package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// firewalldTable is what firewalld makes of interfaces in zones, as far as the door looks at it.
func firewalldTable(zones ...string) *schema.Table {
	to := func(text, chain string) *schema.Rule {
		return &schema.Rule{Text: text, Exprs: []schema.Expr{{Name: "immediate", Verdict: &schema.Verdict{Kind: "goto", Chain: chain}}}}
	}
	dispatch := &schema.Chain{Name: "filter_INPUT_ZONES"}
	for _, z := range zones {
		dev, zone, _ := strings.Cut(z, "=")
		dispatch.Rules = append(dispatch.Rules, to(`iifname "`+dev+`" goto filter_IN_`+zone, "filter_IN_"+zone))
	}
	dispatch.Rules = append(dispatch.Rules, to("goto filter_IN_public", "filter_IN_public"))
	reject := &schema.Rule{Text: "reject with icmpx admin-prohibited"}
	return &schema.Table{Family: "inet", Name: "firewalld", Chains: []*schema.Chain{
		{Name: "filter_FORWARD", Type: "filter", Hook: "forward", Priority: 10, Policy: "accept", Rules: []*schema.Rule{
			{Text: "ct state invalid drop"}, to("jump filter_FORWARD_ZONES", "filter_FORWARD_ZONES"), reject,
		}},
		dispatch,
	}}
}

func TestFirewalldDoor(t *testing.T) {
	net := schema.Network{Address: "nat.lab", Mode: "nat", Device: "virbr-lab", Subnets: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")}}
	lab := schema.Endpoint{Kind: "network", Address: "nat.lab", Device: "virbr-lab", Prefixes: net.Subnets}
	out := accept{address: "nat.lab", in: "virbr-lab", src: net.Subnets[0]}
	for _, c := range []struct {
		name   string
		table  func(*schema.Table)
		zones  []string
		rule   int
		accept func(*accept)
		want   string // of the reason why not, or the drafts
	}{
		{name: "in no zone", want: "grant vmnet-virbr-lab>ANY, rule 1"},
		{name: "alone in a zone", zones: []string{"virbr-lab=internal", "eno7=work"}, want: "grant internal>ANY, rule 1"},
		{name: "in a zone with others", zones: []string{"virbr-lab=internal", "eno7=internal"}, want: "shares firewalld's zone internal"},
		{name: "put into the default zone", zones: []string{"virbr-lab=public"}, want: "shares firewalld's zone public"},
		{name: "an uplink", accept: func(a *accept) { a.out = "eno1" }, want: "grant vmnet-virbr-lab>ANY, rule 1"},
		{name: "from elsewhere", accept: func(a *accept) { a.in = "eno1" }, want: "in no zone of firewalld but the default"},
		{name: "answers", accept: func(a *accept) { a.state = ctEstablished }, want: "known connections only"},
		{name: "ICMP of both families", accept: func(a *accept) { a.src, a.proto = netip.Prefix{}, "icmp" }, want: "grant vmnet-virbr-lab>ANY, grant vmnet-virbr-lab>ANY, rule 1"},
		{name: "before the zones", rule: 1, want: "before all that firewalld can be asked for"},
		{name: "a table of its own", table: func(t *schema.Table) { t.Flags = flagOwner }, want: "NftablesTableOwner"},
		{name: "iptables", table: func(t *schema.Table) { t.Compat = true }, want: "FirewallBackend=iptables"},
		{name: "at work", table: func(t *schema.Table) {
			g := schema.Grant{Address: "nat.lab", Zone: "vmnet-virbr-lab", ToZone: schema.ZoneAny}
			t.Chains = append(t.Chains, &schema.Chain{Name: "filter_FWD_policy_" + g.Policy() + "_allow"})
		}, want: "grant vmnet-virbr-lab>ANY"},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := firewalldTable(c.zones...)
			if c.table != nil {
				c.table(table)
			}
			a := out
			if c.accept != nil {
				c.accept(&a)
			}
			base := table.Chains[0]
			who := culprit{table: table, chain: base, base: base, index: 2, rule: base.Rules[2]}
			if c.rule > 0 {
				who.index, who.rule = c.rule-1, base.Rules[c.rule-1]
			}
			h := &healer{r: &resolved{Desired: &schema.Desired{Networks: []schema.Network{net}}}, state: schema.NewState()}
			roads := h.firewalldDoor(&schema.Goal{Address: "nat.lab", From: lab, To: schema.Endpoint{Kind: "outside"}}, who, []accept{a})
			road := roads[len(roads)-1]
			var got []string
			for _, d := range road.drafts {
				switch o := d.change.After.(type) {
				case *schema.Grant:
					got = append(got, "grant "+o.Zone+">"+o.ToZone)
				case *schema.ForeignRule:
					got = append(got, "rule 1")
					if o.Chain != "filter_FORWARD" || o.Index != 1 {
						t.Errorf("the rule goes to %s, %d", o.Chain, o.Index)
					}
				}
			}
			if text := road.closed + strings.Join(got, ", "); !strings.Contains(text, c.want) || (road.closed == "") != (len(got) > 0) {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

func TestGrantNotes(t *testing.T) {
	g := &schema.Grant{Manager: schema.ManagerFirewalld, Address: "nat.lab", Family: "ip", Forward: true, In: "virbr-lab", Zone: "vmnet-virbr-lab", ToZone: schema.ZoneAny}
	want := []string{
		`firewall-cmd --permanent --policy=vmnet-lab-5943 --add-rich-rule='rule family="ipv4" source address="0.0.0.0/0" accept'`,
		"policy vmnet-lab-5943: from zone vmnet-virbr-lab to ANY, made with its first rule, gone with its last",
		"zone vmnet-virbr-lab: as the default zone, for virbr-lab alone; made and gone with the policies that need it",
	}
	if got := append([]string{g.String()}, grantNotes(g)...); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
