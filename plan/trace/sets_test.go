package trace

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// rules makes random rules that make sense, about few addresses and ports, so that packets meet them.
type rules struct {
	r    *rand.Rand
	sets []*schema.Set
}

func (g *rules) one(in ...string) string { return in[g.r.IntN(len(in))] }

func (g *rules) addr(v6 bool) []byte {
	if v6 {
		a := netip.MustParseAddr(g.one("2001:db8::1", "2001:db8::2", "2001:db8:1::1", "fe80::1", "ff02::1")).As16()
		return a[:]
	}
	a := netip.MustParseAddr(g.one("10.20.0.11", "10.20.0.12", "10.20.0.1", "203.0.113.10", "203.0.113.11", "192.0.2.10", "192.0.2.255", "255.255.255.255", "224.0.0.1", "127.0.0.1", "0.0.0.0")).As4()
	return a[:]
}

func (g *rules) port() []byte {
	return binary.BigEndian.AppendUint16(nil, uint16([]int{22, 23, 80, 443, 1024, 40000, 65535}[g.r.IntN(7)]))
}

func (g *rules) op() string { return g.one("eq", "eq", "neq", "lt", "lte", "gt", "gte") }

func sorted(a, b []byte) (lo, hi []byte) {
	if slices.Compare(a, b) > 0 {
		return b, a
	}
	return a, b
}

// key loads something and says what values it has.
func (g *rules) key(v6 bool, reg uint32) (load []schema.Expr, value func() []byte) {
	pay := func(base string, off, n uint32) []schema.Expr {
		return []schema.Expr{{Name: "payload", Base: base, Offset: off, Len: n, DReg: reg}}
	}
	word := func(vals ...uint32) func() []byte {
		return func() []byte { return binary.NativeEndian.AppendUint32(nil, vals[g.r.IntN(len(vals))]) }
	}
	name := func() []byte {
		b := make([]byte, 16)
		copy(b, g.one("eno1", "virbr-lab", "vnet1", "nothing"))
		return b
	}
	off, n := uint32(12), uint32(4)
	if v6 {
		off, n = 8, 16
	}
	switch g.r.IntN(14) {
	case 0:
		return pay("network", off, n), func() []byte { return g.addr(v6) }
	case 1:
		return pay("network", off+n, n), func() []byte { return g.addr(v6) }
	case 2:
		return pay("network", off+n, n-1), func() []byte { return g.addr(v6)[:n-1] }
	case 3:
		return pay("transport", 0, 2), g.port
	case 4:
		return pay("transport", 2, 2), g.port
	case 5:
		return []schema.Expr{{Name: "meta", Key: "l4proto", DReg: reg}}, func() []byte { return []byte{byte([]int{1, 6, 17, 58}[g.r.IntN(4)])} }
	case 6:
		return []schema.Expr{{Name: "meta", Key: g.one("iifname", "oifname"), DReg: reg}}, name
	case 7:
		return []schema.Expr{{Name: "meta", Key: "mark", DReg: reg}}, word(0, 1, 2, 3)
	case 8:
		return []schema.Expr{{Name: "ct", Key: "mark", DReg: reg}}, word(0, 1, 2, 3)
	case 9:
		return []schema.Expr{{Name: "ct", Key: "status", DReg: reg}}, word(0, 16, 32, 48)
	case 10:
		return []schema.Expr{{Name: "ct", Key: g.one("saddr", "daddr"), Dir: g.one("original", "reply"), DReg: reg}}, func() []byte { return g.addr(v6) }
	case 11:
		return []schema.Expr{{Name: "fib", Key: g.one("daddr", "saddr", "daddr . iif"), Op: "type", DReg: reg}}, word(1, 2, 3, 5, 7)
	case 12:
		return []schema.Expr{{Name: "meta", Key: "iif", DReg: reg}}, word(1, 2, 3)
	}
	return []schema.Expr{{Name: "meta", Key: "pkttype", DReg: reg}}, func() []byte { return []byte{byte(g.r.IntN(4))} }
}

