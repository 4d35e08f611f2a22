package trace_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

// TestOracleAsk asks about many connections at once, and judges the answer by single ones: random members of the query have one
// of the answer's fates, each witness has its part's, no fate is missing; and the kernel agrees on all of them.
func TestOracleAsk(t *testing.T) {
	t.Parallel()
	seed := seedOf()
	t.Logf("go test ./plan/trace -run TestOracleAsk -oracle.seed=%d -oracle.rulesets=%d", seed, *oracleSets)
	world.InNewHost(t, func() {
		b := newBed(t)
		defer func() {
			if err := b.close(); err != nil {
				t.Error(err)
			}
		}()
		tally := map[string]int{}
		for i := range *oracleSets / 5 {
			g := &generator{r: rand.New(rand.NewPCG(seed, uint64(i)))}
			if err := askRound(t, b, g, fmt.Sprintf("seed %d, ruleset %d", seed, i), tally); err != nil {
				t.Fatal(err)
			}
			if t.Failed() {
				return
			}
		}
		t.Logf("answers and members by verdict: %v", tally)
	})
}

func askRound(t *testing.T, b *bed, g *generator, about string, tally map[string]int) error {
	t.Helper()
	if err := b.reset(); err != nil {
		return err
	}
	settings := g.settings()
	for _, s := range settings {
		if err := do(s[0]); err != nil {
			return err
		}
	}
	rules, err := loadWhatLoads(g.ruleset())
	if err != nil {
		return fmt.Errorf("%s: %w", about, err)
	}
	s, err := b.state(t.Context())
	if err != nil {
		return err
	}
	w := trace.New(s).Acquainted().Indexed()
	for range 4 {
		q, members := g.query(b, 12)
		if why := b.tryAnswer(t, w, q, members, tally); why != "" {
			t.Errorf("%s\n%v\n%s\n%s", about, settings, rules, why)
			break
		}
		b.round++
	}
	errs := []error{}
	for _, s := range settings {
		errs = append(errs, do(s[1]))
	}
	return errors.Join(errs...)
}

// tryAnswer gives what is wrong with an answer, "" for nothing.
func (b *bed) tryAnswer(t *testing.T, w *trace.Walker, q trace.Query, members []probe, tally map[string]int) string {
	t.Helper()
	a := w.Ask(q)
	tally["asked "+string(a.Verdict)]++
	if _, barred := w.Barred(q); barred {
		tally["barred"]++
		if a.Verdict != trace.Block {
			return fmt.Sprintf("%+v: is said to be barred, and %s", q, a.Verdict)
		}
	}
	fates, share := map[trace.Verdict]bool{}, 0.0
	for _, p := range a.Parts {
		fates[p.Verdict] = true
		share += p.Share
		if got := w.Walk(p.Witness.Flow); got.Verdict != p.Verdict || got.Verdict != p.Witness.Verdict {
			return fmt.Sprintf("%+v: the witness of a part that is %s walks to %s\n%s: %+v\n%s", q, p.Verdict, got.Verdict, p.Packets, p.Witness.Flow, show(got))
		}
	}
	if len(a.Parts) == 0 || math.Abs(share-1) > 0.01 {
		return fmt.Sprintf("%+v: %d parts, shares of %v in all", q, len(a.Parts), share)
	}
	if len(fates) > 1 && a.Verdict != trace.Partly && a.Verdict != trace.Depends {
		return fmt.Sprintf("%+v: is said to be %s, of parts that are %v", q, a.Verdict, fates)
	}
	tried := append(slices.Clone(members), b.witnesses(a, members)...)
	for i := range tried { // the kernel does not care what was asked for
		tried[i].flow.To = ""
		tried[i].flow.From = b.ends[tried[i].from].dev
	}
	wrong, results, got, err := b.judge(w, tried)
	if err != nil {
		return err.Error()
	}
	for _, m := range members {
		res := w.Walk(m.flow)
		tally["member "+string(res.Verdict)]++
		// A part that depends may hold what single connections settle; a part that passes or is blocked holds nothing else.
		if !fates[res.Verdict] && !fates[trace.Depends] {
			return fmt.Sprintf("%+v: %+v walks to %s, which no part of the answer is: %v\n%s", q, m.flow, say(res), fates, show(res))
		}
	}
	if len(wrong) > 0 {
		res := results[wrong[0].p.tag]
		return fmt.Sprintf("%+v\nthe kernel says %q, vmnet %q: %s\n%s", wrong[0].p, got[wrong[0].p.tag], verdictOf(res), say(res), show(res))
	}
	return ""
}

