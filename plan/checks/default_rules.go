package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func defaultRules() Check {
	return Check{
		Code: "VN322", Name: "default-rules", Layer: LayerIP, Title: "no policy rule looks into table main", Run: runDefaultRules,
		Doc: Doc{
			Means: "The kernel's own policy rule 32766, \"from all lookup main\", is gone: nobody looks into the table that ip route shows. Everything there seems right, and nothing is routed.",
			Example: "ip rule shows \"0: from all lookup local\" and nothing else, ip route get 192.0.2.1 says \"Network is unreachable\", " +
				"and ip route shows a default route.",
			Why:     "A script flushed the rules (ip rule flush takes the kernel's own too), a VPN client put its own in their place and died, or systemd-networkd removed what it took for foreign.",
			Repair:  "vmnet adds the rule back at 32766, as the kernel makes it.",
			ByHand:  "ip rule add from all lookup main priority 32766; ip -6 rule add from all lookup main priority 32766.",
			Lasting: "The kernel makes it at every boot. Find what takes it away: ManageForeignRoutingPolicyRules=no in /etc/systemd/networkd.conf keeps networkd from it.",
		},
	}
}

func runDefaultRules(h *Host) []Finding {
	var out []Finding
	for _, family := range []string{"ip", "ip6"} {
		rules, main := 0, false
		for r := range schema.Each[*schema.PolicyRule](h.State) {
			if r.Family != family {
				continue
			}
			rules++
			everybody := !r.Src.IsValid() && !r.Dst.IsValid() && r.IIF == "" && r.OIF == "" && r.Mask == 0 && r.Mark == 0 && !r.Invert && r.IPProto == 0 && r.UIDRange == "" && len(r.Other) == 0
			if everybody && r.Table == schema.TableMain && (r.Action == "" || r.Action == "lookup") {
				main = main || r.SuppressPrefixLen == nil
			}
		}
		routes := h.mainRoutes(family)
		if rules == 0 || main || routes == "" {
			continue
		}
		word := map[string]string{"ip": "IPv4", "ip6": "IPv6"}[family]
		out = append(out, Finding{
			Severity: Error, Title: "no rule looks into table main for " + word,
			Detail: "Routes that ip route shows are not used: the kernel's rule 32766 is gone.",
			Object: schema.Ref{Kind: schema.KindPolicyRule, Name: family + " 32766: from all lookup main"},
			Evidence: []string{
				fmt.Sprintf("%d rules of %s, and none is \"from all lookup main\"", rules, word), "table main holds " + routes,
			},
			Cure: []string{map[string]string{"ip": "ip", "ip6": "ip -6"}[family] + " rule add from all lookup main priority 32766"},
			Want: []schema.Object{&schema.PolicyRule{Family: family, Priority: 32766, Table: schema.TableMain, Proto: new(uint8(schema.ProtoKernel))}},
		})
	}
	return out
}

// mainRoutes is a route of table main that somebody needs, "" for none.
func (h *Host) mainRoutes(family string) string {
	for r := range schema.Each[*schema.Route](h.State) {
		a := r.Dst.Addr()
		if r.Table == schema.TableMain && familyOf(a) == family && !(a.Is6() && r.Dst.Bits() > 0 && (a.IsLinkLocalUnicast() || a.IsMulticast())) {
			return r.String()
		}
	}
	return ""
}
