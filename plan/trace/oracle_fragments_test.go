package trace_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// TestOracleFragments sends fragments through random rulesets: first ones, later ones, the only ones of IPv6 (RFC 6946). Where
// conntrack is in use the kernel keeps them until the rest has come, elsewhere rules see them one by one, later ones without
// ports. vmnet follows whole packets: of a fragment it must say that it does not know, or be right.
func TestOracleFragments(t *testing.T) {
	t.Parallel()
	seed := seedOf()
	t.Logf("go test ./plan/trace -run %s -oracle.seed=%d", t.Name(), seed)
	world.InNewHost(t, func() {
		c := newCourt(t)
		defer func() {
			if err := c.close(); err != nil {
				t.Error(err)
			}
		}()
		d := &docket{}
		for i := range 24 {
			about := fmt.Sprintf("seed %d, ruleset %d", seed, i)
			g := &generator{r: rand.New(rand.NewPCG(seed, uint64(i))), dark: i%2 == 1}
			if err := c.fragments(t, g, about, d); err != nil {
				t.Fatalf("%s: %v", about, err)
			}
		}
		t.Logf("%s", d)
	})
}

func (c *court) fragments(t *testing.T, g *generator, about string, d *docket) error {
	t.Helper()
	set := ruleset{{"nft", g.richRuleset()}}
	if g.chance(20) { // no rule, no conntrack: every fragment goes its way
		set = nil
	}
	set, err := c.rules(set)
	if err != nil && strings.Contains(err.Error(), "signal: aborted") { // a bug of nft's own
		d.crashes++
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.fresh(); err != nil {
		return err
	}
	s, err := c.state(t.Context())
	if err != nil {
		return err
	}
	m := newGunsmith(g, c, s)
	m.wild = true
	shots := m.shots(120)
	for _, x := range shots {
		x.frame = g.fragment(x.frame)
	}
	d.rulesets++
	quarrels, open, err := c.judge(trace.New(s).Acquainted(), shots, set.picksPorts(), d)
	if err != nil {
		return err
	}
	for _, q := range quarrels {
		t.Errorf("%s\n%s\n%s", about, set, q)
	}
	for _, q := range open {
		if n := len(q.say.res.Hops); q.say.res.Verdict != trace.Depends || n > 0 && q.say.res.Hops[n-1].Action == "accept" {
			t.Errorf("%s\n%s\nnot known, yet %s", about, set, q)
		}
	}
	return nil
}

// fragment makes a whole frame a fragment of something larger.
func (g *generator) fragment(frame []byte) []byte {
	more := byte(g.r.IntN(2))
	offset := pick(g, 0, 0, 1, 2, 185, g.r.IntN(4096))
	if binary.BigEndian.Uint16(frame[12:]) == 0x86dd {
		h := []byte{frame[20], 0, byte(offset >> 5), byte(offset<<3) | more, 0, 0, 0, byte(g.r.IntN(256))}
		out := slices.Insert(slices.Clone(frame), 54, h...)
		out[20] = 44
		binary.BigEndian.PutUint16(out[18:], uint16(len(out)-54))
		return out
	}
	if offset == 0 {
		more = 1 // else it is whole
	}
	out := slices.Clone(frame)
	head := out[14 : 14+4*int(out[14]&15)]
	binary.BigEndian.PutUint16(head[6:], uint16(more)<<13|uint16(offset))
	head[10], head[11] = 0, 0
	binary.BigEndian.PutUint16(head[10:], checksum(head))
	return out
}
