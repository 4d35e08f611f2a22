package checks

import (
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// What is asked of the leases of libvirt's servers is asked of those of vmnet's own.
func TestOwnServer(t *testing.T) {
	ip := netip.MustParseAddr
	server := func(first, last string) *schema.Dnsmasq {
		return &schema.Dnsmasq{
			Device: "br-own", Address: "nat.own", DHCP: &schema.DHCP{First: ip(first), Last: ip(last), Lease: 3600},
			Reservations: []schema.Reservation{{MAC: "52:54:00:00:00:0a", IP: ip("10.20.0.11")}, {MAC: "52:54:00:00:00:0c", Name: "web"}},
		}
	}
	lease := func(addr, mac string) *schema.Lease {
		return &schema.Lease{File: "/var/lib/vmnet/dnsmasq/br-own.leases", Link: "br-own", IP: ip(addr), MAC: mac}
	}
	own := func(more ...schema.Object) *schema.State {
		return lab(append(more, bridge("br-own", 20), address("br-own", "10.20.0.1/24"))...)
	}
	found(t, dhcpFull(), own(server("10.20.0.100", "10.20.0.100"), lease("10.20.0.100", "52:54:00:00:00:0b")), "all 1 addresses")
	healthy(t, dhcpFull(), "one lease of two", own(server("10.20.0.100", "10.20.0.101"), lease("10.20.0.100", "52:54:00:00:00:0b")))
	found(t, leaseReservation(), own(server("10.20.0.100", "10.20.0.101"), lease("10.20.0.100", "52:54:00:00:00:0a")), "10.20.0.11 is reserved for 52:54:00:00:00:0a", "the server of nat.own")
	found(t, leaseReservation(), own(server("10.20.0.100", "10.20.0.101"), lease("10.20.0.11", "52:54:00:00:00:0b")), "leased is 10.20.0.11 for 52:54:00:00:00:0b")
	healthy(t, leaseReservation(), "the lease that is reserved", own(server("10.20.0.100", "10.20.0.101"), lease("10.20.0.11", "52:54:00:00:00:0a")))
	found(t, dhcpRange(), own(server("10.99.0.100", "10.99.0.101")), "serves addresses of another network", "10.99.0.100 to 10.99.0.101")
	healthy(t, dhcpRange(), "a range that fits", own(server("10.20.0.100", "10.20.0.101")))
}
