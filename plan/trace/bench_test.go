package trace_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// foreignShape writes rule i of a large host into words of iptables. None decides about the packets that the benchmarks ask for first.
type foreignShape struct {
	name  string
	words func(i int) []string
}

func target(i int) string { return []string{"ACCEPT", "DROP"}[i%2] }

// The shapes: single addresses, prefixes, and rules without an address, which an index by address does not tell apart.
var foreignShapes = []foreignShape{
	{"addresses", func(i int) []string {
		a := netip.AddrFrom4([4]byte{172, 16 + byte(i>>16), byte(i >> 8), byte(i)})
		return []string{"-s", a.String(), "-p", "tcp", "--dport", fmt.Sprint(1 + i%60000), "-j", target(i)}
	}},
	{"prefixes", func(i int) []string {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16 + byte(i>>8)&15, byte(i), 0}), 24)
		return []string{"-s", p.String(), "-p", "tcp", "--dport", fmt.Sprint(1 + i%60000), "-j", target(i)}
	}},
	{"ports", func(i int) []string {
		return []string{"-p", "tcp", "--sport", fmt.Sprint(1024 + i%30000), "--dport", fmt.Sprint(8000 + i%50000), "-j", target(i)}
	}},
}

// manyRules is the lab with n rules in FORWARD that do not match before one that does.
func manyRules(tb testing.TB, n int) *schema.State {
	tb.Helper()
	return shapedRules(tb, n, foreignShapes[0])
}

func shapedRules(tb testing.TB, n int, shape foreignShape) *schema.State {
	tb.Helper()
	s := parseState(tb, lab+masq)
	p := &stateParser{s: s}
	if err := p.newTable([]string{"*filter"}); err != nil {
		tb.Fatal(err)
	}
	c := p.table.Chain("FORWARD")
	for i := range n {
		r := &ruleParser{table: p.table}
		if err := r.parse(shape.words(i)); err != nil {
			tb.Fatal(err)
		}
		c.Rules = append(c.Rules, &schema.Rule{Exprs: r.out, Text: "rule"})
	}
	s.Put(p.table)
	return s
}

// BenchmarkFlow follows one flow through 50,000 rules of others that were just read: the time of all of it (index the state, follow
// request, reply and a later packet), and that of the next flow, both the median. The goal is 100 ms, of which "x-goal" is what the
// processors worked.
func BenchmarkFlow(b *testing.B) {
	const rules = 50_000
	for _, shape := range foreignShapes {
		b.Run(shape.name, func(b *testing.B) {
			s := shapedRules(b, rules, shape)
			f := parseFlow(b, out)
			var first, next, busy []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				start, used := time.Now(), processorTime(b)
				w := trace.New(s)
				r := w.Walk(f)
				read := time.Since(start)
				busy = append(busy, processorTime(b)-used)
				if r.Verdict != trace.Pass {
					b.Fatal(say(r))
				}
				w.Walk(f)
				first, next = append(first, read), append(next, time.Since(start)-read)
			}
			b.ReportMetric(median(first), "first-ms")
			b.ReportMetric(median(next), "next-ms")
			b.ReportMetric(median(busy), "first-cpu-ms")
			b.ReportMetric(median(busy)/100, "x-goal")
		})
	}
}

// processorTime is what this process has used of all processors: other load on the machine does not count in it.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// median is in milliseconds.
func median(ds []time.Duration) float64 {
	slices.Sort(ds)
	return float64(ds[len(ds)/2].Microseconds()) / 1000
}

// BenchmarkAsk asks for all packets of guests to the outside beside n rules of others. Of 50,000 "addresses" one in three is about ports
// that clients have, and so about answers: it cuts a piece out of what is asked.
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
