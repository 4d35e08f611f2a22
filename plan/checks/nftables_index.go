package checks

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func nftablesIndex() Check {
	return Check{
		Code: "VN421", Name: "nftables-index", Layer: LayerFirewall, Title: "the saved ruleset needs a bridge that is not there yet at boot", Run: runNftablesIndex,
		Doc: Doc{
			Means: "A file that nftables.service loads at boot names a virtual link by iif or oif, which nft turns into the link's number when it loads the file. At boot the link is not there yet: " +
				"the whole file is refused (\"Interface does not exist\"), and the host has no firewall and no NAT. And when the link is made anew, the rule matches nobody.",
			Example: "iif \"virbr0\" accept in /etc/nftables.conf.",
			Why:     "iif is a little faster than iifname, and works when the file is tried on the running host.",
			Repair:  "It does not: the file is yours.",
			ByHand:  "Write iifname and oifname; nft -c -f /etc/nftables.conf checks it.",
			Lasting: "The file is what lasts.",
		},
	}
}

var byIndex = regexp.MustCompile(`\b(iif|oif)\s+(?:!=\s*)?"?([A-Za-z0-9_.@-]+)"?`)

func runNftablesIndex(h *Host) []Finding {
	var out []Finding
	for f := range schema.Each[*schema.File](h.State) {
		if !strings.Contains(f.Path, "nft") || strings.Contains(f.Path, "iptables") {
			continue
		}
		n := 0
		for text := range strings.Lines(f.Content) {
			n++
			if i := strings.Index(text, "#"); i >= 0 {
				text = text[:i]
			}
			for _, m := range byIndex.FindAllStringSubmatch(text, -1) {
				if !h.virtual(m[2]) {
					continue
				}
				out = append(out, Finding{
					Severity: Warning, Title: fmt.Sprintf("%s needs %s to be there when it is loaded", f.Path, m[2]), Object: f.Ref(), Links: []string{m[2]},
					Detail:   "At boot the link is made later: the whole file is refused, and nothing of it is in force.",
					Evidence: []string{fmt.Sprintf("%s:%d: %s", f.Path, n, strings.TrimSpace(text)), m[2] + " is made by a program, not by the kernel at boot"},
					Cure:     []string{fmt.Sprintf("write %sname in place of %s", m[1], m[1])},
				})
			}
		}
	}
	return out
}

// virtual tells whether a link is made after boot by a program: a bridge, a tap, a tunnel. One that is not there may be any.
func (h *Host) virtual(name string) bool {
	if l := h.Link(name); l != nil {
		return l.Type != "device" && l.Type != "loopback" && l.Type != "veth"
	}
	return strings.HasPrefix(name, "virbr") || strings.HasPrefix(name, "vnet") || strings.HasPrefix(name, "docker") || strings.HasPrefix(name, "wg")
}
