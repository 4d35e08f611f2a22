package plan

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// wish is one flow that an owner is asked for.
type wish struct {
	accept
	state   *schema.State
	culprit culprit
}

// ownWay is what a person would do at the owner for one of the flows: the exact command where there is one, else a few
// words; and what becomes of live edits. The signature is as ownerOf gives it.
func (sig signature) ownWay(s *schema.State, c culprit, acc []accept) string {
	if sig.way == nil || len(acc) == 0 {
		return sig.hint
	}
	way := sig.way(wish{acc[0], s, c})
	switch {
	case way == "":
		return sig.hint
	case sig.reload != "":
		return way + " (" + sig.reload + ")"
	}
	return way
}

// dockerWay is its chain for others, or with its nftables backend, which has none, the mark that it lets through
// (docs.docker.com/engine/network/firewall-nftables).
func dockerWay(w wish) string {
	if !w.culprit.table.Legacy && !w.culprit.table.Compat {
		match := strings.TrimSuffix(w.nft(w.culprit.table.Family), " accept")
		return fmt.Sprintf(`"bridge-accept-fwmark" in /etc/docker/daemon.json, and that mark on these packets in a table of your own, at an earlier priority: %s meta mark set …`, match)
	}
	tool := "iptables"
	if w.family() == "ip6" {
		tool = "ip6tables"
	}
	if w.culprit.table.Legacy {
		tool += "-legacy"
	}
	return tool + " -I DOCKER-USER " + w.iptables(w.family())
}

// ufwWay is ufw's own syntax (ufw(8), RULE SYNTAX).
func ufwWay(w wish) string {
	words := []string{"ufw"}
	if w.culprit.base.Hook == "forward" {
		words = append(words, "route")
	}
	words = append(words, "allow")
	add := func(word, v string) {
		if v != "" {
			words = append(words, word, v)
		}
	}
	add("in on", w.in)
	if w.out != "" && w.culprit.base.Hook == "output" {
		words = append(words, "out on "+w.out)
	} else {
		add("out on", w.out)
	}
	words = append(words, "from", orAny(w.src))
	if w.sport.First != 0 {
		add("port", portText(w.sport, ":"))
	}
	words = append(words, "to", orAny(w.dst))
	if w.dport.First != 0 {
		add("port", portText(w.dport, ":"))
	}
	if w.proto == "tcp" || w.proto == "udp" {
		add("proto", w.proto)
	}
	return strings.Join(words, " ")
}

func orAny(p netip.Prefix) string {
	if t := shortPrefix(p); t != "" {
		return t
	}
	return "any"
}

// firewalldWay is a rich rule in the zone of the interface, or in a policy between two zones (firewall-cmd(1),
// firewalld.richlanguage(5)).
func firewalldWay(w wish) string {
	rich := []string{"rule", fmt.Sprintf("family=%q", map[string]string{"ip": "ipv4", "ip6": "ipv6"}[w.family()])}
	if prefixText(w.src) != "" {
		rich = append(rich, fmt.Sprintf("source address=%q", shortPrefix(w.src)))
	}
	if prefixText(w.dst) != "" {
		rich = append(rich, fmt.Sprintf("destination address=%q", shortPrefix(w.dst)))
	}
	switch {
	case w.dport.First != 0:
		rich = append(rich, fmt.Sprintf("port port=%q protocol=%q", portText(w.dport, "-"), w.proto))
	case w.proto != "":
		rich = append(rich, fmt.Sprintf("protocol value=%q", w.protoWord()))
	}
	rule := strings.Join(append(rich, "accept"), " ")
	if w.culprit.base.Hook != "forward" {
		add := fmt.Sprintf("--zone=%s --add-rich-rule='%s'", zoneOf(w.state, w.in), rule)
		return "firewall-cmd --permanent " + add + " && firewall-cmd " + add // for good, and at once: no reload is needed
	}
	p := "vmnet-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, w.address)
	p = p[:min(len(p), 18)] // firewalld takes no longer names
	commands := []string{
		"--new-policy=" + p, "--policy=" + p + " --add-ingress-zone=" + zoneOf(w.state, w.in), "--policy=" + p + " --add-egress-zone=" + zoneOf(w.state, w.out),
		"--policy=" + p + " --add-rich-rule='" + rule + "'",
	}
	return "firewall-cmd --permanent " + strings.Join(commands, " && firewall-cmd --permanent ") + " && firewall-cmd --reload"
}