func (g *rules) match(v6 bool) []schema.Expr {
	if g.r.IntN(6) == 0 { // ct state
		return []schema.Expr{
			{Name: "ct", Key: "state", DReg: 1},
			{Name: "bitwise", SReg: 1, DReg: 1, Len: 4, Op: "bool", Data: binary.NativeEndian.AppendUint32(nil, []uint32{1, 2, 8, 6, 64, 10}[g.r.IntN(6)]), Data2: make([]byte, 4)},
			{Name: "cmp", SReg: 1, Op: g.one("neq", "eq"), Data: make([]byte, 4)},
		}
	}
	out, value := g.key(v6, 1)
	v := value()
	n := uint32(len(v))
	switch g.r.IntN(9) {
	case 0:
		m := make([]byte, n)
		for i := range m {
			m[i] = []byte{0xff, 0xf0, 0xfe, 0}[g.r.IntN(4)]
		}
		w := slices.Clone(v)
		for i := range w {
			w[i] &= m[i]
		}
		return append(out, schema.Expr{Name: "bitwise", SReg: 1, DReg: 1, Len: n, Op: "bool", Data: m, Data2: make([]byte, n)}, schema.Expr{Name: "cmp", SReg: 1, Op: g.op(), Data: w})
	case 1:
		lo, hi := sorted(v, value())
		return append(out, schema.Expr{Name: "range", SReg: 1, Op: g.one("eq", "neq"), Data: lo, Data2: hi})
	case 2:
		return append(out, schema.Expr{Name: "lookup", SReg: 1, Op: g.one("", "neq"), Set: g.set(n, value, false)})
	case 3:
		return append(out, schema.Expr{Name: "in", SReg: 1, Len: n, Op: g.one("eq", "neq"), Ranges: [][2]schema.Bytes{{v, v}, {value(), value()}}})
	case 4:
		x := make([]byte, n)
		x[g.r.IntN(int(n))] = 1
		return append(out, schema.Expr{Name: "bitwise", SReg: 1, DReg: 1, Len: n, Op: "bool", Data: slices.Repeat([]byte{0xff}, int(n)), Data2: x}, schema.Expr{Name: "cmp", SReg: 1, Op: g.op(), Data: v})
	case 5:
		if n == 4 || n == 2 {
			return append(out, schema.Expr{Name: "byteorder", SReg: 1, DReg: 1, Op: "hton", Len: n, Size: n}, schema.Expr{Name: "cmp", SReg: 1, Op: g.op(), Data: v})
		}
	case 6:
		if n == 4 {
			return append(out, schema.Expr{Name: "bitwise", SReg: 1, DReg: 1, Len: 4, Op: g.one("lshift", "rshift"), Data: binary.NativeEndian.AppendUint32(nil, uint32(g.r.IntN(9)))}, schema.Expr{Name: "cmp", SReg: 1, Op: g.op(), Data: v})
		}
	}
	return append(out, schema.Expr{Name: "cmp", SReg: 1, Op: g.op(), Data: v})
}

// set makes a set of values, some of them intervals; with verdicts, a map.
func (g *rules) set(n uint32, value func() []byte, verdicts bool) string {
	s := &schema.Set{Name: fmt.Sprint("s", len(g.sets)), KeyLen: n}
	if verdicts {
		s.DataType = schema.VerdictType
	}
	seen := map[string]bool{}
	for range 1 + g.r.IntN(4) {
		v := value()
		if seen[string(v)] {
			continue
		}
		seen[string(v)] = true
		e := schema.Element{Key: v}
		if verdicts {
			e.Verdict = &schema.Verdict{Kind: g.one("accept", "drop", "return", "continue", "jump", "goto"), Chain: g.one("c1", "c2")}
		}
		s.Elements = append(s.Elements, e)
	}
	if verdicts && g.r.IntN(4) == 0 {
		s.Elements = append(s.Elements, schema.Element{CatchAll: true, Verdict: &schema.Verdict{Kind: g.one("accept", "drop")}})
	}
	slices.SortFunc(s.Elements, func(a, b schema.Element) int { return slices.Compare(a.Key, b.Key) })
	g.sets = append(g.sets, s)
	return s.Name
}

