package plan

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestRealOwners: of every rule and policy that drops, the owner with the evidence, as a file beside the host.
func TestRealOwners(t *testing.T) {
	for _, r := range realHosts(t) {
		t.Run(r.name, func(t *testing.T) {
			var b strings.Builder
			for table := range schema.Each[*schema.Table](r.state) {
				for _, c := range table.Chains {
					for _, rule := range c.Rules {
						if drops(rule) {
							o, sig := ownerOf(r.state, table, c, rule)
							fmt.Fprintf(&b, "%s %s: %s\n\t%s\n", tableName(table), c.Name, rule.Text, say(o, sig))
						}
					}
					if c.Policy == "drop" {
						o, sig := ownerOf(r.state, table, c, nil)
						fmt.Fprintf(&b, "%s %s: policy drop\n\t%s\n", tableName(table), c.Name, say(o, sig))
					}
				}
			}
			golden(t, filepath.Join(r.dir, "owners"), b.String())
		})
	}
}

func say(o Owner, sig signature) string {
	s := fmt.Sprintf("%s (%s): %s", o.Name, o.Confidence, strings.Join(o.Evidence, "; "))
	if sig.control {
		s += " [never opened]"
	}
	return s
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// ruleset builds tables from lines "FAMILY TABLE CHAIN: RULE"; ":policy drop" and ":hook" describe the builtin chains of
// iptables by their names. The last line's rule is returned with its place; nil for a policy.
func ruleset(t *testing.T, s *schema.State, lines string) (*schema.Table, *schema.Chain, *schema.Rule) {
	t.Helper()
	var table *schema.Table
	var chain *schema.Chain
	var rule *schema.Rule
	for line := range strings.Lines(lines) {
		place, text, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		f := strings.Fields(place)
		legacy := f[0] == "legacy"
		if legacy {
			f = f[1:]
		}
		ref := (&schema.Table{Family: f[0], Name: f[1], Legacy: legacy}).Ref()
		table, _ = s.Get(ref).(*schema.Table)
		if table == nil {
			builtin := []string{"filter", "nat", "mangle", "raw", "security"}
			table = &schema.Table{Family: f[0], Name: f[1], Legacy: legacy, Compat: !legacy && f[0] != "inet" && strings.Contains(strings.Join(builtin, " "), f[1])}
			s.Put(table)
		}
		if chain = table.Chain(f[2]); chain == nil {
			chain = &schema.Chain{Name: f[2], Hook: map[string]string{"INPUT": "input", "FORWARD": "forward", "OUTPUT": "output", "PREROUTING": "prerouting", "out": "output"}[f[2]]}
			table.Chains = append(table.Chains, chain)
		}
		if policy, ok := strings.CutPrefix(text, "policy "); ok {
			chain.Policy, rule = policy, nil
			continue
		}
		rule = parsed(text)
		chain.Rules = append(chain.Rules, rule)
	}
	return table, chain, rule
}

// parsed has of a rule what owners are told by: its text, comment, verdict, and the set it looks into.
func parsed(text string) *schema.Rule {
	r := &schema.Rule{Text: text}
	if _, rest, ok := strings.Cut(text, "comment \""); ok {
		r.Comment, _, _ = strings.Cut(rest, `"`)
	}
	if _, rest, ok := strings.Cut(text, "-m set "); ok {
		r.Exprs = append(r.Exprs, schema.Expr{Name: "xtmatch", Key: "set", Text: rest})
	}
	f := strings.Fields(text)
	last := f[len(f)-1]
	switch {
	case strings.HasSuffix(text, "ACCEPT"), last == "accept":
		r.Exprs = append(r.Exprs, schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: "accept"}})
	case strings.Contains(text, "-j DROP"), last == "drop":
		r.Exprs = append(r.Exprs, schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: "drop"}})
	case strings.Contains(text, "REJECT"), strings.Contains(text, "reject"):
		r.Exprs = append(r.Exprs, schema.Expr{Name: "reject"})
	case last == "RETURN":
		r.Exprs = append(r.Exprs, schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: "return"}})
	case len(f) > 1 && f[len(f)-2] == "-j":
		r.Exprs = append(r.Exprs, schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: "jump", Chain: last}})
	}
	return r
}

