package checks

import "github.com/vmnet/vmnet/schema"

func networkInactive() Check {
	return Check{
		Code: "VN503", Name: "network-inactive", Layer: LayerServices, Title: "a network that is to start by itself is not there", Run: runNetworkInactive,
		Doc: Doc{
			Means:   "libvirt has the network defined and marked for autostart, libvirt runs, and the network's bridge does not exist: guests on it do not start (\"network 'default' is not active\").",
			Example: "/etc/libvirt/qemu/networks/autostart/default.xml exists, and ip link shows no virbr0.",
			Why:     "Its start failed: the address range is in use elsewhere on the host (VN320), port 53 is taken (VN502), the firewall backend does not work. Or somebody stopped it.",
			Repair:  "It does not: the network is libvirt's.",
			ByHand:  "virsh net-start default says why it does not start.",
			Lasting: "virsh net-autostart default, once it starts.",
		},
	}
}

func runNetworkInactive(h *Host) []Finding {
	proof, running := h.runs("libvirtd", "virtnetworkd")
	if !running || h.blind("links") {
		return nil
	}
	var out []Finding
	for _, n := range h.Networks {
		auto := libvirtDir + "autostart/"
		if n.libvirt != nil {
			auto += n.libvirt.file[len(libvirtDir):]
		}
		if !n.Missing || h.file(auto) == "" {
			continue
		}
		out = append(out, Finding{
			Severity: Error, Title: n.Label() + " is not active", Object: schema.LinkRef(n.Device), Links: []string{n.Device}, Owner: "libvirt", Proof: []string{proof},
			Detail:   "It is to start by itself, and its bridge does not exist: guests on it do not start.",
			Evidence: []string{auto + " exists", "there is no link " + n.Device, proof},
			Cure:     []string{"virsh net-start " + n.Name},
		})
	}
	return out
}