func (g *rules) rule(v6 bool, deep bool) *schema.Rule {
	var e []schema.Expr
	for range g.r.IntN(3) {
		e = append(e, g.match(v6)...)
	}
	if g.r.IntN(5) == 0 {
		e = append(e, schema.Expr{Name: "immediate", DReg: 2, Data: binary.NativeEndian.AppendUint32(nil, uint32(g.r.IntN(4)))}, schema.Expr{Name: g.one("meta", "ct"), Key: "mark", SReg: 2, Write: true})
	}
	if g.r.IntN(12) == 0 {
		e = append(e, schema.Expr{Name: "notrack"})
	}
	if g.r.IntN(10) == 0 && !v6 {
		e = append(e, schema.Expr{Name: "immediate", DReg: 2, Data: g.addr(false)}, schema.Expr{Name: "payload_w", Base: "network", Offset: 16, Len: 4, SReg: 2})
	}
	kinds := []string{"accept", "drop", "return", "continue"}
	if deep {
		kinds = append(kinds, "jump", "jump", "goto")
	}
	switch {
	case g.r.IntN(6) == 0 && deep:
		load, value := g.key(v6, 1)
		e = append(append(e, load...), schema.Expr{Name: "lookup", SReg: 1, Set: g.set(uint32(len(value())), value, true)})
		fallthrough
	case g.r.IntN(8) > 0:
		e = append(e, schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: kinds[g.r.IntN(len(kinds))], Chain: g.one("c1", "c2")}})
	}
	return &schema.Rule{Exprs: e}
}

func (g *rules) table(family, name, hook string, v6 bool) *schema.Table {
	g.sets = nil
	t := &schema.Table{Family: family, Name: name}
	for i, n := range []string{"b1", "b2", "c1", "c2"} {
		c := &schema.Chain{Name: n}
		if i < 2 {
			c.Type, c.Hook, c.Priority, c.Policy = "filter", hook, int32(10*i+g.r.IntN(5)), g.one("accept", "accept", "drop")
		}
		for range 1 + g.r.IntN(6) {
			c.Rules = append(c.Rules, g.rule(v6, i < 2 || n == "c1" && g.r.IntN(2) == 0))
		}
		t.Chains = append(t.Chains, c)
	}
	for _, r := range t.Chains[2].Rules { // no circles
		for i := range r.Exprs {
			if v := r.Exprs[i].Verdict; v != nil {
				v.Chain = "c2"
			}
		}
	}
	for _, s := range g.sets {
		for i := range s.Elements {
			if v := s.Elements[i].Verdict; v != nil && v.Chain == "c1" {
				v.Chain = "c2"
			}
		}
	}
	t.Sets = g.sets
	return t
}

// natTable rewrites addresses of packets that random rules meet.
func (g *rules) natTable() *schema.Table {
	g.sets = nil
	t := &schema.Table{Family: "ip", Name: "nat"}
	for _, h := range []string{"prerouting", "output", "postrouting"} {
		c := &schema.Chain{Name: h, Type: "nat", Hook: h, Policy: "accept"}
		for range g.r.IntN(3) {
			var e []schema.Expr
			for range g.r.IntN(3) {
				e = append(e, g.match(false)...)
			}
			switch to := (schema.Expr{Name: "immediate", DReg: 2, Data: g.addr(false)}); {
			case h != "postrouting" && g.r.IntN(4) == 0:
				e = append(e, schema.Expr{Name: "redir"})
			case h != "postrouting" && g.r.IntN(3) == 0:
				e = append(e, to, schema.Expr{Name: "immediate", DReg: 3, Data: g.port()}, schema.Expr{Name: "nat", Op: "dnat", Family: "ip", SReg: 2, SReg3: 3})
			case h != "postrouting":
				e = append(e, to, schema.Expr{Name: "nat", Op: "dnat", Family: "ip", SReg: 2})
			case g.r.IntN(3) == 0:
				e = append(e, to, schema.Expr{Name: "nat", Op: "snat", Family: "ip", SReg: 2})
			case g.r.IntN(3) == 0:
				e = append(e, schema.Expr{Name: "immediate", DReg: 2, Data: []byte{4, 0}}, schema.Expr{Name: "immediate", DReg: 3, Data: []byte{0xff, 0xff}}, schema.Expr{Name: "masq", SReg: 2, SReg2: 3})
			default:
				e = append(e, schema.Expr{Name: "masq"})
			}
			c.Rules = append(c.Rules, &schema.Rule{Exprs: e})
		}
		t.Chains = append(t.Chains, c)
	}
	t.Sets = g.sets
	return t
}

