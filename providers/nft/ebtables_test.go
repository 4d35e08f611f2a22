package nft

import (
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
)

// ebtRules are rules as ebtables-nft-save prints them.
var ebtRules = []string{
	"-j ACCEPT",
	"-j CONTINUE",
	"-j mine",
	"-p IPv4 -i vnet0 -o vnet1 --ip-src 10.1.2.0/24 --ip-dst 10.0.0.5 --ip-proto tcp --ip-dport 22 -j ACCEPT",
	"-p IPv4 ! --ip-src 10.1.2.3 ! --ip-dst 10.4.0.0/14 --ip-proto udp --ip-sport 53:68 -j DROP",
	"-p IPv6 --ip6-src fd00::/64 --ip6-dst fd00::2 --ip6-proto tcp --ip6-dport 22:30 -j RETURN",
	"! -p IPv4 -j DROP",
	"-p ARP -j DROP",
	"-p Length -j DROP",
	"-p 0x8899 -j DROP",
	"-s 52:54:00:00:00:00/ff:ff:ff:00:00:00 -i foo+ -j DROP",
	"! -s 52:54:00:00:00:01 -j DROP",
	"-d 52:54:00:00:00:01/ff:ff:0f:00:00:ff -j DROP",
	"-d Broadcast -j DROP", "-d Multicast -j DROP", "-d Unicast -j DROP", "-d BGA -j DROP",
	"! -i vnet0 -j DROP",
	"-p ARP --arp-ip-src 10.0.0.1 -j DROP",
	"-p ARP --arp-mac-src 52:54:00:00:00:01 --arp-ip-dst 10.0.0.0/8 -j DROP",
	"--limit 10/sec --limit-burst 5 -j DROP", "--limit 3/min --limit-burst 7 -j DROP",
	"--pkttype-type multicast -j DROP",
	"--mark 0x3/0x7 -j DROP", "! --mark 0x3 -j DROP", "--mark /0x3 -j DROP",
	"-p IPv4 --ip-src 10.1.2.0/25 -j mark --mark-set 0x7 --mark-target ACCEPT",
	"-j mark --mark-or 0x7 --mark-target CONTINUE",
}

// TestTextEbtables compares our text of every rule with what ebtables-nft-save prints.
func TestTextEbtables(t *testing.T) {
	newNamespace(t)
	for _, chain := range []string{"mine", "vmnet:nat.lab"} {
		run(t, "", "ebtables-nft", "-N", chain, "-P", "ACCEPT")
	}
	for _, r := range ebtRules {
		args, err := iptspec.Split(r)
		if err != nil {
			t.Fatal(err)
		}
		run(t, "", "ebtables-nft", append([]string{"-A", "FORWARD"}, args...)...)
	}
	var want []string
	for line := range strings.Lines(run(t, "", "ebtables-nft-save")) {
		if rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "-A FORWARD "); ok {
			want = append(want, rest)
		}
	}
	tab := table(t, read(t, open(t)), "bridge", "filter")
	got := texts(tab.Chain("FORWARD"))
	if len(got) != len(want) {
		t.Fatalf("%d rules, ebtables lists %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("given    %s\n  ours     %s\n  ebtables %s", ebtRules[i], got[i], want[i])
		}
	}
	if got := texts(tab.Chain("vmnet:nat.lab")); len(got) != 1 || got[0] != "-j ACCEPT" {
		t.Errorf("a chain whose policy is ACCEPT has the rules %q", got)
	}
}

// TestEbtablesSpecIsTheRule feeds our text to ebtables once more: the kernel then has the same rule twice.
func TestEbtablesSpecIsTheRule(t *testing.T) {
	newNamespace(t)
	run(t, "", "ebtables-nft", "-N", "mine")
	more := []string{"-p IPv4 --ip-proto icmp --ip-icmp-type echo-request -j DROP", "-p IPv6 --ip6-proto ipv6-icmp --ip6-icmp-type 135 -j DROP", "-p IPv4 --ip-tos 0x10 -j DROP"}
	for _, r := range append(more, ebtRules...) {
		args, err := iptspec.Split(r)
		if err != nil {
			t.Fatal(err)
		}
		run(t, "", "ebtables-nft", append([]string{"-A", "FORWARD"}, args...)...)
	}
	p := open(t)
	first := table(t, read(t, p), "bridge", "filter").Chain("FORWARD").Rules
	for _, r := range first {
		args, err := iptspec.Split(r.Text)
		if err != nil || strings.HasPrefix(r.Text, "[") {
			t.Fatalf("%s: %v", r.Text, err)
		}
		run(t, "", "ebtables-nft", append([]string{"-A", "FORWARD"}, args...)...)
	}
	again := table(t, read(t, p), "bridge", "filter").Chain("FORWARD").Rules[len(first):]
	for i, r := range first {
		if i >= len(again) || !schema.RulesEqual(r, again[i]) {
			t.Errorf("%s is read back as another rule", r.Text)
		}
	}
}
