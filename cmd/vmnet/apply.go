package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/probe"
	"github.com/vmnet/vmnet/providers/sessions"
	"github.com/vmnet/vmnet/schema"
)

const applyHelp = `Plans, shows the plan, asks, and carries it out; or carries out a saved plan without asking, for giving the file is
the approval. Every fact the plan relied on is read again first; where one has changed and nobody was asked (--auto-approve),
the plan is made again, a few times. Afterwards the host is read and planned once more: if
anything is left to do, or an expectation that held no longer does, every step is taken back.

A watchdog, a process of its own, is armed before the first step. It takes everything back when this process dies. With a
time to confirm (--confirm; 120s over SSH unless the file says otherwise) the change then waits for vmnet confirm from a
new login, and is taken back when nobody confirms. What would outlast a reboot is written only then.

Ctrl-C stops after the current step and takes back what was done; a second one leaves that to the watchdog.`

// defaultConfirm is how long a change over SSH waits for its confirmation: a bridge with a spanning tree may need a minute to
// let anybody in.
const defaultConfirm = 120 * time.Second

type applyFlags struct {
	sources
	autoApprove  bool
	full         bool
	detach       bool
	lockout      bool
	irreversible bool
	confirm      string
	resets       []string
	lockTimeout  time.Duration
	format       *string
	// desired is what to plan for instead of a configuration: that of an earlier change.
	desired *schema.Desired
}

func (a *app) applyCmd() *cobra.Command {
	var o applyFlags
	cmd := &cobra.Command{
		Use: "apply [PATH|FILE]", Short: "do what plan says, prove it, or take it back", Long: applyHelp,
		Example: "  vmnet apply\n  vmnet apply fix.vmplan\n  vmnet apply --confirm 5m --detach fix.vmplan",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.documented(failed(a.apply(cmd.Context(), path(args), &o)), *o.format)
		},
	}
	o.registerApply(cmd)
	return cmd
}

func (o *applyFlags) registerApply(cmd *cobra.Command) {
	f := cmd.Flags()
	o.register(f)
	f.BoolVar(&o.autoApprove, "auto-approve", false, "do not ask")
	f.BoolVar(&o.full, "full", false, "show every line, expectation and command of the plan")
	f.BoolVar(&o.detach, "detach", false, "do not wait for the confirmation: the watchdog does")
	f.BoolVar(&o.lockout, "accept-lockout", false, "carry out a plan that cuts the way in; needs a time to confirm")
	f.BoolVar(&o.irreversible, "accept-irreversible", false, "carry out steps that cannot be taken back")
	f.StringVar(&o.confirm, "confirm", "", `how long to wait for vmnet confirm: "120s", "5m", or "none"`)
	f.StringArrayVar(&o.resets, "reset", nil, "reset this adapter too: adapter.x")
	f.DurationVar(&o.lockTimeout, "lock-timeout", 10*time.Second, "how long to wait for another vmnet")
	o.format = format(f, "text", "json")
}

func (a *app) apply(ctx context.Context, path string, o *applyFlags) error {
	saved, err := savedPlan(path)
	if o.desired != nil {
		saved, err = nil, nil
	}
	if err != nil {
		return err
	}
	if err := o.fit(saved != nil, path); err != nil {
		return err
	}
	lock, err := a.lock(ctx, "vmnet apply "+path, o.lockTimeout)
	denied := unprivileged(err)
	if err != nil && denied == nil {
		return err
	}
	defer func() { _ = lock.Release() }() // the kernel releases it with the process at the latest
	if denied == nil {
		if err := a.recover(ctx, lock); err != nil {
			return err
		}
	}
	stop := a.watchWriters()
	defer stop()
	p := saved
	if p == nil {
		p, err = a.approvedPlan(ctx, path, o, denied)
	} else {
		err = a.allowed(ctx, p, o, denied)
	}
	if err != nil || p == nil {
		return err
	}
	if saved == nil && o.autoApprove { // nobody's approval is of this very plan
		return a.race(ctx, path, p, lock, o)
	}
	return a.carryOut(ctx, p, lock, o, false)
}