// witnesses are those of an answer's parts, as connections to be tried.
func (b *bed) witnesses(a trace.Answer, members []probe) []probe {
	used := map[parcel]bool{}
	bare := func(p parcel) parcel {
		p.tag, p.round = 0, 0
		return p
	}
	for _, m := range members {
		used[bare(m.p)], used[bare(m.p.answer())] = true, true
	}
	var out []probe
	for i, part := range a.Parts {
		f := part.Witness.Flow
		p := parcel{tag: uint32(1000 + i), proto: map[string]byte{"tcp": 6, "udp": 17, "icmp": 1}[f.Proto], src: f.Src, dst: f.Dst, sport: f.SrcPort, dport: f.DstPort}
		if p.proto == 0 || used[bare(p)] || used[bare(p.answer())] || p.proto != 1 && (p.sport == 0 || p.dport == 0) {
			continue
		}
		used[bare(p)], used[bare(p.answer())] = true, true
		out = append(out, b.newProbe(p))
	}
	return out
}

// query is a random question between two sides of the bed, with random members of what it asks about.
func (g *generator) query(b *bed, n int) (trace.Query, []probe) {
	lab := netip.MustParsePrefix("10.20.0.8/29")
	out := netip.MustParsePrefix("203.0.113.0/24")
	side := func(set netip.Prefix, dev string) (netip.Prefix, string) {
		if g.chance(40) { // a part of it
			bits := set.Bits() + g.r.IntN(32-set.Bits()+1)
			set = netip.PrefixFrom(g.within(set), bits).Masked()
		}
		return set, dev
	}
	var q trace.Query
	var src, dst netip.Prefix
	switch g.r.IntN(3) {
	case 0:
		src, q.From = side(lab, "virbr-lab")
		dst, q.To = side(out, "eno1")
	case 1:
		src, q.From = side(out, "eno1")
		dst, q.To = side(lab, "virbr-lab")
	default:
		src, q.From = side(netip.MustParsePrefix("10.20.0.8/30"), "vnet0")
		dst, q.To = side(netip.MustParsePrefix("10.20.0.12/30"), "vnet1")
	}
	q.Src, q.Dst, q.SrcSet, q.DstSet = src.Addr(), dst.Addr(), []netip.Prefix{src}, []netip.Prefix{dst}
	protos := []byte{6, 17, 1}
	switch g.r.IntN(3) {
	case 0:
		q.Service.Proto, protos = "icmp", []byte{1}
	case 1:
		q.Service.Proto, protos = "tcp", []byte{6}
		q.Service.Ports = []schema.PortRange{{First: 22, Last: 100}}
	}
	var members []probe
	for tag := uint32(1); len(members) < n; tag++ {
		p := parcel{tag: tag, proto: pick(g, protos...), src: g.within(src), dst: g.within(dst)}
		if p.proto != 1 {
			p.sport, p.dport = uint16(20000+tag*7), uint16(22+g.r.IntN(79))
			if q.Service.Proto == "" && g.chance(70) {
				p.dport = pick(g, somePorts...)
			}
		}
		pr := b.newProbe(p)
		pr.flow.From, pr.flow.To = q.From, q.To
		members = append(members, pr)
	}
	return q, members
}

// within is an address of a prefix.
func (g *generator) within(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	if host := 32 - p.Bits(); host > 0 {
		n |= g.r.Uint32N(1 << host)
	}
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
