package nftconf

import (
	"fmt"
	"strings"
	"testing"
)

const example = `#!/usr/sbin/nft -f
flush ruleset
define lan = { 10.20.0.0/24, 10.30.0.0/24 }
include "/etc/nftables.d/*.nft"

table inet filter {
	set bad {
		type ipv4_addr
		elements = { 192.0.2.66 }
	}
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct state { related, established } accept # replies
		ip saddr $lan tcp dport { ssh } counter drop comment "no; logins }"
		ip saddr @bad drop; ip daddr 192.0.2.7 drop
		tcp dport {
			80,
			443
		} accept
	}
	chain one { tcp dport 23 drop }
}
table filter {
	chain x { # old words
		meta iifname "eno1" reject with icmp type port-unreachable
	}
}
add rule inet filter forward udp dport 53 \
	drop
insert rule ip6 other in ip6 saddr 2001:db8::1/64 drop
`

func TestRules(t *testing.T) {
	var b strings.Builder
	for _, r := range Rules(example, Defines(example)) {
		fmt.Fprintf(&b, "%d-%d %s %s %s alone=%v %q: %s\n", r.Line+1, r.Last+1, r.Family, r.Table, r.Chain, r.Alone, r.Lead, Normal(r.Family, r.Text))
	}
	want := `13-13 inet filter forward alone=true "\t\t": ct state {established,related} accept
14-14 inet filter forward alone=true "\t\t": ip saddr {10.20.0.0-10.20.0.255,10.30.0.0-10.30.0.255} tcp dport 22 drop
15-15 inet filter forward alone=false "\t\t": ip saddr @bad drop
15-15 inet filter forward alone=false "\t\tip saddr @bad drop; ": ip daddr 192.0.2.7 drop
16-19 inet filter forward alone=false "\t\t": tcp dport {80,443} accept
21-21 inet filter one alone=false "\tchain one { ": tcp dport 23 drop
25-25 ip filter x alone=true "\t\t": iifname eno1 reject
28-29 inet filter forward alone=false "add rule inet filter forward ": udp dport 53 drop
30-30 ip6 other in alone=true "insert rule ip6 other in ": ip6 saddr 2001:db8::-2001:db8::ffff:ffff:ffff:ffff drop
`
	if got := b.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := fmt.Sprint(Includes(example), Bases(example)); got != "[/etc/nftables.d/*.nft] [{11 inet filter forward filter forward drop}]" {
		t.Error(got)
	}
}

// TestFind: rules as nft lists them, and the lines of the file they come from; 0 for none.
func TestFind(t *testing.T) {
	for _, c := range []struct {
		family, table, chain, text string
		line                       int
	}{
		{"inet", "filter", "forward", "ct state { established, related } accept", 13},
		{"inet", "filter", "forward", `ip saddr { 10.30.0.0/24, 10.20.0.0/24 } tcp dport 22 counter packets 4 bytes 240 drop comment "x"`, 14},
		{"inet", "filter", "forward", "ip saddr { 10.30.0.0/24, 10.20.0.0/24 } tcp dport 22 accept", 0},
		{"inet", "filter", "forward", "tcp dport 22 drop", 0},
		{"inet", "filter", "forward", "tcp dport { 80, 443 } accept", 16},
		{"ip", "filter", "x", `iifname "eno1" reject`, 25},
		{"ip", "filter", "x", `iifname "eno2" reject`, 0},
		{"ip", "filter", "forward", "ip daddr 192.0.2.7 drop", 0},
		{"inet", "filter", "forward", "ip daddr 192.0.2.7 drop", 15},
		{"inet", "filter", "forward", "ip daddr != 192.0.2.7 drop", 0},
	} {
		r, ok := Find(example, Defines(example), c.family, c.table, c.chain, c.text)
		if got := r.Line + 1; ok != (c.line > 0) || ok && got != c.line {
			t.Errorf("%s: line %d, found %v, want %d", c.text, got, ok, c.line)
		}
	}
}

// TestNormal: pairs that are one rule, and pairs that are not.
func TestNormal(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"tcp dport 22 drop", "tcp dport ssh counter drop", true},
		{"iifname eno1 drop", `meta iifname "eno1" drop`, true},
		{"ct state established,related accept", "ct state related,established counter accept", true},
		{"ct state established,related accept", "ct state { related, established } accept", false}, // nft lists them apart
		{"ct state established,related accept", "ct state established accept", false},
		{"reject", "reject with icmpx type port-unreachable", true},
		{"reject", "reject with icmp type port-unreachable", false},
		{"ip saddr 10.0.0.1 drop", "ip saddr 10.0.0.1/32 drop", true},
		{"ip saddr 10.0.0.1 drop", "ip daddr 10.0.0.1 drop", false},
		{"tcp dport != 22 drop", "tcp dport 22 drop", false},
		{"counter name x drop", "drop", false},
		{"tcp dport 22-23 drop", "tcp dport { 22, 23 } drop", true},
		{"tcp dport 22-24 drop", "tcp dport { 22, 24 } drop", false},
		{"ip saddr { 10.0.0.1, 10.0.0.2, 10.0.1.0/24 } drop", "ip saddr { 10.0.0.1-10.0.0.2, 10.0.1.0/24 } drop", true},
		{"ip saddr { 10.10.0.0/16, 10.11.0.0/16 } drop", "ip saddr 10.10.0.0/15 drop", true},
		{"ip saddr { 10.10.0.0/16, 10.12.0.0/16 } drop", "ip saddr 10.10.0.0/14 drop", false},
		{"tcp flags & (fin|syn|rst|ack) == syn drop", "tcp flags syn / fin,syn,rst,ack drop", true},
		{"tcp flags & (fin|syn) == syn drop", "tcp flags syn / fin,syn,rst,ack drop", false},
		{"ip6 daddr ::1 reject", "ip6 daddr ::1 reject with icmpv6 port-unreachable", true},
		{"ip6 daddr ::1 reject", "ip6 daddr ::1 reject with icmpv6 admin-prohibited", false},
		{"mark set 7 accept", "meta mark set 0x00000007 accept", true},
		{"ct mark 7 accept", "meta mark 7 accept", false},
	} {
		if same := Normal("inet", c.a) == Normal("inet", c.b); same != c.same {
			t.Errorf("%q (%s) and %q (%s): same is %v", c.a, Normal("inet", c.a), c.b, Normal("inet", c.b), same)
		}
	}
}

// FuzzRules: no text makes the reader fail, and every line it names is one of the text.
func FuzzRules(f *testing.F) {
	f.Add(example)
	f.Add("table x { chain y { drop\n}}")
	f.Add("\"")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Count(text, "\n")
		for _, r := range Rules(text, Defines(text)) {
			if r.Line < 0 || r.Last > lines || r.Line > r.Last {
				t.Errorf("lines %d to %d of %d", r.Line, r.Last, lines)
			}
			Normal(r.Family, r.Text)
		}
	})
}

// TestDefines: a name with two values is not looked into.
func TestDefines(t *testing.T) {
	if got := fmt.Sprint(Defines("define a = 1\ndefine b = { 2,\n 3 }\n", "define a = 1\nredefine b = 4\ndefine c = $a\n")); got != "map[a:1 c:$a]" {
		t.Error(got)
	}
	if _, ok := Find("add rule ip f c ip daddr $x drop", map[string]string{}, "ip", "f", "c", "ip daddr 192.0.2.1 drop"); ok {
		t.Error("a rule with an unknown define was found")
	}
}
