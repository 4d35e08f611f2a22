package nft

import (
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema/iptspec"
)

// arpRules are rules as arptables-nft-save prints them.
var arpRules = []string{
	"-j DROP",
	"-j ACCEPT -i vnet0",
	"-j mine ! -i vnet0 -s 10.0.0.0/24 -d 10.0.0.1",
	"-j RETURN -i vnet+ ! -s 10.0.0.0/13 ! -d 10.0.0.0/8 --opcode 1",
	"-j vmnet:nat.lab -i virbr-lab ! --opcode 2",
}

// TestTextArptables compares our text of every rule with what arptables-nft-save prints; fed to arptables once more, the
// kernel has the same rule twice.
func TestTextArptables(t *testing.T) {
	newNamespace(t)
	for _, chain := range []string{"mine", "vmnet:nat.lab"} {
		run(t, "", "arptables-nft", "-N", chain)
	}
	list := func() []string {
		for _, r := range arpRules {
			args, err := iptspec.Split(r)
			if err != nil {
				t.Fatal(err)
			}
			run(t, "", "arptables-nft", append([]string{"-A", "INPUT"}, args...)...)
		}
		return texts(table(t, read(t, open(t)), "arp", "filter").Chain("INPUT"))
	}
	got := list()
	var want []string
	for line := range strings.Lines(run(t, "", "arptables-nft-save")) {
		if rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "-A INPUT "); ok {
			want = append(want, rest)
		}
	}
	if len(got) != len(want) || len(got) != len(arpRules) {
		t.Fatalf("%d rules, arptables lists %d of %d", len(got), len(want), len(arpRules))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("given    %s\n  ours      %s\n  arptables %s", arpRules[i], got[i], want[i])
		}
	}
	twice := list()
	for i := range arpRules {
		if twice[len(arpRules)+i] != twice[i] {
			t.Errorf("%s fed to arptables is %s", twice[i], twice[len(arpRules)+i])
		}
	}
}

// TestTextArptablesVague: what arptables would print wrongly is told in the words of nft.
func TestTextArptablesVague(t *testing.T) {
	newNamespace(t)
	for _, r := range []string{
		"-j DROP --destination-mac 52:54:00:00:00:01/ff:ff:ff:00:00:00", "-j DROP --h-type 6", "-j mangle --mangle-ip-s 192.0.2.1",
	} {
		args, err := iptspec.Split(r)
		if err != nil {
			t.Fatal(err)
		}
		run(t, "", "arptables-nft", append([]string{"-A", "INPUT"}, args...)...)
	}
	for _, text := range texts(table(t, read(t, open(t)), "arp", "filter").Chain("INPUT")) {
		if strings.HasPrefix(text, "-j") {
			t.Errorf("%s says less than the rule", text)
		}
	}
}
