package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func bridgeStale() Check {
	return Check{
		Code: "VN509", Name: "bridge-stale", Layer: LayerServices, Title: "a leftover bridge has the name of a network's", Run: runBridgeStale,
		Doc: Doc{
			Means: "libvirt has a network defined, a bridge of its name is there, and it is not what libvirt makes: it has none of the network's addresses and no ports. The network is not active, " +
				"and virsh net-start fails: \"error creating bridge interface virbr0: File exists\".",
			Example: "ip link show virbr0 shows a bridge without an address; virsh net-list --all says that default is inactive.",
			Why:     "The daemon died while the network was started or stopped, or another program (minikube, multipass, a script) made the bridge before.",
			Repair:  "It does not: somebody may be about to use the bridge.",
			ByHand:  "ip link del virbr0; virsh net-start default. Look at ip -d link show virbr0 and its ports first.",
			Lasting: "Let one program alone make the bridge: another name in the network's <bridge name=…/>, or in the script.",
		},
	}
}

func runBridgeStale(h *Host) []Finding {
	proof, running := h.runs("libvirtd", "virtnetworkd")
	if !running || h.blind("links") || h.blind("addresses") {
		return nil
	}
	var out []Finding
	for _, n := range h.Networks {
		if n.libvirt == nil || n.Missing || n.libvirt.mode() == ModeBridge || len(n.libvirt.IPs) == 0 || len(n.Hosts) > 0 || len(n.Ports)+len(n.Uplinks) > 0 || h.blockOf(n.Device) {
			continue
		}
		out = append(out, Finding{
			Severity: Error, Title: n.Device + " is in the way of " + n.Label(), Object: schema.LinkRef(n.Device), Links: []string{n.Device}, Owner: "libvirt", Proof: []string{proof},
			Detail:   "The network cannot be started: its bridge is there, and libvirt did not make it.",
			Evidence: []string{fmt.Sprintf("%s gives %s the address %s", n.libvirt.file, n.Device, n.libvirt.IPs[0].Address), n.Device + " is a bridge without addresses and without ports", proof},
			Cure:     []string{"ip link del " + n.Device + "; virsh net-start " + n.Name},
		})
	}
	return out
}

// blockOf tells whether the file declares a network of a device.
func (h *Host) blockOf(device string) bool {
	if h.Desired == nil {
		return false
	}
	for _, d := range h.Desired.Networks {
		if d.Device == device {
			return true
		}
	}
	return false
}
