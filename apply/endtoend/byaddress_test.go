package endtoend_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// keptFromHost keeps guests from beginning anything with the host.
const keptFromHost = natLab + `
firewall "host" {
  deny {
    from = nat.lab
    to   = host
  }
}
`

// TestAnswersByAddressAlone: where no connection is known, an exception for answers lets in whatever looks like them. It is
// put there only where the host's other rules stop the rest: else it is named, with what it would open and what closes that.
func TestAnswersByAddressAlone(t *testing.T) {
	for name, rule := range map[string]string{
		"bridge input":      `nft 'table bridge admin { chain in { type filter hook input priority 0; ip saddr 10.20.0.11 drop; }; }'`,
		"bridge prerouting": `nft 'table bridge admin { chain pre { type filter hook prerouting priority -300; ip saddr 10.20.0.11 tcp sport 22 drop; }; }'`,
		"ingress":           `nft 'table netdev admin { chain in { type filter hook ingress device "vnet0" priority 0; ip protocol tcp drop; }; }'`,
		"raw":               "iptables-nft -t raw -A PREROUTING -i virbr-lab -p tcp -j DROP",
		"raw legacy":        "iptables-legacy -t raw -A PREROUTING -s 10.20.0.0/24 -p tcp --sport 22 -j DROP",
	} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				b.sh(rule)
				db, host := b.Guest("db1"), b.Host()
				for _, n := range []*world.Node{db, host, b.LAN()} {
					if err := n.Serve(22, 80); err != nil {
						b.Fatal(err)
					}
				}
				b.blocked("host to guest, broken", tcp(host, addr("10.20.0.11"), 22))

				p := b.plan(natLab)
				b.finding(p, "VN410")
				if !slices.ContainsFunc(p.Findings, func(f plan.Finding) bool { return slices.ContainsFunc(f.Fixes, refusedForHost) }) {
					b.Errorf("no road says what it would open to the host:\n%s", steps(p))
				}
				if len(p.Unrequested) > 0 {
					b.Errorf("opens %q", p.Unrequested)
				}
				if _, err := b.carryOut(b.host, p); err != nil {
					b.Fatal(err)
				}
				if again := b.plan(natLab); !again.Empty() {
					b.Errorf("a second plan is not empty:\n%s", steps(again))
				}
				b.blocked("host to guest, named only", tcp(host, addr("10.20.0.11"), 22))

				p = b.apply(keptFromHost)
				if len(p.Unrequested) > 0 {
					b.Errorf("with the deny it opens %q", p.Unrequested)
				}
				b.passes("host to guest, repaired", tcp(patient(host), addr("10.20.0.11"), 22))
				b.passes("guest to the internet, repaired", tcp(patient(db), b.Server4, 80))
				b.blocked("guest to host", tcp(db, addr("10.20.0.1"), 22))
				b.blocked("guest to host by its other address", tcp(db, b.Host4.Addr(), 22))
			})
		})
	}
}

// refusedForHost tells whether a road is not taken for what it would open to the host, with a packet of it, the command and the deny.
func refusedForHost(f plan.Fix) bool {
	for _, word := range []string{"input: in virbr-lab", "such as 10.20.0.1", " new in virbr-lab", "a deny in a firewall block of the file", "to the host", "; by hand: "} {
		if !strings.Contains(f.WhyNot, word) {
			return false
		}
	}
	return !f.Chosen
}
