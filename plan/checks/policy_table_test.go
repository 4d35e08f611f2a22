package checks

import (
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestPolicyTable(t *testing.T) {
	tunnel := func(more ...schema.Object) *schema.State {
		return lab(append(more, link("tailscale0", "tun", 7), inTable(route("0.0.0.0/0", "tailscale0", ""), 52), rule("ip", 5270, 52))...)
	}
	s := tunnel()
	f := found(t, policyTable(), s, "packets for guests of virbr0 leave by tailscale0", "ip rule 5270: from all lookup 52", "exit-node-allow-lan-access", "tailscale",
		"ip rule add to 192.168.122.0/24 lookup main priority 2500")
	heals(t, policyTable(), s, f)

	source := &schema.PolicyRule{Family: "ip", Priority: 100, Src: netip.MustParsePrefix("192.168.122.0/24"), Table: 77}
	found(t, policyTable(), lab(source, inTable(route("0.0.0.0/0", "eno1", "192.0.2.1"), 77)), "leave by eno1", "priority 99")

	healthy(t, policyTable(), "a rule that suppresses the default route first", lab(
		link("wg0", "wireguard", 7), inTable(route("0.0.0.0/0", "wg0", ""), 51820),
		&schema.PolicyRule{Family: "ip", Priority: 32764, Table: schema.TableMain, SuppressPrefixLen: new(0)},
		&schema.PolicyRule{Family: "ip", Priority: 32765, Table: 51820, Invert: true, Mark: 0xca6c, Mask: 0xffffffff}))
	healthy(t, policyTable(), "a VPN's table that leaves the guests alone", tunnel(inTable(&schema.Route{Dst: netip.MustParsePrefix("192.168.122.0/24"), Type: "throw"}, 52)))
}