// TestAnswersAgreeWithPackets asks about many packets at once, and about single ones of them.
func TestAnswersAgreeWithPackets(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	count := map[Verdict]int{}
	for n := range 400 {
		g := &rules{r: rand.New(rand.NewPCG(seed, uint64(n)))}
		s := busyHost(g)
		for _, name := range []string{"x", "y", "z"}[:1+g.r.IntN(3)] {
			tab := g.table("ip", name, g.one("forward", "input", "output", "prerouting", "postrouting"), false)
			for _, c := range tab.Chains {
				c.Priority = int32(g.r.IntN(500) - 250)
				if len(c.Rules) > 3 {
					c.Rules = c.Rules[:3]
				}
			}
			s.Put(tab)
		}
		if g.r.IntN(2) == 0 {
			s.Put(g.natTable())
		}
		w := New(s)
		q := g.query()
		for _, sp := range w.spoken(&q) {
			a := &asking{speech: &sp, r: w.sweep()}
			a.follow()
			pass, blocked, _, _, _ := a.sorted()
			if a.r.x.Err() != nil || a.src.len() == 0 {
				t.Fatalf("seed %d ruleset %d: %v", seed, n, a.r.x.Err())
			}
			for range 40 {
				f, vals, ok := g.member(a)
				if !ok {
					continue
				}
				res := w.Walk(f)
				in := func(set bdd.Node) bool { return a.r.x.Eval(set, func(v int) bool { return vals[v] }) }
				want := Depends
				switch {
				case in(pass):
					want = Pass
				case in(blocked):
					want = Block
				}
				count[want]++
				if res.Verdict != want {
					hops := ""
					for _, h := range res.Hops {
						hops += fmt.Sprintf("  %s %s %s %s %s: %s %s\n", h.Half, h.Stage, h.Ref.Name, h.Chain, h.Packet, h.Text, h.Action)
					}
					t.Fatalf("seed %d ruleset %d: together %s, alone %s: %+v\n%s%s", seed, n, want, res.Verdict, f, hops, dump(s))
				}
			}
		}
	}
	t.Logf("%v", count)
}

// TestTooLarge: a diagram that does not fit is no answer.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	g := &rules{r: rand.New(rand.NewPCG(1, 2))}
	s := busyHost(g)
	tab := g.table("ip", "x", "forward", false)
	tab.Chains[0].Rules = nil
	for i := range 40 { // a TTL nobody knows, in many ways
		tab.Chains[0].Rules = append(tab.Chains[0].Rules, &schema.Rule{Exprs: []schema.Expr{
			{Name: "payload", Base: "network", Offset: 4, Len: 2, DReg: 1},
			{Name: "cmp", SReg: 1, Op: "eq", Data: []byte{byte(i), byte(7 * i)}},
			{Name: "immediate", Verdict: &schema.Verdict{Kind: g.one("drop", "accept")}},
		}})
	}
	s.Put(tab)
	w := New(s)
	r := newSweep(w, &space{Space: bdd.New(100)})
	r.parcel = newParcel()
	f := Flow{From: "vnet1", To: "eno1", Src: netip.MustParseAddr("10.20.0.11"), Dst: netip.MustParseAddr("203.0.113.10"), Proto: "tcp", DstPort: 443}
	if res := r.walk(opening{f: &f}); res.Verdict != Depends || res.Decider == nil || res.Decider.Action != "depends: too large to decide" {
		t.Errorf("got %s %+v", res.Verdict, res.Decider)
	}
}

