package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestGuestMACDouble(t *testing.T) {
	clone := port(with(tap("vnet2", 5), func(l *schema.Link) { l.MAC = new("fe:54:00:00:00:01") }), "virbr0")
	found(t, guestMACDouble(), lab(clone), "the guest behind vnet1 and the guest behind vnet2 have the same MAC address 52:54:00:00:00:01", "as libvirt names taps")

	host := with(bridge("virbr0", 3), func(l *schema.Link) { l.MAC = new("52:54:00:00:00:02") })
	found(t, guestMACDouble(), lab(host), "the host's virbr0 and the guest behind vnet2", "52:54:00:00:00:02")

	held := func(link string, pid int) *schema.Holder {
		return &schema.Holder{Link: link, PID: pid, Process: "qemu-system-x86", MACs: []string{"52:54:00:00:00:07"}}
	}
	plain := func(s *schema.State) *schema.State {
		return without(s, heardBy("vnet1", "virbr0", "52:54:00:00:00:01").Ref(), heardBy("vnet2", "virbr0", "52:54:00:00:00:02").Ref())
	}
	found(t, guestMACDouble(), plain(lab(held("vnet1", 70), held("vnet2", 71))), "52:54:00:00:00:07", "the command line of qemu-system-x86[70] gives it")
	healthy(t, guestMACDouble(), "one guest with two cards that it bonds", plain(lab(held("vnet1", 70), held("vnet2", 70))))
	healthy(t, guestMACDouble(), "the address in another VLAN", lab(&schema.FDBEntry{Link: "vnet2", Master: "virbr0", MAC: "52:54:00:00:00:01", VLAN: 20}))
	healthy(t, guestMACDouble(), "a bridge with the address of its card", lab(bridge("br0", 7), port(with(link("eno1", "device", 2), func(l *schema.Link) { l.MAC = bridge("br0", 7).MAC }), "br0")))
}
