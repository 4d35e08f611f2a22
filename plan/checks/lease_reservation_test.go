package checks

import (
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestLeaseReservation(t *testing.T) {
	reserved := file("/etc/libvirt/qemu/networks/default.xml", `<network><name>default</name><forward mode='nat'/><bridge name='virbr0'/><ip address='192.168.122.1' netmask='255.255.255.0'>
<dhcp><range start='192.168.122.2' end='192.168.122.254'/><host mac='52:54:00:00:00:0A' ip='192.168.122.50'/></dhcp></ip></network>`)
	lease := func(ip, mac string) *schema.Lease {
		return &schema.Lease{File: "/var/lib/libvirt/dnsmasq/virbr0.status", Link: "virbr0", IP: netip.MustParseAddr(ip), MAC: mac}
	}
	found(t, leaseReservation(), lab(reserved, lease("192.168.122.73", "52:54:00:00:00:0a")), "192.168.122.50 is reserved for 52:54:00:00:00:0a, and leased is 192.168.122.73 for 52:54:00:00:00:0a")
	found(t, leaseReservation(), lab(reserved, lease("192.168.122.50", "52:54:00:00:00:0b")), "leased is 192.168.122.50 for 52:54:00:00:00:0b")
	healthy(t, leaseReservation(), "the lease that is reserved", lab(reserved, lease("192.168.122.50", "52:54:00:00:00:0a")))
	healthy(t, leaseReservation(), "another guest's lease", lab(reserved, lease("192.168.122.73", "52:54:00:00:00:0b")))
}
