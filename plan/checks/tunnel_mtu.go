package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

// overhead is what a tunnel adds to a frame, in bytes beside the inner IP packet: the inner Ethernet header, and over IPv4 the outer
// headers (RFC 7348, RFC 8926, RFC 2784).
var overhead = map[string]uint32{"vxlan": 14 + 8 + 8 + 20, "geneve": 14 + 8 + 8 + 20, "gretap": 14 + 4 + 20}

func tunnelMTU() Check {
	return Check{
		Code: "VN122", Name: "tunnel-mtu", Layer: LayerAdapters, Title: "a tunnel carries larger packets than the link below", Run: runTunnelMTU,
		Doc: Doc{
			Means: "A VXLAN, Geneve or GRE tunnel has an MTU that, with the tunnel's headers, is larger than the MTU of the link it runs over. Full packets are split or dropped on the way: " +
				"ping and ssh work, copying files hangs.",
			Example: "ip link add vx0 type vxlan id 7 dev eno1 …; ip link set vx0 mtu 1500, with MTU 1500 on eno1: 50 bytes too much.",
			Why:     "The kernel gives tunnels a fitting MTU; somebody raised it because the bridge then shrank, or the lower link's MTU was lowered afterwards.",
			Repair:  "vmnet sets the MTU that fits. The bridge follows, unless its own MTU was set on purpose (VN220).",
			ByHand:  "ip link set vx0 mtu 1450; or ip link set eno1 mtu 1550, where the whole way carries that.",
			Lasting: "MTUBytes= in the .netdev or .link file, mtu in netplan's tunnels; and give guests the same MTU (libvirt <mtu/>, DHCP option 26).",
		},
	}
}

func runTunnelMTU(h *Host) []Finding {
	var out []Finding
	for l := range schema.Each[*schema.Link](h.State) {
		add := overhead[l.Type]
		if add == 0 || l.Facts == nil {
			continue
		}
		below := h.parent(l)
		if below == nil || mtu(below) <= add || mtu(l) == 0 || mtu(l)+add <= mtu(below) {
			continue
		}
		fits := mtu(below) - add
		f := Finding{
			Severity: Warning, Title: fmt.Sprintf("MTU of %s is %d, and over %s %d fit", l.Name, mtu(l), below.Name, fits), Object: l.Ref(), Links: []string{l.Name},
			Detail:   "Larger packets are split or dropped below the tunnel.",
			Evidence: []string{fmt.Sprintf("MTU of %s is %d", below.Name, mtu(below)), fmt.Sprintf("%s adds %d bytes", l.Type, add)},
			Cure:     []string{fmt.Sprintf("ip link set %s mtu %d", l.Name, fits)},
			Want:     []schema.Object{&schema.Link{Name: l.Name, Type: l.Type, MTU: &fits}},
		}
		if m := master(l); m != "" {
			f.Links = append(f.Links, m)
		}
		out = append(out, f)
	}
	return out
}
