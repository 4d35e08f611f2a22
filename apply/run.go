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

// Host is the host a plan is carried out on: *providers.Host, or a fake one.
type Host interface {
	// Read returns the live state.
	Read(ctx context.Context) (*schema.State, error)
	// Do makes one change, compare-and-set: afterwards the host holds c.After or c.Before, nothing between.
	Do(ctx context.Context, c schema.Change) error
}

// Options tune Run. The zero value is ready.
type Options struct {
	// Progress, when not nil, is told what happens, as it happens, by the goroutine that called Run.
	Progress func(Event)
	// Settle is how long verification waits for what the kernel finishes late, such as duplicate address detection of
	// IPv6; 0 means 5 s, less than 0 not at all.
	Settle time.Duration
	// StepTimeout bounds one step; 0 means one minute.
	StepTimeout time.Duration
	// UndoTimeout bounds a whole rollback; 0 means five minutes. It is not cut short by the context of Run.
	UndoTimeout time.Duration
	// Confirm is how long the host waits for Confirm before the change is undone; 0: the change stays without.
	Confirm time.Duration
	// Arm starts the process that undoes the change when this one dies or nobody confirms, and returns when that is on
	// guard. nil: nobody watches.
	Arm func(context.Context, *Journal) (Watchdog, error)
	// Who runs this, for the journal.
	Who Who
	// Probe sends real packets for goals that ask for it, before the first step and after the last; nil: nothing is sent.
	Probe func(context.Context, []schema.Goal) []schema.ProbeResult
}

// Watchdog is a process that stands ready to undo a change.
type Watchdog interface {
	// Alive tells whether it still does.
	Alive() bool
}

// ErrBlind is the error of a look at the host that did not see everything: what was not seen is not gone.
var ErrBlind = errors.New("not everything could be read")

// see reads the host. Rules that keep changing while they are read are no reason to stop.
func see(ctx context.Context, h Host) (*schema.State, error) {
	live, err := h.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read host: %w", err)
	}
	if closed := slices.DeleteFunc(slices.Clone(live.Blind), func(part string) bool { return part == schema.MovingRules }); len(closed) > 0 {
		return nil, fmt.Errorf("read host: %w: %s", ErrBlind, schema.Unseen(closed))
	}
	return live, nil
}

func (o Options) withDefaults() Options {
	if o.Settle == 0 {
		o.Settle = 5 * time.Second
	}
	if o.StepTimeout == 0 {
		o.StepTimeout = time.Minute
	}
	if o.UndoTimeout == 0 {
		o.UndoTimeout = 5 * time.Minute
	}
	if o.Progress == nil {
		o.Progress = func(Event) {}
	}
	return o
}

// budget is how long making a plan may take before the watchdog ends the process that hangs: seconds for each step, on a
// slow and busy host, and minutes for reading it.
func budget(p *plan.Plan) time.Duration {
	return 5*time.Minute + time.Duration(len(p.Steps))*time.Second
}

// Run carries p out on h. The caller holds the Lock that j comes from.
//
// It returns nil when the host is as planned: read back, planned again with nothing to do, and every check that held
// before still holding. With Options.Confirm the result is then Unconfirmed, and what a reboot would not undo (files) is
// not written yet: Confirm does that. An error that is a *StaleError, or that is neither ErrRolledBack nor ErrNeedsHuman,
// was met before anything was changed. ErrRolledBack means that steps were begun and the host is as before again;
// ErrNeedsHuman that it is not: both are a *Failure. Cancelling ctx stops after the current step and rolls back.
//
// The Report is never nil.
func Run(ctx context.Context, h Host, p *plan.Plan, j *Journal, o Options) (*Report, error) {
	r := &run{host: h, plan: p, journal: j, o: o.withDefaults(), start: time.Now()}
	r.report = newReport(p)
	err := r.run(ctx)
	r.report.Millis = time.Since(r.start).Milliseconds()
	return r.report, err
}

type run struct {
	host    Host
	plan    *plan.Plan
	journal *Journal
	o       Options
	start   time.Time
	report  *Report
	before  *past
	made    []made        // the steps to undo, in the order made
	found   *schema.State // the host as a rollback found it; nil: not read yet
	lost    []string      // what others had set on objects that went with the undo
	dog     Watchdog
	probed  []schema.ProbeResult // before the first step
}

// made is a step that was begun.
type made struct {
	index  int
	unsure bool // it may be half made, or not at all
}

func (r *run) run(ctx context.Context) error {
	if r.plan.Desired == nil {
		return errors.New("apply plan: it carries no configuration, so its result could not be verified")
	}
	if err := r.check(ctx); err != nil {
		return err
	}
	if err := r.journal.begin(r.head()); err != nil {
		return err
	}
	if err := r.arm(ctx); err != nil {
		return errors.Join(err, r.journal.discard())
	}
	if err := r.make(ctx); err != nil {
		return r.rollback(ctx, err)
	}
	if r.report.Result == Unconfirmed {
		return r.journal.close()
	}
	r.report.Result = Applied
	r.report.Millis = time.Since(r.start).Milliseconds()
	return r.journal.end(r.report)
}

// make makes all steps and proves the result, or, where a confirmation is to come first, all but those that last.
func (r *run) make(ctx context.Context) error {
	waits := r.o.Confirm > 0 && len(r.plan.Steps) > 0
	for _, lasting := range []bool{false, true} {
		if lasting && waits {
			continue
		}
		for i := range r.plan.Steps {
			if lasts(r.plan.Steps[i].Change) != lasting {
				continue
			}
			if err := r.guarded(ctx); err != nil {
				return err
			}
			if err := r.step(ctx, i); err != nil {
				return err
			}
		}
	}
	if err := r.verify(ctx); err != nil {
		return err
	}
	if !waits {
		return nil
	}
	if err := r.guarded(ctx); err != nil {
		return err
	}
	r.report.Result = Unconfirmed
	r.report.Deadline = time.Now().Add(r.o.Confirm)
	return r.journal.write(record{Type: recordWait, Deadline: uptime() + r.o.Confirm, Wait: r.o.Confirm}, true)
}

