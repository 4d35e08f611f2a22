package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// A rollback tries again what failed for a reason that may pass: a lock that somebody holds, a kernel short of memory. The
// watchdog goes on trying after that, for hours.
const (
	undoTries = 3
	undoPause = time.Second
)

// rollback undoes the steps that were made, last first, and verifies that the host is as before. It runs to its end even
// when ctx is over. A step that cannot be undone is reported; the others still are.
func (r *run) rollback(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.o.UndoTimeout)
	defer cancel()
	r.report.Error = cause.Error()
	_ = r.journal.write(record{Type: recordRollback, Error: cause.Error(), By: new(self())}, false) // a full disk keeps nobody from undoing
	r.o.Progress(r.event(EventRollback, nil, 0, cause))
	transient := r.undoAll(ctx)
	restored := r.restored(ctx)
	f := &Failure{Outcome: ErrRolledBack, Cause: cause}
	r.report.Result = RolledBack
	if !restored {
		f.Outcome, f.Transient = ErrNeedsHuman, transient
		r.report.Result, r.report.Journal = NeedsHuman, r.journal.Path()
	}
	r.report.Millis = time.Since(r.start).Milliseconds()
	_ = r.journal.end(r.report) // the host is what counts; that its history is short is seen there
	return f
}

// undoAll undoes what was made, and tells whether what is left failed for a reason that may pass.
func (r *run) undoAll(ctx context.Context) (transient bool) {
	todo := slices.Clone(r.made)
	slices.Reverse(todo)
	for try := 1; ; try++ {
		var failed []made
		transient = false
		for _, m := range todo {
			if err := r.undo(ctx, m); err != nil {
				transient = transient || mayPass(err)
				failed = append(failed, m)
			}
		}
		todo = r.left(ctx, failed)
		if len(todo) == 0 || !transient || try == undoTries || r.o.Settle < 0 {
			return transient && len(todo) > 0
		}
		select {
		case <-ctx.Done():
			return transient
		case <-time.After(undoPause):
		}
	}
}

// left are those of the steps that failed to be undone which are still not as before: what stands on a link goes with it.
func (r *run) left(ctx context.Context, failed []made) []made {
	if len(failed) == 0 {
		return nil
	}
	live, err := see(ctx, r.host)
	if err != nil {
		return failed
	}
	return slices.DeleteFunc(failed, func(m made) bool {
		s := &r.plan.Steps[m.index]
		// A setting of a link that the plan made has a value before its step, and is not there before the plan.
		never := live.Get(s.Change.Ref) == nil && r.before.state.Get(s.Change.Ref) == nil
		gone := never || holds(live, s.Change.Ref, s.Change.Before)
		if gone {
			r.undone(s, &r.report.Steps[m.index], 0)
		}
		return gone
	})
}

// mayPass tells a failure that another try may not meet from one that only a person can resolve.
func mayPass(err error) bool {
	for _, lasting := range []error{fs.ErrExist, fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, errors.ErrUnsupported} {
		if errors.Is(err, lasting) {
			return false
		}
	}
	return !errors.As(err, new(*schema.ConflictError))
}

// undo takes one step back. A journal that cannot be written does not keep the host from being restored.
func (r *run) undo(ctx context.Context, m made) error {
	s := &r.plan.Steps[m.index]
	res := &r.report.Steps[m.index]
	began := time.Now()
	_ = r.journal.write(record{Type: recordUndo, Step: s.ID}, survivesReboot(s.Change))
	stepCtx, cancel := context.WithTimeout(ctx, r.o.StepTimeout)
	defer cancel()
	if err := r.takeBack(stepCtx, s.Change, m.unsure || res.State == StepRemained); err != nil {
		_ = r.journal.write(record{Type: recordUndoFailed, Step: s.ID, Error: err.Error()}, false)
		if res.State != StepFailed { // a failed step keeps its own error
			res.Error = err.Error()
		}
		res.State = StepRemained
		r.o.Progress(r.event(EventUndoFailed, s, time.Since(began), err))
		return err
	}
	r.undone(s, res, time.Since(began))
	return nil
}

func (r *run) undone(s *plan.Step, res *StepResult, took time.Duration) {
	_ = r.journal.write(record{Type: recordUndone, Step: s.ID}, false)
	if res.State == StepDone || res.State == StepRemained {
		res.State, res.Error = StepUndone, ""
	}
	r.o.Progress(r.event(EventUndone, s, took, nil))
}

