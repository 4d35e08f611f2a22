package nft

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// section is a chain of testdata/wide.txt with its rules.
type section struct {
	family, table, chain string
	head                 string // "type filter hook input priority 0"
	declarations, rules  []string
}

// place is how listing calls the chain.
func (s section) place() string { return s.family + " " + s.table + " " + s.chain }

func sections(t testing.TB) []section {
	t.Helper()
	b, err := os.ReadFile("testdata/wide.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out []section
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '%':
			f := append(strings.Fields(line[1:]), "", "", "")
			priority, device := "0", ""
			if _, err := strconv.Atoi(f[4]); err == nil {
				priority = f[4]
			}
			if f[4] == "device" {
				device = "device " + f[5] + " "
			}
			out = append(out, section{
				family: f[0], table: f[1], chain: f[2],
				head: fmt.Sprintf("type %s hook %s %spriority %s;", f[3], f[2], device, priority),
			})
		case line[0] == '+':
			s := &out[len(out)-1]
			s.declarations = append(s.declarations, line[1:])
		default:
			s := &out[len(out)-1]
			s.rules = append(s.rules, line)
		}
	}
	return out
}

// faulty finds the lines of its input that nft complains of.
var faulty = regexp.MustCompile(`(?m)^/dev/stdin:(\d+):`)

// load loads the section, without what this nft or this kernel refuses, which it returns with the reason.
func (s section) load(t testing.TB) (refused []string) {
	t.Helper()
	lines := []string{
		fmt.Sprintf("add table %s %s", s.family, s.table),
		fmt.Sprintf("add chain %s %s %s { %s }", s.family, s.table, s.chain, s.head),
		fmt.Sprintf("add chain %s %s other", s.family, s.table),
	}
	for _, d := range s.declarations {
		what, body, _ := strings.Cut(d, "{")
		f := strings.Fields(what)
		kind, name := strings.Join(f[:len(f)-1], " "), f[len(f)-1]
		lines = append(lines, fmt.Sprintf("add %s %s %s %s {%s", kind, s.family, s.table, name, body))
	}
	for _, r := range s.rules {
		lines = append(lines, fmt.Sprintf("add rule %s %s %s %s", s.family, s.table, s.chain, r))
	}
	for part := range slices.Chunk(lines, linesAtOnce) {
		refused = append(refused, loadLines(t, s.place(), part)...)
	}
	return refused
}

// linesAtOnce is how many lines fit into what an ordinary user may send at once.
const linesAtOnce = 80

func loadLines(t testing.TB, place string, lines []string) (refused []string) {
	t.Helper()
	var err error
	drop := func(n int, reason string) {
		if n >= len(lines) {
			t.Fatalf("%s: %s", place, reason)
		}
		refused = append(refused, lines[n]+": "+reason)
		lines[n] = ""
	}
	for range lines {
		out, ok := check(lines)
		if ok { // the kernel looks at chains as a whole only when it commits
			if out, err = try(strings.Join(lines, "\n")+"\n", "nft", "-f", "/dev/stdin"); err == nil {
				return refused
			}
		}
		found := faulty.FindAllStringSubmatchIndex(out, -1)
		if len(found) == 0 { // it broke down
			drop(sort.Search(len(lines), func(n int) bool { _, ok := check(lines[:n+1]); return !ok }), out)
		}
		for _, m := range found {
			n, _ := strconv.Atoi(out[m[2]:m[3]])
			reason, _, _ := strings.Cut(out[m[0]:], "\n")
			if n >= 1 && n <= len(lines) && lines[n-1] != "" {
				drop(n-1, reason)
			}
			if strings.Contains(reason, "Could not process rule") {
				break // the kernel complains of what follows too
			}
		}
	}
	t.Fatalf("%s: nft does not come to an end", place)
	return nil
}

