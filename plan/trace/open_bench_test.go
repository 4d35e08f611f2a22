package trace_test

import (
	"fmt"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// withRule is a state in which a chain of iptables' filter table has one rule more.
func withRule(tb testing.TB, s *schema.State, chain string, at int, words ...string) *schema.State {
	tb.Helper()
	out := s.Clone()
	for t := range schema.Each[*schema.Table](s) {
		if t.Name != "filter" {
			continue
		}
		table := *t
		r := &ruleParser{table: &table}
		if err := r.parse(words); err != nil {
			tb.Fatal(err)
		}
		table.Chains = nil
		for _, c := range t.Chains {
			if c.Name == chain {
				copied := *c
				copied.Rules = append(append(append([]*schema.Rule(nil), c.Rules[:at]...), &schema.Rule{Exprs: r.out, Text: "new"}), c.Rules[at:]...)
				c = &copied
			}
			table.Chains = append(table.Chains, c)
		}
		out.Put(&table)
	}
	return out
}

// BenchmarkOpened is one candidate of a remedy: an accept for one flow behind n foreign rules, and one for everybody.
func BenchmarkOpened(b *testing.B) {
	for _, n := range []int{100, 10_000, 50_000} {
		before := manyRules(b, n)
		for _, r := range []struct {
			name  string
			words []string
		}{
			{"flow", []string{"-s", "10.20.0.0/24", "-i", "virbr-lab", "-o", "eno1", "-p", "tcp", "--dport", "443", "-j", "DROP"}},
			{"tcp", []string{"-p", "tcp", "-j", "DROP"}},
		} {
			if n > 10_000 && r.name == "tcp" {
				continue // more than 8 million nodes: Opened says so
			}
			after := trace.New(before)
			w := trace.New(withRule(b, before, "FORWARD", 0, r.words...))
			b.Run(fmt.Sprint(r.name, "/", n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					got, err := trace.Opened(w, after, nil)
					if err != nil || len(got) == 0 {
						b.Fatal(got, err)
					}
				}
			})
		}
	}
}
