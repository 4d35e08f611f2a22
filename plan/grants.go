package plan

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/schema"
)

// grants are the permissions that earlier applies got from firewall managers.
type grants struct {
	standing []*schema.Grant
	// silent ones have no rules in the kernel; the text says why.
	silent map[schema.Ref]string
}

// setGrantsAside takes the standing grants out of the foreseen state: whether each is still needed is found anew. In the
// place of its rules stay some that do nothing, so that it can come back to the very same place.
func (h *healer) setGrantsAside() error {
	h.grants = grants{silent: map[schema.Ref]string{}}
	for g := range schema.Each[*schema.Grant](h.state) {
		h.grants.standing = append(h.grants.standing, g)
	}
	for _, g := range h.grants.standing {
		before := h.state.Clone()
		if err := sim.Do(h.state, schema.Change{Ref: g.Ref(), Before: g}); err != nil {
			return fmt.Errorf("foresee without %s: %w", g, err)
		}
		switch {
		case holdPlaces(before, h.state, g):
		case atWork(before, g.Manager):
			h.grants.silent[g.Ref()] = fmt.Sprintf("%s has this rule on its disk and not in the kernel: something took it out, and a reload of %s brings it back", g.Manager, g.Manager)
		default:
			h.grants.silent[g.Ref()] = g.Manager + " is not at work"
		}
	}
	return nil
}

// atWork tells whether a manager's own chains are in the kernel. A ufw that was disabled leaves some behind, and not those
// for the rules of its users.
func atWork(s *schema.State, manager string) bool {
	chains := map[string][]string{schema.ManagerUFW: {"ufw-user-*", "ufw6-user-*"}}[manager]
	var tables []string
	if chains == nil {
		i := slices.IndexFunc(signatures, func(x signature) bool { return x.owner == manager })
		if i < 0 {
			return false
		}
		tables, chains = signatures[i].tables, signatures[i].chains
	}
	for t := range schema.Each[*schema.Table](s) {
		if matchName(tables, t.Name) || slices.ContainsFunc(t.Chains, func(c *schema.Chain) bool { return matchName(chains, c.Name) }) {
			return true
		}
	}
	return false
}

// holdPlaces puts a rule that does nothing where each rule of g was, and tells whether there was one.
func holdPlaces(before, after *schema.State, g *schema.Grant) bool {
	held := false
	for t := range schema.Each[*schema.Table](before) {
		now, _ := after.Stored(t.Ref()).(*schema.Table)
		if now == nil || now == t {
			continue
		}
		table := *now
		table.Chains = slices.Clone(now.Chains)
		for i, c := range table.Chains {
			old := t.Chain(c.Name)
			if old == nil || len(old.Rules) == len(c.Rules) {
				continue
			}
			chain := *c
			chain.Rules = withPlaces(old.Rules, c.Rules, g)
			table.Chains[i], held = &chain, true
		}
		after.Put(&table)
	}
	return held
}

func withPlaces(old, now []*schema.Rule, g *schema.Grant) []*schema.Rule {
	var out []*schema.Rule
	for _, r := range old {
		if !slices.Contains(now, r) {
			r = &schema.Rule{Text: placeText(g), Exprs: []schema.Expr{{Name: "counter"}}}
		}
		out = append(out, r)
	}
	return out
}

// placeText names the rule that holds a place. No rule of anybody's looks like it.
func placeText(g *schema.Grant) string { return "(the place of " + g.Ref().Name + ")" }

// atItsPlace is the grant as it stands already, to come back to where it is; g itself when it is new.
func (h *healer) atItsPlace(g *schema.Grant) *schema.Grant {
	i := slices.IndexFunc(h.grants.standing, func(s *schema.Grant) bool { return s.Ref() == g.Ref() })
	if i < 0 {
		return g
	}
	c := *h.grants.standing[i]
	for t := range schema.Each[*schema.Table](h.state) {
		for _, chain := range t.Chains {
			if at := slices.IndexFunc(chain.Rules, func(r *schema.Rule) bool { return r.Text == placeText(&c) }); at >= 0 {
				c.Index, c.Place = math.MaxInt32, at
				return &c
			}
		}
	}
	return &c
}

// grantDraft is the step that asks a manager.
func (h *healer) grantDraft(grant *schema.Grant, g *schema.Goal) *draft {
	d := newDraft(nil, grant)
	d.address, d.because = g.Address, fmt.Sprintf("%s asks for it: %s", g.Address, g.Name)
	return d
}

// grantStands tells whether a remedy is a grant that an earlier apply has got.
func (h *healer) grantStands(d *draft) bool {
	return slices.ContainsFunc(h.grants.standing, func(s *schema.Grant) bool { return s.Ref() == d.change.Ref })
}

// grantDrafts takes back the standing grants that no flow needs. Those that have no effect now stay as long as their block
// does: what flows need cannot be seen. A new grant for the flow of an old one comes after it has gone, for a manager may
// keep one rule for a flow.
func (h *healer) grantDrafts(made []*draft) []*draft {
	var out []*draft
	for _, s := range slices.Backward(h.grants.standing) {
		_, inFile := h.r.Blocks[s.Address]
		needed := slices.ContainsFunc(h.remedies, func(d *draft) bool { return d.change.Ref == s.Ref() })
		if needed || h.grants.silent[s.Ref()] != "" && inFile {
			continue
		}
		d := newDraft(s, nil)
		d.address, d.because, d.codes = s.Address, "no flow of the file needs it any more", []string{"VN403"}
		d.undo = s.String()
		for _, m := range made {
			if g, ok := m.change.After.(*schema.Grant); ok && sameFlow(g, s) {
				m.after = append(m.after, d)
			}
		}
		out = append(out, d)
	}
	return out
}

func sameFlow(a, b *schema.Grant) bool {
	x, y := *a, *b
	x.Address, y.Address = "", ""
	return x.Ref() == y.Ref()
}

// depth is how far behind in its chain a remedy wants to be: what is already in front of that need not be moved.
func depth(o schema.Object) int {
	switch v := o.(type) {
	case *schema.ForeignRule:
		return v.Index
	case *schema.Grant:
		if v.Index > 0 {
			return v.Index
		}
	}
	return math.MaxInt
}

func prefixOrAny(p netip.Prefix) netip.Prefix {
	if prefixText(p) == "" {
		return netip.Prefix{}
	}
	return p.Masked()
}
