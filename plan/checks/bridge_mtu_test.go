package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestBridgeMTU(t *testing.T) {
	jumbo := lab(with(bridge("virbr0", 3), func(l *schema.Link) { l.MTU = new(uint32(9000)) }))
	f := found(t, bridgeMTU(), jumbo, "MTU of virbr0 is 9000, and of its smallest port 1500", "MTU of port vnet1 is 1500", "ip link set virbr0 mtu 1500")
	heals(t, bridgeMTU(), jumbo, f)
	healthy(t, bridgeMTU(), "a port with a larger MTU", lab(port(with(tap("vnet1", 4), func(l *schema.Link) { l.MTU = new(uint32(9000)) }), "virbr0")))
	healthy(t, bridgeMTU(), "an uplink with a smaller MTU", lab(with(link("eno1", "device", 2), func(l *schema.Link) { l.MTU = new(uint32(1452)) })))
}