// zoneOf is the zone of an interface, by firewalld's own live rules; else the default zone of its file.
func zoneOf(s *schema.State, dev string) string {
	for t := range schema.Each[*schema.Table](s) {
		c := t.Chain("filter_INPUT_ZONES")
		if t.Name != "firewalld" || c == nil {
			continue
		}
		for _, r := range c.Rules {
			for _, e := range r.Exprs {
				if zone, ok := strings.CutPrefix(verdictChain(e), "filter_IN_"); ok && dev != "" && strings.Contains(r.Text, fmt.Sprintf("iifname %q", dev)) {
					return zone
				}
			}
		}
	}
	x := sign{"/etc/firewalld/firewalld.conf", "DefaultZone=", nil}
	if line, _ := x.find(s); line != "" {
		return x.value(line)
	}
	return "public"
}

func verdictChain(e schema.Expr) string {
	if e.Verdict == nil {
		return ""
	}
	return e.Verdict.Chain
}

// libvirtWay names the network that has the bridge, by its definition on disk.
func libvirtWay(w wish) string {
	for _, dev := range []string{w.out, w.in, bridgeIn(ruleText(w.culprit.rule))} {
		if name := libvirtNetwork(w.state, dev); name != "" {
			return "virsh net-edit " + name + " (forward mode='open' leaves its bridge to others), or a hook in /etc/libvirt/hooks/network"
		}
	}
	return ""
}

func ruleText(r *schema.Rule) string {
	if r == nil {
		return ""
	}
	return r.Text
}

var (
	networkName   = regexp.MustCompile(`<name>([^<]+)</name>`)
	networkBridge = regexp.MustCompile(`<bridge name=['"]([^'"]+)['"]`)
)

func libvirtNetwork(s *schema.State, dev string) string {
	for f := range schema.Each[*schema.File](s) {
		if dev == "" || !strings.HasPrefix(f.Path, "/etc/libvirt/qemu/networks/") {
			continue
		}
		name, bridge := networkName.FindStringSubmatch(f.Content), networkBridge.FindStringSubmatch(f.Content)
		if name != nil && bridge != nil && bridge[1] == dev {
			return name[1]
		}
	}
	return ""
}

// incusWay leaves the bridge's filter to others: Incus has no narrower way for a network without ACLs.
func incusWay(tool string) func(wish) string {
	return func(w wish) string {
		dev := w.in
		if c := w.culprit.chain.Name; strings.Contains(c, ".") {
			dev = c[strings.IndexByte(c, '.')+1:]
		}
		if dev == "" {
			return ""
		}
		return fmt.Sprintf("%s network set %s security.acls=…, or ipv4.firewall=false and rules of one's own", tool, dev)
	}
}

func nordWay(w wish) string {
	if prefixText(w.dst) == "" {
		return ""
	}
	return "nordvpn allowlist add subnet " + prefixText(w.dst)
}

func fail2banWay(w wish) string {
	jail, ok := strings.CutPrefix(w.culprit.chain.Name, "f2b-")
	if !ok || jail == "chain" {
		jail = ""
		for word := range strings.FieldsSeq(ruleText(w.culprit.rule)) {
			if rest, found := strings.CutPrefix(word, "@addr-set-"); found {
				jail = rest
			} else if rest, found := strings.CutPrefix(word, "@addr6-set-"); found {
				jail = rest
			}
		}
	}
	if jail == "" || prefixText(w.src) == "" {
		return ""
	}
	return "fail2ban-client set " + jail + " unbanip " + shortPrefix(w.src)
}

func crowdsecWay(w wish) string {
	switch {
	case prefixText(w.src) == "":
		return ""
	case w.src.IsSingleIP():
		return "cscli decisions delete --ip " + shortPrefix(w.src)
	}
	return "cscli decisions delete --range " + prefixText(w.src)
}
