package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// resume goes on with a change that another process began, as its journal tells it.
func (e *Entry) resume(l *Lock, h Host, o Options) (*run, error) {
	j := &Journal{dirs: l.dirs, path: e.Path}
	err := j.reopen()
	r := &run{host: h, plan: e.Plan, journal: j, o: o.withDefaults(), start: time.Now(), report: newReport(e.Plan), before: e.Before}
	for _, lasting := range []bool{false, true} { // the order in which they were made
		for i, s := range e.Plan.Steps {
			if lasts(s.Change) == lasting {
				r.recall(i, e.steps[s.ID])
			}
		}
	}
	return r, err
}

// recall takes over what the journal says of a step.
func (r *run) recall(i int, p *progress) {
	if p == nil || !p.begun {
		return
	}
	res := &r.report.Steps[i]
	switch {
	case p.undone:
		res.State = StepUndone
		return
	case p.failed:
		res.State, res.Error = StepFailed, p.err
		if !p.made {
			return
		}
	default:
		res.State = StepDone
	}
	r.made = append(r.made, made{i, p.unsure()})
}

// Rollback takes back what was made of a change, whoever made it and however it ended: half done, unconfirmed, or not
// fully taken back before. cause is why. The lock must be held. The error is a *Failure: ErrRolledBack or ErrNeedsHuman.
//
// After a reboot only what was written to disk is taken back.
func Rollback(ctx context.Context, l *Lock, e *Entry, h Host, o Options, cause error) (*Report, error) {
	if e.Unreadable() {
		return nil, fmt.Errorf("roll back %s: its journal cannot be read, so that what it changed is not known (%s): vmnet plan shows what the host is: %w",
			e.ID, e.Cause, ErrNeedsHuman)
	}
	if e.Elsewhere() {
		return nil, fmt.Errorf("roll back %s: it was made in another network namespace (%s): run this there", e.ID, e.Namespace)
	}
	r, _ := e.resume(l, h, o) // a journal that cannot be written keeps nobody from undoing
	if !e.Rebooted() {
		err := r.rollback(ctx, cause)
		return r.report, err
	}
	r.made = slices.DeleteFunc(r.made, func(m made) bool {
		c := r.plan.Steps[m.index].Change
		if !survivesReboot(c) {
			r.report.Steps[m.index].State = StepUndone
		}
		return !survivesReboot(c)
	})
	err := r.forget(ctx, cause)
	return r.report, err
}

// forget takes back what a reboot did not.
func (r *run) forget(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.o.UndoTimeout)
	defer cancel()
	r.report.Error, r.report.Result = cause.Error(), Rebooted
	transient := r.undoAll(ctx)
	if r.report.Count(StepRemained) > 0 {
		r.report.Result, r.report.Journal = NeedsHuman, r.journal.Path()
		return errors.Join(&Failure{Outcome: ErrNeedsHuman, Cause: cause, Transient: transient}, r.journal.end(r.report))
	}
	return r.journal.end(r.report)
}

// Confirm lets a change stay that waits for it, and writes what is to outlast a reboot. The lock must be held. who confirms; fromHere
// lets the login that made the change do it, which proves nothing about the way in. The error is a *NotConfirmedError
// when the change does not stay by this; a *Failure that is ErrNeedsHuman when it stays and not all could be written.
func Confirm(ctx context.Context, l *Lock, e *Entry, h Host, o Options, fromHere bool) (*Report, error) {
	if err := e.confirmable(o.Who, fromHere); err != nil {
		return nil, err
	}
	r, err := e.resume(l, h, o)
	if err != nil {
		return nil, err
	}
	if err := r.journal.write(record{Type: recordConfirmed, Who: &o.Who, By: new(self())}, true); err != nil {
		return nil, errors.Join(err, r.journal.close())
	}
	err = r.last(ctx)
	return r.report, err
}

