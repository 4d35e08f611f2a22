package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
)

// signature recognises a program by what it leaves in the kernel.
type signature struct {
	owner  string
	tables []string // names, with "*" at the end as wildcard
	chains []string
	// control is true for privacy and security controls: named, never opened.
	control bool
	// hint is the owner's own way to let a flow pass.
	hint string
}

var signatures = []signature{
	{owner: "docker", tables: []string{"docker-bridges"}, chains: []string{"DOCKER", "DOCKER-*"}, hint: "rules in DOCKER-USER"},
	{owner: "libvirt", tables: []string{"libvirt_network", "libvirt_nwfilter*"}, chains: []string{"LIBVIRT_*", "libvirt-*", "I-vnet*", "O-vnet*"}, hint: "the network's XML or a hook in /etc/libvirt/hooks"},
	{owner: "ufw", chains: []string{"ufw-*", "ufw6-*"}, hint: "ufw route allow, ufw allow in on"},
	{owner: "firewalld", tables: []string{"firewalld"}, chains: []string{"FWDI_*", "FWDO_*", "IN_*", "*_ZONES"}, hint: "firewall-cmd --zone"},
	{owner: "incus", tables: []string{"incus"}, hint: "incus network set"},
	{owner: "lxd", tables: []string{"lxd"}, hint: "lxc network set"},
	{owner: "kube-proxy", tables: []string{"kube-proxy"}, chains: []string{"KUBE-*"}, hint: "a NetworkPolicy, or kube-proxy's configuration"},
	{owner: "calico", tables: []string{"calico"}, chains: []string{"cali-*"}, hint: "FelixConfiguration or a GlobalNetworkPolicy"},
	{owner: "tailscale", chains: []string{"ts-*"}, hint: "tailscale set --exit-node-allow-lan-access, --netfilter-mode"},
	{owner: "vpn client", tables: []string{"wg-quick-*", "nordvpn*", "mullvad*", "ivpn*"}, chains: []string{"nordvpn*", "mullvad*", "IVPN*"}, control: true, hint: "the client's own allow list"},
	{owner: "fail2ban", tables: []string{"f2b-table"}, chains: []string{"f2b-*"}, control: true, hint: "fail2ban-client unbanip"},
	{owner: "podman", tables: []string{"netavark"}, chains: []string{"NETAVARK*"}, hint: "containers.conf, firewall_driver"},
	{owner: "proxmox", tables: []string{"proxmox-firewall*"}, chains: []string{"PVEFW-*"}, hint: "/etc/pve/firewall"},
	{owner: "networkd", tables: []string{"io.systemd.nat"}, hint: ".network files"},
	{owner: "networkmanager", tables: []string{"nm-shared-*"}, chains: []string{"nm-sh-*"}, hint: "the connection's profile"},
	{owner: "nixos", tables: []string{"nixos-fw"}, chains: []string{"nixos-fw*"}, hint: "networking.firewall in configuration.nix"},
	{owner: "shorewall", chains: []string{"shorewall", "sfilter", "net2fw", "fw2net", "net-fw", "fw-net"}, hint: "/etc/shorewall"},
}

func matchName(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		switch {
		case strings.HasSuffix(p, "*"):
			return strings.HasPrefix(name, strings.TrimSuffix(p, "*"))
		case strings.HasPrefix(p, "*"):
			return strings.HasSuffix(name, strings.TrimPrefix(p, "*"))
		}
		return p == name
	})
}

// ownerOf says who writes a rule, or the policy of a base chain (rule nil), with the evidence. Rules of a builtin chain
// belong to whom they jump to; the policy of such a chain to the manager whose chains hang in it.
func ownerOf(s *schema.State, t *schema.Table, c *schema.Chain, rule *schema.Rule) (Owner, signature) {
	for _, sig := range signatures {
		if matchName(sig.tables, t.Name) {
			return Owner{sig.owner, "high", []string{"table " + t.Family + " " + t.Name}}, sig
		}
		if matchName(sig.chains, c.Name) {
			return Owner{sig.owner, "high", []string{"chain " + c.Name}}, sig
		}
	}
	if rule == nil {
		return policyOwner(t, c)
	}
	if file, line := persisted(s, t, c, rule); file != "" {
		return Owner{"iptables-persistent", "medium", []string{fmt.Sprintf("%s line %d has the same rule", file, line)}}, signature{}
	}
	return Owner{"unknown", "low", []string{"no manager's chain, table or file holds it"}}, signature{}
}

func policyOwner(t *schema.Table, c *schema.Chain) (Owner, signature) {
	for _, sig := range signatures {
		for _, other := range t.Chains {
			if matchName(sig.chains, other.Name) && jumpsTo(t, c, other.Name, 0) {
				return Owner{sig.owner, "medium", []string{fmt.Sprintf("chain %s jumps to %s", c.Name, other.Name)}}, sig
			}
		}
	}
	return Owner{"unknown", "low", []string{"no manager's chain hangs in it"}}, signature{}
}

func jumpsTo(t *schema.Table, c *schema.Chain, target string, depth int) bool {
	if c == nil || depth > 16 { // the kernel's own limit of jumps
		return false
	}
	for _, r := range c.Rules {
		for _, e := range r.Exprs {
			if e.Verdict == nil || e.Verdict.Chain == "" {
				continue
			}
			if e.Verdict.Chain == target || jumpsTo(t, t.Chain(e.Verdict.Chain), target, depth+1) {
				return true
			}
		}
	}
	return false
}

// persistedFiles are where iptables-persistent keeps its rules (netfilter-persistent(8)).
var persistedFiles = map[string]string{"ip": "/etc/iptables/rules.v4", "ip6": "/etc/iptables/rules.v6"}

// persisted finds the line of the saved ruleset that says the same as a live rule of an iptables table.
func persisted(s *schema.State, t *schema.Table, c *schema.Chain, rule *schema.Rule) (path string, line int) {
	if !t.Legacy && !t.Compat {
		return "", 0
	}
	path = persistedFiles[t.Family]
	f, _ := s.Get(schema.FileRef(path)).(*schema.File)
	if f == nil {
		return "", 0
	}
	if i := savedLine(f.Content, t.Name, "-A "+c.Name+" "+rule.Text); i >= 0 {
		return path, i + 1
	}
	return "", 0
}

// savedLine finds a rule in the text of iptables-save: the index of its line, or -1.
func savedLine(content, table, rule string) int {
	in := ""
	for i, l := range strings.Split(content, "\n") {
		l = strings.TrimSpace(l)
		if name, ok := strings.CutPrefix(l, "*"); ok {
			in = name
		}
		if in == table && strings.Contains(l, "-A ") && iptspec.Equal(l, rule) {
			return i
		}
	}
	return -1
}
