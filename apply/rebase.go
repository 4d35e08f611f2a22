package apply

import (
	"slices"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// Rebased says how a plan made anew differs from one that was reviewed: what there is to look at again.
type Rebased struct {
	FormatVersion string `json:"format_version"`
	// Reviewed and Now are the IDs of the two plans.
	Reviewed string `json:"reviewed"`
	Now      string `json:"now"`
	// Facts are those the reviewed plan relied on that have changed.
	Facts []ChangedFact `json:"facts"`
	// Steps that the new plan has and the reviewed one had not, those it has not any more, and those that are not the same.
	Added   []plan.Step   `json:"added"`
	Removed []plan.Step   `json:"removed"`
	Changed []ChangedStep `json:"changed"`
	// Checks are the goals that would fare differently in the end.
	Checks []ChangedCheck `json:"checks"`
	// Opened is what the new plan lets through unasked and the reviewed one did not.
	Opened []string `json:"newly_reachable"`
}

// ChangedStep is a step on one object as reviewed and as it is now.
type ChangedStep struct {
	Reviewed plan.Step `json:"reviewed"`
	Now      plan.Step `json:"now"`
}

// ChangedCheck is a goal whose verdict after the plan is another one.
type ChangedCheck struct {
	Goal     schema.Goal `json:"goal"`
	Reviewed string      `json:"reviewed"`
	Now      string      `json:"now"`
	Why      string      `json:"why,omitempty"`
}

// Same tells whether there is nothing to look at again.
func (r *Rebased) Same() bool {
	return len(r.Added)+len(r.Removed)+len(r.Changed)+len(r.Checks)+len(r.Opened) == 0
}

// RebasedVersion is the version of the JSON form of a Rebased.
const RebasedVersion = "1.0"

// Rebase compares a plan that was reviewed with one made now for the same configuration on the live state.
func Rebase(live *schema.State, reviewed, now *plan.Plan) *Rebased {
	r := &Rebased{
		FormatVersion: RebasedVersion, Reviewed: reviewed.ID, Now: now.ID, Facts: []ChangedFact{}, Added: []plan.Step{}, Removed: []plan.Step{},
		Changed: []ChangedStep{}, Checks: []ChangedCheck{}, Opened: []string{},
	}
	if stale := Stale(live, reviewed); stale != nil {
		r.Facts = stale.Changed
	}
	r.steps(reviewed.Steps, now.Steps)
	r.checks(reviewed.Checks, now.Checks)
	for _, o := range now.Unrequested {
		if !slices.Contains(reviewed.Unrequested, o) {
			r.Opened = append(r.Opened, o)
		}
	}
	return r
}

// steps pairs the steps by object and verb, in their order: a reset has several on one object.
func (r *Rebased) steps(reviewed, now []plan.Step) {
	type key struct {
		ref  schema.Ref
		verb string
	}
	of := func(s plan.Step) key { return key{s.Change.Ref, s.Change.Verb()} }
	rest := map[key][]plan.Step{}
	for _, s := range reviewed {
		rest[of(s)] = append(rest[of(s)], s)
	}
	for _, s := range now {
		old := rest[of(s)]
		if len(old) == 0 {
			r.Added = append(r.Added, s)
			continue
		}
		rest[of(s)] = old[1:]
		if !schema.Equal(old[0].Change.Before, s.Change.Before) || !schema.Equal(old[0].Change.After, s.Change.After) {
			r.Changed = append(r.Changed, ChangedStep{old[0], s})
		}
	}
	for _, s := range reviewed {
		if left := rest[of(s)]; len(left) > 0 && left[0].ID == s.ID {
			r.Removed = append(r.Removed, s)
			rest[of(s)] = left[1:]
		}
	}
}

func (r *Rebased) checks(reviewed, now []plan.Check) {
	was := map[string]string{}
	for _, c := range reviewed {
		was[goalKey(c.Goal)] = c.After.Status
	}
	for _, c := range now {
		if old, ok := was[goalKey(c.Goal)]; ok && old != c.After.Status {
			r.Checks = append(r.Checks, ChangedCheck{c.Goal, old, c.After.Status, c.After.Why})
		}
	}
}
