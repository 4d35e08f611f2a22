package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestBridgeStale(t *testing.T) {
	left := func(more ...schema.Object) *schema.State {
		s := without(lab(more...), address("virbr0", "192.168.122.1/24").Ref(), schema.LinkRef("vnet1"), schema.LinkRef("vnet2"))
		return without(s, kernelRoute("192.168.122.0/24", "virbr0").Ref())
	}
	found(t, bridgeStale(), left(), "virbr0 is in the way of libvirt network default (virbr0)", "gives virbr0 the address 192.168.122.1")
	healthy(t, bridgeStale(), "a network without guests", without(lab(), schema.LinkRef("vnet1"), schema.LinkRef("vnet2")))
	healthy(t, bridgeStale(), "libvirt that does not run", without(left(), schema.FileRef("/run/libvirtd.pid")))
	healthy(t, bridgeStale(), "a bridge with a guest", without(lab(), address("virbr0", "192.168.122.1/24").Ref()))
	healthy(t, bridgeStale(), "a network without addresses", left(file("/etc/libvirt/qemu/networks/default.xml", "<network><name>default</name><bridge name='virbr0'/></network>")))
	healthy(t, bridgeStale(), "a network of a bridge that others make", left(file("/etc/libvirt/qemu/networks/default.xml", "<network><name>default</name><forward mode='bridge'/><bridge name='virbr0'/><ip address='192.168.122.1' netmask='255.255.255.0'/></network>")))
}
