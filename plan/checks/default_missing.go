package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func defaultMissing() Check {
	return Check{
		Code: "VN333", Name: "default-missing", Layer: LayerIP, Title: "the host has no default route, and a network needs one", Run: runDefaultMissing,
		Doc: Doc{
			Means: "Guests of a NAT network are to reach the world by way of the host, and the host has a card on a LAN and no IPv4 default route in any table: " +
				"it reaches its neighbours only, and guests are told \"net unreachable\" by their gateway.",
			Example: "ip route del default, or a card that was put into a bridge: ip route get 1.1.1.1 says Network is unreachable.",
			Why:     "The route went away with the address that was moved to a bridge, or with a DHCP client that was stopped; or a static configuration lacks the gateway.",
			Repair:  "It does not: only who runs the LAN knows its router. A bridge block with gateway sets the route itself.",
			ByHand:  "ip route add default via ROUTER dev LINK; or renew the lease (dhclient, networkctl renew LINK, nmcli device reapply LINK).",
			Lasting: "Gateway= in the .network file, gateway in /etc/network/interfaces, routes in netplan: where the address is set.",
		},
	}
}

func runDefaultMissing(h *Host) []Finding {
	if h.blind("routes") || h.leavesAtAll() {
		return nil
	}
	var cards []string
	for a := range schema.Each[*schema.Address](h.State) {
		l := h.Link(a.Link)
		if a.Prefix.Addr().Is4() && !a.Prefix.IsSingleIP() && up(l) && l.Facts != nil && l.Facts.Carrier && h.faces(l) {
			cards = append(cards, a.String())
		}
	}
	var out []Finding
	for _, n := range h.Networks {
		if n.Mode != ModeNAT || n.Missing || len(n.Hosts) == 0 || len(cards) == 0 || !h.Populated(n) {
			continue
		}
		out = append(out, Finding{
			Severity: Error, Title: "there is no default route for guests of " + n.Label(), Object: schema.LinkRef(n.Device), Links: []string{n.Device},
			Detail:   "The host reaches the networks of its own links only, and so do the guests that share its address.",
			Evidence: append([]string{"no route of IPv4 to 0.0.0.0/0 or its halves, in any table", fmt.Sprintf("%s is a NAT network: %s", n.Device, n.Why)}, prefixed("address ", cards)...),
			Cure:     []string{"ip route add default via ROUTER dev LINK, as the LAN has it"},
		})
	}
	return out
}

// leavesAtAll tells whether some table leads IPv4 packets to the world: by a default route, or by halves of the world as VPN
// clients write them.
func (h *Host) leavesAtAll() bool {
	for r := range schema.Each[*schema.Route](h.State) {
		if r.Dst.Addr().Is4() && r.Dst.Bits() <= 1 && (r.Type == "" || r.Type == "unicast") {
			return true
		}
	}
	return false
}

func prefixed(prefix string, all []string) []string {
	var out []string
	for _, s := range all {
		out = append(out, prefix+s)
	}
	return out
}
