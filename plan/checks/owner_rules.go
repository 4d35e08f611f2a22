package checks

import (
	"fmt"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func ownerRules() Check {
	return Check{
		Code: "VN424", Name: "owner-rules", Layer: LayerFirewall, Title: "a manager runs, and its rules are gone", Run: runOwnerRules,
		Doc: Doc{
			Means: "Docker or libvirt runs and has networks with addresses, and none of its chains or tables is in the kernel: somebody removed them. Its guests reach the outside no more, " +
				"or are open where they were not.",
			Example: "iptables-restore < rules.v4, nft flush ruleset, or firewall-cmd --reload with an old Docker; then no chain LIBVIRT_FWO and no table libvirt_network.",
			Why:     "Another program loaded its ruleset whole, and took for its own what was there.",
			Repair:  "For a network of the file vmnet does what the file says, by its own table. The manager's rules it cannot write.",
			ByHand:  "systemctl restart docker; systemctl restart virtnetworkd (or libvirtd), which writes its rules again and attaches guests. Not virsh net-destroy: that takes the guests off.",
			Lasting: "A unit drop-in PartOf=firewalld.service (or nftables.service) for docker.service; no flush ruleset (VN422).",
		},
	}
}

func runOwnerRules(h *Host) []Finding {
	if h.blind("nftables") || h.blind("iptables") {
		return nil
	}
	var out []Finding
	for _, m := range []struct {
		manager, restart string
		units, names     []string
	}{
		{"docker", "systemctl restart docker", []string{"docker"}, []string{"DOCKER", "docker-bridges"}},
		{"libvirt", "systemctl restart virtnetworkd (or libvirtd)", []string{"libvirtd", "virtnetworkd"}, []string{"LIBVIRT_", "libvirt_network"}},
	} {
		proof, running := h.runs(m.units...)
		if !running || h.hasNamed(m.names) {
			continue
		}
		for _, n := range h.Networks {
			if n.Manager != m.manager || len(n.Hosts) == 0 || n.Missing || m.manager == "libvirt" && n.Mode == ModeBridge {
				continue
			}
			out = append(out, Finding{
				Severity: Error, Title: "the rules of " + m.manager + " for " + n.Device + " are gone", Object: schema.LinkRef(n.Device), Links: []string{n.Device},
				Owner: m.manager, Proof: []string{proof},
				Detail:   "Somebody removed them: what they let through or translated is not any more.",
				Evidence: []string{proof, fmt.Sprintf("%s has %s", n.Device, n.Hosts[0]), "no chain or table begins with " + strings.Join(m.names, " or ")},
				Cure:     []string{m.restart},
			})
		}
	}
	return out
}

// hasNamed tells whether a table or chain begins with one of these names.
func (h *Host) hasNamed(names []string) bool {
	for t := range schema.Each[*schema.Table](h.State) {
		for _, n := range names {
			if strings.HasPrefix(t.Name, n) {
				return true
			}
			for _, c := range t.Chains {
				if strings.HasPrefix(c.Name, n) {
					return true
				}
			}
		}
	}
	return false
}
