package nft

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// TestForeignThereAndBack takes every rule of every chain out, one at a time, and puts it back: the ruleset is byte for byte
// what it was, as nft and iptables print it. The change goes through JSON in between, as it does through a journal.
func TestForeignThereAndBack(t *testing.T) {
	newNamespace(t)
	src, err := os.ReadFile("testdata/native.nft")
	if err != nil {
		t.Fatal(err)
	}
	run(t, string(src), "nft", "-f", "-")
	loadSpecs(t, "iptables-nft", "../xt/testdata/rules4.txt")
	p := open(t)
	before := run(t, "", "nft", "list", "ruleset")
	specs := run(t, "", "iptables-nft-save")
	s := read(t, p)
	n := 0
	for tab := range schema.Each[*schema.Table](s) {
		for _, c := range tab.Chains {
			for i := range c.Rules {
				f := schema.RuleAt(tab, c, i)
				if f.Nth > 1 || hasTwin(c, i) {
					continue // taken out, its twin stands for it
				}
				change := throughJSON(t, schema.Change{Ref: f.Ref(), Before: f})
				if err := p.Do(t.Context(), change); err != nil {
					t.Fatal(err)
				}
				if n%40 == 0 && run(t, "", "nft", "list", "ruleset") == before {
					t.Errorf("%s is still there", f)
				}
				if err := p.Do(t.Context(), change.Inverse()); err != nil {
					t.Fatal(err)
				}
				n++
			}
		}
	}
	if got := run(t, "", "nft", "list", "ruleset"); got != before {
		t.Errorf("the ruleset is another one after %d rules went there and back:\n%s", n, firstDifference(before, got))
	}
	if got := run(t, "", "iptables-nft-save"); rulesOf(got) != rulesOf(specs) {
		t.Errorf("iptables-nft-save is another one:\n%s", firstDifference(rulesOf(specs), rulesOf(got)))
	}
	if n < 350 {
		t.Errorf("only %d rules were tried", n)
	}
}

// rulesOf leaves out the comments, which bear the time.
func rulesOf(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return "was " + x[i] + "\nis  " + y[i]
		}
	}
	return "one is longer"
}

func hasTwin(c *schema.Chain, i int) bool {
	for j, r := range c.Rules {
		if j != i && r.Text == c.Rules[i].Text {
			return true
		}
	}
	return false
}

func throughJSON(t *testing.T, c schema.Change) schema.Change {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var out schema.Change
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestForeignPlace: in front of the rule Next that is nearest to Index, at Index, at the end.
func TestForeignPlace(t *testing.T) {
	newNamespace(t)
	run(t, "table ip x { chain c {\nip saddr 1.1.1.1 drop\naccept\nip saddr 2.2.2.2 drop\naccept\n}\n}\n", "nft", "-f", "-")
	p := open(t)
	for _, tt := range []struct {
		next  string
		index int
		want  int
	}{
		{"accept", 3, 3}, {"accept", 0, 1}, {"ip saddr 1.1.1.1 drop", 9, 0}, {"gone", 2, 2}, {"", 99, 4}, {"", 0, 0},
	} {
		f := &schema.ForeignRule{
			Family: "ip", Table: "x", Chain: "c", Next: tt.next, Index: tt.index,
			Rule: schema.Rule{Text: `ip saddr 9.9.9.9 counter accept comment "vmnet:nat.lab"`, Comment: "vmnet:nat.lab", Exprs: []schema.Expr{
				{Name: "payload", Base: "network", Offset: 12, Len: 4, DReg: 1},
				{Name: "cmp", SReg: 1, Op: "eq", Data: []byte{9, 9, 9, 9}},
				{Name: "counter"},
				{Name: "immediate", Verdict: &schema.Verdict{Kind: "accept"}},
			}},
		}
		do(t, p, nil, f)
		s := read(t, p)
		got := table(t, s, "ip", "x").Chain("c").Rules
		if got[tt.want].Text != f.Rule.Text {
			t.Errorf("next %q, index %d: at %d stands %q", tt.next, tt.index, tt.want, got[tt.want].Text)
		}
		if marked := schema.Marked(s); len(marked) != 1 || marked[0].Ref() != f.Ref() {
			t.Errorf("marked: %v, want %s", marked, f.Ref())
		}
		do(t, p, s.Get(f.Ref()), nil)
	}
}

// TestForeignErrors: what is not there, what is another one, what is iptables' business.
func TestForeignErrors(t *testing.T) {
	newNamespace(t)
	run(t, "table ip x { chain c {\nip saddr 1.1.1.1 drop\n}\n}\n", "nft", "-f", "-")
	run(t, "", "iptables-nft", "-A", "FORWARD", "-s", "1.1.1.1", "-j", "DROP")
	p := open(t)
	s := read(t, p)
	live := schema.RuleAt(table(t, s, "ip", "x"), table(t, s, "ip", "x").Chain("c"), 0)
	other := *live
	other.Rule.Raw = append(schema.Bytes{}, live.Rule.Raw...)
	other.Rule.Raw[len(other.Rule.Raw)-1] ^= 1
	missing := *live
	missing.Rule.Text = "drop"
	nowhere := *live
	nowhere.Chain = "gone"
	byHand := schema.ForeignRule{Family: "ip", Table: "filter", Chain: "FORWARD", Rule: schema.Rule{
		Text: "-j ACCEPT", Exprs: []schema.Expr{{Name: "immediate", Verdict: &schema.Verdict{Kind: "accept"}}},
	}}
	for _, tt := range []struct {
		name          string
		before, after schema.Object
		is            error
		text          string
	}{
		{"another rule with that text", &other, nil, errChanged, "another one"},
		{"no such rule", &missing, nil, fs.ErrNotExist, "no such rule"},
		{"no such chain", &nowhere, nil, fs.ErrNotExist, "chain ip x gone"},
		{"there already", nil, live, fs.ErrExist, "there already"},
		{"bytecode into a table of iptables-nft", nil, &byHand, nil, "iptables-nft manages the table"},
	} {
		o := tt.before
		if o == nil {
			o = tt.after
		}
		err := p.Do(t.Context(), schema.Change{Ref: o.Ref(), Before: tt.before, After: tt.after})
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if out, err := try("", "iptables-nft", "-S"); err != nil || !strings.Contains(out, "-A FORWARD -s 1.1.1.1/32 -j DROP") {
		t.Errorf("iptables-nft no longer reads its table: %v\n%s", err, out)
	}
}
