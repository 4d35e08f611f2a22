package trace_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// TestOracleBroadcasts sends frames to everybody, as a guest does who asks for an address, through random rulesets. Of the
// copies that a bridge makes of them, the host's own counts.
func TestOracleBroadcasts(t *testing.T) {
	t.Parallel()
	seed := seedOf()
	t.Logf("go test ./plan/trace -run %s -oracle.seed=%d", t.Name(), seed)
	world.InNewHost(t, func() {
		c := newCourt(t)
		c.hostOnly = true
		defer func() {
			if err := c.close(); err != nil {
				t.Error(err)
			}
		}()
		d := &docket{}
		for i := range max(24, *frameSets/8) {
			if *onlySet >= 0 && i != *onlySet {
				continue
			}
			about := fmt.Sprintf("seed %d, ruleset %d", seed, i)
			g := &generator{r: rand.New(rand.NewPCG(seed, uint64(i)))}
			if err := c.broadcasts(t, g, about, d); err != nil {
				t.Fatalf("%s: %v", about, err)
			}
			if t.Failed() && !*goOn {
				break
			}
		}
		t.Logf("%s", d)
	})
}

func (c *court) broadcasts(t *testing.T, g *generator, about string, d *docket) error {
	t.Helper()
	return c.roundOf(t, g, about, d, func(m *gunsmith) []*shot {
		m.late = m.toAll
		return slices.DeleteFunc(m.shots(*framesPer/2), func(x *shot) bool { return x.from == "h" })
	})
}

// toAll makes a frame a broadcast, mostly to all addresses too.
func (m *gunsmith) toAll(d *draft) {
	copy(d.eth[:], "\xff\xff\xff\xff\xff\xff")
	if !d.v6 && m.chance(70) {
		copy(d.ip[16:], pick(m.generator, "\xff\xff\xff\xff", "\x0a\x14\x00\xff", "\x0a\x14\x00\x01"))
	}
}

// agrees is agree; where only the host counts, copies that a bridge floods do not, nor what their senders are told.
func (c *court) agrees(s saying, g *sight, loose bool) string {
	if c.hostOnly && g != nil && (s.verdict == trace.Block || s.at == "h") && !strings.Contains(g.at, "h") {
		g = nil
	}
	if c.lonely && g != nil && s.verdict == trace.Pass && s.at != "h" { // the host hears its own broadcasts
		g = &sight{at: strings.ReplaceAll(g.at, "h", ""), pkt: g.pkt, told: g.told}
	}
	why := agree(s, g, loose)
	if why != "" && g != nil { // one that the host leads back meets those that the bridge flooded
		for _, pkt := range g.copies {
			if agree(s, &sight{at: g.at, pkt: pkt, told: g.told}, loose) == "" {
				return ""
			}
		}
	}
	if why != "" && c.lonely && (g == nil || g.at == "") && s.verdict == trace.Pass && s.at != "h" && c.unanswered(s) {
		return ""
	}
	return why
}