// lasts tells a step that a reboot would not undo and that changes nothing until then: it is made when the change is
// confirmed.
func lasts(c schema.Change) bool { return c.Ref.Kind == schema.KindFile }

func (r *run) head() *Head {
	return &Head{
		FormatVersion: JournalVersion, ID: r.plan.ID, Started: time.Now().UTC(), Boot: bootID(), Namespace: namespace(),
		Applier: self(), Who: r.o.Who, Budget: budget(r.plan), Confirm: r.o.Confirm, Plan: r.plan, Before: r.before,
	}
}

func (r *run) arm(ctx context.Context) error {
	if r.o.Arm == nil || len(r.plan.Steps) == 0 {
		return nil
	}
	dog, err := r.o.Arm(ctx, r.journal)
	if err != nil {
		return fmt.Errorf("arm the watchdog: %w; nothing was changed", err)
	}
	r.dog = dog
	r.o.Progress(r.event(EventArmed, nil, 0, nil))
	return nil
}

// guarded sees to it that the watchdog lives, and starts another where it does not.
func (r *run) guarded(ctx context.Context) error {
	if r.dog == nil || r.dog.Alive() {
		return nil
	}
	dog, err := r.o.Arm(ctx, r.journal)
	if err != nil {
		return fmt.Errorf("the watchdog was killed, and no other can be armed: %w", err)
	}
	r.dog = dog
	return nil
}

// check reads the host and compares it with the facts that the plan relied on.
func (r *run) check(ctx context.Context) error {
	watcher, watched := r.host.(Watcher)
	if watched {
		_ = watcher.Watch() // who writes is not told to everybody
	}
	live, err := see(ctx, r.host)
	if err != nil {
		return err
	}
	r.before = remember(live, r.plan)
	r.report.Facts = len(r.plan.Basis)
	if stale := Stale(live, r.plan); stale != nil {
		r.report.Held = len(r.plan.Basis) - len(stale.Changed)
		if watched {
			writers, _ := watcher.Writers(0)
			stale.Name(writers)
		}
		r.report.Code, r.report.Error, r.report.Changed = CodeStale, stale.Error(), stale.Changed
		return stale
	}
	r.report.Held = len(r.plan.Basis)
	r.o.Progress(Event{Kind: EventChecked, Total: len(r.plan.Steps), Facts: len(r.plan.Basis), Held: len(r.plan.Basis)})
	r.probed = r.probe(ctx)
	return nil
}

// step makes one step: the journal's "begin" is written before the host is touched, and on disk where the step writes to
// disk too.
func (r *run) step(ctx context.Context, i int) error {
	s := &r.plan.Steps[i]
	res := &r.report.Steps[i]
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("stopped before step %d: %w", s.ID, context.Cause(ctx))
	}
	r.o.Progress(r.event(EventBegin, s, 0, nil))
	began := time.Now()
	err := r.journal.write(record{Type: recordBegin, Step: s.ID}, survivesReboot(s.Change))
	if err == nil {
		err = r.do(ctx, i)
	}
	took := time.Since(began)
	res.Millis = took.Milliseconds()
	if err != nil {
		res.State, res.Error = StepFailed, err.Error()
		r.o.Progress(r.event(EventFailed, s, took, err))
		return fmt.Errorf("step %d, %s: %w", s.ID, s.Change.Ref, err)
	}
	res.State = StepDone
	r.o.Progress(r.event(EventDone, s, took, nil))
	return nil
}

// survivesReboot tells whether a change writes to disk: managers keep what they are granted.
func survivesReboot(c schema.Change) bool {
	return c.Ref.Kind == schema.KindFile || c.Ref.Kind == schema.KindGrant
}

// do makes the change and remembers it for the undo. The context of Run does not reach the provider: a step once begun is
// finished, and then taken back.
func (r *run) do(ctx context.Context, i int) error {
	s := &r.plan.Steps[i]
	stepCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.o.StepTimeout)
	defer cancel()
	if err := r.host.Do(stepCtx, s.Change); err != nil {
		anyway := r.madeAnyway(ctx, s.Change)
		if anyway {
			r.made = append(r.made, made{i, true})
		}
		_ = r.journal.write(record{Type: recordFailed, Step: s.ID, Error: err.Error(), Made: anyway}, false) // the failure is what is told
		return err
	}
	r.made = append(r.made, made{i, false})
	return r.journal.write(record{Type: recordDone, Step: s.ID}, false)
}

// madeAnyway tells whether a change took place though the host reported an error, such as a timeout. What cannot be told
// is taken for made: undoing is compare-and-set and harms nothing that is not ours.
func (r *run) madeAnyway(ctx context.Context, c schema.Change) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.o.StepTimeout)
	defer cancel()
	live, err := see(ctx, r.host)
	return err != nil || !holds(live, c.Ref, c.Before)
}

// holds tells whether the host has the object as given; a nil one must not be there.
func holds(live *schema.State, ref schema.Ref, want schema.Object) bool {
	have := live.Get(ref)
	if have == nil || want == nil {
		return have == nil && want == nil
	}
	return len(schema.Compare(have, want)) == 0
}

func (r *run) event(k EventKind, s *plan.Step, took time.Duration, err error) Event {
	return Event{Kind: k, Step: s, Total: len(r.plan.Steps), Elapsed: took, Err: err}
}
