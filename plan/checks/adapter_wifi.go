package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func adapterWifi() Check {
	return Check{
		Code: "VN120", Name: "adapter-wifi", Layer: LayerAdapters, Title: "a Wi-Fi station is a bridge's port", Run: runAdapterWifi,
		Doc: Doc{
			Means: "A port of the bridge is a Wi-Fi card. An access point takes only frames from the MAC address that is registered with it " +
				"(IEEE 802.11 frames of a station have three addresses, and no room for a fourth): guests' frames are dropped in the air, and so are the answers to them.",
			Example: "ip link set wlan0 master br0, then a guest behind br0 that asks for an address by DHCP and never gets one.",
			Why: "Tutorials bridge the card that has the network, whatever it is. Most drivers refuse (\"Operation not supported\"); those that do not, and cards with 4addr set, join, " +
				"and it looks as if it worked: the host itself, whose MAC address is the card's, has a network.",
			Repair:  "It does not: no change of the bridge can make an access point accept other MAC addresses. The network has to be another one.",
			ByHand:  "Take the card out of the bridge (ip link set wlan0 nomaster), give guests a nat network, or a routed one with proxy_arp on the card. Where the access point speaks WDS too: iw dev wlan0 set 4addr on.",
			Lasting: "Write a nat block in place of the bridge block, or change the network's definition at its manager (virsh net-edit, nmcli).",
		},
	}
}

func runAdapterWifi(h *Host) []Finding {
	var out []Finding
	for l := range schema.Each[*schema.Link](h.State) {
		b := h.Link(master(l))
		if l.Facts == nil || !l.Facts.Wireless || b == nil || b.Type != "bridge" {
			continue
		}
		out = append(out, Finding{
			Severity: Error, Title: fmt.Sprintf("%s is a Wi-Fi card and a port of %s", l.Name, b.Name),
			Detail: "An access point takes frames of the card's own MAC address only: what guests send is lost in the air.",
			Object: l.Ref(), Links: []string{l.Name, b.Name},
			Evidence: []string{"/sys/class/net/" + l.Name + "/phy80211 exists", fmt.Sprintf("master of %s is %s", l.Name, b.Name)},
			Cure:     []string{"ip link set " + l.Name + " nomaster, and a nat network for the guests of " + b.Name},
		})
	}
	return out
}