// allowed tells whether a saved plan may be carried out here, now, and by this login: the guard follows who is logged in now. One that
// the host no longer fits is left for apply to name.
func (a *app) allowed(ctx context.Context, p *plan.Plan, o *applyFlags, denied error) error {
	if err := first(apply.Fits(p, hostInfo(), time.Now()), denied); err != nil {
		return err
	}
	seen, err := a.observe(ctx, "", p.Desired)
	if err != nil {
		return err
	}
	defer seen.Close()
	if p.Desired != nil && apply.Stale(seen.state, p) == nil {
		p.Guard(seen.state, seen.sessions, seen.unknown)
	}
	return a.permitted(ctx, p, o)
}

// documented writes a document where an apply that was to write one ended before it had.
func (a *app) documented(err error, format string) error {
	var e *exit
	if format != "json" || a.wrote || !errors.As(err, &e) || e.err == nil {
		return err
	}
	return errors.Join(err, a.outJSON(view.ReportJSON(&apply.Report{
		FormatVersion: apply.ReportVersion, Result: apply.Refused, Code: e.vn, Error: e.err.Error(), Steps: []apply.StepResult{},
	})))
}

// watchWriters listens, from before the plan is made until it is carried out, to who changes the ruleset meanwhile.
func (a *app) watchWriters() (stop func()) {
	h, err := a.openHost(nil)
	if err != nil {
		return func() {}
	}
	_ = h.Watch() // then nobody is named
	a.watched = h
	return func() { _ = h.Close() }
}

// watchedHost is the host a plan is carried out on, with the ears of another that has listened longer.
type watchedHost struct {
	*providers.Host
	ears *providers.Host
}

// Watch implements apply.Watcher.
func (h watchedHost) Watch() error {
	if h.ears == nil {
		return h.Host.Watch()
	}
	return nil
}

// Writers implements apply.Watcher.
func (h watchedHost) Writers(since uint32) ([]schema.Writer, bool) {
	if h.ears == nil {
		return h.Host.Writers(since)
	}
	return h.ears.Writers(since)
}

// unprivileged turns the error of a lock that this user may not take into what to do; nil for any other. It is told after
// the plan or the diagnostics: those are for everybody.
func unprivileged(err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return &exit{exitBlind, apply.CodeBlind, fmt.Errorf("apply needs root or CAP_NET_ADMIN, so nothing was changed: %w", err)}
}

