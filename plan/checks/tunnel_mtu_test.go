package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestTunnelMTU(t *testing.T) {
	vx := func(mtu uint32) *schema.Link {
		return with(link("vx0", "vxlan", 7), func(l *schema.Link) { l.MTU, l.Facts.ParentIndex = &mtu, 2 })
	}
	s := lab(vx(1500))
	f := found(t, tunnelMTU(), s, "MTU of vx0 is 1500, and over eno1 1450 fit", "vxlan adds 50 bytes", "ip link set vx0 mtu 1450")
	heals(t, tunnelMTU(), s, f)
	healthy(t, tunnelMTU(), "the MTU that the kernel gives", lab(vx(1450)))
	healthy(t, tunnelMTU(), "a link below for jumbo frames", lab(vx(1500), with(link("eno1", "device", 2), func(l *schema.Link) { l.MTU = new(uint32(9000)) })))
	healthy(t, tunnelMTU(), "a tunnel without a link below it", lab(with(vx(1500), func(l *schema.Link) { l.Facts.ParentIndex = 0 })))
}
