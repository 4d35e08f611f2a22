package trace_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// dice draws from the fuzzer's bytes; zeros when they are used up.
type dice []byte

func (d *dice) n(max int) int {
	if len(*d) == 0 {
		return 0
	}
	b := (*d)[0]
	*d = (*d)[1:]
	return int(b) % max
}

func (d *dice) bytes(max int) []byte {
	n := min(d.n(max+1), len(*d))
	b := append([]byte(nil), (*d)[:n]...)
	*d = (*d)[n:]
	return b
}

func of[T any](d *dice, xs ...T) T { return xs[d.n(len(xs))] }

func (d *dice) expr() schema.Expr {
	e := schema.Expr{
		Name: of(d, "payload", "payload_w", "meta", "ct", "cmp", "range", "bitwise", "byteorder", "lookup", "in", "immediate", "fib", "nat", "masq",
			"redir", "netmap", "rt", "exthdr", "reject", "notrack", "counter", "limit", "numgen", "objref", "xtmatch", "xttarget", "dynset", "nonsense"),
		Key: of(d, "", "iifname", "oifname", "mark", "l4proto", "state", "status", "saddr . iif", "daddr", "iif", "nfproto", "protocol", "saddr", "proto_dst",
			"nexthop4", "pkttype", "iiftype", "iifgroup", "oifkind", "skuid", "ibrname", "length", "MARK", "LOG"),
		Base: of(d, "", "link", "network", "transport", "inner"), Op: of(d, "", "eq", "neq", "lt", "gte", "bool", "lshift", "rshift", "hton", "snat", "dnat", "type", "oif", "oifname", "tcpopt", "ipv6"),
		Dir: of(d, "", "original", "reply"), Family: of(d, "", "ip", "ip6"), Set: of(d, "s0", "s1", "s2", ""),
		Offset: uint32(d.n(256)), Len: uint32(d.n(72)), Size: uint32(d.n(10)),
		SReg: uint32(d.n(26)), SReg2: uint32(d.n(26)), SReg3: uint32(d.n(26)), SReg4: uint32(d.n(26)), DReg: uint32(d.n(26)),
		Data: d.bytes(20), Data2: d.bytes(20), Write: d.n(4) == 0, Type: uint32(d.n(12)), Flags: uint32(d.n(128)),
	}
	if d.n(3) == 0 {
		e.Verdict = d.verdict()
	}
	if d.n(16) == 0 {
		e.Opaque = d.bytes(4)
	}
	if e.Name == "in" {
		e.Ranges = [][2]schema.Bytes{{d.bytes(8), d.bytes(8)}}
	}
	return e
}

func (d *dice) verdict() *schema.Verdict {
	return &schema.Verdict{Kind: of(d, "accept", "drop", "return", "continue", "jump", "goto", "queue", "?"), Chain: of(d, "c0", "c1", "c2", "", "base0")}
}

func (d *dice) set(name string) *schema.Set {
	s := &schema.Set{Name: name, Flags: uint32(d.n(256)), KeyLen: uint32(d.n(70)), DataLen: uint32(d.n(70))}
	if d.n(2) == 0 {
		s.DataType = schema.VerdictType
	}
	for range d.n(4) {
		s.Fields = append(s.Fields, uint32(d.n(20)))
	}
	for range d.n(5) {
		e := schema.Element{Key: d.bytes(20), KeyEnd: d.bytes(20), CatchAll: d.n(8) == 0, Data: d.bytes(20)}
		if d.n(2) == 0 {
			e.Verdict = d.verdict()
		}
		s.Elements = append(s.Elements, e)
	}
	return s
}

