package xtables

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/nft"
	"github.com/vmnet/vmnet/schema"
)

// backend is one of the four tools that make tables of iptables.
type backend struct {
	tool   string
	family string
	legacy bool
}

var backends = []backend{
	{"iptables-nft", "ip", false}, {"ip6tables-nft", "ip6", false}, {"iptables-legacy", "ip", true}, {"ip6tables-legacy", "ip6", true},
}

// bridged are the tools of the other families, which only nftables has here. Their lists are not in our words: what counts is that no
// expression is lost, and that the tables can be put back.
var bridged = []backend{{"ebtables-nft", "bridge", false}, {"arptables-nft", "arp", false}}

// takes tells whether the cases of a file are for this tool: libxt_ for both families, libipt_ and libip6t_ for one.
func (b backend) takes(file string) bool {
	prefix := map[string]string{"ip": "libipt_", "ip6": "libip6t_", "bridge": "libebt_", "arp": "libarpt_"}[b.family]
	if b.family == "bridge" || b.family == "arp" {
		return strings.HasPrefix(file, prefix)
	}
	return strings.HasPrefix(file, "libxt_") || strings.HasPrefix(file, prefix) || file == "iptables" && b.family == "ip"
}

// read reads the tables of this backend, by both providers' own way.
func (b backend) read(t testing.TB, rules *nft.Provider) *schema.State {
	t.Helper()
	read := Open(Options{}).Read
	if !b.legacy {
		read = rules.Read
	}
	objects, err := read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return schema.NewState(objects...)
}

func (b backend) table(t testing.TB, s *schema.State, name string) *schema.Table {
	t.Helper()
	o, _ := s.Get((&schema.Table{Family: b.family, Name: name, Legacy: b.legacy}).Ref()).(*schema.Table)
	if o == nil {
		t.Fatalf("%s: no table %s %s", b.tool, b.family, name)
	}
	return o
}

// save is what the tool lists: rules by "table chain".
func (b backend) save(t testing.TB) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	table := ""
	list, err := exec.Command(b.tool + "-save").Output() // without the warnings that the tools give
	if err != nil {
		t.Fatalf("%s-save: %v", b.tool, err)
	}
	for line := range strings.Lines(string(list)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, "-A "):
			chain, rest, _ := strings.Cut(line[3:], " ")
			out[table+" "+chain] = append(out[table+" "+chain], rest)
		}
	}
	return out
}

// TestExtensions loads every rule of the test files of iptables' own extensions with each tool, reads it raw, and shows that nothing is
// lost: the text is the one the tool lists, no match or target is unknown, and what was read makes the same rules again.
func TestExtensions(t *testing.T) {
	cases := corpus(t)
	for _, b := range slices.Concat(backends, bridged) {
		t.Run(b.tool, func(t *testing.T) {
			t.Parallel()
			var c count
			for _, file := range slices.Sorted(maps.Keys(cases)) {
				if b.takes(file) {
					c.file(t, b, cases[file])
				}
			}
			t.Logf("%s: %d rules loaded, %d refused; %d matches and targets kept opaque by name: %v", b.tool, c.loaded, len(c.refused), sum(c.opaque), c.opaque)
			for _, r := range c.refused {
				t.Logf("  refused: %s", r)
			}
			floor := 300
			if slices.Contains(bridged, b) {
				floor = 20
			}
			if os.Getuid() == 0 && c.loaded < floor {
				t.Errorf("only %d rules were loaded, want at least %d", c.loaded, floor)
			}
		})
	}
}

func sum(m map[string]int) int {
	n := 0
	for _, v := range m {
		n += v
	}
	return n
}

// count is what became of the cases.
type count struct {
	loaded  int
	refused []string
	opaque  map[string]int
}