func (g *rules) query() Query {
	at := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	lab := []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")}
	var q Query
	switch g.r.IntN(5) {
	case 0:
		q = Query{From: "vnet1", To: "eno1", Src: at("10.20.0.11"), Dst: at("203.0.113.10"), SrcSet: lab}
	case 1:
		q = Query{From: "eno1", To: "vnet1", Src: at("203.0.113.10"), Dst: at("10.20.0.11"), DstSet: lab}
	case 2:
		q = Query{From: "vnet1", Src: at("10.20.0.11"), Dst: at("10.20.0.1"), SrcSet: lab}
	case 3:
		q = Query{To: "vnet1", Dst: at("10.20.0.11"), DstSet: lab}
	case 4:
		q = Query{From: "vnet1", To: "vnet2", Src: at("10.20.0.11"), Dst: at("10.20.0.12"), SrcSet: lab, DstSet: lab}
	}
	switch g.r.IntN(3) {
	case 0:
		q.Service = schema.Service{Proto: "tcp", Ports: []schema.PortRange{{First: 22, Last: 80}}}
	case 1:
		q.Service = schema.Service{Proto: "udp"}
	}
	return q
}

// member is a random packet of a question.
func (g *rules) member(a *asking) (Flow, map[int]bool, bool) {
	f := a.flow
	vals := map[int]bool{}
	set := func(first int, b []byte) {
		for i := range 8 * len(b) {
			vals[first+i] = b[i/8]&(0x80>>(i&7)) != 0
		}
	}
	end := func(c cells, first int) netip.Addr {
		if v, ok := c.addr(); ok {
			return v
		}
		b := g.addr(false)
		if g.r.IntN(3) == 0 {
			b = []byte{10, 20, 0, byte(g.r.IntN(256))}
		}
		set(first, b)
		v, _ := netip.AddrFromSlice(b)
		return v
	}
	if a.q.From != "" {
		f.Src = end(a.src, varSrc)
	}
	f.Dst = end(a.dst, varDst)
	if a.dport.len() > 0 {
		b := binary.BigEndian.AppendUint16(nil, uint16(1024+g.r.IntN(60000)))
		if g.r.IntN(2) == 0 {
			b = g.port()
		}
		set(varSPort, b)
		f.SrcPort = binary.BigEndian.Uint16(b)
		if f.DstPort, _ = a.dport.u16(); !a.dport.known() {
			b = g.port()
			set(varDPort, b)
			f.DstPort = binary.BigEndian.Uint16(b)
		}
	}
	port := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	for _, x := range []struct {
		c cells
		v []byte
	}{{a.src, f.Src.AsSlice()}, {a.dst, f.Dst.AsSlice()}, {a.sport, port(f.SrcPort)}, {a.dport, port(f.DstPort)}} {
		for i, u := range x.c.unk {
			if len(x.v) == x.c.len() && (x.v[i]^x.c.b[i])&^u != 0 {
				return f, nil, false
			}
		}
	}
	return f, vals, a.r.x.Eval(a.whole, func(v int) bool { return vals[v] })
}

// busyHost is a host with guests, and sometimes with something odd.
func busyHost(g *rules) *schema.State {
	s := smallHost()
	for i, n := range []string{"vnet1", "vnet2"} {
		s.Put(&schema.Link{Name: n, Type: "tap", Master: new("virbr-lab"), MAC: new(fmt.Sprintf("02:00:00:00:01:0%d", i)), Facts: &schema.LinkFacts{Index: 4 + i, Carrier: true}})
	}
	put := func(k, v string) { s.Put(&schema.Sysctl{Key: k, Value: v}) }
	put("net.ipv4.ip_forward", g.one("1", "1", "1", "0"))
	put("net.bridge.bridge-nf-call-iptables", g.one("1", "0"))
	put("net.ipv4.conf.all.rp_filter", g.one("0", "1", "2"))
	for _, r := range []*schema.Route{{Table: 254, Dst: netip.MustParsePrefix("10.20.0.0/24"), Link: "virbr-lab"}, {Table: 254, Dst: netip.MustParsePrefix("192.0.2.0/24"), Link: "eno1"}} {
		s.Put(r)
	}
	switch g.r.IntN(5) {
	case 0:
		s.Put(&schema.Route{Table: 254, Dst: netip.MustParsePrefix("203.0.113.0/29"), Type: "blackhole"})
	case 1:
		s.Put(&schema.Route{Table: 254, Dst: netip.MustParsePrefix("10.20.0.12/32"), Link: "eno1"})
	case 2:
		for i, t := range []uint32{255, 254, 253} {
			s.Put(&schema.PolicyRule{Family: "ip", Priority: []uint32{0, 32766, 32767}[i], Table: t})
		}
		s.Put(&schema.PolicyRule{Family: "ip", Priority: 100, Mark: 1, Action: "prohibit"})
		s.Put(&schema.PolicyRule{Family: "ip", Priority: 101, Src: netip.MustParsePrefix("10.20.0.0/28"), Action: "blackhole"})
	}
	return s
}

