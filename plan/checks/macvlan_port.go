package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func macvlanPort() Check {
	return Check{
		Code: "VN225", Name: "macvlan-port", Layer: LayerBridges, Title: "a bridge's port is a macvlan", Run: runMacvlanPort,
		Doc: Doc{
			Means:   "The bridge leads out by a macvlan, which takes frames for its own MAC address only: packets of guests get out, and the answers to them never come in.",
			Example: "ip link add mv0 link eno1 type macvlan mode bridge; ip link set mv0 master br0.",
			Why:     "A container or nested host got a macvlan as its card and bridges it for its own guests.",
			Repair:  "It does not: the macvlan is the card this host was given.",
			ByHand:  "Use the card itself as the port, or a macvlan in mode passthru; inside a container use NAT.",
			Lasting: "The same where the macvlan is configured (the container's network, networkd's .netdev).",
		},
	}
}

func runMacvlanPort(h *Host) []Finding {
	var out []Finding
	for l := range schema.Each[*schema.Link](h.State) {
		b := h.Link(master(l))
		if l.Type != "macvlan" || b == nil || b.Type != "bridge" || l.Facts == nil || l.Facts.MacvlanMode == "passthru" || l.Facts.MacvlanMode == "" {
			continue
		}
		out = append(out, Finding{
			Severity: Error, Title: fmt.Sprintf("%s leads out by the macvlan %s", b.Name, l.Name), Object: l.Ref(), Links: []string{l.Name, b.Name},
			Detail:   "A macvlan takes frames for its own MAC address only: answers to guests do not come in.",
			Evidence: []string{fmt.Sprintf("%s is a macvlan of mode %s, and its master is %s", l.Name, l.Facts.MacvlanMode, b.Name)},
			Cure:     []string{"make the card below " + l.Name + " the port, or " + l.Name + " a macvlan of mode passthru"},
		})
	}
	return out
}
