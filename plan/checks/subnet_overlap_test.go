package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestSubnetOverlap(t *testing.T) {
	nested := lab(address("eno1", "192.168.122.57/24"), kernelRoute("192.168.122.0/24", "eno1"))
	found(t, subnetOverlap(), nested, "192.168.122.0/24 of libvirt network default (virbr0) is also behind eno1", "virsh net-edit default", "route 192.168.122.0/24 dev eno1")
	found(t, subnetOverlap(), lab(link("wg0", "wireguard", 7), route("192.168.122.128/25", "wg0", "")), "also behind wg0")
	found(t, subnetOverlap(), lab(bridge("br-0123456789ab", 7), address("br-0123456789ab", "192.168.0.1/16"), kernelRoute("192.168.0.0/16", "br-0123456789ab")), "is also behind")

	healthy(t, subnetOverlap(), "a wider route", lab(route("192.168.0.0/16", "eno1", "192.0.2.1"), route("128.0.0.0/1", "eno1", "192.0.2.1")))
	healthy(t, subnetOverlap(), "a VPN's own table", lab(inTable(route("0.0.0.0/0", "eno1", ""), 51820), inTable(route("192.168.122.0/24", "eno1", ""), 52)))
	shim := with(link("shim0", "macvlan", 8), func(l *schema.Link) { l.Facts.ParentIndex = 3 })
	healthy(t, subnetOverlap(), "a macvlan on the bridge itself", lab(shim, address("shim0", "192.168.122.2/24"), kernelRoute("192.168.122.0/24", "shim0")))
	healthy(t, subnetOverlap(), "routes to single guests", lab(route("192.168.122.11/32", "eno1", "")))
}
