package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// TestSavedRules: which lines of files are judged, in order: "LINE drop" or "LINE accept". A rule that is not understood
// ends its chain, and what is live is not judged.
func TestSavedRules(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		live  string
		want  []string
	}{
		{"plain drops", map[string]string{"/etc/iptables/rules.v4": "*filter\n-A FORWARD -d 192.0.2.1 -j DROP\n-A INPUT -i eth+ ! -s 10.0.0.0/8 -j REJECT --reject-with icmp-port-unreachable\n"}, "", []string{"2 drop", "3 drop"}},
		{"what is accepted before", map[string]string{"/etc/iptables/rules.v4": "*filter\n-A FORWARD -p tcp -m multiport --dports 22,80:90 -j ACCEPT\n-A FORWARD -j DROP\n"}, "", []string{"2 accept", "3 drop"}},
		{"what is logged before", map[string]string{"/etc/iptables/rules.v4": "*filter\n-A FORWARD -m limit --limit 3/min -j LOG --log-prefix \"x \"\n-A FORWARD -j DROP\n"}, "", []string{"3 drop"}},
		{"behind a jump", map[string]string{"/etc/iptables/rules.v4": "*filter\n-A FORWARD -j mine\n-A FORWARD -j DROP\n-A INPUT -j DROP\n"}, "", []string{"4 drop"}},
		{"behind a match that is not read", map[string]string{"/etc/iptables/rules.v4": "*filter\n-A FORWARD -m recent --rcheck -j ACCEPT\n-A FORWARD -j DROP\n"}, "", nil},
		{"of other tables and chains", map[string]string{"/etc/iptables/rules.v4": "*raw\n-A PREROUTING -j DROP\n*filter\n-A mine -j DROP\n"}, "", nil},
		{"live in the same words", map[string]string{"/etc/iptables/rules.v4": "*filter\n-A FORWARD -d 192.0.2.1/32 -j DROP\n"}, "ip filter FORWARD: -d 192.0.2.1/32 -j DROP", nil},
		{"live in other words", map[string]string{"/etc/iptables/rules.v4": "*filter\n-A FORWARD -j DROP -d 192.0.2.1\n"}, "ip filter FORWARD: -d 192.0.2.1/32 -j DROP", nil},
		{"of ufw, which writes it", map[string]string{"/etc/ufw/user.rules": "*filter\n-A FORWARD -j DROP\n", "/etc/ufw/ufw.conf": "ENABLED=yes\n"}, "", nil},
		{
			"of nft",
			map[string]string{"/etc/nftables.conf": "table inet f {\n chain c {\n  type filter hook forward priority 0;\n  ct state established,related accept\n" +
				"  iifname \"eth*\" ip saddr 10.0.0.0/8 tcp dport { ssh, 8000-8100 } drop\n  ip6 daddr 2001:db8::/32 udp sport != 53 reject\n }\n}\n"},
			"",
			[]string{"4 accept", "5 drop", "6 drop"},
		},
		{"of nft and live", map[string]string{"/etc/nftables.conf": "table ip f {\n chain c {\n  type filter hook forward priority 0;\n  tcp dport ssh counter drop\n }\n}\n"}, "ip f c: tcp dport 22 drop", nil},
		{"of nft behind a map", map[string]string{"/etc/nftables.conf": "table ip f {\n chain c {\n  type filter hook forward priority 0;\n  tcp dport vmap { 22 : accept }\n  drop\n }\n}\n"}, "", nil},
		{"of nft behind a set", map[string]string{"/etc/nftables.conf": "table ip f {\n chain c {\n  type filter hook forward priority 0;\n  ip saddr @x accept\n  drop\n }\n}\n"}, "", nil},
		{"of nft in a chain of no hook", map[string]string{"/etc/nftables.conf": "table ip f {\n chain c {\n  drop\n }\n}\n"}, "", nil},
		{"of nft for both families at once", map[string]string{"/etc/nftables.conf": "table inet f {\n chain c {\n  type filter hook forward priority 0;\n  ip saddr 10.0.0.0/8 ip6 daddr ::1 drop\n }\n}\n"}, "", nil},
	} {
		s := onDisk(c.files)
		if c.live != "" {
			ruleset(t, s, c.live)
		}
		h := &healer{r: &resolved{live: s}, state: s}
		var got []string
		for _, x := range h.savedRules() {
			got = append(got, fmt.Sprintf("%d %s", x.line+1, x.rule.Exprs[len(x.rule.Exprs)-1].Verdict.Kind))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestSavedWords: what the words of saved rules become, by what they match.
func TestSavedWords(t *testing.T) {
	for text, want := range map[string]string{
		"ip tcp dport 22-23 drop":                   "l4proto eq 06, transport+2 in 0016-0017",
		"ip ct state new,established drop":          "state, bool, neq 00000000",
		"ip ip daddr != 192.0.2.0/24 drop":          "network+16 neq c00002",
		"inet ip6 saddr 2001:db8::1 drop":           "nfproto eq 0a, network+8 eq 20010db8000000000000000000000001",
		"inet ip saddr 10.0.0.1-10.0.0.9 reject":    "nfproto eq 02, network+12 range eq 0a000001-0a000009",
		"ip iifname eth* drop":                      "iifname eq 657468",
		"ip meta l4proto icmp accept":               "l4proto eq 01",
		"ip ip protocol udp drop":                   "l4proto eq 11",
		"ip tcp dport 22 limit rate 3/minute drop":  "",
		"ip ip saddr { 10.0.0.1, 10.0.0.3 } drop":   "",
		"ip ip saddr { 10.0.0.1, 10.0.0.2 } drop":   "network+12 range eq 0a000001-0a000002",
		"ip ip saddr 10.0.0.0/15 drop":              "bool, network+12 eq 0a00",
		"ip tcp flags syn drop":                     "",
		"ip jump x":                                 "",
		"ip6 ip saddr 10.0.0.1 drop":                "",
		"ip ip saddr 10.0.0.1 drop log":             "",
		"inet meta l4proto { tcp, udp } drop":       "",
		"inet ip saddr 10.0.0.1 ip protocol 6 drop": "",
	} {
		family, rule, _ := strings.Cut(text, " ")
		exprs, verdict := savedNftMatch(family, rule)
		got := ""
		if verdict != "" {
			got = matched(exprs)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// matched says what bytecode matches.
func matched(exprs []schema.Expr) string {
	var out []string
	load := ""
	for _, e := range exprs {
		switch e.Name {
		case "meta", "ct":
			load = e.Key
			if e.Name == "ct" {
				out = append(out, load)
				load = ""
			}
		case "payload":
			load = fmt.Sprintf("%s+%d", e.Base, e.Offset)
		case "bitwise":
			out = append(out, e.Op)
		case "in":
			out = append(out, fmt.Sprintf("%s in %x-%x", load, []byte(e.Ranges[0][0]), []byte(e.Ranges[0][1])))
		case "range":
			out = append(out, fmt.Sprintf("%s range %s %x-%x", load, e.Op, []byte(e.Data), []byte(e.Data2)))
		case "cmp":
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %x", load, e.Op, []byte(e.Data))))
			load = ""
		}
	}
	return strings.Join(out, ", ")
}
