package plan_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/nftconf"
)

// spelled are rules as people write them, one of a kind each, so that no line can be taken for another. Those that begin
// with "?" are listed by nft in other words than the file's: they are not found, which leaves the file alone.
const spelled = `iifname eth0 tcp dport ssh counter drop comment "x"
meta iifname "eth1" tcp dport {23} drop
iif lo accept
oifname { eth2, eth3 } drop
ip saddr 10.1.0.0/16 ip daddr 10.2.0.1/32 accept
ip saddr { 10.3.0.1, 10.3.0.2,10.4.0.0/24 } drop
ip saddr != 10.5.0.0/16 udp dport != 53 drop
ip saddr 10.6.0.7-10.6.0.9 drop
ip6 saddr 2001:DB8:0:0::1 drop
ip6 daddr 2001:db8:1::/48 reject
tcp dport { 80, 443, 8000-8100 } ct state new accept
tcp dport {http,https} drop
ct state established,related accept
ct state related,new drop
ct state invalid counter drop
ct state { established, new } accept
ct state vmap { established : accept, invalid : drop }
ip protocol icmp icmp type echo-request drop
icmp type { echo-request, echo-reply } accept
meta l4proto { tcp, udp } th dport 5353 drop
udp sport 67 udp dport 68 accept
ip daddr 10.7.0.1 reject with icmp type host-prohibited
ip daddr 10.7.0.2 reject with tcp reset
ip daddr 10.7.0.3 reject with icmpx type port-unreachable
ip daddr 10.7.0.4 log prefix "no: " drop
ip daddr 10.7.0.5 limit rate 10/minute accept
meta mark 0x10 drop
ip daddr 10.8.0.1 mark set 7
tcp flags & (fin|syn|rst|ack) == syn drop
ip daddr @named drop
ip daddr $wide drop
ip daddr 10.9.0.1 jump sub
ip daddr 10.9.0.2 counter packets 0 bytes 0 goto sub
meta nfproto ipv6 drop
ether saddr 52:54:00:AA:bb:cc drop
fib daddr type local accept
ip dscp cs1 drop
pkttype broadcast drop
tcp dport 6000-6010 drop
return`

// TestNftFileFound loads a file with nft, and looks for each live rule in it: every one is found on its own line, or not
// at all.
func TestNftFileFound(t *testing.T) {
	var text strings.Builder
	text.WriteString("define wide = { 10.10.0.0/16, 10.11.0.0/16 }\ntable inet f {\n set named { type ipv4_addr; }\n chain sub { }\n chain c {\n")
	const first = 5
	lines := strings.Split(spelled, "\n")
	for _, l := range lines {
		text.WriteString("  " + strings.TrimPrefix(l, "?") + "\n")
	}
	text.WriteString(" }\n}\n")
	world.InNewHost(t, func() {
		path := filepath.Join(t.TempDir(), "nftables.conf")
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "nft", "-f", path)
		cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("nft: %v\n%s", err, out)
		}
		h, err := providers.Open(providers.Options{FileRoot: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		s, err := h.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rules := s.Get(schema.TableRef("inet", "f")).(*schema.Table).Chain("c").Rules
		if len(rules) != len(lines) {
			t.Fatalf("%d rules of %d lines", len(rules), len(lines))
		}
		for i, l := range lines {
			r, ok := nftconf.Find(text.String(), nftconf.Defines(text.String()), "inet", "f", "c", rules[i].Text)
			switch other := strings.HasPrefix(l, "?"); {
			case ok && r.Line != first+i:
				t.Errorf("%q is taken for line %d", rules[i].Text, r.Line)
			case !ok && !other:
				t.Errorf("%q of the file, live %q, is not found: %q, %q", l, rules[i].Text, nftconf.Normal("inet", l), nftconf.Normal("inet", rules[i].Text))
			case ok && other:
				t.Errorf("%q is found after all", l)
			}
		}
	})
}
