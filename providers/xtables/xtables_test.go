package xtables

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/nft"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
)

// TestTextLegacy compares our text of every rule with "iptables-legacy -S", for each extension.
func TestTextLegacy(t *testing.T) {
	for _, tt := range []struct{ tool, family, file string }{
		{"iptables-legacy", "ip", "../xt/testdata/rules4.txt"},
		{"ip6tables-legacy", "ip6", "../xt/testdata/rules6.txt"},
	} {
		t.Run(tt.tool, func(t *testing.T) {
			newNamespace(t)
			want := loadSpecs(t, tt.tool, tt.file)
			s := read(t, Open(Options{}))
			for place, list := range want {
				name, chain, _ := strings.Cut(place, " ")
				got := texts(table(t, s, tt.family, name).Chain(chain))
				if len(got) != len(list) {
					t.Fatalf("%s: %d rules, iptables lists %d", place, len(got), len(list))
				}
				for i := range list {
					if got[i] != list[i] {
						t.Errorf("%s:\n  ours     %s\n  iptables %s", place, got[i], list[i])
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

// TestSameMeaning: the rules that iptables-nft and iptables-legacy make of one line lower to what does the same, whichever
// of the two wrote it: every rule of both has the same text, so only its presence is compared here.
func TestSameMeaning(t *testing.T) {
	newNamespace(t)
	for _, tool := range []string{"iptables-legacy", "iptables-nft"} {
		run(t, "", tool, "-A", "FORWARD", "-d", "192.168.1.100", "-p", "tcp", "--dport", "22", "-j", "DROP")
	}
	rules, err := nft.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer rules.Close()
	objects, err := rules.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	native := schema.NewState(objects...).Get(schema.TableRef("ip", "filter")).(*schema.Table).Chain("FORWARD").Rules[0]
	legacy := table(t, read(t, Open(Options{})), "ip", "filter").Chain("FORWARD").Rules[0]
	if native.Text != legacy.Text {
		t.Errorf("texts differ: %q and %q", native.Text, legacy.Text)
	}
	for _, r := range []*schema.Rule{native, legacy} {
		var loads []string
		for _, e := range r.Exprs {
			loads = append(loads, e.Name+" "+e.Base+e.Key)
		}
		for _, want := range []string{"meta l4proto", "payload network", "payload transport", "immediate "} {
			if !slices.Contains(loads, want) {
				t.Errorf("%s: no %s in %v", r.Text, want, loads)
			}
		}
	}
}

// TestChains: policies, user chains, jumps, gotos, rules without a target, priorities.
func TestChains(t *testing.T) {
	newNamespace(t)
	run(t, "", "iptables-legacy", "-P", "FORWARD", "DROP")
	run(t, "", "iptables-legacy", "-N", "empty")
	run(t, "", "iptables-legacy", "-N", "user")
	run(t, "", "iptables-legacy", "-A", "user", "-j", "RETURN")
	run(t, "", "iptables-legacy", "-A", "user", "-j", "empty")
	run(t, "", "iptables-legacy", "-A", "FORWARD", "-j", "user")
	run(t, "", "iptables-legacy", "-A", "FORWARD", "-g", "empty")
	run(t, "", "iptables-legacy", "-A", "FORWARD")
	run(t, "", "iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE")
	s := read(t, Open(Options{}))
	filter, nat := table(t, s, "ip", "filter"), table(t, s, "ip", "nat")
	for _, tt := range []struct {
		chain string
		want  []string
	}{
		{"FORWARD", []string{"-j user", "-g empty", ""}}, {"user", []string{"-j RETURN", "-j empty"}}, {"empty", nil}, {"INPUT", nil},
	} {
		if got := texts(filter.Chain(tt.chain)); !slices.Equal(got, tt.want) {
			t.Errorf("chain %s: %q, want %q", tt.chain, got, tt.want)
		}
	}
	if c := filter.Chain("FORWARD"); c.Policy != "drop" || c.Hook != "forward" || c.Priority != 0 || c.Type != "filter" {
		t.Errorf("FORWARD: %+v", c)
	}
	if c := nat.Chain("POSTROUTING"); c.Policy != "accept" || c.Hook != "postrouting" || c.Priority != 100 || c.Type != "nat" {
		t.Errorf("POSTROUTING: %+v", c)
	}
	if c := nat.Chain("PREROUTING"); c.Priority != -100 {
		t.Errorf("PREROUTING: %+v", c)
	}
	if got := s.Len(); got != 2 {
		t.Errorf("%d tables, want filter and nat", got)
	}
}

// TestReadCreatesNothing: looking must not make tables.
func TestReadCreatesNothing(t *testing.T) {
	newNamespace(t)
	names := func() string {
		var out string
		for _, f := range []string{"ip_tables_names", "ip6_tables_names"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + f)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			out += string(b)
		}
		return out
	}
	if s := read(t, Open(Options{})); s.Len() != 0 {
		t.Errorf("%d tables in a new namespace", s.Len())
	}
	if got := names(); got != "" {
		t.Errorf("reading made the tables %q", got)
	}
	run(t, "", "iptables-legacy", "-t", "mangle", "-N", "x")
	if s := read(t, Open(Options{})); s.Len() != 1 {
		t.Errorf("%d tables, want mangle alone", s.Len())
	}
	if got := names(); got != "mangle\n" {
		t.Errorf("reading left the tables %q", got)
	}
}

// TestDo adds and deletes rules through both backends, there and back.
func TestDo(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		tool := map[bool]string{false: "iptables-nft", true: "iptables-legacy"}[legacy]
		t.Run(tool, func(t *testing.T) {
			newNamespace(t)
			run(t, "", tool, "-N", "DOCKER-USER")
			run(t, "", tool, "-A", "DOCKER-USER", "-s", "10.0.0.1", "-j", "DROP")
			run(t, "", tool, "-A", "DOCKER-USER", "-j", "RETURN")
			p := Open(Options{NFTables: nftables(t)})
			before := run(t, "", tool, "-S")
			add := &schema.ForeignRule{
				Family: "ip", Table: "filter", Chain: "DOCKER-USER", Legacy: legacy, ByTool: true, Next: "-j RETURN", Index: 1,
				Rule: schema.Rule{
					Text:    `-s 10.20.0.0/24 -i virbr0 -m comment --comment "vmnet:nat.lab two words" -j ACCEPT`,
					Comment: "vmnet:nat.lab two words",
				},
			}
			c := schema.Change{Ref: add.Ref(), After: add}
			if err := p.Do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			want := []string{"-s 10.0.0.1/32 -j DROP", add.Rule.Text, "-j RETURN"}
			if got := list(t, tool, "DOCKER-USER"); !slices.Equal(got, want) {
				t.Errorf("after adding: %q, want %q", got, want)
			}
			if err := p.Do(t.Context(), c); !errors.Is(err, fs.ErrExist) {
				t.Errorf("adding it again: %v", err)
			}
			if err := p.Do(t.Context(), c.Inverse()); err != nil {
				t.Fatal(err)
			}
			if got := run(t, "", tool, "-S"); got != before {
				t.Errorf("there and back:\n%s\nwas\n%s", got, before)
			}
			if err := p.Do(t.Context(), c.Inverse()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("deleting it again: %v", err)
			}
		})
	}
}

// TestDoErrors: what the tool refuses is said with the command.
func TestDoErrors(t *testing.T) {
	newNamespace(t)
	run(t, "", "iptables-nft", "-N", "DOCKER-USER")
	p := Open(Options{NFTables: nftables(t)})
	for _, tt := range []struct {
		chain, text string
		is          error
		want        string
	}{
		{"DOCKER-USER", "-s 10.0.0.1/32 -j NOWHERE", nil, "-I DOCKER-USER 1 -s 10.0.0.1/32 -j NOWHERE"},
		{"NOWHERE", "-j DROP", fs.ErrNotExist, "chain NOWHERE"},
		{"DOCKER-USER", `-m comment --comment "open`, nil, "quote"},
	} {
		f := &schema.ForeignRule{Family: "ip", Table: "filter", Chain: tt.chain, ByTool: true, Rule: schema.Rule{Text: tt.text}}
		err := p.Do(t.Context(), schema.Change{Ref: f.Ref(), After: f})
		if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %v", tt.text, err)
		}
	}
}

func nftables(t testing.TB) func(context.Context) ([]schema.Object, error) {
	t.Helper()
	p, err := nft.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p.Read
}

func list(t testing.TB, tool, chain string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(run(t, "", tool, "-S", chain)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "-A "+chain+" "); ok {
			out = append(out, rest)
		}
	}
	return out
}

// TestIdle: who may not read the list of legacy tables learns from the list of modules, which everybody may read, that there can be none;
// in doubt nothing.
func TestIdle(t *testing.T) {
	for name, tt := range map[string]struct {
		modules string
		want    bool
	}{
		"loaded, and no table":    {"x_tables 65536 2 ip_tables,nft_compat, Live 0x0\nip_tables 36864 0 - Live 0x0\n", true},
		"a table":                 {"iptable_filter 16384 1 - Live 0x0\nip_tables 36864 1 iptable_filter, Live 0x0\n", false},
		"in use, by whom is kept": {"ip_tables 36864 1 - Live 0x0\n", false},
		"a kernel without counts": {"ip_tables 36864 - - Live 0x0\n", false},
		"built in":                {"nft_compat 20480 0 - Live 0x0\n", false},
		"the other family":        {"ip6_tables 36864 0 - Live 0x0\n", false},
		"cut off":                 {"ip_tables 36864\n", false},
	} {
		if got := idle(tt.modules, "ip_tables"); got != tt.want {
			t.Errorf("%s: %t, want %t", name, got, tt.want)
		}
	}
}
