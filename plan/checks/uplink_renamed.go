package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func uplinkRenamed() Check {
	return Check{
		Code: "VN230", Name: "uplink-renamed", Layer: LayerBridges, Title: "a bridge's card is there by another name", Run: runUplinkRenamed,
		Doc: Doc{
			Means: "The file names a card as the port of a bridge, no link has that name, and one card in no bridge has the bridge's MAC address, or is the only one that nothing uses: most likely the same card, " +
				"which got another name. Guests on the bridge reach each other and nobody else.",
			Example: "ports = [\"enp4s0\"], and ip link shows enp5s0 without a master.",
			Why:     "Predictable names follow firmware and slots: a card that was added, an update of systemd or the BIOS, or another virtual machine type changes them (systemd.net-naming-scheme(7)).",
			Repair:  "It does not: which card leads to the LAN is for the file to say.",
			ByHand:  "Write the new name into ports; or give the card its old one: ip link set enp5s0 down; ip link set enp5s0 name enp4s0.",
			Lasting: "A .link file with MACAddress= (or PermanentMACAddress=) and Name= in /etc/systemd/network: the name is then the card's, not the slot's.",
		},
	}
}

func runUplinkRenamed(h *Host) []Finding {
	if h.Desired == nil || h.blind("links") {
		return nil
	}
	var out []Finding
	for _, n := range h.Desired.Networks {
		for _, p := range n.Ports {
			if made := h.Desired.State.Link(p); h.Link(p) != nil || made != nil && made.Type != "" && made.Type != "device" {
				continue // there, or the file makes it
			}
			l, proof := h.spare(n)
			if l == nil {
				continue
			}
			out = append(out, Finding{
				Severity: Error, Title: fmt.Sprintf("%s is not there, and %s is in no bridge", p, l.Name), Object: l.Ref(), Links: []string{n.Device, p},
				Detail:   "It is most likely the same card by another name: the bridge does not lead to the LAN.",
				Evidence: append([]string{"no link is called " + p, fmt.Sprintf("%s (MAC %s) has no master", l.Name, mac(l.MAC))}, proof...),
				Cure:     []string{fmt.Sprintf("write %s in place of %s into the ports of %s", l.Name, p, n.Address), fmt.Sprintf("or ip link set %s down; ip link set %s name %s", l.Name, l.Name, p)},
			})
		}
	}
	return out
}

// spare is the card that a network's missing port may have become: the one that has the MAC address of the bridge, which takes
// that of its card, or the only one that nothing else uses; nil for none.
func (h *Host) spare(n schema.Network) (*schema.Link, []string) {
	var free []*schema.Link
	for l := range schema.Each[*schema.Link](h.State) {
		if (l.Type == "device" || l.Type == "veth") && master(l) == "" && l.Facts != nil && !l.Facts.NoCarrier && !h.declaredPort(l.Name) && h.parentOfNone(l) {
			free = append(free, l)
		}
	}
	if b := h.Link(n.Device); b != nil && mac(b.MAC) != "" {
		for _, l := range free {
			if mac(l.MAC) == mac(b.MAC) || strings.EqualFold(l.Facts.PermMAC, mac(b.MAC)) {
				return l, []string{b.Name + " has the same MAC address"}
			}
		}
	}
	free = slices.DeleteFunc(free, func(l *schema.Link) bool {
		return l.Type != "device" || len(h.addresses(l.Name)) > 0 || h.routed(l.Name)
	})
	if len(free) != 1 {
		return nil, nil
	}
	return free[0], []string{"it has no address, and no other card is free"}
}

// parentOfNone tells whether no other link stands on a link.
func (h *Host) parentOfNone(l *schema.Link) bool {
	for o := range schema.Each[*schema.Link](h.State) {
		if o.Type != "veth" && h.parent(o) == l {
			return false
		}
	}
	return true
}