func smallHost() *schema.State {
	s := &schema.State{}
	for i, n := range []string{"lo", "eno1", "virbr-lab"} {
		s.Put(&schema.Link{Name: n, Type: map[string]string{"lo": "loopback", "virbr-lab": "bridge"}[n], MAC: new("02:00:00:00:00:01"), Facts: &schema.LinkFacts{Index: i + 1, Carrier: true}})
	}
	s.Put(&schema.Address{Link: "lo", Prefix: netip.MustParsePrefix("127.0.0.1/8")})
	s.Put(&schema.Address{Link: "eno1", Prefix: netip.MustParsePrefix("192.0.2.10/24")})
	s.Put(&schema.Address{Link: "virbr-lab", Prefix: netip.MustParsePrefix("10.20.0.1/24")})
	s.Put(&schema.Address{Link: "eno1", Prefix: netip.MustParsePrefix("2001:db8::1/64")})
	s.Put(&schema.Route{Table: 254, Dst: netip.MustParsePrefix("0.0.0.0/0"), Link: "eno1"})
	return s
}

// TestSetsAgreeWithPackets compares the set that a hook lets through with single packets, on random rules.
func TestSetsAgreeWithPackets(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	hookOf := map[string]hook{"forward": forward, "input": input, "output": output, "prerouting": prerouting}
	packets, drops := 0, 0
	for n := range 400 {
		g := &rules{r: rand.New(rand.NewPCG(seed, uint64(n)))}
		v6 := g.r.IntN(4) == 0
		h := g.one("forward", "input", "output", "prerouting")
		s := smallHost()
		s.Put(g.table("inet", "x", h, v6))
		s.Put(g.table(map[bool]string{true: "ip6", false: "ip"}[v6], "y", h, v6))
		w := New(s)
		sp := bdd.New(0)
		a := newAnyPacket(sp, []string{"lo", "eno1", "virbr-lab"})
		set, ok := w.hookSet(a, hookOf[h], v6, false, bdd.True)
		if !ok || sp.Err() != nil {
			t.Fatalf("ruleset %d: not decided: %v", n, sp.Err())
		}
		for range 60 {
			r, vals := g.packet(w, hookOf[h], v6)
			survives, ok := g.runs(w, r, hookOf[h], v6)
			if !ok {
				continue
			}
			packets++
			if !survives {
				drops++
			}
			if got := sp.Eval(set, func(v int) bool { return vals[v] }); got != survives {
				t.Fatalf("seed %d ruleset %d hook %s: set says %v, packet %s says %v\n%s", seed, n, h, got, r.p.view(r), survives, dump(s))
			}
		}
	}
	t.Logf("%d packets, %d dropped", packets, drops)
}

func dump(s *schema.State) string {
	out := ""
	for t := range schema.Each[*schema.Table](s) {
		for _, c := range t.Chains {
			out += fmt.Sprintf("%s %s %s policy %s prio %d\n", t.Family, t.Name, c.Name, c.Policy, c.Priority)
			for _, r := range c.Rules {
				out += "   "
				for _, e := range r.Exprs {
					out += fmt.Sprintf(" [%s %s %s%s %s%s off %d len %d %x %x %s", e.Name, e.Key, e.Op, e.Dir, e.Base, e.Set, e.Offset, e.Len, e.Data, e.Data2, e.Ranges)
					if e.Verdict != nil {
						out += e.Verdict.Kind + " " + e.Verdict.Chain
					}
					out += "]"
				}
				out += "\n"
			}
		}
		for _, x := range t.Sets {
			out += fmt.Sprintf("set %s: ", x.Name)
			for _, e := range x.Elements {
				out += fmt.Sprintf("%x-%x %v, ", e.Key, e.KeyEnd, e.Verdict)
			}
			out += "\n"
		}
	}
	return out
}

