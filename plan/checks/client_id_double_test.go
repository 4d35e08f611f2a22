package checks

import (
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestClientIDDouble(t *testing.T) {
	lease := func(ip, mac, id string) *schema.Lease {
		return &schema.Lease{File: "/x", Link: "virbr0", IP: netip.MustParseAddr(ip), MAC: mac, ClientID: id}
	}
	found(t, clientIDDouble(), lab(lease("192.168.122.11", "52:54:00:00:00:01", "ff:b5"), lease("192.168.122.12", "52:54:00:00:00:02", "ff:b5")), "are one client to the DHCP server", "client id ff:b5")
	found(t, clientIDDouble(), lab(lease("192.168.122.11", "52:54:00:00:00:02", "ff:b5")), "52:54:00:00:00:02 and 52:54:00:00:00:01 are one client", "behind vnet1")
	healthy(t, clientIDDouble(), "identifiers of their own", lab(lease("192.168.122.11", "52:54:00:00:00:01", "ff:b5"), lease("192.168.122.12", "52:54:00:00:00:02", "ff:b6")))
	healthy(t, clientIDDouble(), "guests that send none", lab(lease("192.168.122.11", "52:54:00:00:00:01", ""), lease("192.168.122.12", "52:54:00:00:00:02", "")))
}