// last makes the steps that outlast a reboot, of a confirmed change, and ends it.
func (r *run) last(ctx context.Context) error {
	r.report.Result, r.report.Confirmed = Applied, true
	r.renew(ctx)
	var failed []error
	for i, s := range r.plan.Steps {
		if lasts(s.Change) && r.report.Steps[i].State == StepPending {
			failed = append(failed, r.step(ctx, i))
		}
	}
	r.report.Millis = time.Since(r.start).Milliseconds()
	err := errors.Join(failed...)
	if err == nil {
		return r.journal.end(r.report)
	}
	r.report.Result, r.report.Error, r.report.Journal = NeedsHuman, err.Error(), r.journal.Path()
	cause := fmt.Errorf("the change is confirmed and stays, but not everything that should outlast a reboot was written: %w", err)
	return errors.Join(&Failure{Outcome: ErrNeedsHuman, Cause: cause}, r.journal.end(r.report))
}

// renew plans the steps that last anew where their objects changed while the change waited: somebody added a line to a file.
func (r *run) renew(ctx context.Context) {
	live, err := see(ctx, r.host)
	if err != nil {
		return // each step compares for itself
	}
	var again *plan.Plan
	for i := range r.plan.Steps {
		c := &r.plan.Steps[i].Change
		if !lasts(*c) || r.report.Steps[i].State != StepPending || holds(live, c.Ref, c.Before) {
			continue
		}
		if again == nil {
			if again, err = replan(live, r.plan); err != nil {
				return
			}
		}
		for _, s := range again.Steps {
			if s.Change.Ref == c.Ref {
				*c = s.Change
			}
		}
	}
}

// NotConfirmedError says why a change was not confirmed.
type NotConfirmedError struct {
	ID     string
	Reason string
	// SameLogin says that the login which tried to confirm the change proves nothing about the way in: it made the change, or was
	// there before it.
	SameLogin bool
}

// Error gives the reason.
func (e *NotConfirmedError) Error() string { return "confirm " + e.ID + ": " + e.Reason }

func (e *Entry) confirmable(who Who, fromHere bool) error {
	no := func(reason string) error { return &NotConfirmedError{e.ID, reason, false} }
	switch {
	case e.Unreadable():
		return no("its journal cannot be read: " + e.Cause)
	case e.Phase == Ended:
		return no("it has ended: " + string(e.Result))
	case e.Phase == Confirmed:
		return nil // and died before it had written everything
	case e.whenUnknown():
		return no(errWhen.Error())
	case e.Rebooted():
		return no("the host was booted since, which undid it")
	case e.Elsewhere():
		return no("it was made in another network namespace (" + e.Namespace + ")")
	case e.Phase == Undoing:
		return no("it is being undone")
	case e.Phase == Applying:
		return no("it is not made yet")
	case e.Left() == 0:
		return no("its time is over: it is being undone")
	case !fromHere && e.Who.Login.Same(who.Login):
		return &NotConfirmedError{e.ID, "this is the login that made the change: that it lives on proves nothing about the way in. " +
			"Log in anew and confirm from there, or give --from-this-session", true}
	case !fromHere && who.Login.Before(e.changed):
		return &NotConfirmedError{e.ID, "this login was there before the change was made: that it lives on proves nothing about the way in. " +
			"Log in anew and confirm from there, or give --from-this-session", true}
	}
	return nil
}

// MaxWait bounds how long a change may wait for its confirmation: who forgets it must not find it undone on another day.
const MaxWait = 24 * time.Hour

// Extend gives a change that waits for its confirmation more time, counted from now. The lock must be held.
func Extend(l *Lock, e *Entry, more time.Duration) error {
	if more <= 0 || more > MaxWait {
		return fmt.Errorf("extend %s: %s is not between 1s and %s", e.ID, more, MaxWait)
	}
	if err := e.confirmable(Who{}, true); err != nil {
		return err
	}
	if e.Phase != Waiting {
		return &NotConfirmedError{e.ID, "it is confirmed, and waits no more", false}
	}
	j := &Journal{dirs: l.dirs, path: e.Path}
	if err := j.reopen(); err != nil {
		return err
	}
	return errors.Join(j.write(record{Type: recordWait, Deadline: uptime() + more, Wait: more}, true), j.close())
}

