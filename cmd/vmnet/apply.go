package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

const applyHelp = `Plans, shows the plan, asks, and carries it out; or carries out a saved plan without asking, for giving the file is
the approval. Every fact the plan relied on is read again first. Afterwards the host is read and planned once more: if
anything is left to do, or an expectation that held no longer does, every step is taken back.

Ctrl-C stops after the current step and takes back what was done.`

type applyFlags struct {
	sources
	autoApprove bool
	full        bool
	resets      []string
	lockTimeout time.Duration
	format      *string
}

func (a *app) applyCmd() *cobra.Command {
	var o applyFlags
	cmd := &cobra.Command{
		Use: "apply [PATH|FILE]", Short: "do what plan says, prove it, or take it back", Long: applyHelp,
		Example: "  vmnet apply\n  vmnet apply fix.vmplan\n  vmnet apply --reset adapter.eno3",
		Args:    cobra.MaximumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return failed(a.apply(cmd.Context(), path(args), &o)) },
	}
	f := cmd.Flags()
	o.register(f)
	f.BoolVar(&o.autoApprove, "auto-approve", false, "do not ask")
	f.BoolVar(&o.full, "full", false, "show every line, expectation and command of the plan")
	f.StringArrayVar(&o.resets, "reset", nil, "reset this adapter too: adapter.x")
	f.DurationVar(&o.lockTimeout, "lock-timeout", 10*time.Second, "how long to wait for another vmnet")
	o.format = format(f, "text", "json")
	return cmd
}

func (a *app) apply(ctx context.Context, path string, o *applyFlags) error {
	saved, err := savedPlan(path)
	if err != nil {
		return err
	}
	if err := o.fit(saved != nil, path); err != nil {
		return err
	}
	lock, err := a.lock(ctx, path, o.lockTimeout)
	denied := unprivileged(err)
	if err != nil && denied == nil {
		return err
	}
	defer func() { _ = lock.Release() }() // the kernel releases it with the process at the latest
	p := saved
	if p == nil {
		p, err = a.approvedPlan(ctx, path, o, denied)
	} else {
		err = first(apply.Fits(p, hostInfo(), time.Now()), denied, permitted(p))
	}
	if err != nil || p == nil {
		return err
	}
	return a.carryOut(ctx, p, lock, o)
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
	switch {
	case saved && (len(o.vars)+len(o.varFiles)+len(o.resets) > 0):
		return usage(errors.New("a saved plan is applied as it was reviewed: -var, -var-file and --reset belong to plan"))
	case !saved && !o.autoApprove && path == "-":
		return usage(errors.New("standard input holds the configuration, so nobody can be asked: give --auto-approve, or save a plan"))
	case !saved && !o.autoApprove && *o.format == "json":
		return usage(errors.New("-o json does not ask: give --auto-approve, or apply a saved plan"))
	}
	return nil
}

func (a *app) lock(ctx context.Context, path string, timeout time.Duration) (*apply.Lock, error) {
	h := apply.Holder{PID: os.Getpid(), Command: "vmnet apply " + path, Since: time.Now()}
	lock, err := apply.Acquire(ctx, a.runtimeDir, h, timeout)
	if errors.As(err, new(*apply.LeftoverError)) {
		return nil, &exit{exitHuman, apply.CodeLeftover, err}
	}
	return lock, err
}

// approvedPlan plans, shows, and asks; denied is why nothing can be carried out whatever the plan is, nil usually. A nil plan without error means that there is nothing to do.
func (a *app) approvedPlan(ctx context.Context, path string, o *applyFlags, denied error) (*plan.Plan, error) {
	asJSON := *o.format == "json"
	p, err := a.makePlan(ctx, path, &o.sources, o.resets, asJSON)
	if err != nil {
		return nil, err
	}
	if !asJSON {
		v := a.view(a.out)
		v.Full = o.full
		a.outText(view.Plan(p, v))
	}
	if err := first(denied, permitted(p)); err != nil {
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
	return p, a.ask()
}

// ask wants the whole word: Return alone must not change a host.
func (a *app) ask() error {
	a.errText("\nDo you want to carry out this plan? Only \"yes\" is accepted: ")
	line, err := bufio.NewReader(a.in).ReadString('\n')
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
func permitted(p *plan.Plan) error {
	err := apply.Permitted(p)
	var refused *apply.NotPermittedError
	if !errors.As(err, &refused) {
		return err
	}
	codes := map[string]code{
		apply.CodeBlind: exitBlind, apply.CodeBreaks: exitExpect, apply.CodeRiskLimit: exitBlocked, apply.CodeForeign: exitBlocked,
	}
	return &exit{codes[refused.Code], refused.Code, fmt.Errorf("%w; nothing was changed", err)}
}

func (a *app) carryOut(ctx context.Context, p *plan.Plan, lock *apply.Lock, o *applyFlags) error {
	h, err := a.openHost(p.Desired)
	if err != nil {
		return err
	}
	defer func() { _ = h.Close() }()
	errView := a.view(a.err)
	report, err := apply.Run(ctx, h, p, lock.Journal(p.ID), apply.Options{
		Progress: func(e apply.Event) { a.errText(view.Progress(e, errView)) },
	})
	if *o.format == "json" {
		return errors.Join(a.outJSON(view.ReportJSON(report)), a.applied(report, err, errView))
	}
	if report.Result != apply.Refused {
		a.outText(view.Report(report, p, a.view(a.out)))
	}
	return a.applied(report, err, errView)
}

// applied turns how an apply ended into how the command ends. The report has told everything but a refusal.
func (a *app) applied(r *apply.Report, err error, v view.Options) error {
	var stale *apply.StaleError
	switch {
	case errors.As(err, &stale):
		a.errText(view.Stale(stale, v))
		return ended(exitStale)
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
