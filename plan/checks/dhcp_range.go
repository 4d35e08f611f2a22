package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func dhcpRange() Check {
	return Check{
		Code: "VN506", Name: "dhcp-range", Layer: LayerServices, Title: "a DHCP range does not fit the bridge's address", Run: runDHCPRange,
		Doc: Doc{
			Means:   "The range that the network serves is in none of the networks of the bridge: dnsmasq answers no request there, and says nothing.",
			Example: "<range start='192.168.50.2' …/> in the definition while virbr0 has 192.168.122.1/24.",
			Why:     "The bridge's address was changed by hand, or the definition was edited and the network not restarted.",
			Repair:  "It does not: which of the two is right is not known.",
			ByHand:  "virsh net-dumpxml default and ip address show virbr0; correct one: virsh net-edit, then net-destroy and net-start.",
			Lasting: "Change such networks by virsh net-edit alone.",
		},
	}
}

func runDHCPRange(h *Host) []Finding {
	var out []Finding
	for _, n := range h.Networks {
		if len(n.Hosts) == 0 {
			continue
		}
		for _, r := range n.Served {
			fits, family := false, false
			for _, p := range n.Hosts {
				fits = fits || p.Masked().Contains(r.First) && p.Masked().Contains(r.Last)
				family = family || p.Addr().Is6() == r.First.Is6()
			}
			if fits || !family {
				continue
			}
			out = append(out, Finding{
				Severity: Error, Title: n.Label() + " serves addresses of another network", Object: schema.LinkRef(n.Device), Links: []string{n.Device}, Owner: n.Manager,
				Detail:   "The DHCP server answers nobody whose network it does not find on the bridge.",
				Evidence: []string{fmt.Sprintf("%s serves %s to %s", n.definition(), r.First, r.Last), fmt.Sprintf("%s has %v", n.Device, n.Hosts)},
				Cure:     []string{"a range that fits: " + renumber(n)},
			})
		}
	}
	return out
}
