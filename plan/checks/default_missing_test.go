package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestDefaultMissing(t *testing.T) {
	bare := func(more ...schema.Object) *schema.State {
		s := without(lab(), route("0.0.0.0/0", "eno1", "192.0.2.1").Ref())
		for _, o := range more {
			s.Put(o)
		}
		return s
	}
	found(t, defaultMissing(), bare(), "no default route for guests of libvirt network default (virbr0)", "address 192.0.2.10/24 dev eno1")
	healthy(t, defaultMissing(), "a default route in a table of its own", bare(inTable(route("0.0.0.0/0", "eno1", "192.0.2.1"), 100)))
	healthy(t, defaultMissing(), "the halves of a VPN", bare(link("tun0", "tun", 8), route("0.0.0.0/1", "tun0", ""), route("128.0.0.0/1", "tun0", "")))
	healthy(t, defaultMissing(), "a host that is connected to nothing", without(bare(), address("eno1", "192.0.2.10/24").Ref()))
	healthy(t, defaultMissing(), "an isolated network", bare(file("/etc/libvirt/qemu/networks/default.xml", "<network><name>default</name><bridge name='virbr0'/></network>")))
}