func (d *dice) table(name string) *schema.Table {
	t := &schema.Table{Family: of(d, "inet", "ip", "ip6", "bridge", "netdev", "arp", "?"), Name: name, Legacy: d.n(4) == 0, Dormant: d.n(8) == 0}
	for _, c := range []string{"base0", "base1", "c0", "c1", "c2"} {
		ch := &schema.Chain{Name: c}
		if c[0] == 'b' {
			ch.Type, ch.Hook = of(d, "filter", "nat", "route"), of(d, "forward", "prerouting", "postrouting", "input", "output", "ingress", "egress", "?")
			ch.Priority, ch.Policy, ch.Devices = int32(d.n(5)*100-300), of(d, "accept", "drop"), []string{"vnet1"}
		}
		for range d.n(4) {
			r := &schema.Rule{}
			for range d.n(6) {
				r.Exprs = append(r.Exprs, d.expr())
			}
			ch.Rules = append(ch.Rules, r)
		}
		t.Chains = append(t.Chains, ch)
	}
	for _, s := range []string{"s0", "s1", "s2"} {
		t.Sets = append(t.Sets, d.set(s))
	}
	return t
}

// FuzzWalk throws arbitrary rules at the walk: it must end, without a panic, and name who decides.
func FuzzWalk(f *testing.F) {
	f.Add([]byte("a rule"), "vnet1", "eno1", "10.20.0.11", "203.0.113.10", "tcp")
	f.Add([]byte{}, "", "vnet2", "127.0.0.1", "10.20.0.12", "icmp")
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, "eno1", "", "2001:db8::1", "ff02::1", "47")
	f.Fuzz(func(t *testing.T, b []byte, from, to, src, dst, proto string) {
		s := parseState(t, lab+masq+"sysctl net.bridge.bridge-nf-call-iptables=1")
		d := dice(b)
		s.Put(d.table("x"))
		s.Put(d.table("y"))
		fl := trace.Flow{From: from, To: to, Proto: proto, SrcPort: uint16(d.n(256)), DstPort: 443}
		fl.Src, _ = netip.ParseAddr(src)
		fl.Dst, _ = netip.ParseAddr(dst)
		w := trace.New(s)
		res := w.Walk(fl)
		if (res.Verdict == trace.Pass) != (res.Decider == nil) || res.Verdict == trace.Partly {
			t.Errorf("verdict %s, decider %v", res.Verdict, res.Decider)
		}
		if again := w.Walk(fl); say(again) != say(res) {
			t.Errorf("twice: %s, then %s", say(res), say(again))
		}
		for _, p := range w.Ask(outward("tcp", port(443))).Parts {
			if p.Verdict == trace.Partly || p.Share <= 0 {
				t.Errorf("part %+v", p)
			}
		}
	})
}

// FuzzOpened throws arbitrary rules at the comparison of two states: it must end without a panic, and two states that are
// the same open nothing.
func FuzzOpened(f *testing.F) {
	f.Add([]byte("a rule"))
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 200, 100, 50, 25, 12, 6, 3, 1, 0, 255, 254, 253})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := dice(b)
		s := parseState(t, lab+masq+"sysctl net.bridge.bridge-nf-call-iptables=1")
		s.Put(d.table("x"))
		other := s.Clone()
		s.Put(d.table("y"))
		other.Put(d.table("y"))
		if d.n(2) == 0 {
			other.Put(&schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "0"})
		}
		before, after := trace.New(s), trace.New(other)
		for _, w := range [][2]*trace.Walker{{before, after}, {after, before}} {
			for _, o := range opened(t, w[0], w[1]) {
				if o.Packets == "" || o.Share < 0 || o.Share > 1.001 {
					t.Errorf("%+v", o)
				}
			}
		}
		if got := opened(t, before, trace.New(s)); len(got) > 0 {
			t.Errorf("nothing changed, and it opens %v", got)
		}
	})
}

// opened is Opened; too large to compare is an answer too.
func opened(t *testing.T, before, after *trace.Walker) []trace.Opening {
	t.Helper()
	got, err := trace.Opened(before, after, nil)
	if err != nil && !errors.Is(err, bdd.ErrTooLarge) {
		t.Error(err)
	}
	return got
}
