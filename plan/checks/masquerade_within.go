package checks

import (
	"bytes"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func masqueradeWithin() Check {
	return Check{
		Code: "VN425", Name: "masquerade-within", Layer: LayerFirewall, Title: "a masquerade without bounds rewrites what guests send each other", Run: runMasqueradeWithin,
		Doc: Doc{
			Means: "A rule masquerades whatever leaves by any link but lo, and the frames between the guests of a bridge go through the rules of IPv4 (bridge-nf-call-iptables): " +
				"to every guest, the others have the host's address. Logs are of no use, rules by source fail, clusters refuse their own members.",
			Example: "iptables -t nat -A POSTROUTING ! -o lo -j MASQUERADE, with net.bridge.bridge-nf-call-iptables = 1: a web server sees 192.168.122.1 as all its clients.",
			Why:     "Guides and firewall zones masquerade everything, and Docker or kube-proxy loads br_netfilter, which makes bridged frames pass there.",
			Repair:  "It does not: the rule is somebody's, and may be needed for another network.",
			ByHand:  "Give the rule bounds: iptables -t nat -A POSTROUTING -s 192.168.122.0/24 ! -d 192.168.122.0/24 -j MASQUERADE; a firewalld rich rule with a source.",
			Lasting: "In the file or the zone that the rule comes from; nothing on this host should need bridge-nf-call-iptables but Docker and Kubernetes.",
		},
	}
}

func runMasqueradeWithin(h *Host) []Finding {
	if h.sysctl("net.bridge.bridge-nf-call-iptables") != "1" {
		return nil
	}
	rule := h.boundless()
	if rule == "" {
		return nil
	}
	var out []Finding
	for _, n := range h.Networks {
		if len(n.Ports) < 2 {
			continue
		}
		out = append(out, Finding{
			Severity: Warning, Title: "a rule masquerades what guests of " + n.Label() + " send each other", Object: schema.LinkRef(n.Device), Links: []string{n.Device},
			Detail:   "To each of them the others have the host's address.",
			Evidence: []string{rule, "net.bridge.bridge-nf-call-iptables = 1: bridged frames meet the rule", n.Device + " has the ports " + strings.Join(n.Ports, ", ")},
			Cure:     []string{"give the rule a source (-s) and a destination that is not the same (! -d)"},
		})
	}
	return out
}

// boundless is a rule of a base chain of IPv4 that masquerades what leaves by any link, "" for none.
func (h *Host) boundless() string {
	for t := range schema.Each[*schema.Table](h.State) {
		if t.Family != "ip" && t.Family != "inet" {
			continue
		}
		for _, c := range t.Chains {
			if c.Hook != "postrouting" {
				continue
			}
			for _, r := range c.Rules {
				if everywhere(r) {
					return "table " + t.Family + " " + t.Name + " chain " + c.Name + ": " + r.Text
				}
			}
		}
	}
	return ""
}

// everywhere tells whether a rule masquerades all packets but those that leave by lo.
func everywhere(r *schema.Rule) bool {
	masq := false
	for _, e := range r.Exprs {
		switch e.Name {
		case "masq":
			masq = true
		case "counter":
		case "meta":
			if e.Key != "oifname" {
				return false
			}
		case "cmp":
			if name, _, _ := bytes.Cut(e.Data, []byte{0}); e.Op != "neq" || string(name) != "lo" {
				return false
			}
		default:
			return false
		}
	}
	return masq
}
