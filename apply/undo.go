package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vmnet/vmnet/schema"
)

// rollback undoes the steps that were made, last first, and verifies that the host is as before. It runs to its end even
// when ctx is over. A step that cannot be undone is reported; the others still are.
func (r *run) rollback(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.o.UndoTimeout)
	defer cancel()
	r.report.Error = cause.Error()
	_ = r.journal.write(record{Type: recordRollback, Error: cause.Error(), By: new(self())}, false) // a full disk keeps nobody from undoing
	r.o.Progress(r.event(EventRollback, nil, 0, cause))
	for _, m := range slices.Backward(r.made) {
		r.undo(ctx, m)
	}
	restored := r.restored(ctx)
	f := &Failure{ErrRolledBack, cause}
	r.report.Result = RolledBack
	if !restored {
		f.Outcome = ErrNeedsHuman
		r.report.Result, r.report.Journal = NeedsHuman, r.journal.Path()
	}
	r.report.Millis = time.Since(r.start).Milliseconds()
	if err := r.journal.end(r.report); err != nil {
		f.Cause = errors.Join(f.Cause, err)
	}
	return f
}

// undo takes one step back. A journal that cannot be written does not keep the host from being restored.
func (r *run) undo(ctx context.Context, m made) {
	s := &r.plan.Steps[m.index]
	res := &r.report.Steps[m.index]
	began := time.Now()
	_ = r.journal.write(record{Type: recordUndo, Step: s.ID}, survivesReboot(s.Change))
	stepCtx, cancel := context.WithTimeout(ctx, r.o.StepTimeout)
	defer cancel()
	if err := r.takeBack(stepCtx, s.Change, m.unsure); err != nil {
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

// takeBack undoes a change: by its inverse where the host is as the change left it, which is nearly always; else by what is
// left of it when everything that others did meanwhile stays.
func (r *run) takeBack(ctx context.Context, c schema.Change, unsure bool) error {
	var first error
	if !unsure {
		if first = r.host.Do(ctx, c.Inverse()); first == nil {
			return nil
		}
	}
	live, err := r.host.Read(ctx)
	if err != nil {
		return errors.Join(first, fmt.Errorf("read host: %w", err))
	}
	if holds(live, c.Ref, c.Before) { // by the kernel's or somebody else's doing, or never made
		return nil
	}
	have := live.Get(c.Ref)
	want, err := schema.Revert(have, c)
	if err != nil {
		return errors.Join(err, first)
	}
	if have == nil && want == nil {
		return nil
	}
	if err := r.host.Do(ctx, schema.Change{Ref: c.Ref, Before: have, After: want}); err != nil {
		return errors.Join(err, first)
	}
	return nil
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
	r.report.Facts, r.report.Held = 0, 0
	r.report.Differences, r.report.Meanwhile = nil, nil
	for _, ref := range r.before.every(facts, live) {
		r.report.Facts++
		text := r.before.differs(ref, live)
		if text == "" {
			r.report.Held++
			continue
		}
		was, is := r.before.state.Get(ref), live.Get(ref)
		if ours(ref, was, is, touched, facts) {
			r.report.Differences = append(r.report.Differences, text)
			continue
		}
		r.report.Facts-- // it is somebody else's
		if was == nil {
			was = is
		}
		if !kernelMade(was) {
			r.report.Meanwhile = append(r.report.Meanwhile, text)
		}
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

// every lists the facts and the objects that were and are, in the order of kinds and names, each once.
func (p *past) every(facts map[schema.Ref]bool, live *schema.State) []schema.Ref {
	seen := map[schema.Ref]bool{}
	for ref := range facts {
		seen[ref] = true
	}
	for ref := range p.sums {
		seen[ref] = true
	}
	for _, s := range []*schema.State{p.state, live} {
		for o := range s.All() {
			if !passing(o) {
				seen[o.Ref()] = true
			}
		}
	}
	order := map[schema.Kind]int{}
	for i, k := range schema.Kinds() {
		order[k] = i
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b schema.Ref) int {
		return cmp.Or(order[a.Kind]-order[b.Kind], strings.Compare(a.Name, b.Name))
	})
}
