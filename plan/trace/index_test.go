package trace

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// plain makes every chain forget that it could have an index.
func (w *Walker) plain() *Walker {
	for _, t := range w.tables {
		for _, c := range t.list {
			c.indexing.Do(func() { c.index = &index{} })
		}
	}
	return w
}

// TestIndexChangesNoAnswer puts the same questions to rules of which every field has an index, and to the same without any.
// What is said to be barred must be blocked.
func TestIndexChangesNoAnswer(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	fields, barred, blocked := 0, 0, 0
	for n := range 150 {
		g := &rules{r: rand.New(rand.NewPCG(seed, uint64(n)))}
		s := busyHost(g)
		for _, name := range []string{"x", "y"}[:1+g.r.IntN(2)] {
			s.Put(g.longTable(name))
		}
		if g.r.IntN(3) == 0 {
			s.Put(g.natTable())
		}
		with, without := New(s).Indexed(), New(s).plain()
		for _, tab := range with.tables {
			for _, c := range tab.list {
				fields += len(c.index.fields)
			}
		}
		for range 2 {
			q := g.query()
			want := without.Ask(q)
			if got := with.Ask(q); asJSON(t, got) != asJSON(t, want) {
				t.Fatalf("seed %d ruleset %d: %+v\nwith an index %s\nwithout %s\n%s", seed, n, q, asJSON(t, got), asJSON(t, want), dump(s))
			}
			if want.Verdict == Block {
				blocked++
			}
			if _, ok := with.Barred(q); !ok {
				continue
			}
			barred++
			if want.Verdict != Block && len(want.Parts) > 0 { // none where there is no such packet
				t.Fatalf("seed %d ruleset %d: %+v\nis said to be barred: %s\n%s", seed, n, q, asJSON(t, want), dump(s))
			}
		}
	}
	t.Logf("%d fields of chains; %d answers are that all is blocked, %d of them by what bars the way", fields, blocked, barred)
	if fields == 0 || barred == 0 {
		t.Error("nothing was compared")
	}
}

// longTable is a table of many rules about few fields, now and then one that lets nothing through that is new.
func (g *rules) longTable(name string) *schema.Table {
	tab := g.table("ip", name, g.one("forward", "forward", "forward", "input", "output", "prerouting", "postrouting"), false)
	writes := g.r.IntN(3) == 0
	for _, c := range tab.Chains {
		c.Priority = int32(g.r.IntN(500) - 250)
		for range g.r.IntN(20) {
			e, value := g.key(false, 1)
			c.Rules = append(c.Rules, &schema.Rule{Exprs: append(e, schema.Expr{Name: "cmp", SReg: 1, Op: g.one("eq", "eq", "eq", "neq"), Data: value()},
				schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: g.one("accept", "drop", "return")}})})
		}
		if c.Hook == "forward" && g.r.IntN(3) == 0 {
			c.Policy, c.Rules = "drop", c.Rules[:g.r.IntN(2)]
		}
		kept := c.Rules[:0]
		for _, r := range c.Rules {
			if writes || !rewritesAny(r) {
				kept = append(kept, r)
			}
		}
		c.Rules = kept
	}
	return tab
}

func rewritesAny(r *schema.Rule) bool {
	for i := range r.Exprs {
		if r.Exprs[i].Name == "payload_w" {
			return true
		}
	}
	return false
}

func asJSON(t *testing.T, a Answer) string {
	t.Helper()
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
