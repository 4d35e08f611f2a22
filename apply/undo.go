package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmnet/vmnet/schema"
)

// rollback undoes the steps that were made, last first, and verifies that the host is as before. It runs to its end even
// when ctx is over. A step that cannot be undone is reported; the others still are.
func (r *run) rollback(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.o.UndoTimeout)
	defer cancel()
	r.report.Error = cause.Error()
	r.o.Progress(r.event(EventRollback, nil, 0, cause))
	for _, i := range slices.Backward(r.made) {
		r.undo(ctx, i)
	}
	restored := r.restored(ctx)
	f := &Failure{ErrRolledBack, cause}
	r.report.Result = RolledBack
	if !restored {
		f.Outcome = ErrNeedsHuman
		r.report.Result, r.report.Journal = NeedsHuman, r.journal.Path()
	}
	if err := r.journal.end(string(r.report.Result)); err != nil {
		f.Cause = errors.Join(f.Cause, err)
	}
	return f
}

// undo takes one step back. A journal that cannot be written does not keep the host from being restored.
func (r *run) undo(ctx context.Context, i int) {
	s := &r.plan.Steps[i]
	res := &r.report.Steps[i]
	began := time.Now()
	_ = r.journal.write(record{Type: recordUndo, Step: s.ID}, true)
	stepCtx, cancel := context.WithTimeout(ctx, r.o.StepTimeout)
	defer cancel()
	err := r.host.Do(stepCtx, s.Change.Inverse())
	if err != nil && r.alreadyUndone(ctx, s.Change) {
		err = nil
	}
	if err != nil {
		_ = r.journal.write(record{Type: recordUndoFailed, Step: s.ID, Error: err.Error()}, false)
		if res.State == StepDone { // a failed step keeps its own error
			res.Error = err.Error()
		}
		res.State = StepRemained
		r.o.Progress(r.event(EventUndoFailed, s, time.Since(began), err))
		return
	}
	_ = r.journal.write(record{Type: recordUndone, Step: s.ID}, false)
	if res.State == StepDone {
		res.State = StepUndone
	}
	r.o.Progress(r.event(EventUndone, s, time.Since(began), nil))
}

// alreadyUndone tells whether the host holds what it held before the step, by the kernel's or somebody else's doing.
func (r *run) alreadyUndone(ctx context.Context, c schema.Change) bool {
	live, err := r.host.Read(ctx)
	return err == nil && holds(live, c.Ref, c.Before)
}

// restored compares the host with what it was before the first step, and gives it time to settle. A step that remains
// counts as not restored even when the host looks the same.
func (r *run) restored(ctx context.Context) bool {
	began := time.Now()
	err := settle(ctx, r.o.Settle, func() error {
		live, err := r.host.Read(ctx)
		if err != nil {
			return fmt.Errorf("read host: %w", err)
		}
		r.compare(live)
		if len(r.report.Differences) > 0 {
			return errors.New(r.report.Differences[0])
		}
		return nil
	})
	ok := err == nil && r.report.Count(StepRemained) == 0
	if err != nil && len(r.report.Differences) == 0 {
		r.report.Differences = []string{"the host could not be read back: " + err.Error()}
	}
	e := r.event(EventRestored, nil, time.Since(began), err)
	if !ok {
		e.Kind = EventNotRestored
	}
	e.Facts, e.Held = r.report.Facts, r.report.Held
	r.o.Progress(e)
	return ok
}

// compare fills the report's facts, differences and what others did meanwhile.
func (r *run) compare(live *schema.State) {
	touched := map[schema.Ref]bool{}
	facts := map[schema.Ref]bool{}
	for _, f := range r.plan.Basis {
		facts[f.Ref] = true
	}
	for _, s := range r.plan.Steps {
		touched[s.Change.Ref], facts[s.Change.Ref] = true, true
	}
	r.report.Facts, r.report.Held = len(facts), len(facts)
	r.report.Differences, r.report.Meanwhile = nil, nil
	for _, ref := range everyRef(facts, r.before, live) {
		was, is := r.before.Get(ref), live.Get(ref)
		if schema.Equal(was, is) {
			continue
		}
		text := describe(ref, was, is).String()
		if !ours(ref, was, is, touched, facts) {
			if !kernelMade(cmp.Or(was, is)) {
				r.report.Meanwhile = append(r.report.Meanwhile, text)
			}
			if facts[ref] {
				r.report.Facts--
				r.report.Held--
			}
			continue
		}
		if facts[ref] {
			r.report.Held--
		} else {
			r.report.Facts++
		}
		r.report.Differences = append(r.report.Differences, text)
	}
}

// ours tells whether a difference left after a rollback has to be laid at our door: it is an object that a step touched,
// one that stands on such an object (the kernel removes the routes of a link that goes down), or a fact of the plan. Whole
// tables of others are not: what a step touches in them is a rule, compared by itself. Neither is what comes and goes.
func ours(ref schema.Ref, was, is schema.Object, touched, facts map[schema.Ref]bool) bool {
	if touched[ref] {
		return true
	}
	switch ref.Kind {
	case schema.KindTable, schema.KindXTable, schema.KindListener, schema.KindFDB:
		return false
	case schema.KindNeighbour:
		if n, ok := was.(*schema.Neighbour); !ok || n.Permanent == nil || !*n.Permanent {
			return false
		}
	default: // everything else stays until somebody changes it
	}
	o := was
	if o == nil {
		o = is
	}
	if kernelMade(o) && !facts[ref] {
		return false
	}
	return facts[ref] || slices.ContainsFunc(o.Requires(), func(on schema.Ref) bool { return touched[on] })
}

// kernelMade tells whether the kernel makes and unmakes an object by itself, as its link gains and loses carrier: link-local
// and multicast addresses and routes of IPv6. A bridge without ports may come back without them.
func kernelMade(o schema.Object) bool {
	switch v := o.(type) {
	case *schema.Address:
		return v.Facts != nil && v.Facts.KernelMade
	case *schema.Route:
		a := v.Dst.Addr()
		return v.Proto != nil && *v.Proto == schema.ProtoKernel && a.Is6() && (a.IsLinkLocalUnicast() || a.IsMulticast())
	}
	return false
}

// everyRef lists the facts and the objects of both states, sorted, each once. Learned neighbours, FDB entries and
// listeners that are no fact are left out: they say nothing.
func everyRef(facts map[schema.Ref]bool, states ...*schema.State) []schema.Ref {
	seen := map[schema.Ref]bool{}
	for ref := range facts {
		seen[ref] = true
	}
	for _, s := range states {
		for o := range s.All() {
			switch ref := o.Ref(); ref.Kind {
			case schema.KindFDB, schema.KindListener:
			case schema.KindNeighbour:
				if n := o.(*schema.Neighbour); n.Permanent != nil && *n.Permanent {
					seen[ref] = true
				}
			default:
				seen[ref] = true
			}
		}
	}
	refs := make([]schema.Ref, 0, len(seen))
	for ref := range seen {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b schema.Ref) int {
		if a.Kind != b.Kind {
			return slices.Index(schema.Kinds(), a.Kind) - slices.Index(schema.Kinds(), b.Kind)
		}
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return refs
}
