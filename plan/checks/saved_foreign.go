package checks

import (
	"fmt"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func savedForeign() Check {
	return Check{
		Code: "VN423", Name: "saved-foreign", Layer: LayerFirewall, Title: "a saved ruleset holds rules of Docker or libvirt", Run: runSavedForeign,
		Doc: Doc{
			Means: "A file that iptables-restore loads at boot holds chains of a program that writes its own when it starts. The file brings back what they were when it was saved: " +
				"rules to containers and networks that are gone, the policy DROP, and everything twice.",
			Example: ":DOCKER - [0:0] and -A FORWARD -j LIBVIRT_FWX in /etc/iptables/rules.v4.",
			Why:     "netfilter-persistent save (or iptables-save > rules.v4) was run while Docker's and libvirt's rules were live.",
			Repair:  "It does not, but takes out single lines that would block a flow of the file (VN413).",
			ByHand:  "Delete the lines with DOCKER and LIBVIRT, and chains of that name, from the file; iptables-restore --test < /etc/iptables/rules.v4.",
			Lasting: "Write the file by hand, and never save while such programs run.",
		},
	}
}

func runSavedForeign(h *Host) []Finding {
	var out []Finding
	for f := range schema.Each[*schema.File](h.State) {
		if !strings.HasPrefix(f.Path, "/etc/") || !strings.Contains(f.Path, "iptables") && !strings.Contains(f.Path, "ip6tables") || strings.Contains(f.Path, "systemd") {
			continue
		}
		whose, at, text := "", 0, ""
		for i, l := range strings.Split(f.Content, "\n") {
			for owner, chain := range map[string]string{"docker": "DOCKER", "libvirt": "LIBVIRT_", "podman": "NETAVARK"} {
				if whose == "" && (strings.HasPrefix(l, ":"+chain) || strings.HasPrefix(l, "-A "+chain)) {
					whose, at, text = owner, i+1, l
				}
			}
		}
		if whose == "" {
			continue
		}
		out = append(out, Finding{
			Severity: Warning, Title: fmt.Sprintf("%s holds rules of %s", f.Path, whose), Object: f.Ref(), Owner: whose,
			Detail:   "At boot they come back as they were when the file was saved, beside those that " + whose + " writes itself.",
			Evidence: []string{fmt.Sprintf("%s:%d: %s", f.Path, at, text)},
			Cure:     []string{"delete what is of " + whose + " from the file"},
		})
	}
	return out
}
