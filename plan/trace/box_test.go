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

// query is the lab's guests to the outside.
func query() trace.Query {
	return trace.Query{
		From: "vnet1", To: "eno1", Src: netip.MustParseAddr("10.20.0.11"), Dst: netip.MustParseAddr("203.0.113.77"),
		SrcSet: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")},
	}
}

func TestFlows(t *testing.T) {
	t.Parallel()
	w := trace.New(parseState(t, lab+masq+`
		*filter
		-A FORWARD -s 10.20.0.66 -j DROP
		-A FORWARD -p udp --dport 53 -j REJECT
		-A FORWARD -d 8.8.8.0/24 -p tcp --dport 443 -j DROP
		-A FORWARD -s 198.51.100.0/24 -p tcp --sport 25 -j DROP
		-A FORWARD -s 10.99.0.0/16 -j DROP
		-A FORWARD -i eth9 -j DROP
		-A FORWARD -d 127.0.0.0/8 -j DROP`))
	var got []string
	for _, f := range w.Flows(query(), 24) {
		got = append(got, f.Proto+" "+netip.AddrPortFrom(f.Src, f.SrcPort).String()+" > "+netip.AddrPortFrom(f.Dst, f.DstPort).String()+" "+string(w.Walk(f).Verdict))
	}
	want := []string{
		"tcp 10.20.0.11:40000 > 203.0.113.77:50051 pass",
		"udp 10.20.0.11:40000 > 203.0.113.77:50051 pass",
		"icmp 10.20.0.11:0 > 203.0.113.77:0 pass",
		"tcp 10.20.0.66:40000 > 203.0.113.77:50051 block",
		"udp 10.20.0.66:40000 > 203.0.113.77:50051 block",
		"icmp 10.20.0.66:0 > 203.0.113.77:0 block",
		"udp 10.20.0.11:40000 > 203.0.113.77:53 block",
		"tcp 10.20.0.11:40000 > 8.8.8.1:443 block",
		"tcp 10.20.0.11:40000 > 198.51.100.1:25 block",
		"tcp 10.20.0.11:40000 > 10.99.0.1:50051 block",
		"udp 10.20.0.11:40000 > 10.99.0.1:50051 block",
		"icmp 10.20.0.11:0 > 10.99.0.1:0 block",
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
}

func TestFlowsOfTheHost(t *testing.T) {
	t.Parallel()
	w := trace.New(parseState(t, lab+`
		*filter
		-A INPUT -s 10.0.0.0/8 -p tcp --sport 22 -j DROP
		-A OUTPUT -s 192.0.2.10 -j DROP`))
	q := trace.Query{
		To: "vnet1", Dst: netip.MustParseAddr("10.20.0.11"), DstSet: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")},
		Service: schema.Service{Proto: "tcp"},
	}
	fs := w.Flows(q, 24)
	if len(fs) != 2 || fs[1].DstPort != 22 || fs[1].Src.IsValid() {
		t.Fatalf("flows of the host: %+v", fs)
	}
	if r := w.Walk(fs[1]); say(r) != "block reply ip filter INPUT: -s 10.0.0.0/8 -p tcp --sport 22 -j DROP" {
		t.Errorf("got %s", say(r))
	}
}

func TestFlowsOfAForward(t *testing.T) {
	t.Parallel()
	w := trace.New(parseState(t, lab+`
		*nat
		-A PREROUTING -p tcp --dport 8000 -j DNAT --to 10.20.0.11:80
		-A PREROUTING -p tcp --dport 8001 -j DNAT --to 10.20.0.11:81
		*filter
		-A FORWARD -p tcp --dport 81 -j DROP
		-A FORWARD -s 198.51.100.0/24 -j DROP`))
	q := trace.Query{
		From: "eno1", To: "vnet1", Src: netip.MustParseAddr("203.0.113.77"), Dst: netip.MustParseAddr("192.0.2.10"), WantDst: netip.MustParseAddr("10.20.0.11"),
		DstSet:  []netip.Prefix{netip.MustParsePrefix("10.20.0.11/32")},
		Service: schema.Service{Proto: "tcp", Ports: []schema.PortRange{{First: 80, Last: 81}}},
		Via:     &schema.Via{Proto: "tcp", Ports: schema.PortRange{First: 8000, Last: 8001}},
	}
	var got []string
	for _, f := range w.Flows(q, 24) {
		got = append(got, f.Src.String()+" > "+netip.AddrPortFrom(f.Dst, f.DstPort).String()+" want "+f.WantDst.String()+" "+string(w.Walk(f).Verdict))
	}
	want := []string{
		"203.0.113.77 > 192.0.2.10:8000 want 10.20.0.11:80 pass",
		"203.0.113.77 > 192.0.2.10:8001 want 10.20.0.11:81 block",
		"198.51.100.1 > 192.0.2.10:8000 want 10.20.0.11:80 block",
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
}