// TestOwners: the owner of the last line. Rules are as the programs' sources and documentation have them.
func TestOwners(t *testing.T) {
	const docker = "ip nat DOCKER: -i docker0 -j RETURN\nip filter FORWARD: -j DOCKER-USER\nip filter FORWARD: -o docker0 -j DOCKER\nip filter DOCKER-USER: -j RETURN\n"
	const libvirtOld = "ip filter FORWARD: -d 192.168.122.0/24 -o virbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n" +
		"ip filter FORWARD: -s 192.168.122.0/24 -i virbr0 -j ACCEPT\nip filter FORWARD: -i virbr0 -o virbr0 -j ACCEPT\n" +
		"ip filter FORWARD: -o virbr0 -j REJECT --reject-with icmp-port-unreachable\nip filter FORWARD: -i virbr0 -j REJECT --reject-with icmp-port-unreachable"
	for _, c := range []struct{ name, lines, want string }{
		{"docker's own rule for its bridge", docker + "ip filter FORWARD: -i docker0 -o docker0 -j DROP", "docker medium"},
		{"docker's raw table", docker + "ip raw PREROUTING: -d 172.17.0.2/32 ! -i docker0 -j DROP", "docker medium"},
		{"a rule about docker0 that is not of Docker's form", docker + "ip filter FORWARD: -i docker0 -o eno1 -j DROP", "unknown low"},
		{"a rule of Docker's form about another bridge", docker + "ip filter FORWARD: -i br0 -o br0 -j DROP", "unknown low"},
		{"a rule about docker0 without Docker", "ip filter FORWARD: -i docker0 -o docker0 -j DROP", "unknown low"},
		{"a rule in Docker's door", docker + "ip filter DOCKER-USER: -s 192.0.2.0/24 -j DROP", "unknown low"},
		{"the end of Docker's door", docker + "ip filter DOCKER-USER: -j RETURN", "docker medium"},
		{"a chain that sounds like Docker's", docker + "ip filter DOCKER-BLOCK: -j DROP", "unknown low"},
		{"docker's policy", docker + "ip filter FORWARD: policy drop", "docker medium"},
		{"a policy that Docker never sets", docker + "ip filter INPUT: -j DOCKER-USER\nip filter INPUT: policy drop", "unknown low"},
		{"docker by nftables", "ip docker-bridges filter-FORWARD: oifname docker0 drop", "docker medium"},
		{"libvirt", "ip filter LIBVIRT_FWI: -o virbr0 -j REJECT", "libvirt medium"},
		{"libvirt by nftables", "ip libvirt_network guest_input: reject", "libvirt medium"},
		{"libvirt before 5.1", libvirtOld, "libvirt medium"},
		{"a reject on virbr0 that is not libvirt's", "ip filter FORWARD: -o virbr0 -j REJECT --reject-with icmp-port-unreachable", "unknown low"},
		{"a policy over libvirt's chains", "ip filter FORWARD: -j LIBVIRT_FWI\nip filter LIBVIRT_FWI: -j RETURN\nip filter FORWARD: policy drop", "unknown low"},
		{"nwfilter by nftables", "bridge libvirt_nwfilter_inet n-vnet0-out: drop", "libvirt nwfilter medium"},
		{"a chain I-x of somebody", "ip filter I-vnet0: -j DROP", "unknown low"},
		{"ufw and docker, one policy", docker + "ip filter FORWARD: -j ufw-before-forward\nip filter ufw-before-forward: -j RETURN\nip filter FORWARD: policy drop", "docker medium"},
		{"a chain ufw-x without ufw", "ip filter ufw-x: -j DROP", "unknown low"},
		{"ufw-docker's chain beside ufw's", "ip filter ufw-user-forward: -j RETURN\nip filter ufw-docker-logging-deny: -j DROP", "ufw medium"},
		{"firewalld by iptables", "ip filter INPUT_ZONES: -j IN_public\nip filter IN_public: -j REJECT", "firewalld medium"},
		{"a chain IN_public without firewalld", "ip filter IN_public: -j DROP", "unknown low"},
		{"a table of somebody's named like firewalld's chains", "inet mine filter_FORWARD: drop", "unknown low"},
		{"incus", "inet incus fwd.incusbr0: reject", "incus medium"},
		{"incus by iptables", `ip filter INPUT: -i incusbr0 -m comment --comment "generated for Incus network incusbr0" -j DROP`, "incus medium"},
		{"kube-proxy", "ip filter KUBE-FIREWALL: -j DROP", "kube-proxy medium"},
		{"kube-proxy's jump", `ip filter FORWARD: -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD`, "kube-proxy medium"},
		{"kube-proxy by nftables", "ip kube-proxy filter-forward: drop", "kube-proxy medium"},
		{"kube-proxy's sets", "ip filter INPUT: -m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j DROP", "kube-proxy medium"},
		{"kube-router", "ip filter KUBE-POD-FW-ABC: -j REJECT", "kube-router medium"},
		{"a comment about kubernetes", `ip filter INPUT: -p tcp -m comment --comment "kubernetes api only from lan" -j DROP`, "unknown low"},
		{"calico", `ip filter FORWARD: -m comment --comment "cali:wUHhoiAYhphO9Mso" -j DROP`, "calico medium"},
		{"a comment about cali", `ip filter FORWARD: -m comment --comment "cali: keep out" -j DROP`, "unknown low"},
		{"cilium", "ip filter CILIUM_FORWARD: -j DROP", "cilium medium"},
		{"flannel", "inet flannel-ipv4 forward: drop", "flannel medium"},
		{"tailscale", "ip filter ts-input: -s 100.64.0.0/10 ! -i tailscale0 -j DROP", "tailscale medium"},
		{"a policy over tailscale's chains", "ip filter FORWARD: -j ts-forward\nip filter ts-forward: -j RETURN\nip filter FORWARD: policy drop", "unknown low"},
		{"wg-quick", "ip wg-quick-wg0 preraw: iifname != wg0 drop", "wg-quick medium control"},
		{"wg-quick by iptables", `ip raw PREROUTING: ! -i wg0 -d 10.0.0.2/32 -m comment --comment "wg-quick(8) rule for wg0" -j DROP`, "wg-quick medium control"},
		{"mullvad", "inet mullvad output: reject", "mullvad medium control"},
		{"a table for split tunnels beside mullvad", "inet mullvad_tailscale out: ip daddr 100.64.0.0/10 drop", "unknown low"},
		{"nordvpn", `ip filter INPUT: -i eno1 -m comment --comment "nordvpn" -j DROP`, "nordvpn medium control"},
		{"expressvpn", "ip filter evpn.100.blockAll: -j REJECT", "expressvpn medium control"},
		{"pia", "ip filter piavpn.100.blockAll: -j REJECT", "pia medium control"},
		{"ivpn", "ip filter IVPN-OUT: -j DROP", "ivpn medium control"},
		{"a kill switch by hand", "ip filter OUTPUT: ! -o tun0 -m addrtype ! --dst-type LOCAL -j DROP", "vpn kill switch medium control"},
		{"a kill switch by policy", "ip filter OUTPUT: -o lo -j ACCEPT\nip filter OUTPUT: -o tun+ -j ACCEPT\nip filter OUTPUT: policy drop", "vpn kill switch medium control"},
		{"a drop that spares the uplink", "ip filter OUTPUT: ! -o eno1 -j DROP", "unknown low"},
		{"fail2ban's jump", "ip filter INPUT: -p tcp -m multiport --dports 22 -j f2b-sshd", "fail2ban medium control"},
		{"fail2ban by ipset", "ip filter INPUT: -p tcp -m set --match-set f2b-sshd src -j REJECT", "fail2ban medium control"},
		{"crowdsec", "ip filter INPUT: -m set --match-set crowdsec-blacklists-0 src -j DROP", "crowdsec medium control"},
		{"sshguard", "inet sshguard blacklist: drop", "sshguard medium control"},
		{"csf", "ip filter LOCALINPUT: -j DENYIN\nip filter DENYIN: -s 192.0.2.1/32 -j DROP", "csf medium control"},
		{"azure's agent", "ip security OUTPUT: -d 168.63.129.16/32 -p tcp -m conntrack --ctstate INVALID,NEW -j DROP", "azure agent medium control"},
		{"oracle's cloud", "ip filter InstanceServices: -d 169.254.0.0/16 -p tcp -j REJECT", "oracle cloud medium control"},
		{"podman", "inet netavark NETAVARK-ISOLATION-3: drop", "podman medium"},
		{"cni's portmap", "ip nat CNI-HOSTPORT-DNAT: -j DROP", "cni medium"},
		{"proxmox", "ip filter PVEFW-FORWARD: -j tap100i0-IN\nip filter tap100i0-IN: -j DROP", "proxmox medium"},
		{"a chain of a tap without proxmox", "ip filter tap100i0-IN: -j DROP", "unknown low"},
		{"networkmanager", "ip nm-shared-eno2 filter_forward: reject", "networkmanager medium"},
		{"networkd", "ip io.systemd.nat prerouting: drop", "networkd medium"},
		{"nixos", "ip filter nixos-fw-refuse: -j DROP", "nixos medium"},
		{"vyos", "ip vyos_filter VYOS_FORWARD_filter: drop", "vyos medium"},
		{"shorewall", "ip filter shorewall: -j RETURN\nip filter net-fw: -j DROP", "shorewall medium"},
		{"a chain net-fw without shorewall", "ip filter net-fw: -j DROP", "unknown low"},
		{"legacy", "legacy ip filter f2b-sshd: -j REJECT", "fail2ban medium control"},
		{"ours", `ip filter FORWARD: -d 10.20.0.0/24 -m comment --comment "vmnet:nat.lab" -j ACCEPT`, "vmnet high"},
	} {
		state := schema.NewState()
		table, chain, rule := ruleset(t, state, c.lines)
		o, sig := ownerOf(state, table, chain, rule)
		got := o.Name + " " + o.Confidence
		if sig.control {
			got += " control"
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s (%v)", c.name, got, c.want, o.Evidence)
		}
		if len(o.Evidence) == 0 {
			t.Errorf("%s: no evidence", c.name)
		}
	}
}
