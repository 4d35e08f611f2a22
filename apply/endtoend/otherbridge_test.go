package endtoend_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// TestOtherBridges: what lets guests of one bridge through in the bridge family lets nobody through on another.
func TestOtherBridges(t *testing.T) {
	for name, rules := range map[string]string{
		"a policy of ebtables": ebtablesRules["policy"],
		"a rule of nft":        "nft 'table bridge admin { chain f { type filter hook forward priority -50; ip protocol tcp drop; ip protocol icmp drop; }; }'",
	} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				if err := b.Bridge("br9", []netip.Prefix{prefix("10.9.0.1/24")}); err != nil {
					b.Fatal(err)
				}
				for n, a := range map[string]string{"nine1": "10.9.0.11/24", "nine2": "10.9.0.12/24"} {
					if _, err := b.AddGuest(world.Guest{Name: n, Device: "v" + n, Bridge: "br9", Addrs: []netip.Prefix{prefix(a)}, Gateways: []netip.Addr{addr("10.9.0.1")}}); err != nil {
						b.Fatal(err)
					}
				}
				if err := b.Running("br9"); err != nil {
					b.Fatal(err)
				}
				b.apply(natLab)
				one := b.Guest("nine1")
				b.passes("guests of the other bridge before", patient(one).Ping(addr("10.9.0.12")))
				b.sh(rules)
				b.blocked("guests of the other bridge", one.Ping(addr("10.9.0.12")))
				p := b.plan(natLab)
				if len(p.Unrequested) > 0 {
					b.Errorf("newly reachable and not asked for: %q", p.Unrequested)
				}
				if said := steps(p); !strings.Contains(said, "it would let through more than the file asks for: bridge forward") && !strings.Contains(said, "virbr-lab") {
					b.Errorf("what the exception would open is not said:\n%s", said)
				}
				if _, err := b.carryOut(b.host, p); err != nil {
					b.Fatal(err)
				}
				b.blocked("guests of the other bridge, still", one.Ping(addr("10.9.0.12")))
			})
		})
	}
}
