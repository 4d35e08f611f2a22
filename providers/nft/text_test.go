package nft

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
)

// TestTextNFT compares our text of every rule with "nft -s list ruleset". A rule that we print as bytecode must be one of
// the few that are known.
func TestTextNFT(t *testing.T) {
	newNamespace(t)
	src, err := os.ReadFile("testdata/native.nft")
	if err != nil {
		t.Fatal(err)
	}
	run(t, string(src), "nft", "-f", "-")
	want := listing(run(t, "", "nft", "-s", "list", "ruleset"))
	s := read(t, open(t))
	rules, asBytecode := 0, 0
	for tab := range schema.Each[*schema.Table](s) {
		if tab.Compat {
			t.Errorf("%s is taken for one of iptables-nft's", tab)
		}
		for _, c := range tab.Chains {
			name := fmt.Sprintf("%s %s %s", tab.Family, tab.Name, c.Name)
			if len(want[name]) != len(c.Rules) {
				t.Errorf("chain %s: %d rules, nft lists %d", name, len(c.Rules), len(want[name]))
				continue
			}
			for i, r := range c.Rules {
				rules++
				if strings.HasPrefix(r.Text, "[ ") {
					asBytecode++
					t.Logf("bytecode: %s: %s", want[name][i], r.Text)
					continue
				}
				if r.Text != want[name][i] {
					t.Errorf("chain %s:\n  ours %s\n  nft  %s", name, r.Text, want[name][i])
				}
			}
		}
	}
	if rules < 200 || asBytecode > 6 {
		t.Errorf("%d rules, %d of them as bytecode only", rules, asBytecode)
	}
}

// TestTextIptables compares our text of every rule with "iptables-nft -S", for each extension.
func TestTextIptables(t *testing.T) {
	for _, tt := range []struct{ tool, family, file string }{
		{"iptables-nft", "ip", "../xt/testdata/rules4.txt"},
		{"ip6tables-nft", "ip6", "../xt/testdata/rules6.txt"},
	} {
		t.Run(tt.tool, func(t *testing.T) {
			newNamespace(t)
			want := loadSpecs(t, tt.tool, tt.file)
			s := read(t, open(t))
			for place, list := range want {
				name, chain, _ := strings.Cut(place, " ")
				tab := table(t, s, tt.family, name)
				if !tab.Compat {
					t.Errorf("%s is not taken for one of iptables-nft's", tab)
				}
				got := texts(tab.Chain(chain))
				if len(got) != len(list) {
					t.Fatalf("%s: %d rules, iptables lists %d", place, len(got), len(list))
				}
				for i := range list {
					if got[i] != list[i] {
						t.Errorf("%s:\n  ours     %s\n  iptables %s", place, got[i], list[i])
					}
					if !iptspec.Equal(got[i], list[i]) {
						t.Errorf("%s: not even the same rule", place)
					}
				}
			}
		})
	}
}

// loadSpecs loads a list of rules and returns what the tool lists, by "table chain".
func loadSpecs(t testing.TB, tool, file string) map[string][]string {
	t.Helper()
	for _, table := range []string{"filter", "mangle", "raw"} {
		run(t, "", tool, "-t", table, "-N", "user")
	}
	places := map[string]bool{}
	for _, s := range specs(t, file) {
		args, err := iptspec.Split(s[2])
		if err != nil {
			t.Fatal(err)
		}
		run(t, "", tool, append([]string{"-t", s[0], "-A", s[1]}, args...)...)
		places[s[0]+" "+s[1]] = true
	}
	want := map[string][]string{}
	for place := range places {
		table, chain, _ := strings.Cut(place, " ")
		for line := range strings.Lines(run(t, "", tool, "-t", table, "-S", chain)) {
			if rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "-A "+chain); ok {
				want[place] = append(want[place], strings.TrimPrefix(rest, " "))
			}
		}
	}
	return want
}