// runs lets one packet through the chains of a hook; ok is false when something about it is unknown.
func (g *rules) runs(w *Walker, r *sweep, h hook, v6 bool) (survives, ok bool) {
	r.pc, r.log.on = bdd.True, true
	survives = true
	for _, grp := range w.groups[family(v6)][h] {
		for _, e := range grp {
			if survives && e.kind == entryChain && familyMatches(e.base.c.t.t.Family, v6) {
				survives = r.traverse(e.base)
			}
		}
	}
	return survives, r.pc <= bdd.True && len(r.log.fates) <= 1 && (len(r.log.fates) == 0 || r.log.fates[0].verdict == Block)
}

// packet makes one packet, and the assignment of variables that means it.
func (g *rules) packet(w *Walker, h hook, v6 bool) (*sweep, map[int]bool) {
	vals := map[int]bool{}
	set := func(first int, c cells, b []byte) {
		c.put(b)
		for i := range 8 * len(b) {
			vals[first+i] = b[i/8]&(0x80>>(i&7)) != 0
		}
	}
	word := func(first int, c cells, v uint32) { set(first, c, binary.NativeEndian.AppendUint32(nil, v)) }
	r := w.sweep()
	r.restart(opening{f: &Flow{}})
	r.hook = h
	p := r.begin("request", v6, []byte{6, 17}[g.r.IntN(2)])
	p.build(first)
	p.image.zero()
	p.fillUp()
	if p.image.b[12], p.image.b[13], p.image.b[netOff] = 0x08, 0, 0x45; v6 {
		p.image.b[12], p.image.b[13], p.image.b[netOff] = 0x86, 0xdd, 0x60
	}
	set(varProto, p.layer4, []byte{p.proto})
	set(varSrc, p.src(), g.addr(v6))
	set(varDst, p.dst(), g.addr(v6))
	set(varSPort, p.sport(), g.port())
	set(varDPort, p.dport(), g.port())
	p.linked, p.made = h != output, h == output
	word(varMark, p.mark, uint32(g.r.IntN(4)))
	set(varKind, p.kind, []byte{byte(g.r.IntN(4))})
	dev := func(first int) *device {
		i := g.r.IntN(3)
		set(first, newCells(2), []byte{0, byte(i)})
		return w.devices[[]string{"lo", "eno1", "virbr-lab"}[i]]
	}
	if h != output {
		p.in = dev(varIn)
	}
	if h != prerouting && h != input {
		p.out = dev(varOut)
	}
	st := []int{bitInvalid, bitEstablished, bitNew, bitUntracked}[g.r.IntN(4)]
	if g.r.IntN(3) == 0 && (h == prerouting || h == output) {
		st = -1
	}
	p.setState(st)
	if st >= 0 {
		vals[varState+st] = true
	}
	if st == bitEstablished || st == bitNew {
		c := r.newEntry()
		p.ct, p.has = c, bdd.True
		word(varStatus, c.at(ctStatus, 4), []uint32{0, 16, 32}[g.r.IntN(3)])
		word(varCTMark, c.at(ctMark, 4), uint32(g.r.IntN(4)))
		reply := st == bitEstablished && g.r.IntN(2) == 0
		p.answer = boolean(reply)
		vals[varState+7] = reply
		for _, off := range []int{ctOrig, ctReply} {
			base := varTuples + 8*off
			set(base+8*tupleSrc, c.at(off+tupleSrc, p.alen()), g.addr(v6))
			set(base+8*tupleDst, c.at(off+tupleDst, p.alen()), g.addr(v6))
			set(base+8*tupleSPort, c.at(off+tupleSPort, 2), g.port())
			set(base+8*tupleDPort, c.at(off+tupleDPort, 2), g.port())
		}
	}
	return r, vals
}
