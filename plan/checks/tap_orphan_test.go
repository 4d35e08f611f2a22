package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestTapOrphan(t *testing.T) {
	found(t, tapOrphan(), lab(tap("vnet1", 4)), "vnet1 is in no bridge, and its guest runs", "the other guests' taps are ports of virbr0", "ip link set vnet1 master virbr0")
	found(t, tapOrphan(), lab(tap("x1", 7), &schema.Holder{Link: "x1", PID: 70, Process: "qemu-system-x86", Guest: "db1"}), "x1 held by qemu-system-x86[70] (db1)")
	healthy(t, tapOrphan(), "a VPN's tap", lab(tap("x1", 7), &schema.Holder{Link: "x1", PID: 70, Process: "openvpn"}))
	healthy(t, tapOrphan(), "a tap of nobody known", lab(tap("tap0", 7)))
	healthy(t, tapOrphan(), "a tap that nobody holds", lab(with(tap("vnet1", 4), func(l *schema.Link) { l.Facts.NoCarrier, l.Facts.Carrier = true, false })))
	healthy(t, tapOrphan(), "a guest that is routed", lab(tap("vnet1", 4), route("198.51.100.7/32", "vnet1", "")))
	healthy(t, tapOrphan(), "a tap with an address", lab(tap("vnet1", 4), address("vnet1", "10.0.0.1/24")))

	ours := &schema.Desired{State: schema.NewState(), Guests: []schema.Guest{{Address: "guest.db1", Network: "nat.lab", Device: "vnet1"}}}
	if all := Run(Look(lab(tap("vnet1", 4)), ours), []Check{tapOrphan()}); len(all) > 0 {
		t.Errorf("a tap that the file speaks of is the plan's to name: %+v", all)
	}
}
