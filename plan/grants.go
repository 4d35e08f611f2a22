package plan

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/ufwconf"
)

// grants are the permissions that earlier applies got from firewall managers.
type grants struct {
	standing []*schema.Grant
	// silent ones have no rules in the kernel, stuck ones cannot be taken back now; the text says why.
	silent, stuck map[schema.Ref]string
	// overruled ones stand behind a rule that somebody put in front of them.
	overruled map[schema.Ref]bool
}

// setGrantsAside takes the standing grants out of the foreseen state: whether each is still needed is found anew. One that
// cannot be taken out stays, and is left alone.
func (h *healer) setGrantsAside() {
	h.ufwOutOfStep()
	h.grants = grants{silent: map[schema.Ref]string{}, stuck: map[schema.Ref]string{}, overruled: map[schema.Ref]bool{}}
	h.grants.standing = slices.SortedStableFunc(schema.Each[*schema.Grant](h.state), func(a, b *schema.Grant) int {
		return cmp.Or(cmp.Compare(a.Manager, b.Manager), cmp.Compare(a.Family, b.Family), cmp.Compare(a.Index, b.Index))
	})
	for _, g := range slices.Backward(h.grants.standing) { // from the last, so that nothing moves
		if h.r.Settings.Foreign == "report" {
			h.grants.stuck[g.Ref()] = `foreign = "report" in the vmnet block`
			continue
		}
		before := slices.Collect(schema.Each[*schema.Table](h.state))
		err := sim.Do(h.state, schema.Change{Ref: g.Ref(), Before: g})
		switch {
		case err != nil:
			h.grants.stuck[g.Ref()] = cause(err, g).Error()
		case sameTables(before, h.state) && !seenAnyway(h.state, g):
			h.grants.silent[g.Ref()] = g.Manager + " has it on its disk and not in the kernel"
		}
	}
}

func sameTables(before []*schema.Table, s *schema.State) bool {
	return !slices.ContainsFunc(before, func(t *schema.Table) bool { return s.Stored(t.Ref()) != schema.Object(t) })
}

// atItsPlace is the grant as it stands already, to come back to where it is among the manager's other rules; g itself when
// it is new.
func (h *healer) atItsPlace(g *schema.Grant) *schema.Grant {
	i := slices.IndexFunc(h.grants.standing, func(s *schema.Grant) bool { return s.Ref() == g.Ref() })
	if i < 0 {
		return g
	}
	c := *h.grants.standing[i]
	if c.Manager == schema.ManagerUFW {
		c.Index = ufwIndex(h.r.live, h.state, &c)
	}
	return &c
}

// ufwIndex is where a rule goes among those that ufw has now, so that all that were in front of it are.
func ufwIndex(was, is *schema.State, g *schema.Grant) int {
	front := map[string]bool{}
	for _, r := range ufwRules(was, g.Family) {
		if r.Flow.Index < g.Index {
			front[r.Text] = true
		}
	}
	at := 1
	for _, r := range ufwRules(is, g.Family) {
		if front[r.Text] {
			at = r.Flow.Index + 1
		}
	}
	return at
}

// ufwRules are the rules that ufw has on its disk.
func ufwRules(s *schema.State, family string) []ufwconf.Rule {
	f, _ := s.Get(schema.FileRef(ufwconf.Path(family))).(*schema.File)
	if f == nil {
		return nil
	}
	return ufwconf.Parse(f.Content, family)
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
// keep one rule for a flow. They go from the last to the first: undone, each comes back to its place.
func (h *healer) grantDrafts(made []*draft) []*draft {
	var out []*draft
	for _, s := range slices.Backward(h.grants.standing) {
		_, inFile := h.r.Blocks[s.Address]
		needed := slices.ContainsFunc(h.remedies, func(d *draft) bool { return d.change.Ref == s.Ref() })
		why, stuck := h.grants.stuck[s.Ref()]
		if stuck && !inFile {
			h.r.findings = append(h.r.findings, Finding{
				Code: "VN403", Severity: "warning", Title: "a rule of ours cannot be taken back now: " + s.String(), Address: s.Address,
				Object: s.Ref().String(), Owner: &Owner{Name: s.Manager, Confidence: "high", Evidence: []string{"its comment is " + s.Mark()}}, Detail: why,
			})
		}
		if needed || stuck || inFile && (h.grants.silent[s.Ref()] != "" || h.grants.overruled[s.Ref()]) {
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
		if len(out) > 0 {
			d.after = append(d.after, out[len(out)-1])
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
