package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func arpFlux() Check {
	return Check{
		Code: "VN330", Name: "arp-flux", Layer: LayerIP, Title: "two cards of the host are in one network", Run: runARPFlux,
		Doc: Doc{
			Means: "Two links have addresses of one network, and each answers ARP for all of the host's addresses: neighbours learn now this MAC address, now that one. " +
				"Connections to the host and its forwarded ports flip, and with strict reverse path filtering half of the packets die.",
			Example: "eth0 has 192.0.2.10/24 and eth1 has 192.0.2.11/24, with net.ipv4.conf.all.arp_ignore = 0 and arp_filter = 0.",
			Why:     "A second card was meant for the guests and got an address by DHCP as well; wired and wireless are both connected.",
			Repair:  "It does not: which of the two is wanted is not known.",
			ByHand:  "Take the address from the card that is there for guests, and make it a bridge's port; or sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2.",
			Lasting: "No address on that card in its manager's configuration (dhcp4: no, ipv4.method disabled); the settings in /etc/sysctl.d/.",
		},
	}
}

func runARPFlux(h *Host) []Finding {
	if h.sysctl("net.ipv4.conf.all.arp_ignore") > "0" || h.sysctl("net.ipv4.conf.all.arp_filter") == "1" {
		return nil
	}
	var cards []*schema.Address
	for a := range schema.Each[*schema.Address](h.State) {
		l := h.Link(a.Link)
		if a.Prefix.Addr().Is4() && !a.Prefix.IsSingleIP() && up(l) && l.Facts != nil && l.Facts.Carrier && h.answers(l) && h.faces(l) {
			cards = append(cards, a)
		}
	}
	var out []Finding
	for i, a := range cards {
		for _, b := range cards[i+1:] {
			if a.Link == b.Link || !overlap(a.Prefix, b.Prefix) || h.sibling(a.Link, b.Link) {
				continue
			}
			out = append(out, Finding{
				Severity: Warning, Title: fmt.Sprintf("%s and %s are both in %s", a.Link, b.Link, a.Prefix.Masked()), Object: b.Ref(), Links: []string{a.Link, b.Link},
				Detail:   "Each answers ARP for the addresses of the other: neighbours flip between their MAC addresses.",
				Evidence: []string{"address " + a.String(), "address " + b.String(), "arp_ignore and arp_filter are 0 on both"},
				Cure:     []string{"take the address off the card that is not needed", "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"},
			})
		}
	}
	return out
}

// answers tells whether a link answers for addresses of others.
func (h *Host) answers(l *schema.Link) bool {
	return l.Facts.IPv4 == nil || l.Facts.IPv4.ARPIgnore == 0 && l.Facts.IPv4.ARPFilter == 0
}

// faces tells whether a link faces a LAN: hardware, or a bridge that leads out.
func (h *Host) faces(l *schema.Link) bool {
	if n := h.Network(l.Name); n != nil {
		return n.Mode == ModeBridge
	}
	return master(l) == "" && (l.Type == "device" || l.Type == "vlan" || l.Type == "bond" || l.Type == "team" || l.Type == "veth")
}
