package endtoend_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

// TestTraceSaysWherePacketsGet asks about packets that NAT leads elsewhere, and about those of the host to itself, without a
// file, and then sends them.
func TestTraceSaysWherePacketsGet(t *testing.T) {
	on(t, twoGuests(), func(b *bed) {
		b.apply(natLab)
		b.sh(`nft 'table ip admin {
			chain p { type nat hook prerouting priority -101; fib daddr type local tcp dport 7022 dnat to 10.20.0.11:7001; }
			chain o { type nat hook output priority -101
				ip daddr 203.0.113.10 tcp dport 7081 redirect to :7080
				ip daddr 192.0.2.10 tcp dport 7022 dnat to 10.20.0.11:7001
			}
			chain q { type nat hook postrouting priority 99; ip saddr 10.20.0.0/24 ip daddr 10.20.0.0/24 masquerade; }
			chain i { type filter hook input priority 0; iifname "lo" tcp dport 7099 drop; }
		}'`)
		b.sh("nft insert rule inet vmnet filter_forward tcp dport 7001 accept")
		for _, s := range []struct {
			node  *world.Node
			ports []uint16
		}{{b.Guest("db1"), []uint16{7001}}, {b.Guest("web1"), []uint16{7001}}, {b.Host(), []uint16{7080, 7099}}} {
			if err := s.node.Serve(s.ports...); err != nil {
				b.Fatal(err)
			}
		}
		for _, c := range []struct {
			from     *world.Node
			src, dst string
			port     uint16
			want     trace.Verdict
		}{
			{b.LAN(), "192.0.2.1", "192.0.2.10", 7022, trace.Pass},
			{b.Guest("web1"), "10.20.0.12", "192.0.2.10", 7022, trace.Pass},
			{b.Host(), "host", "203.0.113.10", 7081, trace.Pass},
			{b.Host(), "host", "192.0.2.10", 7022, trace.Pass},
			{b.Host(), "host", "127.0.0.1", 7080, trace.Pass},
			{b.Host(), "host", "127.0.0.1", 7099, trace.Block},
			{b.Host(), "host", "192.0.2.10", 7099, trace.Block},
			{b.Guest("db1"), "10.20.0.11", "10.20.0.12", 7001, trace.Pass},
		} {
			got := plan.Ask(b.read(), &schema.Desired{State: schema.NewState()}, question(c.src, c.dst, c.port))
			what := fmt.Sprintf("%s -> %s tcp/%d", c.src, c.dst, c.port)
			if got.Verdict != c.want {
				b.Errorf("%s: %s, want %s\n%+v", what, got.Verdict, c.want, got.Parts)
			}
			if err := tcp(c.from, addr(c.dst), c.port); (err == nil) != (c.want == trace.Pass) {
				b.Errorf("%s: the kernel says %v, want %s", what, err, c.want)
			}
		}
	})
}

func question(from, to string, port uint16) plan.Question {
	end := func(s string) schema.Endpoint {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return schema.Endpoint{Kind: s}
		}
		return schema.Endpoint{Kind: "prefix", Prefixes: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}}
	}
	return plan.Question{Goal: schema.Goal{
		From: end(from), To: end(to), Allow: true, Service: schema.Service{Proto: "tcp", Ports: []schema.PortRange{{First: port, Last: port}}},
	}}
}
