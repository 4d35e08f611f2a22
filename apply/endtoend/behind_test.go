package endtoend_test

import (
	"strings"
	"testing"
)

// TestExceptionThatStandsBehind: the accept that passes a policy at the end of a chain is of no use to a flow that a rule
// before it stops, which came later. It moves in front, and passes both.
func TestExceptionThatStandsBehind(t *testing.T) {
	for name, tool := range map[string]struct{ policy, drop, list string }{
		"iptables-nft":    {"iptables-nft -P FORWARD DROP", "iptables-nft -I FORWARD -p tcp -j DROP", "iptables-nft -S FORWARD"},
		"iptables-legacy": {"iptables-legacy -P FORWARD DROP", "iptables-legacy -I FORWARD -p tcp -j DROP", "iptables-legacy -S FORWARD"},
		"nft": {
			"nft 'table inet admin { chain fw { type filter hook forward priority 5; policy drop; }; }'",
			"nft insert rule inet admin fw meta l4proto tcp drop", "nft list table inet admin",
		},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.sh(tool.policy)
				b.apply(natLab)
				b.labWorks()
				b.sh(tool.drop)
				b.blocked("guest to the internet, broken", tcp(b.Guest("db1"), b.Server4, 80))
				b.apply(natLab)
				b.labWorks()
				if seen := b.sh(tool.list); strings.Count(seen, "vmnet:forward.ssh_db1") != 1 {
					b.Errorf("want one exception for the forward\n%s", seen)
				}
			})
		})
	}
}
