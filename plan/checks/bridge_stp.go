package checks

import "fmt"

// patience is the forward delay that a guest hardly notices, in centiseconds: libvirt's bridges have 200. A port is silent for
// twice as long.
const patience = 400

func bridgeSTP() Check {
	return Check{
		Code: "VN221", Name: "bridge-stp", Layer: LayerBridges, Title: "guests wait for a spanning tree", Run: runBridgeSTP,
		Doc: Doc{
			Means: "The bridge runs the spanning tree protocol: a new port listens and learns for twice the forward delay before it carries frames, 30 seconds by default. " +
				"A guest that starts has no network meanwhile; its DHCP client or boot over the network (PXE) gives up.",
			Example: "ip link set br0 type bridge stp_state 1 forward_delay 1500, and a guest's tap that bridge link shows in state listening.",
			Why: "NetworkManager makes bridges with STP on, and so did brctl scripts; switches want it where a network has loops. " +
				"A forward delay of 15 with STP off means nothing: ports forward at once.",
			Repair:  "For a network of the file that says stp = false, which is the default, vmnet switches it off. Elsewhere it names it: with two ports to one LAN the tree is what keeps a loop away.",
			ByHand:  "ip link set br0 type bridge stp_state 0, where only one port leads to the LAN; else a forward delay of 4 seconds, the least that IEEE 802.1D allows.",
			Lasting: "nmcli connection modify br0 bridge.stp no; ifupdown: bridge_stp off, bridge_fd 0; netplan: parameters: stp: false; libvirt: <bridge stp='off'/>.",
		},
	}
}

func runBridgeSTP(h *Host) []Finding {
	var out []Finding
	for _, n := range h.Networks {
		b := h.Link(n.Device)
		if b == nil || b.Bridge == nil || b.Bridge.STP == nil || !*b.Bridge.STP {
			continue
		}
		var delay uint32
		if b.Bridge.ForwardDelay != nil {
			delay = *b.Bridge.ForwardDelay
		}
		if delay < patience || len(n.Ports) == 0 || len(n.Uplinks) > 1 {
			continue
		}
		f := Finding{
			Severity: Warning, Object: b.Ref(), Links: append([]string{b.Name}, n.Ports...),
			Title:    fmt.Sprintf("guests on %s have no network for their first %d seconds", b.Name, delay/50),
			Detail:   "The spanning tree keeps every new port silent for twice the forward delay, and no port of this bridge could close a loop.",
			Evidence: []string{fmt.Sprintf("%s has stp_state 1 and forward_delay %d", b.Name, delay), fmt.Sprintf("%d of its ports lead to a LAN", len(n.Uplinks))},
			Cure:     []string{"ip link set " + b.Name + " type bridge stp_state 0"},
		}
		for _, p := range h.ports(b.Name) {
			if p.Port != nil && p.Port.State != nil && (*p.Port.State == "listening" || *p.Port.State == "learning") {
				f.Evidence = append(f.Evidence, p.Name+" is in state "+*p.Port.State)
			}
		}
		out = append(out, f)
	}
	return out
}