// PendingError says that a change is under way, so that no other can begin.
type PendingError struct {
	Entry *Entry
}

// Error names it, who made it, and both ways out.
func (e *PendingError) Error() string {
	return fmt.Sprintf("change %s of %s waits for its confirmation, %s left: vmnet confirm %s, or vmnet rollback %s",
		e.Entry.ID, e.Entry.Who.Text(), e.Entry.Left().Round(time.Second), e.Entry.ID, e.Entry.ID)
}

// Is makes a PendingError an ErrBusy.
func (e *PendingError) Is(target error) bool { return target == ErrBusy }

// errWhen is why nothing is made of a change that was left: an undo needs to know whether a reboot did it already.
var errWhen = errors.New("whether the host was booted since it was made cannot be told: /proc/sys/kernel/random/boot_id cannot be read")

// Opener opens the host for a configuration, which may be nil.
type Opener func(*schema.Desired) (Host, func() error, error)

// Recover ends what earlier processes left: a change that one died in is undone, one that was confirmed is completed, and
// what a reboot undid is history. The lock must be held. told hears of each that was ended, with its report, and without one of each
// that is Unreadable and was put away. The error is a *PendingError for a
// change that still waits for its confirmation.
func Recover(ctx context.Context, l *Lock, open Opener, o Options, told func(*Entry, *Report)) error {
	entries, err := l.dirs.Open()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Elsewhere() && !e.Rebooted() {
			continue // another host, as it were
		}
		if e.whenUnknown() {
			return fmt.Errorf("recover from change %s: %w", e.ID, errWhen)
		}
		if e.Unreadable() || e.Phase == Ended && len(e.Remaining()) == 0 {
			if err := l.dirs.toHistory(e.Path); err != nil {
				return err
			}
			if e.Unreadable() {
				told(e, nil)
			}
			continue
		}
		if e.Phase == Waiting && e.Left() > 0 && !e.Rebooted() {
			return &PendingError{e}
		}
		report, err := recoverOne(ctx, l, e, open, o)
		if report != nil {
			told(e, report)
		}
		switch {
		case errors.Is(err, ErrNeedsHuman): // it was told, and blocks nobody: a plan starts from what the host is
			if err := l.dirs.toHistory(e.Path); err != nil {
				return err
			}
		case err != nil && !errors.Is(err, ErrRolledBack):
			return fmt.Errorf("recover from change %s: %w", e.ID, err)
		}
	}
	return nil
}

func recoverOne(ctx context.Context, l *Lock, e *Entry, open Opener, o Options) (*Report, error) {
	h, done, err := open(e.Plan.Desired)
	if err != nil {
		return nil, err
	}
	defer func() { _ = done() }() // nothing is left to write
	if e.Phase == Confirmed || e.Phase == Ended && e.Confirmation != nil && e.Cause == "" {
		r, err := e.resume(l, h, o)
		if err != nil {
			return nil, err
		}
		err = r.last(ctx)
		return r.report, err
	}
	return Rollback(ctx, l, e, h, o, e.left())
}

// left says how a change came to be left half done.
func (e *Entry) left() error {
	switch {
	case e.Rebooted():
		return errors.New("the host was booted before the change was confirmed")
	case e.Phase == Waiting:
		return fmt.Errorf("nobody confirmed it within %s", e.wait)
	case e.Phase == Undoing:
		return fmt.Errorf("the process that undid it died (%s)", e.Cause)
	}
	return fmt.Errorf("process %d, which made the change, died", e.Applier.PID)
}

// Remaining are the steps that were begun and not undone.
func (e *Entry) Remaining() (steps []plan.Step) {
	if e.Plan == nil {
		return nil
	}
	for _, s := range e.Plan.Steps {
		if e.steps[s.ID].remains() {
			steps = append(steps, s)
		}
	}
	return steps
}
