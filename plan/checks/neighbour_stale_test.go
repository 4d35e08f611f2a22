package checks

import (
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestNeighbourStale(t *testing.T) {
	made := func(mac string) *schema.Neighbour {
		n := neighbour("virbr0", "192.168.122.11", mac)
		n.State, n.Permanent = "permanent", new(true)
		return n
	}
	lease := &schema.Lease{File: "virbr0.status", Link: "virbr0", IP: netip.MustParseAddr("192.168.122.11"), MAC: "52:54:00:00:00:01"}
	f := found(t, neighbourStale(), lab(made("52:54:00:99:99:99"), lease), "names 52:54:00:99:99:99, and the guest is 52:54:00:00:00:01", "lease: ")
	if len(f.Want) > 0 {
		t.Errorf("a lease may be old: nothing is repaired by it: %v", f.Want)
	}
	healthy(t, neighbourStale(), "an entry that was learned", lab(neighbour("virbr0", "192.168.122.11", "52:54:00:99:99:99"), lease))
	healthy(t, neighbourStale(), "an entry that is right", lab(made("52:54:00:00:00:01"), lease))
	healthy(t, neighbourStale(), "an entry of a machine that is there", lab(made("52:54:00:00:00:02"), lease))
	healthy(t, neighbourStale(), "an address of nobody known", lab(made("52:54:00:99:99:99")))
}

// What the file says of a guest repairs the entry.
func TestNeighbourStaleOfFile(t *testing.T) {
	x := neighbour("virbr0", "192.168.122.11", "52:54:00:99:99:99")
	x.State, x.Permanent = "permanent", new(true)
	s := without(lab(x), schema.FileRef("/etc/libvirt/qemu/networks/default.xml"))
	d := &schema.Desired{
		State:    schema.NewState(),
		Networks: []schema.Network{{Address: "nat.lab", Device: "virbr0"}},
		Guests:   []schema.Guest{{Address: "guest.db1", Network: "nat.lab", Device: "vnet1", MAC: "52:54:00:00:00:01", IPs: []netip.Addr{x.IP}}},
	}
	all := Run(Look(s, d), []Check{neighbourStale()})
	if len(all) != 1 || len(all[0].Want) != 1 {
		t.Fatalf("%+v", all)
	}
	s.Put(schema.Merge(s.Get(x.Ref()), all[0].Want[0]))
	if again := Run(Look(s, d), []Check{neighbourStale()}); len(again) > 0 {
		t.Errorf("after the repair: %+v", again)
	}
}
