package checks

import (
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func firewallDouble() Check {
	return Check{
		Code: "VN133", Name: "firewall-double", Layer: LayerHost, Title: "two firewall managers are at work", Run: runFirewallDouble,
		Doc: Doc{
			Means:   "ufw is enabled and firewalld runs: a packet must be accepted by both. What is allowed in one is dropped by the other, and a reload of one does not know of the other's rules.",
			Example: "ufw status says active and firewall-cmd --state says running.",
			Why:     "One was installed beside the other: a desktop's default and a guide's advice.",
			Repair:  "It does not: which of the two is wanted is not for a tool to say.",
			ByHand:  "ufw disable, or systemctl disable --now firewalld, after moving its permissions to the other.",
			Lasting: "Remove the package of the one that goes.",
		},
	}
}

func runFirewallDouble(h *Host) []Finding {
	proof, running := h.runs("firewalld")
	if !running || !strings.Contains("\n"+h.file("/etc/ufw/ufw.conf"), "\nENABLED=yes") {
		return nil
	}
	live := func(table, chain string) bool {
		for t := range schema.Each[*schema.Table](h.State) {
			if t.Name == table || chain != "" && t.Chain(chain) != nil {
				return true
			}
		}
		return false
	}
	if !live("firewalld", "INPUT_ZONES") || !live("", "ufw-user-forward") {
		return nil
	}
	return []Finding{{
		Severity: Warning, Title: "ufw and firewalld both decide about packets", Object: schema.FileRef("/etc/ufw/ufw.conf"),
		Detail:   "What guests need must be allowed in both, and each writes its rules without regard to the other.",
		Evidence: []string{"/etc/ufw/ufw.conf says ENABLED=yes, and chain ufw-user-forward is in the kernel", proof + " of firewalld, and its table is in the kernel"},
		Cure:     []string{"ufw disable, or systemctl disable --now firewalld"},
	}}
}
