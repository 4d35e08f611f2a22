package trace

import (
	"math/rand/v2"
	"slices"
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
	something := 0
	for n := range 100 {
		g := &rules{r: rand.New(rand.NewPCG(seed, uint64(n)))}
		v6 := g.r.IntN(4) == 0
		h := g.one("forward", "input", "output", "prerouting", "postrouting")
		s := smallHost()
		s.Put(&schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"})
		s.Put(&schema.Sysctl{Key: "net.ipv6.conf.all.forwarding", Value: "1"})
		s.Put(g.table("inet", "x", h, v6))
		s.Put(g.table(map[bool]string{true: "ip6", false: "ip"}[v6], "y", h, v6))
		other := g.mutant(s, v6)
		o := &opener{before: New(s), after: New(other), space: bdd.New(0)}
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
			if err := o.space.Err(); err != nil {
				t.Fatal(err)
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
			if want := c.inWords(c.x.Diff(is, was)); found != want {
				t.Fatalf("seed %d, pair %d, hook %s: %s is opened, found %s", seed, n, h, witness(o.space, c.aspects(), want), witness(o.space, c.aspects(), found))
			}
		}
	}
	t.Logf("%d pairs open something", something)
}
