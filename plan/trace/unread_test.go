package trace_test

import (
	"math"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// TestUnreadDeciders: what decides on packets beside nftables and iptables, and cannot be read, makes the answer depend on it where the
// packets pass it, and only there. The providers write it as a legacy table with one opaque rule.
func TestUnreadDeciders(t *testing.T) {
	t.Parallel()
	unread := func(family, hook string, priority int32, text string, devices ...string) *schema.Table {
		return &schema.Table{Family: family, Name: "programs", Legacy: true, Chains: []*schema.Chain{{
			Name: "c", Type: "filter", Hook: hook, Priority: priority, Policy: "accept", Devices: devices,
			Rules: []*schema.Rule{{Text: text, Exprs: []schema.Expr{{Name: "xttarget", Key: "unread", Text: text}}}},
		}}}
	}
	for _, c := range []struct {
		name  string
		table *schema.Table
		flow  string
		want  string
	}{
		{"XDP on the way in", unread("netdev", "ingress", math.MinInt32, "XDP on vnet1", "vnet1"), out, "XDP on vnet1"},
		{"tc on the way out", unread("netdev", "egress", math.MaxInt32, "tc bpf on eno1", "eno1"), out, "tc bpf on eno1"},
		{"tc elsewhere", unread("netdev", "ingress", math.MinInt32, "tc bpf on vnet2", "vnet2"), out, ""},
		{"ebtables between guests", unread("bridge", "forward", -200, "ebtables-legacy"), peers, "ebtables-legacy"},
		{"ebtables' forward, routed", unread("bridge", "forward", -200, "ebtables-legacy"), out, ""},
		{"a BPF program", unread("ip", "forward", 0, "BPF program 5"), out, "BPF program 5"},
		{"a BPF program of IPv6", unread("ip6", "forward", 0, "BPF program 5"), out, ""},
	} {
		s := parseState(t, lab+masq)
		s.Put(c.table)
		r := trace.Walk(s, parseFlow(t, c.flow))
		switch got := say(r); {
		case c.want == "" && got != "pass", c.want != "" && !(strings.HasPrefix(got, "depends") && strings.Contains(got, c.want)):
			t.Errorf("%s: %s, want it to depend on %q\n%s", c.name, got, c.want, show(r))
		}
	}
}
