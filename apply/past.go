package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// past is what the host was before the first step: every object that stays until somebody changes it. It is in the
// journal, so that whoever undoes the change can tell whether the host is as before.
type past struct {
	state *schema.State
	// sums stand for whole tables of others that no step and no fact is about: they are long, and only whether they are
	// the same is asked.
	sums map[schema.Ref]string
}

// remember takes what a rollback will be compared with from the live state.
func remember(live *schema.State, p *plan.Plan) *past {
	asked := map[schema.Ref]bool{}
	for _, f := range p.Basis {
		asked[f.Ref] = true
	}
	for _, s := range p.Steps {
		asked[s.Change.Ref] = true
		for _, o := range []schema.Object{s.Change.Before, s.Change.After} {
			if o == nil {
				continue
			}
			for _, on := range o.Requires() { // the table that holds a rule
				asked[on] = true
			}
		}
	}
	out := &past{schema.NewState(), map[schema.Ref]string{}}
	for o := range live.All() {
		ref := o.Ref()
		switch {
		case asked[ref]:
		case ref.Kind == schema.KindTable || ref.Kind == schema.KindXTable:
			out.sums[ref] = sum(o)
			continue
		case passing(o):
			continue
		}
		out.state.Put(o)
	}
	return out
}

// passing tells what comes and goes by itself: entries that were learned, and servers.
func passing(o schema.Object) bool {
	switch v := o.(type) {
	case *schema.FDBEntry, *schema.Listener:
		return true
	case *schema.Neighbour:
		return v.Permanent == nil || !*v.Permanent
	}
	return false
}

// sum is a digest of an object.
func sum(o schema.Object) string {
	b, err := json.Marshal(o)
	if err != nil {
		return ""
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:12])
}

// differs says how an object is not as it was; "" when it is.
func (p *past) differs(ref schema.Ref, live *schema.State) string {
	is := live.Get(ref)
	if want, ok := p.sums[ref]; ok {
		switch {
		case is == nil:
			return fmt.Sprintf("%s: was there, now not there", ref)
		case sum(is) != want:
			return fmt.Sprintf("%s: its rules are not what they were", ref)
		}
		return ""
	}
	was := p.state.Get(ref)
	if schema.Equal(was, is) {
		return ""
	}
	return describe(ref, was, is).String()
}

// pastJSON is its form in a journal.
type pastJSON struct {
	State *schema.State         `json:"objects"`
	Sums  map[schema.Ref]string `json:"tables,omitempty"`
}

// MarshalJSON writes the objects and the sums.
func (p *past) MarshalJSON() ([]byte, error) { return json.Marshal(pastJSON{p.state, p.sums}) }

// UnmarshalJSON reads what MarshalJSON writes.
func (p *past) UnmarshalJSON(b []byte) error {
	j := pastJSON{State: schema.NewState()}
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("decode the host as it was: %w", err)
	}
	p.state, p.sums = j.State, j.Sums
	return nil
}
