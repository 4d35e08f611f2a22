package checks

import (
	"fmt"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func tableTainted() Check {
	return Check{
		Code: "VN420", Name: "table-tainted", Layer: LayerFirewall, Title: "native rules stand in a table of iptables", Run: runTableTainted,
		Doc: Doc{
			Means: "Somebody wrote rules with nft into a table that iptables-nft manages, in words that iptables does not have: sets, maps, several ports in one. iptables then refuses the table " +
				"(\"incompatible, use 'nft' tool\"), or misprints the rule as one that drops everything; Docker, libvirt and ufw can no longer add theirs.",
			Example: "nft add set ip filter bad '{ type ipv4_addr; }'; nft add rule ip filter INPUT ip saddr @bad drop: iptables -S shows -A INPUT -j DROP.",
			Why:     "Guides for nft use the table names that iptables uses, ip filter and ip nat.",
			Repair:  "It does not: the rules are somebody's. It reads them as the kernel has them, and never acts on what iptables prints.",
			ByHand:  "Move them to a table of their own: nft list table ip filter shows them; nft delete rule ip filter INPUT handle N.",
			Lasting: "In /etc/nftables.conf write \"table inet mine\" instead of \"table ip filter\".",
		},
	}
}

func runTableTainted(h *Host) []Finding {
	var out []Finding
	for t := range schema.Each[*schema.Table](h.State) {
		if !t.Compat || t.Legacy || schema.OwnTable(t) || t.Family != "ip" && t.Family != "ip6" {
			continue
		}
		f := Finding{
			Severity: Warning, Object: t.Ref(), Title: fmt.Sprintf("rules of nft stand in the table %s %s of iptables", t.Family, t.Name),
			Detail: "iptables refuses or misprints the table, and programs that use it fail.",
			Cure:   []string{"move them to a table of their own, such as inet mine"},
		}
		for _, s := range t.Sets {
			if s.Flags&schema.SetAnonymous == 0 {
				f.Evidence = append(f.Evidence, "set "+s.Name)
			}
		}
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				if native(r) {
					f.Evidence = append(f.Evidence, "chain "+c.Name+": "+r.Text)
				}
			}
		}
		if len(f.Evidence) > 0 {
			out = append(out, f)
		}
	}
	return out
}

// native tells a rule that iptables did not write: it looks into a set of nftables, as no rule of iptables does.
func native(r *schema.Rule) bool {
	if _, ours := schema.Mark(r.Comment); ours || strings.HasPrefix(r.Text, "-") {
		return false
	}
	for _, e := range r.Exprs {
		if e.Name == "lookup" || e.Name == "objref" || e.Name == "dynset" {
			return true
		}
	}
	return false
}
