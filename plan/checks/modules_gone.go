package checks

func modulesGone() Check {
	return Check{
		Code: "VN130", Name: "modules-gone", Layer: LayerHost, Title: "the running kernel's modules are gone", Run: runModulesGone,
		Doc: Doc{
			Means: "The kernel loads modules, and the folder of those that fit it was removed: whatever is not loaded yet (tun, br_netfilter, a table of iptables) cannot be loaded until the next boot.",
			Example: "uname -r says 6.11.0 and /lib/modules holds 6.12.1 only: starting a guest fails with \"could not open /dev/net/tun: No such device\", " +
				"iptables -t nat with \"can't initialize iptables table\".",
			Why:     "A package manager replaced the kernel and removed the former one while it runs: pacman on Arch always, dnf and apt when old kernels are cleaned up.",
			Repair:  "It does not: only a boot of the new kernel helps.",
			ByHand:  "Reboot. Until then: install the package of the running kernel again, from the package manager's cache.",
			Lasting: "On Arch the package kernel-modules-hook keeps the modules of the running kernel; elsewhere keep two kernels (installonly_limit in dnf.conf).",
		},
	}
}

func runModulesGone(h *Host) []Finding {
	m := h.Machine()
	if m == nil || !m.NoModules {
		return nil
	}
	return []Finding{{
		Severity: Error, Title: "the modules of the running kernel " + m.Release + " are gone", Object: m.Ref(),
		Detail:   "What is not loaded yet cannot be loaded: new guests, tables and protocols may fail until the next boot.",
		Evidence: []string{"/lib/modules/" + m.Release + " does not exist, and /proc/modules lists modules"},
		Cure:     []string{"reboot into the kernel that is installed"},
	}}
}
