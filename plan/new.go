package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/schema"
)

// Options are what New needs beside the two states.
type Options struct {
	// Resets are adapters ("adapter.eno3") to reset though nothing is wrong with them.
	Resets []string
	// Now and ID are stamped on the plan; the zero Time leaves both dates zero.
	Now time.Time
	ID  string
	// Sessions are the connections over which people are logged in.
	Sessions []schema.Session
	// SessionsUnknown says why nobody knows who is logged in, "" where Sessions are all.
	SessionsUnknown string
	// Version is vmnet's own.
	Version string
}

// Lifetime is how long a saved plan may be applied.
const Lifetime = 24 * time.Hour

// New computes the plan: what differs, what is broken and why, which steps heal it and in which order, and how the goals
// fare before and after. It reads nothing but its arguments and changes neither.
func New(live *schema.State, desired *schema.Desired, o Options) (*Plan, error) {
	r := resolve(live, desired)
	r.look()
	drafts := r.diff()
	resets, err := r.resets(o.Resets)
	if err != nil {
		return nil, err
	}
	drafts = append(drafts, resets...)
	routersFirst(drafts)
	r.repaired(drafts, false)
	r.explain(drafts)
	r.repaired(drafts, true)
	ordered, err := order(drafts)
	if err != nil {
		return nil, err
	}
	h, err := r.foresee(ordered)
	if err != nil {
		return nil, err
	}
	checks, err := h.check(len(ordered) == 0 && len(h.marked) == 0 && len(h.grants.standing) == 0)
	if err != nil {
		return nil, err
	}
	if ordered, err = h.withRemedies(h.possible); err != nil {
		return nil, err
	}
	p := &Plan{
		FormatVersion: FormatVersion, Tool: Tool{"vmnet", o.Version}, ID: o.ID, Created: o.Now,
		Configuration: ConfigRef{Digest: desired.Digest, Files: desired.Files},
		Observation:   observation(live), Checks: checks, Desired: desired, Resets: o.Resets,
		Findings: []Finding{}, Steps: []Step{}, Unrequested: slices.Concat([]string{}, unrequested(checks), r.unrequested), Foreign: []Foreign{},
	}
	opened, reached := h.opened(ordered)
	p.Unrequested, p.Reached = append(p.Unrequested, opened...), reached
	if !o.Now.IsZero() {
		p.Expires = o.Now.Add(Lifetime)
	}
	for i, d := range ordered {
		p.Steps = append(p.Steps, r.step(i+1, d))
	}
	found := append(r.findings, h.collect(ordered, p.Steps)...)
	found = append(found, r.lookedAt(p.Steps)...)
	found = append(found, h.expectations(checks, desired.Blocks)...)
	p.Findings = append(p.Findings, found...)
	for ref := range p.guard(live, o.Sessions, o.SessionsUnknown) {
		h.relied[ref] = true
	}
	sortFindings(p.Findings)
	p.Foreign = h.foreign()
	p.Basis = basis(live, p.Steps, h.relied)
	p.Summary = summarise(p)
	return p, nil
}

func observation(live *schema.State) Observation {
	o := Observation{Complete: len(live.Blind) == 0, Blind: live.Blind, Objects: live.Len(), Counts: map[schema.Kind]int{}}
	for _, k := range schema.Kinds() {
		if n := len(live.Refs(k)); n > 0 {
			o.Counts[k] = n
		}
	}
	return o
}

// foresee makes every step on a copy of the live state, after taking away the rules that earlier remedies left in foreign
// tables: whether each is still needed is found anew.
func (r *resolved) foresee(ordered []*draft) (*healer, error) {
	h := &healer{r: r, state: r.live.Clone(), findings: map[string]*Finding{}, given: map[string]bool{}, closed: map[string][]Fix{}, breaks: map[string][]string{}, healing: map[string][]*draft{}, relied: map[schema.Ref]bool{}}
	if err := h.withoutMarked(); err != nil {
		return nil, err
	}
	for _, d := range ordered {
		if err := sim.Do(h.state, d.change); err != nil {
			r.refused(d, err)
			continue
		}
		h.possible = append(h.possible, d)
	}
	h.state = settled(h.state)
	return h, nil
}

func (h *healer) withoutMarked() error {
	h.marked = schema.Marked(h.state)
	for _, f := range slices.Backward(h.marked) {
		if err := sim.Do(h.state, schema.Change{Ref: f.Ref(), Before: f}); err != nil {
			return fmt.Errorf("foresee without %s: %w", f, err)
		}
	}
	h.setGrantsAside()
	return nil
}

// withRemedies adds the steps that the remedies are, less those that stand already, and removes rules of ours that no
// flow needs any more.
func (h *healer) withRemedies(drafts []*draft) ([]*draft, error) {
	all := append(slices.Clone(drafts), h.ruleDrafts()...)
	all = append(all, h.fileDrafts()...)
	ordered, err := order(all)
	if err != nil || (len(all) == len(drafts) && len(h.marked) == 0 && len(h.grants.standing) == 0) {
		return ordered, err // foresee has gone through these very steps
	}
	return ordered, h.rehearse(ordered)
}

// rehearse makes the whole program once more on the live state: a plan whose steps do not fit each other is a bug that
// must show here, not on the host. Rules that are taken out learn their place at that moment, so that the inverse, in the
// reverse order, puts each back exactly there.
func (h *healer) rehearse(ordered []*draft) error {
	s := h.r.live.Clone()
	for _, d := range ordered {
		if rule, ok := d.change.Before.(*schema.ForeignRule); ok && d.change.After == nil {
			if there, ok := s.Get(rule.Ref()).(*schema.ForeignRule); ok {
				d.change.Before = there
			}
		}
		if err := sim.Do(s, d.change); err != nil {
			return fmt.Errorf("rehearse %s: %w", d.change, err)
		}
	}
	return nil
}

// summarise counts. A removal or a risky step is never hidden in the crowd.
func summarise(p *Plan) Summary {
	var s Summary
	for _, st := range p.Steps {
		switch st.Action {
		case "create":
			s.Create++
		case "delete":
			s.Delete++
		case "move":
			s.Move++
		case "reset":
			s.Reset++
		case "adopt":
			s.Adopt++
		default:
			s.Update++
		}
		s.WorstRisk = max(s.WorstRisk, st.Risk)
	}
	for _, c := range p.Checks {
		s.Checks++
		if c.Before.Status == "ok" {
			s.ChecksOKBefore++
		}
		if c.After.Status == "ok" {
			s.ChecksOKAfter++
		}
	}
	return s
}

// basis collects what the plan relied on: the objects its steps change and require, and those that decided a goal.
func basis(live *schema.State, steps []Step, relied map[schema.Ref]bool) []Fact {
	seen := map[schema.Ref]bool{}
	var out []Fact
	add := func(ref schema.Ref) {
		if !seen[ref] {
			seen[ref] = true
			out = append(out, Fact{ref, live.Get(ref)})
		}
	}
	for _, s := range steps {
		add(s.Change.Ref)
		for _, ref := range object(s.Change).Requires() {
			add(ref)
		}
	}
	refs := make([]schema.Ref, 0, len(relied))
	for r := range relied {
		refs = append(refs, r)
	}
	slices.SortFunc(refs, func(a, b schema.Ref) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	for _, r := range refs {
		add(r)
	}
	return out
}
