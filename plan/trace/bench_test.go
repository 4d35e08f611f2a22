package trace_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// manyRules is the lab with n rules in FORWARD that do not match before one that does.
func manyRules(tb testing.TB, n int) *schema.State {
	tb.Helper()
	s := parseState(tb, lab+masq)
	p := &stateParser{s: s}
	if err := p.newTable([]string{"*filter"}); err != nil {
		tb.Fatal(err)
	}
	c := p.table.Chain("FORWARD")
	for i := range n {
		a := netip.AddrFrom4([4]byte{172, 16 + byte(i>>16), byte(i >> 8), byte(i)})
		r := &ruleParser{table: p.table}
		if err := r.parse([]string{"-s", a.String(), "-p", "tcp", "--dport", fmt.Sprint(1 + i%60000), "-j", []string{"ACCEPT", "DROP"}[i%2]}); err != nil {
			tb.Fatal(err)
		}
		c.Rules = append(c.Rules, &schema.Rule{Exprs: r.out, Text: "rule"})
	}
	s.Put(p.table)
	return s
}

func BenchmarkWalk(b *testing.B) {
	for _, n := range []int{100, 10_000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := trace.New(manyRules(b, n))
			f := parseFlow(b, out)
			b.ReportAllocs()
			for b.Loop() {
				if r := w.Walk(f); r.Verdict != trace.Pass {
					b.Fatal(say(r))
				}
			}
		})
	}
}

func BenchmarkAsk(b *testing.B) {
	for _, n := range []int{100, 10_000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := trace.New(manyRules(b, n))
			b.ReportAllocs()
			for b.Loop() {
				if a := w.Ask(outward("")); len(a.Parts) == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for _, n := range []int{100, 10_000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := manyRules(b, n)
			b.ReportAllocs()
			for b.Loop() {
				trace.New(s)
			}
		})
	}
}
