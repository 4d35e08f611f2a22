package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func addressDouble() Check {
	return Check{
		Code: "VN326", Name: "address-double", Layer: LayerIP, Title: "another machine has a guest's address", Run: runAddressDouble,
		Doc: Doc{
			Means: "An address belongs to one guest, by the file, a reservation or a lease, and another machine answers for it: the neighbour table names a MAC address that is behind another port. " +
				"Connections reach whichever of the two answered last.",
			Example: "The file gives 10.20.0.11 to the guest with 52:54:00:12:34:56, and ip neighbour shows 10.20.0.11 lladdr 52:54:00:00:00:99, which bridge fdb has behind vnet2.",
			Why:     "An address set by hand in a guest that is another's, or a clone that kept it.",
			Repair:  "It does not: the address is set in the guest.",
			ByHand:  "Change it in the guest behind the port that is named; then ip neighbour flush to 10.20.0.11.",
			Lasting: "Addresses by DHCP with reservations; <filterref filter='clean-traffic'/> keeps a guest from using others' addresses.",
		},
	}
}

// owned is who an address belongs to, and how that is known.
type owned struct{ mac, why, port string }

func runAddressDouble(h *Host) []Finding {
	var out []Finding
	for _, n := range h.Networks {
		owners := h.ownersOf(n)
		if len(owners) == 0 {
			continue
		}
		for _, x := range h.neighbours(n.Device) {
			o, ok := owners[x.IP]
			if !ok || o.mac == *x.MAC || x.State == "permanent" {
				continue
			}
			port := h.behind(n.Device, *x.MAC)
			own := cmp.Or(h.behind(n.Device, o.mac), o.port)
			if port == "" || own == "" || own == port {
				continue // of an owner that is nowhere, the other may be what became of it
			}
			f := Finding{
				Severity: Error, Title: fmt.Sprintf("%s is used by %s, and belongs to %s", x.IP, *x.MAC, o.mac), Object: x.Ref(), Links: []string{n.Device, port},
				Detail:   "Of two machines with one address, whoever answers last is reached.",
				Evidence: []string{o.why, "ip neighbour: " + x.String(), fmt.Sprintf("bridge fdb: %s is behind %s", *x.MAC, port)},
				Cure:     []string{"change the address in the guest behind " + port},
			}
			if h.behind(n.Device, o.mac) == own {
				f.Evidence = append(f.Evidence, fmt.Sprintf("bridge fdb: %s is behind %s", o.mac, own))
			}
			f.Links = append(f.Links, own)
			out = append(out, f)
		}
	}
	return out
}

// ownersOf are the machines of a network by the addresses that are theirs: the file's word is the first, then reservations, then
// leases.
func (h *Host) ownersOf(n *Network) map[netip.Addr]owned {
	out := map[netip.Addr]owned{}
	for l := range schema.Each[*schema.Lease](h.State) {
		if l.Link == n.Device && l.MAC != "" {
			out[l.IP] = owned{mac: l.MAC, why: "lease: " + l.String()}
		}
	}
	kept, from := h.reservations(n)
	for _, r := range kept {
		out[r.ip] = owned{mac: r.mac, why: fmt.Sprintf("%s reserves %s for %s", from, r.ip, r.mac)}
	}
	if h.Desired != nil && n.Block != "" {
		for _, g := range h.Desired.Guests {
			for _, ip := range g.IPs {
				if g.Network == n.Block && g.MAC != "" {
					out[ip] = owned{strings.ToLower(g.MAC), fmt.Sprintf("the file gives %s to %s (%s)", ip, g.Address, g.MAC), g.Device}
				}
			}
		}
	}
	return out
}
