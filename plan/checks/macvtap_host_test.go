package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestMacvtapHost(t *testing.T) {
	on := func(name, kind, mode string, index int) *schema.Link {
		return with(link(name, kind, index), func(l *schema.Link) { l.Facts.ParentIndex, l.Facts.MacvlanMode = 2, mode })
	}
	found(t, macvtapHost(), lab(on("macvtap0", "macvtap", "bridge", 7)), "the guest on macvtap0 and the host's 192.0.2.10 do not hear each other", "macvtap0 is a macvtap on eno1")
	healthy(t, macvtapHost(), "a card without addresses", without(lab(on("macvtap0", "macvtap", "bridge", 7)), address("eno1", "192.0.2.10/24").Ref()))
	healthy(t, macvtapHost(), "a macvlan of the host's own beside it", lab(on("macvtap0", "macvtap", "bridge", 7), on("shim", "macvlan", "bridge", 8), address("shim", "192.0.2.9/32")))
	healthy(t, macvtapHost(), "the whole card for the guest", lab(on("macvtap0", "macvtap", "passthru", 7)))
}
