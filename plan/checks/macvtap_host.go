package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func macvtapHost() Check {
	return Check{
		Code: "VN224", Name: "macvtap-host", Layer: LayerBridges, Title: "a guest on macvtap and the host do not hear each other", Run: runMacvtapHost,
		Doc: Doc{
			Means: "A guest's card is a macvtap on a link that has the host's own address. Guest and LAN talk, guest and host do not: a macvlan never hands frames to the link it stands on " +
				"(drivers/net/macvlan.c), and a switch does not send them back.",
			Example: "<interface type='direct'><source dev='eno1' mode='bridge'/></interface> in a domain, and ssh from the guest to the host's address on eno1 times out.",
			Why:     "virt-manager offers it first (\"Macvtap device\"), since it needs no bridge. For a guest that is not to reach its host it is right.",
			Repair:  "It does not: it may be wanted.",
			ByHand:  "A macvlan for the host beside it: ip link add shim link eno1 type macvlan mode bridge; ip address add 192.0.2.9/32 dev shim; ip link set shim up; ip route add 192.0.2.50/32 dev shim. Or a bridge in place of the macvtap.",
			Lasting: "A bridge block with the card as its port, and the guest on the bridge (<source bridge='br0'/>).",
		},
	}
}

func runMacvtapHost(h *Host) []Finding {
	var out []Finding
	for l := range schema.Each[*schema.Link](h.State) {
		if l.Type != "macvtap" || l.Facts == nil || l.Facts.MacvlanMode == "passthru" {
			continue
		}
		below := h.parent(l)
		if below == nil || len(h.addresses(below.Name)) == 0 || h.shim(below) {
			continue
		}
		a := h.addresses(below.Name)[0]
		out = append(out, Finding{
			Severity: Warning, Title: fmt.Sprintf("the guest on %s and the host's %s do not hear each other", l.Name, a.Prefix.Addr()), Object: l.Ref(),
			Links:    []string{l.Name, below.Name},
			Detail:   "A macvtap hands nothing to the link that it stands on; guest and LAN talk all the same.",
			Evidence: []string{fmt.Sprintf("%s is a macvtap on %s", l.Name, below.Name), "address " + a.String(), "the host has no macvlan of its own on " + below.Name},
			Cure:     []string{fmt.Sprintf("ip link add shim link %s type macvlan mode bridge, with an address and routes to the guests; or a bridge", below.Name)},
		})
	}
	return out
}

// shim tells whether the host has a macvlan with an address beside the guests'.
func (h *Host) shim(below *schema.Link) bool {
	for _, r := range h.LinksOver(below.Facts.Index) {
		if l, ok := h.Get(r).(*schema.Link); ok && l.Type == "macvlan" && h.parent(l) == below && len(h.addresses(l.Name)) > 0 {
			return true
		}
	}
	return false
}
