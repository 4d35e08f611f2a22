package endtoend_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// neighbourRules are what keeps the lab's machines from finding each other, and nothing else: of an admin, or a setting.
var neighbourRules = map[string]string{
	"questions of the host": "nft 'table arp filter { chain output { type filter hook output priority 0; arp operation request drop; }; }'",
	"all ARP to the host":   "nft 'table arp filter { chain input { type filter hook input priority 0; policy drop; }; }'",
	"between guests":        "nft 'table bridge f { chain forward { type filter hook forward priority 0; ether type arp drop; }; }'",
	"one guest's port":      "nft 'table netdev f { chain i { type filter hook ingress device vnet0 priority 0; arp operation request drop; }; }'",
	"a setting":             "echo 8 > /proc/sys/net/ipv4/conf/virbr-lab/arp_ignore",
}

// TestNeighboursFoundAgain: what stops ARP only is named and passed by an exception for the questions and answers that the file's
// flows need; real packets pass between machines that have forgotten each other, and a second plan is empty.
func TestNeighboursFoundAgain(t *testing.T) {
	for name, rules := range neighbourRules {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.neighboursFound(natLab, rules, b.labWorks)
			})
		})
	}
}

// discoveryRules are what keeps them from finding each other by IPv6 alone.
var discoveryRules = map[string]string{
	"discovery of guests":  "nft 'table ip6 f { chain in { type filter hook input priority 0; icmpv6 type nd-neighbor-solicit drop; }; }'",
	"discovery, ip6tables": "ip6tables-nft -A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type neighbour-solicitation -j DROP; ip6tables-nft -A OUTPUT -p ipv6-icmp -m icmp6 --icmpv6-type neighbour-advertisement -j DROP",
	"discovery, on a link": "nft 'table ip6 f { chain out { type filter hook output priority 0; oifname \"virbr-lab\" icmpv6 type nd-neighbor-solicit drop; }; }'",
}

// TestDiscoveryFoundAgain: the same of IPv6, of which some is deleted: what stops nothing else than the file asks for.
func TestDiscoveryFoundAgain(t *testing.T) {
	src := strings.Replace(natLab, `subnet = "10.20.0.0/24"`, "subnet = \"10.20.0.0/24\"\n  subnet6 = \"fd00:20::/64\"", 1)
	for name, rules := range discoveryRules {
		t.Run(name, func(t *testing.T) {
			spec := twoGuests()
			for i, a := range []string{"fd00:20::11", "fd00:20::12"} {
				g := &spec.Guests[i]
				g.Addrs, g.Gateways = append(g.Addrs, prefix(a+"/64")), append(g.Gateways, addr("fd00:20::1"))
			}
			on(t, spec, func(b *bed) {
				b.neighboursFound(src, rules, func() {
					b.Helper()
					db, host := patient(b.Guest("db1")), patient(b.Host())
					b.passes("guest to its gateway", db.Ping(addr("fd00:20::1")))
					b.forgetNeighbours()
					b.passes("host to guest", host.Ping(addr("fd00:20::11")))
					b.passes("guest to guest", db.Ping(addr("fd00:20::12")))
					b.passes("guest to the internet", db.Ping(b.Server6))
				})
				b.apply("")
				if now := b.sh("nft -s list ruleset"); strings.Contains(now, "vmnet") {
					b.Errorf("without the block there is still:\n%s", now)
				}
			})
		})
	}
}

// neighboursFound breaks what lets machines find each other, repairs it, and asks with machines that have forgotten all.
func (b *bed) neighboursFound(src, rules string, works func()) {
	b.Helper()
	b.apply(src)
	b.sh(rules)
	b.forgetNeighbours()
	p := b.plan(src)
	if p.Empty() {
		b.Fatalf("nothing was found:\n%s", steps(p))
	}
	if len(p.Unrequested) > 0 {
		b.Errorf("newly reachable and not asked for: %s", strings.Join(p.Unrequested, "; "))
	}
	b.apply(src)
	b.forgetNeighbours()
	works()
	b.forgetNeighbours()
	if p := b.plan(src); !p.Empty() {
		b.Errorf("a second plan is not empty:\n%s", steps(p))
	}
}

// forgetNeighbours empties the neighbour tables of the host and its guests, and what the bridge has learned.
func (b *bed) forgetNeighbours() {
	b.Helper()
	b.sh("ip link set dev virbr-lab type bridge fdb_flush")
	for _, n := range []*world.Node{b.Host(), b.LAN(), b.Guest("db1"), b.Guest("web1")} {
		if err := n.Do(func() error { return exec.CommandContext(b.Context(), "ip", "neigh", "flush", "all").Run() }); err != nil {
			b.Fatal(err)
		}
	}
}
