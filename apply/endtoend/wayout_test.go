package endtoend_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// wayOut is what somebody's rules stop of the guests' way out before the host has routed it, and what the exception is found by.
var wayOut = map[string]struct{ rules, exception, list string }{
	"nft prerouting": {
		`nft 'table inet admin { chain p { type filter hook prerouting priority -150; iifname "virbr-lab" tcp dport 80 drop; }; }'`,
		"fib daddr type != local", "nft list chain inet admin p",
	},
	"nft raw, before conntrack": {
		`nft 'table ip admin { chain p { type filter hook prerouting priority -301; ip saddr 10.20.0.0/24 icmp type echo-request drop; ip saddr 10.20.0.0/24 tcp dport 80 drop; }; }'`,
		"fib daddr type != local", "nft list chain ip admin p",
	},
	"nft ingress": {
		`nft 'table netdev admin { chain p { type filter hook ingress device "vnet0" priority 0; ip saddr 10.20.0.0/24 tcp dport 80 drop; }; }'`,
		"fib daddr type != local", "nft list chain netdev admin p",
	},
	"nft policy": {
		`nft 'table ip admin { chain p { type filter hook prerouting priority -150; policy drop; iifname { "lo", "eth0", "eno1" } accept; ip daddr { 10.20.0.0/24, 192.0.2.10 } accept; }; }'`,
		"fib daddr type != local", "nft list chain ip admin p",
	},
	"iptables-nft mangle":    {"iptables-nft -t mangle -A PREROUTING -i virbr-lab -p tcp --dport 80 -j DROP", "-m addrtype ! --dst-type LOCAL", "iptables-nft -t mangle -S PREROUTING"},
	"iptables-legacy raw":    {"iptables-legacy -t raw -A PREROUTING -s 10.20.0.0/24 -p tcp --dport 80 -j DROP", "-m addrtype ! --dst-type LOCAL", "iptables-legacy -t raw -S PREROUTING"},
	"iptables-legacy mangle": {"iptables-legacy -t mangle -A PREROUTING -i virbr-lab -p icmp -j DROP", "-m addrtype ! --dst-type LOCAL", "iptables-legacy -t mangle -S PREROUTING"},
}

// TestWayOut: an exception in prerouting lets guests out, and leaves stopped what the same rule stops of their way to the host.
func TestWayOut(t *testing.T) {
	for name, c := range wayOut {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				for _, n := range []*world.Node{b.Host(), b.LAN()} {
					if err := n.Serve(80); err != nil {
						b.Fatal(err)
					}
				}
				b.sh(c.rules)
				before := b.sh(c.list)
				b.blocked("the guest", errors.Join(tcp(b.Guest("db1"), b.Server4, 80), b.Guest("db1").Ping(b.Server4)))
				p := b.apply(natLab)
				if len(p.Unrequested) > 0 {
					b.Errorf("newly reachable and not asked for: %q", p.Unrequested)
				}
				if now := b.sh(c.list); !strings.Contains(now, c.exception) {
					b.Errorf("no %q in\n%s", c.exception, now)
				}
				b.passes("guest to the internet by TCP", tcp(b.Guest("db1"), b.Server4, 80))
				b.passes("guest to the internet by ICMP", b.Guest("web1").Ping(b.Server4))
				if strings.Contains(c.rules, "80") {
					b.blocked("TCP from a guest to the host, still", tcp(b.Guest("db1"), addr("10.20.0.1"), 80))
				}
				b.apply("")
				if now := b.sh(c.list); now != before {
					b.Errorf("without the block the rules are\n%s\nthey were\n%s", now, before)
				}
			})
		})
	}
}
