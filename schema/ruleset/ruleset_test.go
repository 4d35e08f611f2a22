package ruleset

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func lab() schema.Network {
	return schema.Network{Address: "nat.lab", Mode: "nat", Device: "virbr-lab", Subnets: prefixes("10.20.0.0/24", "fd20::/64")}
}

func build() schema.Network {
	return schema.Network{Address: "host_only.build", Mode: "host_only", Device: "virbr-build", Subnets: prefixes("10.30.0.0/24")}
}

func lanBridge() schema.Network {
	return schema.Network{Address: "bridge.lan", Mode: "bridge", Device: "br0", Subnets: prefixes("192.0.2.0/24")}
}

func ssh() schema.Forward {
	return schema.Forward{
		Address: "forward.ssh", Proto: "tcp", Ports: schema.PortRange{First: 2222, Last: 2222}, ToPort: 22,
		To: "guest.db1", ToIPs: []netip.Addr{netip.MustParseAddr("10.20.0.11"), netip.MustParseAddr("fd20::11")}, Network: "nat.lab",
	}
}

func one(t *testing.T, tables []*schema.Table) *schema.Table {
	t.Helper()
	if len(tables) != 1 {
		t.Fatalf("got %d tables, want 1", len(tables))
	}
	return tables[0]
}

func TestNothingNeeded(t *testing.T) {
	for name, got := range map[string][]*schema.Table{
		"nothing":           Tables(nil, nil, nil),
		"a bridge":          Tables([]schema.Network{lanBridge()}, nil, nil),
		"an idle allow":     Tables([]schema.Network{lanBridge()}, nil, []Policy{{Address: "firewall.a", Allow: true}}),
		"host to itself":    Tables(nil, nil, []Policy{{Address: "firewall.a", From: []schema.Endpoint{{Kind: "host"}}, To: []schema.Endpoint{{Kind: "host"}}}}),
		"a nameless guest":  Tables(nil, nil, []Policy{{Address: "firewall.a", From: []schema.Endpoint{{Kind: "guest", Device: "br0"}}}}),
		"families that mix": Tables(nil, nil, []Policy{{Address: "firewall.a", From: []schema.Endpoint{prefix("192.0.2.1/32")}, To: []schema.Endpoint{prefix("2001:db8::1/128")}}}),
	} {
		if got != nil {
			t.Errorf("%s: got %v, want nil", name, got[0])
		}
	}
}

func prefix(s ...string) schema.Endpoint {
	return schema.Endpoint{Kind: "prefix", Prefixes: prefixes(s...)}
}

// town has n networks of each mode, with ten forwards each.
func town(n int) (networks []schema.Network, forwards []schema.Forward) {
	for i := range n {
		nat, only, fw := lab(), build(), ssh()
		nat.Address, nat.Device = fmt.Sprintf("nat.n%d", i), fmt.Sprintf("n%d", i)
		nat.Subnets = prefixes(fmt.Sprintf("10.%d.%d.0/24", 20+i/256, i%256), fmt.Sprintf("fd20:%x::/64", i))
		only.Address, only.Device = fmt.Sprintf("host_only.h%d", i), fmt.Sprintf("h%d", i)
		fw.Address, fw.Ports = fmt.Sprintf("forward.f%d", i), schema.PortRange{First: uint16(2000 + 10*i), Last: uint16(2009 + 10*i)}
		fw.Network = nat.Address
		networks = append(networks, nat, only)
		forwards = append(forwards, fw)
	}
	return networks, forwards
}

// The rules are as many for a thousand networks as for two: what a packet costs does not grow.
func TestRulesDoNotGrow(t *testing.T) {
	count := func(n int) int {
		networks, forwards := town(n)
		table := one(t, Tables(networks, forwards, nil))
		if got := len(table.SetNamed("forward4").Elements); got != 10*n {
			t.Errorf("forward4 holds %d elements, want %d", got, 10*n)
		}
		rules := 0
		for _, c := range table.Chains {
			rules += len(c.Rules)
		}
		return rules
	}
	if few, many := count(2), count(1000); few != many {
		t.Errorf("%d rules for 2 networks of each mode, %d for 1000", few, many)
	}
}

func TestNormalForm(t *testing.T) {
	full := one(t, Tables([]schema.Network{lab(), build(), lanBridge()}, []schema.Forward{ssh()}, []Policy{
		{Address: "firewall.lab", From: []schema.Endpoint{prefix("10.0.0.0/8", "10.1.0.0/16", "192.168.0.0/16")}, To: []schema.Endpoint{{Kind: "outside"}}},
	}))
	if !slices.IsSortedFunc(full.Chains, func(a, b *schema.Chain) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("chains are not sorted")
	}
	s := schema.NewState()
	before := schema.Clone(full).(*schema.Table)
	s.Put(full)
	if d := schema.Compare(before, full); len(d) != 0 {
		t.Errorf("putting it into a state changed it: %v", d)
	}
	if got := len(full.SetNamed("firewall_lab_1_from4").Elements); got != 2 {
		t.Errorf("nested prefixes were not joined: %d elements, want 2", got)
	}
	for _, c := range full.Chains {
		for _, r := range c.Rules {
			for i := range r.Exprs {
				if set := r.Exprs[i].Set; set != "" && full.SetNamed(set) == nil {
					t.Errorf("chain %s looks into %s, which is not there", c.Name, set)
				}
			}
		}
	}
}

func TestSetNames(t *testing.T) {
	for address, want := range map[string]string{
		"firewall.lab":             "firewall_lab_2",
		`firewall.lab["a"]`:        "firewall_lab__a___e9f4c515_2",
		strings.Repeat("long", 40): strings.Repeat("long", 12) + "_569d29e5_2",
	} {
		if got := setName(address, 2); got != want {
			t.Errorf("setName(%q) = %q, want %q", address, got, want)
		}
	}
}

func TestMerged(t *testing.T) {
	got := merged([]schema.PortRange{{First: 443, Last: 443}, {First: 80, Last: 90}, {First: 91, Last: 95}, {First: 85, Last: 92}, {First: 65535, Last: 65535}})
	want := []schema.PortRange{{First: 80, Last: 95}, {First: 443, Last: 443}, {First: 65535, Last: 65535}}
	if !slices.Equal(got, want) {
		t.Errorf("merged = %v, want %v", got, want)
	}
}

func TestLastAddress(t *testing.T) {
	for in, want := range map[string]string{"10.20.0.0/22": "10.20.3.255", "0.0.0.0/0": "255.255.255.255", "fd00::/126": "fd00::3", "10.0.0.1/32": "10.0.0.1"} {
		if got := last(netip.MustParsePrefix(in)).String(); got != want {
			t.Errorf("last(%s) = %s, want %s", in, got, want)
		}
	}
}

func BenchmarkTables(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		networks, forwards := town(n)
		b.Run(fmt.Sprintf("networks=%d", n), func(b *testing.B) {
			for b.Loop() {
				Tables(networks, forwards, nil)
			}
		})
	}
}
