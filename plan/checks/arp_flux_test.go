package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestARPFlux(t *testing.T) {
	two := func(l *schema.Link) []schema.Object { return []schema.Object{l, address(l.Name, "192.0.2.11/24")} }
	found(t, arpFlux(), lab(two(link("eno2", "device", 7))...), "eno1 and eno2 are both in 192.0.2.0/24", "arp_ignore=1")
	healthy(t, arpFlux(), "arp_ignore", lab(append(two(link("eno2", "device", 7)), sysctl("net.ipv4.conf.all.arp_ignore", "1"))...))
	healthy(t, arpFlux(), "a card without a cable", lab(two(with(link("eno2", "device", 7), func(l *schema.Link) { l.Facts.Carrier = false }))...))
	healthy(t, arpFlux(), "a macvlan on the card", lab(two(with(link("shim", "macvlan", 7), func(l *schema.Link) { l.Facts.ParentIndex = 2 }))...))
	healthy(t, arpFlux(), "two networks", lab(link("eno2", "device", 7), address("eno2", "198.51.100.11/24")))
}
