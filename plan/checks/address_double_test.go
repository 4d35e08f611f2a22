package checks

import (
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestAddressDouble(t *testing.T) {
	lease := func(mac string) *schema.Lease {
		return &schema.Lease{File: "/x", Link: "virbr0", IP: netip.MustParseAddr("192.168.122.11"), MAC: mac}
	}
	other := neighbour("virbr0", "192.168.122.11", "52:54:00:00:00:02")
	found(t, addressDouble(), lab(lease("52:54:00:00:00:01"), other), "192.168.122.11 is used by 52:54:00:00:00:02, and belongs to 52:54:00:00:00:01", "behind vnet2", "lease: ")
	healthy(t, addressDouble(), "the guest itself", lab(lease("52:54:00:00:00:01")))
	healthy(t, addressDouble(), "a guest that was made anew behind the same port", lab(lease("52:54:00:00:00:77")))
	moved := neighbour("virbr0", "192.168.122.11", "52:54:00:00:00:55")
	healthy(t, addressDouble(), "a stale entry of a machine that is nowhere", lab(lease("52:54:00:00:00:01"), moved))
}
