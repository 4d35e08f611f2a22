package plan_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
)

// byNature are expressions of which nobody knows the answer before the packet comes. No other expression of the recorded
// hosts is kept without being understood, but for opaqueHere.
var byNature = []string{"limit ", "xtmatch hashlimit", "xtmatch recent"}

// opaqueHere are the matches that are not understood, by file.
var opaqueHere = map[string][]string{"ebtables-nft": {"xtmatch ip", "xtmatch arp"}}

// TestRealRules loads what the programs' tools printed on the recorded hosts into the kernel, reads it back, and compares
// every rule with the tool's own words.
func TestRealRules(t *testing.T) {
	files, err := filepath.Glob("testdata/real/*/*.save")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded rules: %v", err)
	}
	native, _ := filepath.Glob("testdata/real/*/native.nft")
	for _, path := range append(files, native...) {
		t.Run(strings.ReplaceAll(strings.TrimPrefix(path, "testdata/real/"), "/", "-"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte("table bridge nat {")) {
				return // ebtables' rules, which nft cannot read back: ebtables-nft.save has them
			}
			t.Parallel()
			world.InNewHost(t, func() { compareRules(t, path, string(text)) })
		})
	}
}

func compareRules(t *testing.T, path, text string) {
	t.Helper()
	name := strings.TrimSuffix(filepath.Base(path), ".save")
	tool := []string{name + "-restore"}
	if name == "native.nft" {
		tool = []string{"nft", "-f", "-"}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool[0], tool[1:]...)
	cmd.Stdin = strings.NewReader(text)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "XTABLES_LOCKFILE=/run/xtables.lock")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(tool, " "), err, out)
	}
	h, err := providers.Open(providers.Options{FileRoot: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	s, err := h.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got := readRules(t, s, name)
	want := printedRules(text, name)
	if name != "ebtables-nft" && !slices.Equal(got, want) { // whose words vmnet does not speak
		if len(got) != len(want) {
			t.Errorf("%s: read %d rules, printed %d", path, len(got), len(want))
		}
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] && !reordered(got[i], want[i]) {
				t.Fatalf("first difference:\nread    %s\nprinted %s", at(got, i), at(want, i))
			}
		}
	}
}

// reordered allows for the one rule that is printed in another order than iptables has: TCP's flags and its ports.
func reordered(got, want string) bool {
	_, a, _ := strings.Cut(got, ": ")
	_, b, _ := strings.Cut(want, ": ")
	return strings.Contains(a, "--tcp-flags") && strings.Contains(a, "port ") && iptspec.Equal(a, b)
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "(nothing)"
}

// readRules lists what vmnet reads, "FAMILY TABLE CHAIN: RULE", sorted by place and in order within a chain.
func readRules(t *testing.T, s *schema.State, name string) []string {
	t.Helper()
	var out []string
	for table := range schema.Each[*schema.Table](s) {
		for _, c := range table.Chains {
			for i, r := range c.Rules {
				out = append(out, fmt.Sprintf("%s %s %s %03d: %s", table.Family, table.Name, c.Name, i, r.Text))
				understood(t, name, r)
			}
		}
	}
	slices.Sort(out)
	return out
}

func understood(t *testing.T, name string, r *schema.Rule) {
	t.Helper()
	for _, e := range r.Exprs {
		if len(e.Opaque) > 0 && !slices.Contains(slices.Concat(byNature, opaqueHere[name]), e.Name+" "+e.Key) {
			t.Errorf("%s: %s of %q is not understood", name, e.Name+" "+e.Key, r.Text)
		}
	}
}

// printedRules lists the rules of a file of iptables-save or "nft list ruleset" in the same way.
func printedRules(text, name string) []string {
	family := "ip"
	if strings.HasPrefix(name, "ip6") {
		family = "ip6"
	}
	var out []string
	var table, chain string
	n := map[string]int{}
	add := func(rule string) {
		place := table + " " + chain
		out = append(out, fmt.Sprintf("%s %03d: %s", place, n[place], rule))
		n[place]++
	}
	depth := 0
	for line := range strings.Lines(text) {
		l := strings.TrimSpace(line)
		f := strings.Fields(l)
		switch {
		case len(f) == 0:
		case name != "native.nft" && strings.HasPrefix(l, "*"):
			table = family + " " + l[1:]
		case name != "native.nft" && f[0] == "-A":
			chain = f[1]
			add(strings.TrimPrefix(l, "-A "+chain+" "))
		case name != "native.nft":
		case f[0] == "table":
			table, depth = f[1]+" "+f[2], 1
		case depth == 1 && strings.HasSuffix(l, "{"):
			depth, chain = 2, ""
			if f[0] == "chain" {
				chain = f[1]
			}
		case l == "}":
			depth--
		case depth == 2 && chain != "" && !(f[0] == "type" && strings.Contains(l, " hook ")):
			add(l)
		}
	}
	slices.Sort(out)
	return out
}
