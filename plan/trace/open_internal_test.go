package trace

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// mutant is a state in which one thing of a table is another: what both have they share.
func (g *rules) mutant(s *schema.State, v6 bool) *schema.State {
	out := s.Clone()
	all := slices.Collect(schema.Each[*schema.Table](s))
	t := *all[g.r.IntN(len(all))]
	t.Chains = slices.Clone(t.Chains)
	i := g.r.IntN(len(t.Chains))
	c := *t.Chains[i]
	c.Rules = slices.Clone(c.Rules)
	at := g.r.IntN(len(c.Rules))
	g.sets = slices.Clone(t.Sets)
	switch g.r.IntN(7) {
	case 0, 1:
		c.Rules = slices.Insert(c.Rules, at, g.rule(v6, false))
	case 2, 3:
		c.Rules = slices.Delete(c.Rules, at, at+1)
	case 4:
		c.Rules[at] = g.rule(v6, false)
	case 5:
		if len(g.sets) > 0 {
			k := g.r.IntN(len(g.sets))
			set := *g.sets[k]
			set.Elements = slices.Clone(set.Elements[:len(set.Elements)-1])
			g.sets[k] = &set
		}
	case 6:
		if c.Hook != "" {
			c.Policy = g.one("accept", "drop")
		}
	}
	t.Sets = g.sets
	t.Chains[i] = &c
	out.Put(&t)
	return out
}

// TestOpenedIsAllThatOpens compares what is found among the packets that a changed rule is about with what is found among
// all packets, on random rules.
func TestOpenedIsAllThatOpens(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	hookOf := map[string]hook{"forward": forward, "input": input, "output": output, "prerouting": prerouting, "postrouting": postrouting}
	something, large := 0, 0
	for n := range 50 {
		g := &rules{r: rand.New(rand.NewPCG(seed, uint64(n)))}
		v6 := g.r.IntN(4) == 0
		h := g.one("forward", "input", "output", "prerouting", "postrouting")
		s := smallHost()
		s.Put(&schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"})
		s.Put(&schema.Sysctl{Key: "net.ipv6.conf.all.forwarding", Value: "1"})
		s.Put(g.table("inet", "x", h, v6))
		s.Put(g.table(map[bool]string{true: "ip6", false: "ip"}[v6], "y", h, v6))
		other := g.mutant(s, v6)
		o := &opener{before: New(s), after: New(other), space: bdd.New(1 << 19)}
		for _, st := range o.stages() {
			if st.hook != hookOf[h] || st.v6 != v6 || st.bridged || len(st.chains(0)) == 0 {
				continue
			}
			d := &differ{chains: map[[2]*chain]bool{}, sets: map[[2]*schema.Set]bool{}}
			d.bases(st.chains(0), st.chains(1))
			o.space.Reset()
			c := o.comparison(st)
			found := c.compared(d)
			all := c.compared(&differ{whole: true})
			if o.space.Err() != nil {
				large++
				continue
			}
			if found != bdd.False {
				something++
			}
			if found != all {
				missed := c.x.Diff(all, found)
				t.Fatalf("seed %d, pair %d, hook %s: missed %s, too much %s\nbefore\n%s\nafter\n%s", seed, n, h,
					witness(o.space, c.aspects(), missed), witness(o.space, c.aspects(), c.x.Diff(found, all)), dump(s), dump(other))
			}
			if c.writes || h == "output" || h == "prerouting" {
				continue
			}
			was, _ := o.before.hookSet(c.a, st.hook, v6, false, c.possible)
			is, _ := o.after.hookSet(c.a, st.hook, v6, false, c.possible)
			if want := c.inWords(c.x.Diff(is, was)); found != want && o.space.Err() == nil {
				t.Fatalf("seed %d, pair %d, hook %s: %s is opened, found %s", seed, n, h, witness(o.space, c.aspects(), want), witness(o.space, c.aspects(), found))
			}
		}
	}
	t.Logf("%d pairs open something, %d are too large to compare over all packets", something, large)
	if large > 25 {
		t.Errorf("%d of 50 pairs are too large to compare", large)
	}
}

var hopPacket = regexp.MustCompile(`^(\S+) > (\S+) (tcp|udp)(?: (\S+))?(?: in (\S+))?(?: out (\S+))?$`)

// assignment is a hop's packet in the variables of a stage.
func (c *comparison) assignment(t *testing.T, h *Hop) map[int]bool {
	t.Helper()
	m := hopPacket.FindStringSubmatch(h.Packet)
	if m == nil {
		t.Fatalf("packet %q", h.Packet)
	}
	vals := map[int]bool{}
	set := func(first int, b []byte) {
		for i := range 8 * len(b) {
			vals[first+i] = b[i/8]&(0x80>>(i&7)) != 0
		}
	}
	src, dst := netip.MustParseAddrPort(m[1]), netip.MustParseAddrPort(m[2])
	set(varSrc, src.Addr().AsSlice())
	set(varDst, dst.Addr().AsSlice())
	set(varSPort, binary.BigEndian.AppendUint16(nil, src.Port()))
	set(varDPort, binary.BigEndian.AppendUint16(nil, dst.Port()))
	set(varProto, []byte{map[string]byte{"tcp": protoTCP, "udp": protoUDP}[m[3]]})
	vals[varState+map[string]int{"new": bitNew, "established": bitEstablished, "invalid": bitInvalid, "untracked": bitUntracked, "": bitNew}[m[4]]] = true
	for first, name := range map[int]string{varIn: m[5], varOut: m[6]} {
		if i := slices.Index(c.a.names, name); i >= 0 {
			set(first, []byte{byte(i >> 8), byte(i)})
		}
	}
	return vals
}

// TestOpenedHoldsWhatWalksThrough: a packet that a walk loses in one state and not in the other is in the opening at the hook
// where it was lost, or a rule in front of that now writes into packets.
func TestOpenedHoldsWhatWalksThrough(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	through := 0
	for n := range 400 {
		g := &rules{r: rand.New(rand.NewPCG(seed, uint64(n)))}
		s := smallHost()
		for _, k := range []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"} {
			s.Put(&schema.Sysctl{Key: k, Value: "1"})
		}
		s.Put(&schema.Route{Table: 254, Dst: netip.MustParsePrefix("10.20.0.0/24"), Link: "virbr-lab", Proto: new(uint8(2))})
		s.Put(g.table("inet", "x", g.one("forward", "prerouting", "postrouting"), false))
		s.Put(g.table("ip", "y", "forward", false))
		other := g.mutant(s, false)
		o := &opener{before: New(s), after: New(other), space: bdd.New(0)}
		for range 40 {
			f := Flow{
				From: "eno1", Proto: g.one("tcp", "udp"), SrcPort: binary.BigEndian.Uint16(g.port()), DstPort: binary.BigEndian.Uint16(g.port()),
				Src: netip.MustParseAddr(g.one("203.0.113.10", "203.0.113.11")), Dst: netip.MustParseAddr(g.one("10.20.0.11", "10.20.0.12")),
			}
			if g.r.IntN(2) == 0 {
				f.From, f.Src, f.Dst = "virbr-lab", f.Dst, f.Src
			}
			was := o.before.Walk(f)
			if was.Verdict != Block || was.Decider.Code != "" || o.after.Walk(f).Verdict != Pass {
				continue
			}
			through++
			if !o.holds(t, was.Decider) {
				t.Fatalf("seed %d, pair %d: %+v is let through now and not found\n%s: %s\nbefore\n%s\nafter\n%s", seed, n, f, was.Decider.Stage, was.Decider.Packet, dump(s), dump(other))
			}
		}
	}
	t.Logf("%d flows got through", through)
}

