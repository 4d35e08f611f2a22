package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func leaseReservation() Check {
	return Check{
		Code: "VN504", Name: "lease-reservation", Layer: LayerServices, Title: "an old lease stands against a reservation", Run: runLeaseReservation,
		Doc: Doc{
			Means:   "The network's definition reserves an address for a guest, and the DHCP server's table of leases gives the guest another one, or the address to another guest: the guest keeps the old one until it runs out.",
			Example: "<host mac='52:54:00:00:00:01' ip='192.168.122.50'/> in the network, and a lease of 192.168.122.73 for 52:54:00:00:00:01.",
			Why:     "The reservation was added while the guest had a lease, or the address is one of the range and was given away before.",
			Repair:  "It does not: the table is dnsmasq's.",
			ByHand:  "Renew in the guest (dhclient -r; dhclient), or stop the guest, take the lease out of the file that is named, virsh net-destroy and net-start.",
			Lasting: "Reserve addresses outside the range (dynamic leases cannot take them), before the guest's first start.",
		},
	}
}

func runLeaseReservation(h *Host) []Finding {
	var out []Finding
	for _, n := range h.Networks {
		kept, from := h.reservations(n)
		for _, r := range kept {
			for l := range schema.Each[*schema.Lease](h.State) {
				if l.Link != n.Device || l.IP.Is6() != r.ip.Is6() || (l.MAC == r.mac) == (l.IP == r.ip) {
					continue
				}
				out = append(out, Finding{
					Severity: Warning, Title: fmt.Sprintf("%s is reserved for %s, and leased is %s", r.ip, r.mac, l), Object: l.Ref(), Links: []string{n.Device},
					Detail:   "The guest keeps what it has until the lease ends.",
					Evidence: []string{fmt.Sprintf("%s reserves %s for %s", from, r.ip, r.mac), l.File + " holds " + l.String()},
					Cure:     []string{"renew the lease in the guest; or take it out of " + l.File + " while the network is stopped"},
				})
			}
		}
	}
	return out
}
