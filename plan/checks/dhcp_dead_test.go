package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestDHCPDead(t *testing.T) {
	dns, dhcp := listener("udp", "192.168.122.1", 53, "").Ref(), listener("udp", "0.0.0.0", 67, "").Ref()
	found(t, dhcpDead(), without(lab(), dns, dhcp), "nobody serves DHCP on libvirt network default (virbr0)", "no socket on 192.168.122.1 port 53")
	found(t, dhcpDead(), without(lab(), dns), "nobody serves DHCP") // port 67 is another network's
	mute := file("/etc/libvirt/qemu/networks/default.xml", "<network><name>default</name><forward mode='nat'/><bridge name='virbr0'/><dns enable='no'/><ip address='192.168.122.1' netmask='255.255.255.0'><dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>")
	found(t, dhcpDead(), without(lab(mute, listener("udp", "0.0.0.0", 53, "named[70]")), dns, dhcp), "nobody serves DHCP", "no socket on port 67") // who has port 53 does not matter to it
	healthy(t, dhcpDead(), "a network that is not active", without(lab(), dns, dhcp, schema.LinkRef("virbr0"), address("virbr0", "192.168.122.1/24").Ref()))
	healthy(t, dhcpDead(), "a network that serves nobody", without(lab(file("/etc/libvirt/qemu/networks/default.xml", "<network><name>default</name><bridge name='virbr0'/></network>")), dns, dhcp))
}