// takeBack undoes a change: by its inverse where the host is as the change left it, which is nearly always; else by what is
// left of it when everything that others did meanwhile stays.
func (r *run) takeBack(ctx context.Context, c schema.Change, unsure bool) error {
	var first error
	if c.Before == nil && c.Ref.Kind == schema.KindLink {
		if err := r.free(ctx, c.Ref); err != nil {
			return err
		}
	}
	if !unsure {
		if first = r.host.Do(ctx, c.Inverse()); first == nil {
			return r.settings(ctx, c)
		}
	}
	live, err := see(ctx, r.host)
	if err != nil {
		return errors.Join(first, err)
	}
	if holds(live, c.Ref, c.Before) { // by the kernel's or somebody else's doing, or never made
		return r.settings(ctx, c)
	}
	have := live.Get(c.Ref)
	want, err := schema.Revert(have, c)
	if err != nil {
		return err
	}
	if have == nil && want == nil {
		return nil
	}
	if err := r.host.Do(ctx, schema.Change{Ref: c.Ref, Before: have, After: want}); err != nil {
		return errors.Join(err, first)
	}
	if want == nil && c.After != nil && len(schema.Compare(have, c.After)) > 0 { // defaults that the kernel filled in are nobody's
		r.lost = append(r.lost, describe(c.Ref, c.After, have).String()+"; it went with what vmnet had made")
	}
	return r.settings(ctx, c)
}

// free refuses to take a link away that others have begun to use meanwhile: an address, a route, a port of theirs would go
// with it.
func (r *run) free(ctx context.Context, link schema.Ref) error {
	if r.found == nil { // once for all links
		live, err := see(ctx, r.host)
		if err != nil {
			return err
		}
		r.found = live
	}
	live := r.found
	ours := map[schema.Ref]bool{}
	for _, s := range r.plan.Steps {
		ours[s.Change.Ref] = true
	}
	var used []string
	for _, ref := range live.Dependents(link) {
		o := live.Get(ref)
		if o == nil || ref.Kind == schema.KindSysctl || ours[ref] || passing(o) || kernelMade(o) || ownRoute(o) || r.before.state.Get(ref) != nil {
			continue
		}
		used = append(used, ref.String())
	}
	for l := range schema.Each[*schema.Link](live) {
		if l.Master != nil && *l.Master == link.Name && !ours[l.Ref()] {
			used = append(used, l.Ref().String()+" as a port")
		}
	}
	if len(used) == 0 {
		return nil
	}
	slices.Sort(used)
	return &schema.ConflictError{Ref: link, Fields: slices.Compact(used)}
}

// ownRoute tells a route that the kernel made for an address.
func ownRoute(o schema.Object) bool {
	v, ok := o.(*schema.Route)
	return ok && v.Proto != nil && *v.Proto == schema.ProtoKernel
}

// restored compares the host with what it was before the first step, and gives it time to settle. A step that remains
// counts as not restored even when the host looks the same.
func (r *run) restored(ctx context.Context) bool {
	began := time.Now()
	err := settle(ctx, r.o.Settle, func() error {
		live, err := see(ctx, r.host)
		if err != nil {
			return err
		}
		r.compare(live)
		if len(r.report.Differences) > 0 {
			return errors.New(r.report.Differences[0])
		}
		return nil
	})
	lost := r.irreversible()
	r.report.Differences = append(r.report.Differences, lost...)
	ok := err == nil && r.report.Count(StepRemained) == 0 && len(lost) == 0
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

// irreversible lists the steps that were made and whose undo does not bring back everything.
func (r *run) irreversible() (lost []string) {
	for _, m := range r.made {
		if s := &r.plan.Steps[m.index]; s.Irreversible {
			lost = append(lost, fmt.Sprintf("%s: %s", s.Change.Ref, s.Undo))
		}
	}
	return lost
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
	r.report.Meanwhile = append(r.report.Meanwhile, r.lost...)
}

// ours tells whether a difference left after a rollback has to be laid at our door: it is an object that a step touched,
// one that stands on such an object (the kernel removes the routes of a link that goes down), or a fact of the plan. Whole
// tables of others are not: what a step touches in them is a rule, compared by itself. Neither is what comes and goes.
func ours(ref schema.Ref, was, is schema.Object, touched, facts map[schema.Ref]bool) bool {
	if touched[ref] {
		return true
	}
	switch ref.Kind {
	case schema.KindTable, schema.KindXTable, schema.KindListener, schema.KindFDB, schema.KindHolder, schema.KindLease, schema.KindMachine:
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
