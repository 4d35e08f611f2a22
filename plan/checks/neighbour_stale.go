package checks

import (
	"fmt"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func neighbourStale() Check {
	return Check{
		Code: "VN332", Name: "neighbour-stale", Layer: LayerIP, Title: "a permanent neighbour entry has another MAC address than the guest", Run: runNeighbourStale,
		Doc: Doc{
			Means: "An entry of the neighbour table that somebody made by hand says where a guest's address is, and the guest has another MAC address: what the host sends to it goes to nobody. " +
				"An entry that was learned heals by itself within seconds; a permanent one never does.",
			Example: "ip neigh show dev virbr0: 192.168.122.11 lladdr 52:54:00:99:99:99 PERMANENT, while the guest's card is 52:54:00:00:00:01.",
			Why:     "The entry was written against spoofing, or for wake-on-LAN, and the guest was made anew or got another card.",
			Repair:  "vmnet writes the MAC address that the file gives the guest; without a file it only tells.",
			ByHand:  "ip neigh del 192.168.122.11 dev virbr0: the host then asks, and learns.",
			Lasting: "Take the entry out of the script or the [Neighbor] section that makes it.",
		},
	}
}

func runNeighbourStale(h *Host) []Finding {
	var out []Finding
	for _, n := range h.Networks {
		owners := h.ownersOf(n)
		for _, x := range h.neighbours(n.Device) {
			o, ok := owners[x.IP]
			if !ok || x.State != "permanent" || o.mac == strings.ToLower(*x.MAC) || h.behind(n.Device, *x.MAC) != "" {
				continue // a machine that is there may have the address by right: VN326
			}
			f := Finding{
				Severity: Error, Title: fmt.Sprintf("the entry of %s on %s names %s, and the guest is %s", x.IP, n.Device, *x.MAC, o.mac), Object: x.Ref(), Links: []string{n.Device},
				Detail:   "The entry is permanent: the host never asks, and what it sends to the guest reaches nobody.",
				Evidence: []string{"ip neighbour: " + x.String(), o.why, fmt.Sprintf("bridge fdb: nobody on %s has %s", n.Device, *x.MAC)},
				Cure:     []string{fmt.Sprintf("ip neighbour del %s dev %s", x.IP, n.Device)},
			}
			if strings.HasPrefix(o.why, "the file ") {
				f.Want = []schema.Object{&schema.Neighbour{Link: n.Device, IP: x.IP, MAC: &o.mac, Permanent: new(true)}}
			}
			out = append(out, f)
		}
	}
	return out
}
