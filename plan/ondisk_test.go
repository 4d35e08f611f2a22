package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func onDisk(files map[string]string) *schema.State {
	s := schema.NewState()
	for path, content := range files {
		s.Put(&schema.File{Path: path, Content: content})
	}
	return s
}

// TestPersisted: where a live rule comes back from at boot.
func TestPersisted(t *testing.T) {
	save := "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -d 192.0.2.1 -j DROP\nCOMMIT\n"
	const drop = "-d 192.0.2.1/32 -j DROP"
	ufw := map[string]string{"/etc/ufw/before.rules": save}
	for _, c := range []struct {
		name  string
		files map[string]string
		place string
		text  string
		want  string
	}{
		{"iptables-persistent", map[string]string{"/etc/iptables/rules.v4": save}, "ip filter FORWARD", drop, "iptables-persistent /etc/iptables/rules.v4:3"},
		{"the other family", map[string]string{"/etc/iptables/rules.v6": save}, "ip filter FORWARD", drop, ""},
		{"Red Hat", map[string]string{"/etc/sysconfig/iptables": save}, "ip filter FORWARD", drop, "iptables-services /etc/sysconfig/iptables:3"},
		{"an if-up script", map[string]string{"/etc/iptables.rules": save}, "ip filter FORWARD", drop, "an if-up script /etc/iptables.rules:3"},
		{"another chain", map[string]string{"/etc/iptables/rules.v4": save}, "ip filter INPUT", drop, ""},
		{"another table", map[string]string{"/etc/iptables/rules.v4": save}, "ip mangle FORWARD", drop, ""},
		{"ufw at work", map[string]string{"/etc/ufw/before.rules": save, "/etc/ufw/ufw.conf": "# x\nENABLED=yes\n"}, "ip filter FORWARD", drop, "ufw /etc/ufw/before.rules:3"},
		{"ufw switched off", map[string]string{"/etc/ufw/before.rules": save, "/etc/ufw/ufw.conf": "ENABLED=no\n"}, "ip filter FORWARD", drop, ""},
		{"ufw's files alone", ufw, "ip filter FORWARD", drop, ""},
		{"firewalld's direct rules", map[string]string{"/etc/firewalld/direct.xml": "<?xml version=\"1.0\"?>\n<direct>\n  <rule ipv=\"ipv4\" table=\"filter\" chain=\"FORWARD\" priority=\"0\">-d 192.0.2.1 -j DROP</rule>\n</direct>\n"}, "ip filter FORWARD_direct", drop, "firewalld /etc/firewalld/direct.xml:3"},
		{"nftables", map[string]string{"/etc/nftables.conf": "table inet f {\n chain c {\n  ip daddr 192.0.2.1 drop\n }\n}\n"}, "inet f c", "ip daddr 192.0.2.1 drop", "nftables.service /etc/nftables.conf:3"},
		{"a file that is included", map[string]string{"/etc/nftables.conf": "include \"nft.d/*.nft\"\n", "/etc/nft.d/a.nft": "add rule inet f c ip daddr 192.0.2.1 drop\n"}, "inet f c", "ip daddr 192.0.2.1 drop", "nftables.service /etc/nft.d/a.nft:1"},
		{"a define of another file", map[string]string{"/etc/nftables.conf": "define bad = 192.0.2.1\ninclude \"/etc/a.nft\"\n", "/etc/a.nft": "add rule inet f c ip daddr $bad drop\n"}, "inet f c", "ip daddr 192.0.2.1 drop", "nftables.service /etc/a.nft:1"},
		{"a file that is not included", map[string]string{"/etc/nftables.conf": "\n", "/etc/nft.d/a.nft": "add rule inet f c ip daddr 192.0.2.1 drop\n"}, "inet f c", "ip daddr 192.0.2.1 drop", ""},
	} {
		s := onDisk(c.files)
		f := strings.Fields(c.place)
		table := &schema.Table{Family: f[0], Name: f[1], Compat: f[0] == "ip"}
		path, line := persisted(s, table, &schema.Chain{Name: f[2]}, &schema.Rule{Text: c.text})
		got := ""
		if path != "" {
			got = fmt.Sprintf("%s %s:%d", loaderOf(path), path, line)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	table := &schema.Table{Family: "inet", Name: "f"}
	near := onDisk(map[string]string{"/etc/nftables.conf": "table inet f {\n chain c {\n  ip daddr 192.0.2.1 log drop\n }\n}\n"})
	if o, _ := ownerOf(near, table, &schema.Chain{Name: "c"}, &schema.Rule{Text: "ip daddr 192.0.2.1 drop"}); o.Name != "unknown" || !strings.Contains(o.Evidence[0], "nftables.conf fills this chain from line 3 on") {
		t.Errorf("a rule that no line reads like: %v", o)
	}
	table = &schema.Table{Family: "ip", Name: "filter", Compat: true}
	policy := &schema.Chain{Name: "FORWARD", Hook: "forward", Policy: "drop"}
	if o, _ := ownerOf(onDisk(map[string]string{"/etc/iptables/rules.v4": save}), table, policy, nil); o.Name != "iptables-persistent" || !strings.Contains(o.Evidence[0], "rules.v4 line 2") {
		t.Errorf("owner of the saved policy: %v", o)
	}
	enabled := onDisk(map[string]string{"/etc/iptables/rules.v4": save, "/etc/systemd/system/multi-user.target.wants/netfilter-persistent.service": "[Unit]\n"})
	if o, _ := ownerOf(enabled, table, policy, nil); o.Confidence != high || !strings.Contains(o.Evidence[1], "netfilter-persistent.service is enabled") {
		t.Errorf("owner of a policy that an enabled service loads: %v", o)
	}
	table, policy = &schema.Table{Family: "inet", Name: "f"}, &schema.Chain{Name: "c", Hook: "forward", Policy: "drop"}
	if o, _ := ownerOf(onDisk(map[string]string{"/etc/nftables.conf": "table inet f {\n chain c {\n  type filter hook forward priority 0; policy drop;\n }\n}\n"}), table, policy, nil); o.Name != nftLoader {
		t.Errorf("owner of the saved policy: %v", o)
	}
}

// TestEditNft: what an edit makes of a file; "" for nothing.
func TestEditNft(t *testing.T) {
	const drop = "ip daddr 192.0.2.1 drop"
	for _, c := range []struct{ name, before, deleted, excepted string }{
		{
			"in a block", "table inet f {\n\tchain c {\n\t\tip daddr 192.0.2.1 counter drop # x\n\t}\n}\n",
			"table inet f {\n\tchain c {\n\t}\n}\n",
			"table inet f {\n\tchain c {\n\t\taccept comment \"vmnet:nat.lab\"\n\t\tip daddr 192.0.2.1 counter drop # x\n\t}\n}\n",
		},
		{"as a command", "add rule inet f c ip daddr 192.0.2.1 drop", "", "add rule inet f c accept comment \"vmnet:nat.lab\"\nadd rule inet f c ip daddr 192.0.2.1 drop"},
		{"inserted", "insert rule inet f c ip daddr 192.0.2.1 drop\n", "", "insert rule inet f c ip daddr 192.0.2.1 drop\ninsert rule inet f c accept comment \"vmnet:nat.lab\"\n"},
		{"beside another", "table inet f { chain c { ip daddr 192.0.2.1 drop; }; }\n", "same", "same"},
		{"over two lines", "add rule inet f c \\\n ip daddr 192.0.2.1 drop\n", "same", "same"},
		{"at a place that depends on others", "add rule inet f c handle 3 ip daddr 192.0.2.1 drop\n", "same", "same"},
	} {
		rule := &schema.ForeignRule{Family: "inet", Table: "f", Chain: "c", Rule: schema.Rule{Text: drop}}
		want := map[bool]string{true: c.deleted, false: c.excepted}
		for remove, after := range want {
			r := *rule
			if !remove {
				r.Rule = schema.Rule{Text: "accept", Comment: "vmnet:nat.lab"}
			}
			got := editNft(c.before, nil, &r, drop, remove)
			if after == "same" {
				after = c.before
			}
			if got != after {
				t.Errorf("%s: %q, want %q", c.name, got, after)
			}
			if back := withoutMarkedLines(&schema.File{Path: "/etc/nftables.conf", Content: got}); !remove && back != c.before {
				t.Errorf("%s: without marks %q, want %q", c.name, back, c.before)
			}
		}
	}
}

// BenchmarkSaved looks for lines that are on disk only: 10,000 lines, 10,000 live rules.
func BenchmarkSaved(b *testing.B) {
	var text strings.Builder
	c := &schema.Chain{Name: "FORWARD", Hook: "forward"}
	text.WriteString("*filter\n")
	for i := range 10000 {
		line := fmt.Sprintf("-d 10.%d.%d.7/32 -p tcp -m tcp --dport 22 -j DROP", i/250, i%250)
		fmt.Fprintf(&text, "-A FORWARD %s\n", line)
		c.Rules = append(c.Rules, &schema.Rule{Text: line})
	}
	s := onDisk(map[string]string{"/etc/iptables/rules.v4": text.String()})
	s.Put(&schema.Table{Family: "ip", Name: "filter", Compat: true, Chains: []*schema.Chain{c}})
	h := &healer{r: &resolved{live: s}, state: s}
	for b.Loop() {
		h.saved()
	}
	if len(h.savedLines) > 0 {
		b.Error("all of them are live")
	}
}
