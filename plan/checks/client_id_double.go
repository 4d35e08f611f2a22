package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func clientIDDouble() Check {
	return Check{
		Code: "VN508", Name: "client-id-double", Layer: LayerServices, Title: "two guests are one to the DHCP server", Run: runClientIDDouble,
		Doc: Doc{
			Means: "Guests with different MAC addresses send the same client identifier, by which the DHCP server tells its clients: it gives both the same address, or takes it from one for the other. " +
				"Both work every other time.",
			Example: "A lease of 192.168.122.115 for 52:54:00:00:00:02 with client id ff:b5…, while ip neighbour has that address at 52:54:00:00:00:01.",
			Why:     "systemd-networkd and others make the identifier of /etc/machine-id, and a cloned disk image holds the same one.",
			Repair:  "It does not: the identifier is in the guests.",
			ByHand:  "In the clone: rm /etc/machine-id; systemd-machine-id-setup; reboot. On the host reservations by MAC address (virsh net-update default add ip-dhcp-host …).",
			Lasting: "virt-sysprep, or an empty /etc/machine-id, in images that are cloned; dhcp-ignore-clid in dnsmasq (2.81); ClientIdentifier=mac in networkd.",
		},
	}
}

func runClientIDDouble(h *Host) []Finding {
	var out []Finding
	byID := map[string]*schema.Lease{}
	for l := range schema.Each[*schema.Lease](h.State) {
		if l.ClientID == "" || l.MAC == "" || l.Link == "" {
			continue
		}
		if o := byID[l.Link+" "+l.ClientID]; o != nil && o.MAC != l.MAC {
			out = append(out, twins(l, o.MAC, fmt.Sprintf("%s holds %s with the same identifier", o.File, o)))
			continue
		}
		byID[l.Link+" "+l.ClientID] = l
		for _, x := range h.neighbours(l.Link) {
			port := h.behind(l.Link, *x.MAC)
			if x.IP == l.IP && *x.MAC != l.MAC && port != "" && h.behind(l.Link, l.MAC) != "" && h.behind(l.Link, l.MAC) != port {
				out = append(out, twins(l, *x.MAC, fmt.Sprintf("ip neighbour: %s, behind %s", x, port)))
			}
		}
	}
	return out
}

func twins(l *schema.Lease, other, evidence string) Finding {
	return Finding{
		Severity: Error, Title: fmt.Sprintf("%s and %s are one client to the DHCP server", l.MAC, other), Object: l.Ref(), Links: []string{l.Link},
		Detail:   "Both get the same address, which works for one of them at a time.",
		Evidence: []string{fmt.Sprintf("%s holds %s with client id %s", l.File, l, l.ClientID), evidence},
		Cure:     []string{"a new /etc/machine-id in one of the two guests, or reservations by MAC address"},
	}
}
