package endtoend_test

import (
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// TestAnswersStillMasqueraded: between conntrack and NAT answers bear the host's own address, but who began the connection is known.
func TestAnswersStillMasqueraded(t *testing.T) {
	for name, c := range map[string]struct{ rule, want string }{
		"iptables-nft": {"iptables-nft -t mangle -A PREROUTING -p tcp -j DROP", "ct original saddr 10.20.0.0/24"},
		"legacy":       {"iptables-legacy -t mangle -A PREROUTING -i eno1 -p tcp -j DROP", "--ctorigsrc 10.20.0.0/24"},
		"nft ip":       {`nft 'table ip x { chain p { type filter hook prerouting priority -150; iifname "eno1" meta l4proto tcp drop; }; }'`, "ct original ip saddr 10.20.0.0/24"},
		"nft inet":     {`nft 'table inet x { chain p { type filter hook prerouting priority -110; iifname "eno1" meta l4proto tcp drop; }; }'`, "ct original ip saddr 10.20.0.0/24"},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				before := b.foreignRules()
				db, lan := b.Guest("db1"), b.LAN()
				for _, n := range []*world.Node{lan, b.Host()} {
					if err := n.Serve(80); err != nil {
						b.Fatal(err)
					}
				}
				b.sh(c.rule)
				b.blocked("guest to the internet, broken", tcp(db, b.Server4, 80))
				p := b.apply(natLab)
				if len(p.Unrequested) > 0 {
					b.Errorf("opens %q", p.Unrequested)
				}
				b.passes("guest to the internet, repaired", tcp(patient(db), b.Server4, 80))
				b.blocked("from outside to the host, which the rule still stops", tcp(lan, b.Host4.Addr(), 80))
				if got := b.foreignRules(); !strings.Contains(got, c.want) {
					b.Errorf("want %q in\n%s", c.want, got)
				}
				b.apply("")
				if got := b.foreignRules(); strings.Contains(got, "vmnet:") || before == got {
					b.Errorf("without the blocks there is\n%s", got)
				}
			})
		})
	}
}
