package checks

import "github.com/vmnet/vmnet/schema"

func tunMissing() Check {
	return Check{
		Code: "VN131", Name: "tun-missing", Layer: LayerHost, Title: "guests cannot get a tap: /dev/net/tun is not there", Run: runTunMissing,
		Doc: Doc{
			Means:   "A hypervisor is at work on this host and the device that taps are made with is missing: guests start without a network, or not at all.",
			Example: "ls /dev/net/tun: No such file or directory, with libvirtd running.",
			Why:     "The module tun is not loaded and nothing loads it (a container, a minimal kernel, devtmpfs without static nodes), or its modules are gone (VN130).",
			Repair:  "It does not: plans load no modules.",
			ByHand:  "modprobe tun; in a container the device must be passed in (lxc.cgroup2.devices.allow = c 10:200 rwm, --device /dev/net/tun).",
			Lasting: "echo tun > /etc/modules-load.d/tun.conf",
		},
	}
}

func runTunMissing(h *Host) []Finding {
	m := h.Machine()
	proof, hypervisor := h.runs("libvirtd", "virtqemud", "virtnetworkd", "incus", "snap.lxd.daemon", "pve-cluster")
	if m == nil || !m.NoTun || !hypervisor {
		return nil
	}
	return []Finding{{
		Severity: Error, Title: "/dev/net/tun is not there", Object: schema.MachineRef(),
		Detail:   "A hypervisor runs on this host and can make no tap for a guest.",
		Evidence: []string{"no file /dev/net/tun", proof},
		Cure:     []string{"modprobe tun"},
	}}
}
