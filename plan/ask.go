package plan

import (
	"fmt"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// Traced is what becomes of the packets of a question.
type Traced struct {
	// Verdict is pass, block or depends where one holds for every packet, else partly; "" when no address or device is
	// known for one of its ends.
	Verdict trace.Verdict `json:"verdict"`
	Parts   []TracedPart  `json:"parts"`
}

// TracedPart is a set of packets with one fate, and who is behind it.
type TracedPart struct {
	trace.Part
	// Owner is who wrote what decides; nil for a pass, and for what no rule decides.
	Owner *Owner `json:"owner,omitempty"`
	// Place says where the deciding rule is found again: "handle 12", "/etc/iptables/rules.v4:7"; "" where it is not known.
	Place string `json:"place,omitempty"`
}

// Ask says what becomes of the packets of a goal in a state, those that pass too. It reads nothing but its arguments and
// changes neither.
func Ask(s *schema.State, desired *schema.Desired, g schema.Goal) Traced {
	d := *desired
	d.Goals = []schema.Goal{g}
	r := resolve(s, &d)
	h := &healer{r: r, state: s}
	w := trace.New(s)
	var all []trace.Answer
	for _, q := range h.queries(s, &r.Goals[0]) {
		if a := w.Ask(q); len(a.Parts) > 0 {
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		return Traced{Parts: []TracedPart{}}
	}
	a := trace.Join(all...)
	out := Traced{Verdict: a.Verdict}
	for _, p := range a.Parts {
		out.Parts = append(out.Parts, h.attribute(p))
	}
	return out
}

// attribute finds who is behind what decides a part.
func (h *healer) attribute(p trace.Part) TracedPart {
	out := TracedPart{Part: p}
	d := p.Witness.Decider
	if d == nil {
		return out
	}
	t, _ := h.state.Get(d.Ref).(*schema.Table)
	if t == nil || t.Chain(d.Chain) == nil {
		return out
	}
	c := t.Chain(d.Chain)
	var rule *schema.Rule
	if d.Rule >= 0 && d.Rule < len(c.Rules) {
		rule = c.Rules[d.Rule]
	}
	switch {
	case schema.OwnTable(t):
		out.Owner = &Owner{Name: "vmnet", Confidence: "high", Evidence: []string{"table " + t.Family + " " + t.Name}}
	default:
		owner, _ := ownerOf(h.state, t, c, rule)
		out.Owner = &owner
	}
	if rule == nil {
		return out
	}
	if rule.Handle != 0 {
		out.Place = fmt.Sprintf("handle %d", rule.Handle)
	}
	if path, line := persisted(h.state, t, c, rule); path != "" {
		out.Place = fmt.Sprintf("%s:%d", path, line)
	}
	return out
}

// Foresee gives the state that the steps of a plan lead to. It does not change s; a step that does not fit s is an error.
func Foresee(s *schema.State, steps []Step) (*schema.State, error) {
	out := s.Clone()
	for _, st := range steps {
		if err := sim.Do(out, st.Change); err != nil {
			return nil, fmt.Errorf("foresee step %d: %w", st.ID, err)
		}
	}
	return settled(out), nil
}