// first is the first error of several, nil when there is none.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// savedPlan reads a saved plan; nil for a path that is a configuration.
func savedPlan(path string) (*plan.Plan, error) {
	if path == "-" || isDir(path) {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil || !(apply.IsJSON(b) || filepath.Ext(path) == planSuffix) {
		return nil, nil //nolint:nilerr // the configuration's reader says what is wrong, with a diagnostic
	}
	if json.Unmarshal(b, schema.NewState()) == nil {
		return nil, usage(fmt.Errorf("%s: that is a snapshot, not a plan", path))
	}
	return loadPlan(path, b)
}

// planSuffix is how the documentation names saved plans; any other name will do.
const planSuffix = ".vmplan"

// loadPlan reads a saved plan for apply and show.
func loadPlan(path string, b []byte) (*plan.Plan, error) {
	p, err := apply.Load(b)
	if err != nil {
		return nil, &exit{exitStale, apply.CodeMisfit, fmt.Errorf("%s: %w", path, err)}
	}
	return p, nil
}

// fit refuses flags that contradict what is applied.
func (o *applyFlags) fit(saved bool, path string) error {
	if o.confirm != "" && o.confirm != "none" {
		if d, err := time.ParseDuration(o.confirm); err != nil || d <= 0 || d > apply.MaxWait {
			return usage(fmt.Errorf("--confirm %s: want a time to wait, such as 120s or 5m and at most %s, or none", o.confirm, apply.MaxWait))
		}
	}
	switch {
	case o.desired != nil && (len(o.vars)+len(o.varFiles)+len(o.resets) > 0):
		return usage(errors.New("an earlier change is planned as it was: -var, -var-file and --reset do not go with --to"))
	case saved && (len(o.vars)+len(o.varFiles)+len(o.resets) > 0):
		return usage(errors.New("a saved plan is applied as it was reviewed: -var, -var-file and --reset belong to plan"))
	case !saved && !o.autoApprove && path == "-":
		return usage(errors.New("standard input holds the configuration, so nobody can be asked: give --auto-approve, or save a plan"))
	case !saved && !o.autoApprove && *o.format == "json":
		return usage(errors.New("-o json does not ask: give --auto-approve, or apply a saved plan"))
	}
	return nil
}

func (a *app) lock(ctx context.Context, command string, timeout time.Duration) (*apply.Lock, error) {
	return apply.Acquire(ctx, a.dirs(), apply.NewHolder(command), timeout)
}

// dirs is where vmnet keeps what is its own.
func (a *app) dirs() apply.Dirs { return apply.DirsAt(a.runtimeDir, a.stateDir) }

// open opens the host for packages that do not know its providers.
func (a *app) open(d *schema.Desired) (apply.Host, func() error, error) {
	h, err := a.openHost(d)
	if err != nil {
		return nil, nil, err
	}
	return h, h.Close, nil
}

// recover ends what earlier processes left, and says so.
func (a *app) recover(ctx context.Context, lock *apply.Lock) error {
	err := apply.Recover(ctx, lock, a.open, apply.Options{Who: a.who(ctx)}, func(e *apply.Entry, r *apply.Report) {
		a.errText(view.Recovered(e, r, a.view(a.err)))
	})
	if pending, ok := errors.AsType[*apply.PendingError](err); ok {
		return &exit{exitBusy, apply.CodePending, errors.Join(err, a.guarded(ctx, lock, pending.Entry))}
	}
	return err
}

// guarded sees to it that a change that waits has a watchdog: somebody may have killed it with the process that would have
// armed another.
func (a *app) guarded(ctx context.Context, lock *apply.Lock, e *apply.Entry) error {
	if e.Guarded() {
		return nil
	}
	spawn := apply.Spawn{Args: a.watchdogArgs(e.Path), Lock: lock}
	if _, err := spawn.Arm(ctx, lock.Journal(e.ID)); err != nil {
		return fmt.Errorf("the watchdog of change %s was killed, and no other can be armed: %w", e.ID, err)
	}
	return nil
}

// approvedPlan plans, shows, and asks; denied is why nothing can be carried out whatever the plan is, nil usually. A nil plan without error means that there is nothing to do.
func (a *app) approvedPlan(ctx context.Context, path string, o *applyFlags, denied error) (*plan.Plan, error) {
	asJSON := *o.format == "json"
	p, err := a.planFor(ctx, path, o, asJSON)
	if err != nil {
		return nil, err
	}
	if !asJSON {
		v := a.view(a.out)
		v.Full = o.full
		a.outText(view.Plan(p, v))
	}
	if err := first(denied, a.permitted(ctx, p, o)); err != nil {
		return nil, err
	}
	if p.Empty() && !asJSON {
		return nil, ended(checksCode(p.Checks))
	}
	if o.autoApprove || p.Empty() {
		return p, nil
	}
	if a.lost != nil {
		return nil, fmt.Errorf("show the plan: %w: nobody can approve what nobody saw", a.lost)
	}
	return p, a.ask(ctx)
}

// planFor plans for a configuration, or for that of an earlier change.
func (a *app) planFor(ctx context.Context, path string, o *applyFlags, asJSON bool) (*plan.Plan, error) {
	if o.desired == nil {
		return a.makePlan(ctx, path, &o.sources, o.resets, asJSON)
	}
	seen, err := a.observe(ctx, "", o.desired)
	if err != nil {
		return nil, err
	}
	defer seen.Close()
	return makePlan(seen, o.desired, path, o.resets)
}

// ask wants the whole word: Return alone must not change a host. A signal ends the wait for it.
func (a *app) ask(ctx context.Context) error {
	a.errText("\nDo you want to carry out this plan? Only \"yes\" is accepted: ")
	var line string
	var err error
	answered := make(chan struct{})
	go func() { // it is left behind where nobody answers: a read cannot be told to stop
		defer close(answered)
		line, err = bufio.NewReader(a.in).ReadString('\n')
	}()
	select {
	case <-answered:
	case <-ctx.Done():
		a.errText("\n")
		return &exit{exitError, "", fmt.Errorf("apply cancelled: %w; nothing was changed", context.Cause(ctx))}
	}
	if !isTerminal(a.in) { // nobody's Return ended the line on the screen
		a.errText("\n")
	}
	if strings.TrimSpace(line) == "yes" {
		return nil
	}
	if err != nil && !isTerminal(a.in) {
		return &exit{exitError, "", errors.New("apply cancelled: nobody answered; without a terminal give --auto-approve or a saved plan. Nothing was changed")}
	}
	return &exit{exitError, "", errors.New("apply cancelled: nothing was changed")}
}

// permitted gives what keeps a plan from being carried out its exit code.
func (a *app) permitted(ctx context.Context, p *plan.Plan, o *applyFlags) error {
	if o.lockout && a.confirmTime(ctx, p, o) == 0 {
		return usage(errors.New("--accept-lockout needs a time to confirm (--confirm 120s): nobody could take it back from outside"))
	}
	err := apply.Permitted(p, apply.Permission{AcceptLockout: o.lockout, Irreversible: o.irreversible})
	var refused *apply.NotPermittedError
	if !errors.As(err, &refused) {
		return err
	}
	codes := map[string]code{apply.CodeBlind: exitBlind, apply.CodeBreaks: exitExpect}
	c, ok := codes[refused.Code]
	if !ok {
		c = exitBlocked
	}
	return &exit{c, refused.Code, fmt.Errorf("%w; nothing was changed", err)}
}

// confirmTime is how long the change waits for its confirmation: as the flag says, else the file, else by where this login
// comes from. 0: it does not.
func (a *app) confirmTime(ctx context.Context, p *plan.Plan, o *applyFlags) time.Duration {
	text := o.confirm
	if text == "" && p.Desired != nil {
		text = p.Desired.Settings.Confirm
	}
	if kind := a.here(ctx).Login.Kind; text == "" && (kind == sessions.SSH || kind == "") { // "" is not known
		return defaultConfirm
	}
	d, _ := time.ParseDuration(text) // "none" is 0; others were refused when they were read
	return d
}

// carryOut carries a plan out and tells what became of it; again: but nothing of one that is stale, whose error is then the *StaleError.
func (a *app) carryOut(ctx context.Context, p *plan.Plan, lock *apply.Lock, o *applyFlags, again bool) error {
	h, err := a.openHost(p.Desired)
	if err != nil {
		return err
	}
	defer func() { _ = h.Close() }()
	noPause()
	told := a.teller(a.view(a.err))
	journal := lock.Journal(p.ID)
	spawn := apply.Spawn{Args: a.watchdogArgs(journal.Path()), Lock: lock}
	report, err := apply.Run(ctx, watchedHost{h, a.watched}, p, journal, apply.Options{
		Progress: told.hear, Confirm: a.confirmTime(ctx, p, o), Who: a.who(ctx), Probe: probe.Probe,
		Arm: spawn.Arm,
	})
	told.stop()
	if stale, ok := errors.AsType[*apply.StaleError](err); ok && again {
		return stale
	}
	if err == nil && report.Result == apply.Unconfirmed {
		if err := lock.Release(); err != nil {
			return err
		}
		spawn.Lock = nil
		report, err = a.wait(ctx, journal, spawn, report, o)
	}
	_ = lock.Release() // nobody waits for whoever reads the report; the kernel releases it with the process at the latest
	a.record("apply", p.ID, report)
	errView := a.view(a.err)
	if *o.format == "json" {
		a.wrote = true
		return errors.Join(a.outJSON(view.ReportJSON(report)), a.applied(report, err, errView))
	}
	if report.Result != apply.Refused {
		a.outText(view.Report(report, p, a.view(a.out)))
	}
	return a.applied(report, err, errView)
}

// noPause keeps a terminal from stopping this process (Ctrl-Z, output in the background) while the host is half changed.
func noPause() {
	changing.Store(true)
	signal.Ignore(syscall.SIGTSTP, syscall.SIGTTOU)
}

// wait follows a change until somebody confirms it or it is taken back, unless it is left to the watchdog.
func (a *app) wait(ctx context.Context, j *apply.Journal, spawn apply.Spawn, report *apply.Report, o *applyFlags) (*apply.Report, error) {
	if o.detach {
		return report, nil
	}
	side := a.aside()
	side.tell(view.Waiting(report, a.view(a.err)))
	calls := countdown{side: side, v: a.view(a.err)}
	following, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	e, err := apply.Await(following, j.Path(), func(e *apply.Entry) {
		calls.hear(e)
		switch {
		case e.Phase != apply.Waiting:
		case e.Left() == 0:
			if calls.late() {
				stop(errLate)
			}
		case !e.Watchdog.Alive() || e.Watchdog.Stopped():
			_, _ = spawn.Arm(ctx, j) // while this one lives, there is another to undo it
		}
	})
	side.end()
	var sig *signalError
	switch {
	case errors.Is(err, errLate):
		return a.takeBack(context.WithoutCancel(ctx), e, errLate)
	case errors.As(err, &sig) && sig.signal == syscall.SIGHUP:
		return report, nil // the terminal is gone; the watchdog stays, and a new login can confirm
	case err != nil && ctx.Err() != nil:
		return a.takeBack(context.WithoutCancel(ctx), e, fmt.Errorf("interrupted: %w", err))
	case err != nil || e.Report == nil:
		return report, err
	}
	return became(e, report.Checks)
}

// errLate is why a change is taken back by the process that waits, and not by its watchdog.
var errLate = errors.New("nobody confirmed it in time, and its watchdog did not say that it was taken back")

// became is how a change ended that this process waited for; checks are those that were verified when it was made.
func became(e *apply.Entry, checks []plan.Check) (*apply.Report, error) {
	switch e.Result { //nolint:exhaustive // the others are no failures
	case apply.RolledBack:
		return e.Report, &apply.Failure{Outcome: apply.ErrRolledBack, Cause: errors.New(e.Report.Error)}
	case apply.NeedsHuman:
		return e.Report, &apply.Failure{Outcome: apply.ErrNeedsHuman, Cause: errors.New(e.Report.Error)}
	}
	done := *e.Report
	done.Checks = checks
	return &done, nil
}

// countdown says, a few times, how much time is left to confirm.
type countdown struct {
	side *aside
	v    view.Options
	last time.Duration
	over time.Time // since when no time is left
}

// watchdogTime is how long a watchdog may take to begin with what is due.
const watchdogTime = 3 * time.Second

// late tells of a change that is due to be taken back whether its watchdog should have begun by now.
func (c *countdown) late() bool {
	if c.over.IsZero() {
		c.over = time.Now()
	}
	return time.Since(c.over) > watchdogTime
}

func (c *countdown) hear(e *apply.Entry) {
	left := e.Left()
	if e.Phase != apply.Waiting || left < 0 {
		return
	}
	for _, at := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute} {
		if left <= at && c.last > at {
			c.side.tell(view.Left(e, c.v))
			break
		}
	}
	c.last = left
}

// applied turns how an apply ended into how the command ends. The report has told everything but a refusal.
func (a *app) applied(r *apply.Report, err error, v view.Options) error {
	var stale *apply.StaleError
	switch {
	case errors.As(err, &stale):
		a.errText(view.Stale(stale, v))
		return ended(exitStale)
	case r.Result == apply.Unconfirmed && err == nil:
		return nil
	case r.Result == apply.Applied && err == nil:
		return ended(checksCode(r.Checks))
	case errors.Is(err, apply.ErrRolledBack):
		return ended(exitRolledBack)
	case errors.Is(err, apply.ErrNeedsHuman):
		return ended(exitHuman)
	}
	return err
}

// checksCode is 8 when a goal does not hold now.
func checksCode(checks []plan.Check) code {
	for _, c := range checks {
		if c.Before.Status == "fail" {
			return exitExpect
		}
	}
	return exitOK
}
