package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// shape tells a rule by its exact form. It returns the evidence, or "".
type shape func(s *schema.State, t *schema.Table, c *schema.Chain, rule *schema.Rule) string

// dockerShape knows the rules that Docker puts into builtin chains, for a bridge that a rule of its own chains names too.
// Somebody else's rule about docker0 has another form, or is about a bridge that Docker does not know.
func dockerShape(s *schema.State, t *schema.Table, c *schema.Chain, rule *schema.Rule) string {
	if !t.Legacy && !t.Compat {
		return ""
	}
	for _, bridge := range dockerBridges(s, t) {
		if slices.ContainsFunc(dockerForms[t.Name+" "+c.Name], func(form string) bool { return fits(form, bridge, rule.Text) }) {
			return fmt.Sprintf("it has the form of Docker's rules for %s, which chain DOCKER names", bridge)
		}
	}
	return ""
}

// dockerForms are by table and chain; BRIDGE is a bridge's name, * one word.
var dockerForms = map[string][]string{
	"filter FORWARD": {
		"-o BRIDGE -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-i BRIDGE ! -o BRIDGE -j ACCEPT",
		"-i BRIDGE -o BRIDGE -j ACCEPT", "-i BRIDGE -o BRIDGE -j DROP",
	},
	"nat POSTROUTING": {"-s * ! -o BRIDGE -j MASQUERADE"},
	"raw PREROUTING":  {"-d * ! -i BRIDGE -j DROP"},
}

// fits compares a rule's text with a form, word by word.
func fits(form, bridge, text string) bool {
	f, w := strings.Fields(form), strings.Fields(text)
	if len(f) != len(w) {
		return false
	}
	for i := range f {
		if f[i] != "*" && strings.ReplaceAll(f[i], "BRIDGE", bridge) != w[i] {
			return false
		}
	}
	return true
}

// dockerBridges are the bridges that Docker's own chains speak of: "-i BRIDGE -j RETURN" in DOCKER of table nat, "-o BRIDGE
// -j DOCKER" in filter.
func dockerBridges(s *schema.State, like *schema.Table) []string {
	var out []string
	for t := range schema.Each[*schema.Table](s) {
		if t.Family != like.Family || t.Legacy != like.Legacy || t.Chain("DOCKER") == nil {
			continue
		}
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				w := strings.Fields(r.Text)
				returns := c.Name == "DOCKER" && len(w) == 4 && w[0] == "-i" && w[3] == "RETURN"
				enters := len(w) == 4 && w[0] == "-o" && w[2] == "-j" && w[3] == "DOCKER"
				if (returns || enters) && !slices.Contains(out, w[1]) {
					out = append(out, w[1])
				}
			}
		}
	}
	return out
}

// libvirtForms are what libvirt before 5.1 wrote into FORWARD for a NAT network, when it had no chains of its own.
var libvirtForms = []string{
	"-d * -o BRIDGE -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-s * -i BRIDGE -j ACCEPT", "-i BRIDGE -o BRIDGE -j ACCEPT",
	"-o BRIDGE -j REJECT --reject-with icmp-port-unreachable", "-i BRIDGE -j REJECT --reject-with icmp-port-unreachable",
}

// libvirtShape knows them when all five are there, in that order.
func libvirtShape(_ *schema.State, t *schema.Table, c *schema.Chain, rule *schema.Rule) string {
	if t.Name != "filter" || c.Name != "FORWARD" || t.Chain("LIBVIRT_FWI") != nil {
		return ""
	}
	at := slices.Index(c.Rules, rule)
	for i, form := range libvirtForms {
		first := at - i
		if at < 0 || first < 0 || first+len(libvirtForms) > len(c.Rules) {
			continue
		}
		bridge := bridgeIn(rule.Text)
		if strings.HasPrefix(bridge, "virbr") && fits(form, bridge, rule.Text) && allFit(c.Rules[first:], bridge) {
			return "it is one of the five rules that libvirt before 5.1 wrote for " + bridge
		}
	}
	return ""
}

