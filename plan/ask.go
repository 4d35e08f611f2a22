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
	// Assumed says what was not told and is taken to be so: "192.0.2.50 is behind eno1: the way back leads there".
	Assumed []string `json:"assumed,omitempty"`
}

// TracedPart is a set of packets with one fate, and who is behind it.
type TracedPart struct {
	trace.Part
	// Owner is who wrote what decides; nil for a pass, and for what no rule decides.
	Owner *Owner `json:"owner,omitempty"`
	// Place says where the deciding rule is found again: "handle 12", "/etc/iptables/rules.v4:7"; "" where it is not known.
	Place string `json:"place,omitempty"`
}

// Question is what is asked about packets: a goal, and which link they come in by or leave by where that is told.
type Question struct {
	schema.Goal
	// In is the link that packets come in by, "" for where the way back leads. Out is the link that they must leave by, ""
	// for wherever they are led.
	In, Out string
}

// Ask says what becomes of the packets of a question in a state, those that pass too: where they get to, wherever NAT leads
// them. It reads nothing but its arguments and changes neither.
func Ask(s *schema.State, desired *schema.Desired, ask Question) Traced {
	d := *desired
	d.Goals = []schema.Goal{ask.Goal}
	r := resolve(s, &d)
	ask.Goal = r.Goals[0]
	q := &asker{healer: &healer{r: r, state: s}, Question: ask}
	w := trace.New(s).Know(r.machines())
	var all []trace.Answer
	for _, v6 := range []bool{false, true} {
		for _, x := range q.questions(v6) {
			if a := w.Ask(x); len(a.Parts) > 0 {
				all = append(all, a)
			}
		}
	}
	out := Traced{Parts: []TracedPart{}, Assumed: q.assumed}
	if len(all) == 0 {
		return out
	}
	a := trace.Join(all...)
	out.Verdict = a.Verdict
	for _, p := range a.Parts {
		p.Share /= float64(len(all)) // each is as much of the question as the others
		out.Parts = append(out.Parts, q.attribute(p))
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
