package checks

import "slices"

func vmwareModules() Check {
	return Check{
		Code: "VN132", Name: "vmware-modules", Layer: LayerHost, Title: "VMware's networks have no kernel modules", Run: runVMwareModules,
		Doc: Doc{
			Means:   "VMware Workstation or Player is set up on this host, and neither its network devices nor its modules are there: guests start with \"Virtual ethernet failed\" or without a network.",
			Example: "/etc/vmware/networking exists, ls /dev/vmnet* finds nothing, lsmod shows no vmnet.",
			Why:     "The modules vmmon and vmnet are built outside the kernel's tree, for one kernel; after an update they are missing, or do not compile, or secure boot refuses them unsigned.",
			Repair:  "It does not: they are VMware's to build.",
			ByHand:  "vmware-modconfig --console --install-all; vmware-networks --start. Where they do not compile: a version of VMware, or of the patched modules, for this kernel.",
			Lasting: "Run the same after each kernel update (a hook of the package manager, DKMS packages); sign them where secure boot is on (mokutil).",
		},
	}
}

func runVMwareModules(h *Host) []Finding {
	m := h.Machine()
	if m == nil || h.file("/etc/vmware/networking") == "" || len(m.VMwareDevices) > 0 || slices.Contains(m.Modules, "vmnet") {
		return nil
	}
	return []Finding{{
		Severity: Warning, Title: "VMware's networks are set up and its kernel modules are not loaded", Object: m.Ref(), Owner: "vmware",
		Detail:   "Guests of VMware get no network on this kernel (" + m.Release + ").",
		Evidence: []string{"/etc/vmware/networking exists", "neither /dev/vmnet0, vmnet1 nor vmnet8 is there", "the module vmnet is not loaded"},
		Cure:     []string{"vmware-modconfig --console --install-all", "vmware-networks --start"},
	}}
}
