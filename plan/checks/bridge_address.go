package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func bridgeAddress() Check {
	return Check{
		Code: "VN222", Name: "bridge-address", Layer: LayerBridges, Title: "an address is on a bridge's port", Run: runBridgeAddress,
		Doc: Doc{
			Means: "A link that is a port of a bridge has an IP address. The bridge takes every frame of its ports before IP sees it: the address is announced (ARP is answered, by the bridge), " +
				"and nothing else works with it. Routes by the port are dead.",
			Example: "ip link set eth0 master br0 while 203.0.113.2/24 is on eth0: the host is gone from the network, although arping finds it.",
			Why: "A card was put into a bridge by hand or by a hypervisor's assistant, and its address stayed; or a DHCP client that still runs on the card (dhclient, NetworkManager, networkd) " +
				"puts it back at every renewal.",
			Repair:  "A bridge block that names the port moves its addresses and routes to the bridge, new before old, so that connections live on (VN207). Without a block for that bridge vmnet only names it.",
			ByHand:  "ip address add 203.0.113.2/24 dev br0; ip route replace default via … dev br0; ip address del 203.0.113.2/24 dev eth0. Over SSH in one line, for the first half alone may cut you off.",
			Lasting: "Configure the address on the bridge and none on the port: netplan, ifupdown (iface eth0 inet manual), nmcli or a .network file with Bridge=br0 alone.",
		},
	}
}

func runBridgeAddress(h *Host) []Finding {
	var out []Finding
	for l := range schema.Each[*schema.Link](h.State) {
		b := h.Link(master(l))
		if b == nil || b.Type != "bridge" {
			continue
		}
		for _, a := range h.addresses(l.Name) {
			f := Finding{
				Severity: Error, Title: fmt.Sprintf("%s is on %s, a port of %s", a.Prefix, l.Name, b.Name),
				Detail: "The bridge takes the port's frames before IP sees them: nobody reaches the host by this address.",
				Object: a.Ref(), Links: []string{l.Name, b.Name},
				Evidence: []string{fmt.Sprintf("master of %s is %s", l.Name, b.Name), "address " + a.String()},
				Cure:     []string{fmt.Sprintf("ip address add %s dev %s; then ip address del %s dev %s", a.Prefix, b.Name, a.Prefix, l.Name)},
			}
			if a.Valid != nil && *a.Valid != 0 {
				f.Evidence = append(f.Evidence, fmt.Sprintf("it is a lease (%d s left): a DHCP client still works on %s", *a.Valid, l.Name))
			}
			out = append(out, f)
		}
	}
	return out
}
