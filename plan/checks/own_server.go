package checks

import (
	"cmp"

	"github.com/vmnet/vmnet/schema"
)

// ownServer is the server that vmnet runs on a network, nil for none.
func (h *Host) ownServer(n *Network) *schema.Dnsmasq {
	d, _ := h.Get(schema.DnsmasqRef(n.Device)).(*schema.Dnsmasq)
	return d
}

// ownRange notes the addresses that vmnet's server hands out.
func (h *Host) ownRange(n *Network) {
	if d := h.ownServer(n); d != nil && d.DHCP != nil {
		n.Served = append(n.Served, Range{First: d.DHCP.First, Last: d.DHCP.Last})
	}
}

// reservations are the addresses that are kept for guests, and where that stands.
func (h *Host) reservations(n *Network) (all []reservation, from string) {
	if n.libvirt != nil {
		return n.libvirt.reservations(), n.libvirt.file
	}
	d := h.ownServer(n)
	if d == nil {
		return nil, ""
	}
	for _, r := range d.Reservations {
		if r.IP.IsValid() {
			all = append(all, reservation{r.MAC, r.IP, r.Name})
		}
	}
	return all, "the server of " + d.Address
}

// definition is where it stands what a network serves.
func (n *Network) definition() string {
	if n.libvirt != nil {
		return n.libvirt.file
	}
	return "the server of " + cmp.Or(n.Block, n.Device)
}