// holds tells whether the packet of a hop is in the opening at its hook, or something is opened at a hook before it.
func (o *opener) holds(t *testing.T, h *Hop) bool {
	t.Helper()
	for _, st := range o.stages() {
		if st.v6 || st.bridged || st.dev != "" || st.nat {
			continue
		}
		d := &differ{chains: map[[2]*chain]bool{}, sets: map[[2]*schema.Set]bool{}}
		d.bases(st.chains(0), st.chains(1))
		o.space.Reset()
		c := o.comparison(st)
		found := c.compared(d)
		if st.name != h.Stage || c.rewritten() { // a hop shows the packet as it is when it is lost, not as it came
			if found != bdd.False && c.writes {
				return true
			}
			continue
		}
		vals := c.assignment(t, h)
		if o.space.Eval(found, func(v int) bool { return vals[v] }) {
			return true
		}
	}
	return false
}

// TestOpenedBehindAWrite: a rule that looks at what an earlier one wrote is about packets that did not look so.
func TestOpenedBehindAWrite(t *testing.T) {
	t.Parallel()
	from, to := []byte{203, 0, 113, 10}, []byte{10, 20, 0, 11}
	is := func(off uint32, addr []byte) []schema.Expr {
		return []schema.Expr{{Name: "payload", Base: "network", Offset: off, Len: 4, DReg: 1}, {Name: "cmp", SReg: 1, Op: "eq", Data: addr}}
	}
	write := append(is(12, from), schema.Expr{Name: "immediate", DReg: 1, Data: to}, schema.Expr{Name: "payload_w", Base: "network", Offset: 16, Len: 4, SReg: 1})
	drop := append(is(16, to), schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: "drop"}})
	s := smallHost()
	s.Put(&schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"})
	table := &schema.Table{Family: "ip", Name: "x", Chains: []*schema.Chain{
		{Name: "c", Type: "filter", Hook: "forward", Policy: "accept", Rules: []*schema.Rule{{Exprs: write}, {Exprs: drop}}},
	}}
	s.Put(table)
	got, err := Opened(New(s), New(without(s, table, table.Chains[0], 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, o := range got {
		texts = append(texts, o.String())
	}
	if g, want := strings.Join(texts, "; "), "forward: to 10.20.0.11; forward: from 203.0.113.10 to != 10.20.0.11"; g != want {
		t.Errorf("opened %s, want %s", g, want)
	}
}

// TestOpenedBySets: what a set holds counts where a rule looks into it, and where an alternative of a match does.
func TestOpenedBySets(t *testing.T) {
	t.Parallel()
	look := []schema.Expr{{Name: "payload", Base: "network", Offset: 12, Len: 4, DReg: 1}, {Name: "lookup", SReg: 1, Set: "s"}}
	drop := schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: "drop"}}
	for name, match := range map[string][]schema.Expr{"lookup": look, "alternative": {{Name: "xtmatch", Key: "set", Any: [][]schema.Expr{look}}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := func(elements ...byte) *schema.State {
				set := &schema.Set{Name: "s", KeyLen: 4}
				for _, e := range elements {
					set.Elements = append(set.Elements, schema.Element{Key: []byte{10, 20, 0, e}})
				}
				s := smallHost()
				s.Put(&schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"})
				s.Put(&schema.Table{Family: "ip", Name: "x", Sets: []*schema.Set{set}, Chains: []*schema.Chain{
					{Name: "c", Type: "filter", Hook: "forward", Policy: "accept", Rules: []*schema.Rule{{Exprs: append(slices.Clone(match), drop)}}},
				}})
				return s
			}
			got, err := Opened(New(state(11, 12)), New(state(12)), nil)
			if err != nil || len(got) != 1 || got[0].String() != "forward: from 10.20.0.11" {
				t.Errorf("opened %v (%v), want forward: from 10.20.0.11", got, err)
			}
		})
	}
}

// without is a state in which a chain lacks a rule, or has another policy when at is -1.
func without(s *schema.State, t *schema.Table, c *schema.Chain, at int) *schema.State {
	table, chain := *t, *c
	switch {
	case at >= 0:
		chain.Rules = slices.Delete(slices.Clone(c.Rules), at, at+1)
	case c.Policy == "drop":
		chain.Policy = "accept"
	default:
		chain.Policy = "drop"
	}
	table.Chains = slices.Clone(t.Chains)
	table.Chains[slices.Index(t.Chains, c)] = &chain
	out := s.Clone()
	out.Put(&table)
	return out
}

// TestOpenedOnRealHosts takes each rule of real hosts out, and looks what that opens: among the packets the rule is about
// the same as among all.
func TestOpenedOnRealHosts(t *testing.T) {
	t.Parallel()
	hosts, err := filepath.Glob("../testdata/real/*/host.json")
	if err != nil || len(hosts) == 0 {
		t.Fatalf("no recorded hosts: %v", err)
	}
	for _, path := range hosts {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := schema.NewState()
			if err := json.Unmarshal(b, s); err != nil {
				t.Fatal(err)
			}
			n, opens := 0, 0
			for table := range schema.Each[*schema.Table](s) {
				for _, c := range table.Chains {
					for at := -1; at < len(c.Rules); at++ {
						if at < 0 && c.Hook == "" {
							continue
						}
						n++
						if openedEqually(t, s, without(s, table, c, at), fmt.Sprintf("%s %s %d", table, c.Name, at)) {
							opens++
						}
					}
				}
			}
			t.Logf("%d changes, %d of them open something", n, opens)
		})
	}
}

// openedEqually compares what is found with what is found among all packets, in every stage that differs.
func openedEqually(t *testing.T, before, after *schema.State, what string) (some bool) {
	t.Helper()
	o := &opener{before: New(before), after: New(after), space: bdd.New(0)}
	for _, st := range o.stages() {
		d := &differ{chains: map[[2]*chain]bool{}, sets: map[[2]*schema.Set]bool{}, nat: st.nat}
		d.bases(st.chains(0), st.chains(1))
		if !d.whole && len(d.rules) == 0 {
			continue
		}
		o.space.Reset()
		c := o.comparison(st)
		found := c.compared(d)
		some = some || found != bdd.False
		if !st.nat && !d.whole {
			if all := c.compared(&differ{whole: true}); found != all {
				t.Errorf("%s, %s: missed %s, too much %s", what, st.name, witness(o.space, c.aspects(), c.x.Diff(all, found)), witness(o.space, c.aspects(), c.x.Diff(found, all)))
			}
		}
		if err := o.space.Err(); err != nil {
			t.Errorf("%s, %s: %v", what, st.name, err)
		}
	}
	return some
}