func allFit(rules []*schema.Rule, bridge string) bool {
	for i, form := range libvirtForms {
		if !fits(form, bridge, rules[i].Text) {
			return false
		}
	}
	return true
}

// bridgeIn is the first interface that a rule of iptables names.
func bridgeIn(text string) string {
	w := strings.Fields(text)
	for i := range w[:max(len(w)-1, 0)] {
		if w[i] == "-i" || w[i] == "-o" {
			return w[i+1]
		}
	}
	return ""
}

// calicoShape knows Felix's mark: "cali:" and 16 characters of base64url (felix/generictables).
func calicoShape(_ *schema.State, _ *schema.Table, _ *schema.Chain, rule *schema.Rule) string {
	hash, ok := strings.CutPrefix(rule.Comment, "cali:")
	if i := strings.IndexFunc(hash, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}); !ok || len(hash) != 16 || i >= 0 {
		return ""
	}
	return "comment " + rule.Comment
}

// azureShape knows the guard of the fabric's address (learn.microsoft.com, what is IP address 168.63.129.16).
func azureShape(_ *schema.State, t *schema.Table, c *schema.Chain, rule *schema.Rule) string {
	if t.Name == "security" && c.Name == "OUTPUT" && strings.HasPrefix(rule.Text, "-d 168.63.129.16/32 ") {
		return "table security guards 168.63.129.16, Azure's own address"
	}
	return ""
}

// killSwitchShape knows rules that stop what would leave by another way than a tunnel, whoever wrote them.
func killSwitchShape(s *schema.State, _ *schema.Table, c *schema.Chain, rule *schema.Rule) string {
	if c.Hook != "output" && c.Hook != "forward" || !drops(rule) {
		return ""
	}
	w := strings.Fields(rule.Text)
	for i := 1; i+1 < len(w); i++ {
		dev := strings.Trim(w[i+1], `"`)
		if (w[i-1] == "!" && w[i] == "-o" || w[i-1] == "oifname" && w[i] == "!=") && isTunnel(s, dev) {
			return "it stops whatever does not leave by " + dev + ", a tunnel"
		}
	}
	return ""
}

// killSwitchPolicy knows the other form: everything the host sends is dropped but what leaves by a tunnel.
func killSwitchPolicy(s *schema.State, c *schema.Chain) string {
	if c.Hook != "output" {
		return ""
	}
	for _, r := range c.Rules {
		w := strings.Fields(r.Text)
		for i := 1; i+1 < len(w); i++ {
			dev := strings.Trim(w[i+1], `"`)
			if (w[i] == "-o" && w[i-1] != "!" || w[i] == "oifname") && isTunnel(s, dev) && accepts(r) {
				return "what leaves by " + dev + ", a tunnel, is let through"
			}
		}
		if len(w) > 1 && (w[0] == "-o" || w[0] == "oifname") && isTunnel(s, strings.Trim(w[1], `"`)) && accepts(r) {
			return "what leaves by " + strings.Trim(w[1], `"`) + ", a tunnel, is let through"
		}
	}
	return ""
}

func isTunnel(s *schema.State, dev string) bool {
	if l := s.Link(strings.TrimSuffix(dev, "+")); l != nil {
		return l.Type == "wireguard" || l.Type == "tun"
	}
	name := strings.TrimRight(strings.TrimRight(dev, "+*"), "0123456789")
	return slices.Contains([]string{"tun", "wg", "nordlynx", "nordtun", "proton", "wg-mullvad", "tailscale"}, name)
}

func drops(r *schema.Rule) bool {
	return slices.ContainsFunc(r.Exprs, func(e schema.Expr) bool {
		return e.Name == "reject" || e.Verdict != nil && e.Verdict.Kind == "drop"
	})
}

func accepts(r *schema.Rule) bool {
	return slices.ContainsFunc(r.Exprs, func(e schema.Expr) bool { return e.Verdict != nil && e.Verdict.Kind == "accept" })
}
