package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func bridgeMTU() Check {
	return Check{
		Code: "VN220", Name: "bridge-mtu", Layer: LayerBridges, Title: "a bridge's MTU is larger than a port's", Run: runBridgeMTU,
		Doc: Doc{
			Means: "The host sends packets by the bridge that one of its ports cannot carry. The bridge drops them without a word and without a counter: " +
				"no ICMP message tells the sender, for inside a bridge nothing knows of IP.",
			Example: "ip link set br0 mtu 9000 while its port vnet3 has MTU 1500: ping -s 3000 to the guest is lost, ping -s 1000 is answered.",
			Why: "Somebody wanted jumbo frames and set the MTU of the bridge alone, or a guest's tap was made with the default of 1500 afterwards. By itself a bridge has the smallest MTU of its ports; " +
				"an MTU set on purpose stays (net/bridge/br_if.c, br_mtu_auto_adjust).",
			Repair:  "vmnet lowers the bridge to its smallest port, which is what the kernel would choose, unless the file declares an MTU.",
			ByHand:  "ip link set br0 mtu 1500; or raise every port, and the cards in the guests, to the bridge's MTU.",
			Lasting: "Declare mtu in the network's block, and have the hypervisor make taps with it (libvirt: <mtu size='9000'/> in the interface or the network; netplan and ifupdown: mtu of the bridge).",
		},
	}
}

func runBridgeMTU(h *Host) []Finding {
	var out []Finding
	for b := range schema.Each[*schema.Link](h.State) {
		if b.Type != "bridge" || mtu(b) == 0 {
			continue
		}
		least := mtu(b)
		f := Finding{Severity: Warning, Object: b.Ref(), Links: []string{b.Name}}
		for _, p := range h.ports(b.Name) {
			if mtu(p) == 0 || mtu(p) >= mtu(b) {
				continue
			}
			least = min(least, mtu(p))
			f.Links = append(f.Links, p.Name)
			f.Evidence = append(f.Evidence, fmt.Sprintf("MTU of port %s is %d", p.Name, mtu(p)))
		}
		if least == mtu(b) {
			continue
		}
		f.Title = fmt.Sprintf("MTU of %s is %d, and of its smallest port %d", b.Name, mtu(b), least)
		f.Detail = "What the host sends there in larger packets vanishes inside the bridge."
		f.Cure = []string{fmt.Sprintf("ip link set %s mtu %d, or raise the ports", b.Name, least)}
		f.Want = []schema.Object{&schema.Link{Name: b.Name, Type: "bridge", MTU: &least}}
		out = append(out, f)
	}
	return out
}
