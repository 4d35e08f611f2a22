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
				b.apply(natLab)
				b.sh(rules)
				b.forgetNeighbours()
				p := b.plan(natLab)
				if p.Empty() {
					b.Fatalf("nothing was found:\n%s", steps(p))
				}
				if len(p.Unrequested) > 0 {
					b.Errorf("newly reachable and not asked for: %s", strings.Join(p.Unrequested, "; "))
				}
				b.apply(natLab)
				b.forgetNeighbours()
				b.labWorks()
				b.forgetNeighbours()
				if p := b.plan(natLab); !p.Empty() {
					b.Errorf("a second plan is not empty:\n%s", steps(p))
				}
			})
		})
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