// check asks nft and the kernel whether they would take the lines.
func check(lines []string) (out string, ok bool) {
	out, err := try(strings.Join(lines, "\n")+"\n", "nft", "-c", "-f", "/dev/stdin")
	return out, err == nil
}

// misprinted are the rules that nft 1.0.6 lists wrongly, or in an order or with words that mean nothing, and what we say.
var misprinted = map[string]string{
	"th sport set th sport & 65281 | 1": "icmp code set host-unreachable",
	"ct reply ip daddr 0.0.0.10":        "ct reply ip daddr 10.0.0.0/8",
	"tcp flags { syn | ack, syn }":      "tcp flags { syn, syn | ack }",
	"icmp type . icmp code { redirect . host-unreachable, destination-unreachable . frag-needed }": "icmp type . icmp code { destination-unreachable . frag-needed, redirect . host-unreachable }",
	"meta l4proto tcp redirect to :tcp dport map { 80 : 8080, 443 : 8443 }":                        "redirect to :tcp dport map { 80 : 8080, 443 : 8443 }",
}

// TestWide loads a wide list of rules of every family, reads them raw, and compares: our text with the one nft lists, the expressions
// with the bytes, and what nft lists after the tables were taken away and made again from a snapshot in JSON.
func TestWide(t *testing.T) {
	newNamespace(t)
	var refused []string
	for _, s := range sections(t) {
		refused = append(refused, s.load(t)...)
	}
	listed := run(t, "", "nft", "-s", "list", "ruleset")
	want := listing(listed)
	p := open(t)
	s := read(t, p)
	rules, asBytecode := 0, 0
	kinds := map[string]int{}
	for tab := range schema.Each[*schema.Table](s) {
		for _, c := range tab.Chains {
			name := fmt.Sprintf("%s %s %s", tab.Family, tab.Name, c.Name)
			if len(want[name]) != len(c.Rules) {
				t.Errorf("chain %s: %d rules, nft lists %d", name, len(c.Rules), len(want[name]))
				continue
			}
			for i, r := range c.Rules {
				rules++
				checkWhole(t, fmt.Sprintf("%s #%d", name, i+1), tab.Family, r, kinds)
				if strings.HasPrefix(r.Text, "[ ") {
					asBytecode++
					t.Logf("bytecode: %s: %s: %s", name, want[name][i], r.Text)
				} else if r.Text != want[name][i] && misprinted[want[name][i]] != r.Text {
					t.Errorf("chain %s:\n  ours %s\n  nft  %s", name, r.Text, want[name][i])
				}
			}
		}
	}
	if rules < 1100 || asBytecode > 40 {
		t.Errorf("%d rules, %d of them as bytecode only", rules, asBytecode)
	}
	t.Logf("%d rules, %d of them as bytecode only, %d kinds of expression; %d refused", rules, asBytecode, len(kinds), len(refused))
	for _, r := range refused {
		t.Logf("  refused: %s", r)
	}
	putBack(t, p, s, listed)
}

// putBack deletes every table and makes it again from what a snapshot keeps of it.
func putBack(t *testing.T, p *Provider, s *schema.State, listed string) {
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
		if slices.ContainsFunc(tab.Sets, func(x *schema.Set) bool { return canRestore(&schema.Table{Sets: []*schema.Set{x}}) != nil }) {
			continue // refused aloud: its sets do things by themselves
		}
		do(t, p, tab, nil)
		do(t, p, nil, tab)
	}
	was, is := strings.Split(listed, "\n"), strings.Split(run(t, "", "nft", "-s", "list", "ruleset"), "\n")
	slices.Sort(was) // tables are listed in the order they were made
	slices.Sort(is)
	for i := range min(len(was), len(is)) {
		if was[i] != is[i] {
			t.Fatalf("put back, nft lists\n  %s\nand listed\n  %s", is[i], was[i])
		}
	}
	if len(was) != len(is) {
		t.Errorf("put back, nft lists %d lines, and listed %d", len(is), len(was))
	}
}
