package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestBridgeAddress(t *testing.T) {
	lease := address("eno1", "192.0.2.10/24")
	lease.Valid = new(uint32(3600))
	found(t, bridgeAddress(), lab(bridge("br0", 7), port(link("eno1", "device", 2), "br0"), lease),
		"192.0.2.10/24 is on eno1, a port of br0", "it is a lease", "ip address add 192.0.2.10/24 dev br0")
	healthy(t, bridgeAddress(), "a link-local address on a port", lab(address("vnet1", "fe80::1/64")))
	bond := with(link("eno1", "device", 2), func(l *schema.Link) { l.Master = new("bond0") })
	healthy(t, bridgeAddress(), "a port of a bond", lab(link("bond0", "bond", 7), bond))
}
