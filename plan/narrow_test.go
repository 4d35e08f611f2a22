package plan

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// TestWithin: an exception is for what the culprit stops of the flow, as far as that can be said again.
func TestWithin(t *testing.T) {
	lab := netip.MustParsePrefix("10.20.0.0/24")
	port := func(n uint16) []schema.PortRange { return []schema.PortRange{{First: n, Last: n}} }
	for _, c := range []struct {
		name string
		a    accept
		box  trace.Box
		want string
	}{
		{"protocol and port", accept{in: "br0", src: lab}, trace.Box{Proto: "tcp", DPort: port(443)}, `iifname "br0" ip saddr 10.20.0.0/24 tcp dport 443 accept`},
		{"the flow is narrower", accept{src: lab, proto: "tcp", dport: port(80)[0]}, trace.Box{Proto: "tcp"}, `ip saddr 10.20.0.0/24 tcp dport 80 accept`},
		{"part of a range", accept{src: lab, proto: "udp", dport: schema.PortRange{First: 50, Last: 60}}, trace.Box{Proto: "udp", DPort: []schema.PortRange{{First: 1, Last: 53}}}, `ip saddr 10.20.0.0/24 udp dport 50-53 accept`},
		{"addresses and interfaces", accept{in: "br0", src: lab}, trace.Box{Src: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Dst: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, OIF: trace.Names{List: []string{"eno1"}}}, `iifname "br0" oifname "eno1" ip saddr 10.20.0.0/24 ip daddr 203.0.113.0/24 accept`},
		{"they do not meet", accept{src: lab}, trace.Box{Src: []netip.Prefix{netip.MustParsePrefix("10.30.0.0/24")}}, ""},
		{"a protocol that an accept cannot say", accept{src: lab}, trace.Box{Proto: "sctp", DPort: port(1)}, `ip saddr 10.20.0.0/24 accept`},
		{"all interfaces but one", accept{src: lab}, trace.Box{OIF: trace.Names{List: []string{"wg0"}, Not: true}}, `ip saddr 10.20.0.0/24 accept`},
		{"ICMP of IPv6", accept{src: netip.MustParsePrefix("fd00::/64")}, trace.Box{Proto: "icmp"}, `ip6 saddr fd00::/64 meta l4proto ipv6-icmp accept`},
	} {
		var got []string
		for _, a := range c.a.within(c.box, c.a.src.Addr().Is6()) {
			got = append(got, a.nft("inet"))
		}
		if s := strings.Join(got, "\n"); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}
