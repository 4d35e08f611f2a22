package checks

import (
	"fmt"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func networkdForeign() Check {
	return Check{
		Code: "VN331", Name: "networkd-foreign", Layer: LayerIP, Title: "networkd will remove policy rules of others", Run: runNetworkdForeign,
		Doc: Doc{
			Means: "systemd-networkd manages this host, and nothing forbids it to remove routing policy rules that it did not make: when it restarts or a link comes back, they are gone. " +
				"So are those that vmnet, a VPN or a CNI made for guests.",
			Example: "ip rule shows \"2500: from all to 192.168.122.0/24 lookup main\" of protocol 118, systemd-networkd runs, and networkd.conf has no ManageForeignRoutingPolicyRules=.",
			Why:     "networkd takes all rules for its own unless told otherwise (networkd.conf(5), ManageForeignRoutingPolicyRules=, since version 249; ManageForeignRoutes= since 246).",
			Repair:  "It does not: the file is networkd's. vmnet apply puts its own rules back.",
			ByHand:  "printf '[Network]\\nManageForeignRoutingPolicyRules=no\\nManageForeignRoutes=no\\n' > /etc/systemd/networkd.conf.d/vm.conf; networkctl reload",
			Lasting: "The file is what lasts. Or declare the rule in a .network file: [RoutingPolicyRule].",
		},
	}
}

func runNetworkdForeign(h *Host) []Finding {
	proof, running := h.runs("systemd-networkd")
	if !running || h.networkdLeaves() {
		return nil
	}
	var ours []string
	var first schema.Ref
	for r := range schema.Each[*schema.PolicyRule](h.State) {
		if schema.Owned(r) || vpnOf(r) == "tailscale" || vpnOf(r) == "wg-quick" {
			if len(ours) == 0 {
				first = r.Ref()
			}
			ours = append(ours, "ip rule "+r.String())
		}
	}
	if len(ours) == 0 {
		return nil
	}
	return []Finding{{
		Severity: Warning, Title: fmt.Sprintf("networkd removes %d policy rules of others when it restarts", len(ours)), Object: first,
		Owner: "systemd-networkd", Proof: []string{proof},
		Detail:   "Nothing in networkd.conf says ManageForeignRoutingPolicyRules=no.",
		Evidence: append(ours, proof),
		Cure:     []string{"ManageForeignRoutingPolicyRules=no in /etc/systemd/networkd.conf.d/vm.conf"},
	}}
}

func (h *Host) networkdLeaves() bool {
	for _, f := range append(h.files("/etc/systemd/networkd.conf", "networkd.conf"), h.files("/etc/systemd/networkd.conf.d/", ".conf")...) {
		for text := range strings.Lines(f.Content) {
			if v, ok := strings.CutPrefix(strings.ReplaceAll(strings.TrimSpace(text), " ", ""), "ManageForeignRoutingPolicyRules="); ok && (v == "no" || v == "false" || v == "0") {
				return true
			}
		}
	}
	return false
}
