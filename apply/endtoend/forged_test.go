package endtoend_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan"
)

// TestForgedStaysStopped: an accept ends its chain, so that one for a whole network would lead what pretends to be a guest past the
// rule that tells it from the guest. The exception is for what the culprit stops only, and real packets show it.
func TestForgedStaysStopped(t *testing.T) {
	for name, rules := range map[string]string{
		"routed": `nft 'table inet corp { chain f { type filter hook forward priority -10; iifname "virbr-lab" tcp dport 80 drop;
			iifname "virbr-lab" ip saddr 10.20.0.12 ether saddr != 52:54:00:00:00:02 drop; }; }'`,
		"iptables": `iptables-nft -A FORWARD -i virbr-lab -p tcp --dport 80 -j DROP
			iptables-nft -A FORWARD -i virbr-lab -s 10.20.0.12 -m mac ! --mac-source 52:54:00:00:00:02 -j DROP`,
	} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				b.sh(rules)
				b.sh(`nft 'table inet seen { chain c { type filter hook postrouting priority -150; ip saddr 10.20.0.12 udp dport 5555 counter; }; }'`)
				db := b.Guest("db1")
				if err := db.Configure(prefix("10.20.0.12/32"), netip.Addr{}); err != nil {
					b.Fatal(err)
				}
				if err := b.LAN().Serve(80); err != nil {
					b.Fatal(err)
				}
				forge := func() bool {
					_, _ = db.From(addr("10.20.0.12")).UDP(netip.AddrPortFrom(b.Server4, 5555)) // the answer goes to the guest whose address it is
					return !strings.Contains(b.sh("nft list table inet seen"), "packets 0 ")
				}
				if forge() {
					b.Fatal("forged packets pass before")
				}
				b.blocked("guest to the internet, broken", tcp(db.From(addr("10.20.0.11")), b.Server4, 80))
				p := b.plan(natLab)
				if len(p.Unrequested) > 0 {
					b.Errorf("newly reachable and not asked for: %q", p.Unrequested)
				}
				if !slices.ContainsFunc(p.Findings, func(f plan.Finding) bool {
					return slices.ContainsFunc(f.Fixes, func(x plan.Fix) bool { return x.Chosen })
				}) {
					b.Errorf("no road is taken:\n%s", steps(p))
				}
				if _, err := b.carryOut(b.host, p); err != nil {
					b.Fatal(err)
				}
				if again := b.plan(natLab); !again.Empty() {
					b.Errorf("a second plan is not empty:\n%s", steps(again))
				}
				b.passes("guest to the internet, repaired", tcp(patient(db).From(addr("10.20.0.11")), b.Server4, 80))
				if forge() {
					b.Errorf("forged packets pass after:\n%s", b.sh("nft list ruleset"))
				}
				b.sh("nft delete table inet corp 2>/dev/null || iptables-nft -F FORWARD")
				if !forge() {
					b.Error("forged packets do not come by without the rule: nothing was tested")
				}
			})
		})
	}
}