// file loads the cases of one file in a namespace of their own.
func (c *count) file(t *testing.T, b backend, cases []extensionCase) {
	newNamespace(t)
	rules, err := nft.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer rules.Close()
	n := 0
	for _, e := range cases {
		if e.setup && !strings.HasPrefix(e.spec, "-D ") {
			run(t, "", "sh", "-c", b.tool+" "+e.spec)
		}
		if e.setup || !e.wanted(b.legacy) {
			continue
		}
		if out, err := try("", "sh", "-c", fmt.Sprintf("%s -t %s -A %s %s", b.tool, e.table, e.chains[0], e.spec)); err != nil {
			first, _, _ := strings.Cut(out, "\n")
			c.refused = append(c.refused, fmt.Sprintf("%s:%d %s: %s", e.file, e.line, e.spec, first))
			continue
		}
		n++
	}
	c.loaded += n
	if n == 0 {
		return
	}
	s := b.read(t, rules)
	if slices.Contains(bridged, b) {
		c.bridged(t, rules, s, n)
		return
	}
	listed := b.save(t)
	for place, want := range listed {
		name, chain, _ := strings.Cut(place, " ")
		got := b.table(t, s, name).Chain(chain).Rules
		if len(got) != len(want) {
			t.Errorf("%s %s: %d rules, the tool lists %d", b.tool, place, len(got), len(want))
			continue
		}
		for i, r := range got {
			if r.Text != want[i] {
				t.Errorf("%s:\n  ours  %s\n  tool  %s", cases[0].file, r.Text, want[i])
			}
			c.known(t, r)
		}
	}
	b.restore(t, rules, s, listed)
}

// bridged counts the rules that were read, and compares what the kernel holds after the tables were put back: ebtables-nft-save of 1.8.9 breaks
// down on rules of its own tests, so it cannot be the judge.
func (c *count) bridged(t *testing.T, rules *nft.Provider, s *schema.State, loaded int) {
	t.Helper()
	if c.opaque == nil {
		c.opaque = map[string]int{}
	}
	n := 0
	for tab := range schema.Each[*schema.Table](s) {
		for _, chain := range tab.Chains {
			n += len(chain.Rules)
			for _, r := range chain.Rules {
				for i := range r.Exprs {
					if e := &r.Exprs[i]; e.Name == "xtmatch" || e.Name == "xttarget" {
						c.opaque[e.Key]++
					}
				}
			}
		}
		for _, change := range []schema.Change{{Ref: tab.Ref(), Before: tab}, {Ref: tab.Ref(), After: tab}} {
			if err := rules.Do(t.Context(), change); err != nil {
				t.Error(err)
			}
		}
	}
	if n != loaded {
		t.Errorf("%d rules were loaded and %d read", loaded, n)
	}
	objects, err := rules.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range schema.Diff(s, schema.NewState(objects...)) {
		t.Errorf("put back: %s", d)
	}
}

// known counts what stays opaque, and finds what has no words.
func (c *count) known(t *testing.T, r *schema.Rule) {
	if c.opaque == nil {
		c.opaque = map[string]int{}
	}
	for i := range r.Exprs {
		e := &r.Exprs[i]
		if e.Name != "xtmatch" && e.Name != "xttarget" {
			continue
		}
		if len(e.Any) == 0 {
			c.opaque[e.Key]++
		}
		if strings.Contains(r.Text, " [revision ") {
			t.Errorf("%s %s revision %d has no words: %s", e.Name, e.Key, e.Code, r.Text)
		}
	}
}

// restore takes the tables away and makes them again from the state as it is written into a snapshot: nftables from the bytes that were
// read, legacy from the texts.
func (b backend) restore(t *testing.T, rules *nft.Provider, s *schema.State, listed map[string][]string) {
	t.Helper()
	doc, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	s = &schema.State{}
	if err := json.Unmarshal(doc, s); err != nil {
		t.Fatal(err)
	}
	for tab := range schema.Each[*schema.Table](s) {
		if tab.Legacy {
			run(t, "", b.tool, "-t", tab.Name, "-F")
			var in strings.Builder
			fmt.Fprintf(&in, "*%s\n", tab.Name)
			for _, c := range tab.Chains {
				for _, r := range c.Rules {
					fmt.Fprintf(&in, "-A %s %s\n", c.Name, r.Text)
				}
			}
			in.WriteString("COMMIT\n")
			if out, err := try(in.String(), b.tool+"-restore", "--noflush"); err != nil {
				t.Errorf("%s does not take our texts: %s\n%s", b.tool, out, in.String())
			}
			continue
		}
		for _, change := range []schema.Change{{Ref: tab.Ref(), Before: tab}, {Ref: tab.Ref(), After: tab}} {
			if err := rules.Do(t.Context(), change); err != nil {
				t.Errorf("%s: %v", b.tool, err)
			}
		}
	}
	again := b.save(t)
	for place, want := range listed {
		for i, line := range want {
			if i >= len(again[place]) || again[place][i] != line {
				t.Errorf("%s %s: put back it is\n  %s\nand was\n  %s", b.tool, place, strings.Join(again[place][min(i, len(again[place])):min(i+1, len(again[place]))], ""), line)
			}
		}
	}
}
