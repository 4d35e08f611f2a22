package checks

import (
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestDHCPFull(t *testing.T) {
	small := file("/etc/libvirt/qemu/networks/default.xml", `<network><name>default</name><forward mode='nat'/><bridge name='virbr0'/><ip address='192.168.122.1' netmask='255.255.255.0'>
<dhcp><range start='192.168.122.11' end='192.168.122.12'/></dhcp></ip></network>`)
	lease := func(ip string) *schema.Lease {
		return &schema.Lease{File: "/x", Link: "virbr0", IP: netip.MustParseAddr(ip), MAC: "52:54:00:00:00:01"}
	}
	found(t, dhcpFull(), lab(small, lease("192.168.122.11"), lease("192.168.122.12")), "all 2 addresses that libvirt network default (virbr0) serves are leased", "virsh net-edit default")
	healthy(t, dhcpFull(), "one that is left", lab(small, lease("192.168.122.11")))
	healthy(t, dhcpFull(), "a lease outside the range", lab(small, lease("192.168.122.11"), lease("192.168.122.50")))
}
