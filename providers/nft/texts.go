package nft

import (
	"runtime"
	"slices"
	"sync"

	"github.com/vmnet/vmnet/schema"
)

// unprinted are rules of a table, and which expressions of them come from matches and targets of iptables.
type unprinted struct {
	table   *schema.Table
	rules   []*schema.Rule
	lowered map[*schema.Rule][]part
}

// textsAtOnce is how many rules are printed at a time.
const textsAtOnce = 256

// textWriter prints rules while others are still read.
type textWriter struct {
	link func(index uint32) string
	next chan unprinted
	wait sync.WaitGroup
	all  []unprinted
}

func newTextWriter(link func(index uint32) string) *textWriter {
	t := &textWriter{link: link, next: make(chan unprinted, 64)}
	for range max(1, runtime.GOMAXPROCS(0)-1) {
		t.wait.Go(func() {
			var scratch ruleText
			for u := range t.next {
				t.print(u, &scratch)
			}
		})
	}
	return t
}

func (t *textWriter) print(u unprinted, scratch *ruleText) {
	p := printer{table: u.table, lowered: u.lowered, link: t.link, scratch: scratch}
	for _, rule := range u.rules {
		rule.Text = p.text(rule)
	}
}

// add hands over rules, which must not be changed any more.
func (t *textWriter) add(u unprinted) {
	t.all = append(t.all, u)
	t.next <- u
}

// close waits until all is printed.
func (t *textWriter) close() {
	close(t.next)
	t.wait.Wait()
}

// settle finds the tables that iptables-nft manages though their names do not say so, for they hold rules that only it makes, and prints
// their rules again.
func (t *textWriter) settle() {
	var late []*schema.Table
	for _, u := range t.all {
		if len(u.lowered) > 0 && !u.table.Compat {
			u.table.Compat = true
			late = append(late, u.table)
		}
	}
	var scratch ruleText
	for _, u := range t.all {
		if slices.Contains(late, u.table) {
			t.print(u, &scratch)
		}
	}
}

// namedCompat tells whether a table has a name of iptables-nft's (or ebtables-nft's, arptables-nft's), with base chains in capitals.
func namedCompat(t *schema.Table) bool {
	if schema.OwnTable(t) {
		return false
	}
	builtin := map[string][]string{
		"ip": {"filter", "nat", "mangle", "raw", "security"}, "ip6": {"filter", "nat", "mangle", "raw", "security"},
		"arp": {"filter"}, "bridge": {"filter", "nat", "broute"},
	}
	if !slices.Contains(builtin[t.Family], t.Name) {
		return false
	}
	base := false
	for _, c := range t.Chains {
		if c.Hook == "" {
			continue
		}
		if !slices.Contains([]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING", "BROUTING"}, c.Name) {
			return false
		}
		base = true
	}
	return base
}
