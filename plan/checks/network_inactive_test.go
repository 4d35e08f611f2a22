package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestNetworkInactive(t *testing.T) {
	auto := file("/etc/libvirt/qemu/networks/autostart/default.xml", "<network/>")
	gone := func(more ...schema.Object) *schema.State {
		return without(lab(more...), schema.LinkRef("virbr0"), schema.LinkRef("vnet1"), schema.LinkRef("vnet2"), address("virbr0", "192.168.122.1/24").Ref())
	}
	found(t, networkInactive(), gone(auto), "libvirt network default (virbr0) is not active", "there is no link virbr0", "virsh net-start default")
	healthy(t, networkInactive(), "a network that is started by hand", gone())
	healthy(t, networkInactive(), "a network that is there", lab(auto))
	healthy(t, networkInactive(), "libvirt that does not run", without(gone(auto), schema.FileRef("/run/libvirtd.pid")))
}
