package trace_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// ruleBox is the box of one rule in a table: "filter -s 10.0.0.0/8 -p tcp --dport 22".
func ruleBox(tb testing.TB, s string) trace.Box {
	tb.Helper()
	table, spec, _ := strings.Cut(s, " -A ")
	st := parseState(tb, "*"+table+"\n:C\n-A C "+spec)
	for t := range schema.Each[*schema.Table](st) {
		return trace.BoxOf(t, t.Chain("C").Rules[0])
	}
	tb.Fatal("no table")
	return trace.Box{}
}

func TestBoxOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ rule, want string }{
		{"filter -A -d 192.168.1.100 -p tcp --dport 22 -j DROP", "to 192.168.1.100 tcp dport 22"},
		{"filter -A -s 10.0.0.0/8 -p tcp --sport 22 -j DROP", "from 10.0.0.0/8 tcp sport 22"},
		{"filter -A ! -s 128.0.0.0/1 -j DROP", "from 0.0.0.0/1"},
		{"filter -A -p tcp ! --dport 1:65535 -j DROP", "tcp dport 0"},
		{"filter -A -i virbr+ -o eno1 -m conntrack --ctstate NEW,RELATED -j DROP", "in virbr* out eno1 ct state related,new"},
		{"filter -A ! -i eno1 -p icmp -j DROP", "in != eno1 icmp"},
		{"filter -A -j DROP", "everything in IPv4"},
		{"inet x -A -s 10.0.0.0/24 -j DROP", "from 10.0.0.0/24"},
		{"inet x -A -j DROP", "everything"},
		{"filter -A -m limit -p udp -j DROP", "udp and more"},
		{"filter -A -m mark --mark 1 -j DROP", "everything in IPv4"},
		{"ip6 filter -A -s 2001:db8::/32 -p icmpv6 -j DROP", "from 2001:db8::/32 icmp"},
		{"filter -A -s 10.0.0.0/8 -s 11.0.0.0/8 -j DROP", "nothing"},
	} {
		if got := ruleBox(t, c.rule).String(); got != c.want {
			t.Errorf("BoxOf(%s) = %q, want %q", c.rule, got, c.want)
		}
	}
	if b := ruleBox(t, "filter -A -m mark --mark 1 -j DROP"); b.Exact {
		t.Errorf("a rule that looks at a mark must not be exact: %+v", b)
	}
}

func TestBoxAlgebra(t *testing.T) {
	t.Parallel()
	all := ruleBox(t, "filter -A -s 10.0.0.0/8 -p tcp -j DROP")
	for _, c := range []struct {
		rule           string
		covered, meets bool
	}{
		{"filter -A -s 10.1.0.0/16 -p tcp --dport 22 -j DROP", true, true},
		{"filter -A -s 10.1.0.0/16 -p udp -j DROP", false, false},
		{"filter -A -s 10.1.0.0/16 -j DROP", false, true},
		{"filter -A -s 11.0.0.0/8 -p tcp -j DROP", false, false},
		{"filter -A -p tcp -j DROP", false, true},
		{"ip6 filter -A -p tcp -j DROP", false, false},
	} {
		o := ruleBox(t, c.rule)
		if got := all.Covers(o); got != c.covered {
			t.Errorf("Covers(%s) = %v", c.rule, got)
		}
		if _, got := all.Intersect(o); got != c.meets {
			t.Errorf("Intersect(%s) = %v", c.rule, got)
		}
	}
	two := trace.Box{V4: true, Exact: true, Src: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/9"), netip.MustParsePrefix("10.128.0.0/9")}}
	one := trace.Box{V4: true, Exact: true, Src: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	if !two.Covers(one) {
		t.Error("two halves do not cover the whole")
	}
}
