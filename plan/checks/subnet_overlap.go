package checks

import (
	"fmt"
	"net/netip"

	"github.com/vmnet/vmnet/schema"
)

func subnetOverlap() Check {
	return Check{
		Code: "VN320", Name: "subnet-overlap", Layer: LayerIP, Title: "a virtual network overlaps another network", Run: runSubnetOverlap,
		Doc: Doc{
			Means: "Two links of the host lead to addresses of one network, and one of them is a virtual network. The host sends to one of the two only, whichever route it likes better: " +
				"the guests, or the machines of the LAN, the VPN or the other virtual network with the same addresses, cannot be reached. Pinging the gateway \"works\": the host pings itself.",
			Example: "virbr0 has 192.168.122.1/24 and eth0 has 192.168.122.57/24, because the host is itself a guest of a host with libvirt's default network.",
			Why: "libvirt's default network is 192.168.122.0/24 everywhere, also one level further down; Docker takes the next range that seems free when a network is created (172.18.0.0/16 and on), " +
				"and does not know of a VPN that comes later.",
			Repair:  "It does not: one of the two networks has to get other addresses, and its machines with it.",
			ByHand:  "Renumber the virtual network: virsh net-edit default; for Docker \"default-address-pools\" in /etc/docker/daemon.json, then docker network rm and create.",
			Lasting: "The definition of the network keeps the new addresses. Choose a range for virtual networks that neither the LAN nor the VPNs use.",
		},
	}
}

func runSubnetOverlap(h *Host) []Finding {
	var out []Finding
	seen := map[[2]string]bool{}
	for _, n := range h.Networks {
		for _, p := range n.Hosts {
			if p.IsSingleIP() {
				continue
			}
			for _, r := range h.main {
				dev, ok := h.rival(n, p.Masked(), r)
				if !ok || seen[[2]string{n.Device, dev}] || seen[[2]string{dev, n.Device}] {
					continue
				}
				seen[[2]string{n.Device, dev}] = true
				f := Finding{
					Severity: Error, Object: r.Ref(), Links: []string{n.Device},
					Title:    fmt.Sprintf("%s of %s is also behind %s", p.Masked(), n.Label(), dev),
					Detail:   fmt.Sprintf("Of machines with one address behind %s and %s the host reaches one at most.", n.Device, dev),
					Evidence: []string{fmt.Sprintf("%s has the address %s", n.Device, p), "route " + r.String()},
					Cure:     []string{fmt.Sprintf("give %s other addresses: %s", n.Label(), renumber(n))},
				}
				if other := h.Network(dev); other != nil {
					f.Links = append(f.Links, dev)
				}
				if n.Manager != "vmnet" {
					f.Owner = n.Manager
				}
				out = append(out, f)
			}
		}
	}
	return out
}

// rival is the other link of a route that leads part of a virtual network, or all of it, elsewhere. A wider route is none: the
// network's own is more specific. Which packets look into another table than main is for its rules to say: see policyTable.
func (h *Host) rival(n *Network, p netip.Prefix, r *schema.Route) (string, bool) {
	if r.Dst.IsSingleIP() || !overlap(p, r.Dst) || r.Dst.Bits() < p.Bits() && !r.KernelMade() || r.Dst.Bits() <= 1 {
		return "", false
	}
	for _, dev := range r.Devices() {
		l := h.Link(dev)
		switch {
		case dev == n.Device, l == nil, master(l) != "", h.sibling(dev, n.Device):
		default:
			return dev, true
		}
	}
	return "", false
}

// sibling tells whether one link stands on the other: a macvlan that the host talks to its own guests by, a VLAN.
func (h *Host) sibling(a, b string) bool {
	la, lb := h.Link(a), h.Link(b)
	return la != nil && lb != nil && (h.parent(la) == lb || h.parent(lb) == la)
}

func renumber(n *Network) string {
	switch n.Manager {
	case "libvirt":
		return "virsh net-edit " + n.Name + ", then virsh net-destroy and net-start"
	case "docker":
		return "\"default-address-pools\" in /etc/docker/daemon.json, then make the network anew"
	case "incus", "lxd":
		return n.Manager + " network set " + n.Device + " ipv4.address …"
	case "vmnet":
		return "subnet in its block"
	}
	return "where it is configured"
}
