package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/apply"
)

const rollbackHelp = `Takes back the change that waits for its confirmation, or what a process that died left half done. Each step is undone by
its own inverse, compare-and-set: what others did meanwhile stays. Then the host is compared with what it was.

A change that has ended is not undone so: --to ID plans for the configuration as it was applied by that change, and carries
that plan out like any other.`

type rollbackFlags struct {
	applyFlags
	to string
}

func (a *app) rollbackCmd() *cobra.Command {
	var o rollbackFlags
	cmd := &cobra.Command{
		Use: "rollback [ID]", Short: "take back the change under way, or what a crash left", Long: rollbackHelp,
		Example: "  vmnet rollback\n  vmnet rollback --to 7f3a",
		Args:    cobra.MaximumNArgs(1),
	}
	o.registerApply(cmd)
	cmd.Flags().StringVar(&o.to, "to", "", "plan for the configuration of this change of the history, and apply it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.documented(failed(a.rollback(cmd.Context(), args, &o)), *o.format)
	}
	return cmd
}

func (a *app) rollback(ctx context.Context, args []string, o *rollbackFlags) error {
	if o.to != "" {
		return a.rollbackTo(ctx, args, o)
	}
	lock, err := a.lock(ctx, "vmnet rollback", o.lockTimeout)
	if err := first(unprivileged(err), err); err != nil {
		return err
	}
	defer func() { _ = lock.Release() }() // the kernel releases it with the process at the latest
	e, err := a.underWay(args)
	if err != nil {
		return err
	}
	if e.Phase == apply.Ended && e.Result != apply.NeedsHuman && !e.Unreadable() {
		return usage(fmt.Errorf("change %s has ended (%s): to go back to an earlier configuration give vmnet rollback --to ID", e.ID, e.Result))
	}
	report, err := a.undo(ctx, lock, e, fmt.Errorf("asked for by %s", a.who(ctx).Text()))
	if report != nil {
		a.record("rollback", e.ID, report)
	}
	if errors.Is(err, apply.ErrRolledBack) {
		err = nil // which is what was asked for
	}
	return a.tellReport(e, report, err, *o.format)
}

func (a *app) undo(ctx context.Context, lock *apply.Lock, e *apply.Entry, cause error) (*apply.Report, error) {
	if e.Unreadable() {
		return apply.Rollback(ctx, lock, e, nil, apply.Options{}, cause)
	}
	noPause()
	h, done, err := a.open(e.Plan.Desired)
	if err != nil {
		return nil, err
	}
	defer func() { _ = done() }() // nothing is left to write
	told := a.teller(a.view(a.err))
	defer told.stop()
	return apply.Rollback(ctx, lock, e, h, apply.Options{Progress: told.hear, Who: a.who(ctx)}, cause)
}

// takeBack rolls back a change that this process made and waited for, as far as it was read.
func (a *app) takeBack(ctx context.Context, e *apply.Entry, cause error) (*apply.Report, error) {
	lock, err := a.lock(ctx, "vmnet apply", time.Minute)
	if err != nil {
		return &apply.Report{}, err
	}
	defer func() { _ = lock.Release() }()            // the kernel releases it with the process at the latest
	if now, err := a.dirs().Find(e.ID); err == nil { // else somebody moved the journal, which keeps nobody from undoing
		e = now
	}
	if e.Phase == apply.Ended && e.Report != nil { // it was confirmed, or taken back, a moment ago
		return became(e, e.Report.Checks)
	}
	return a.undo(ctx, lock, e, cause)
}

func (a *app) rollbackTo(ctx context.Context, args []string, o *rollbackFlags) error {
	if len(args) > 0 {
		return usage(errors.New("give either ID, for the change under way, or --to ID"))
	}
	e, err := a.dirs().Find(o.to)
	if errors.Is(err, apply.ErrNoChange) {
		return usage(err)
	}
	if err != nil {
		return err
	}
	if e.Plan == nil || e.Plan.Desired == nil {
		return fmt.Errorf("roll back to %s: it carries no configuration", e.ID)
	}
	o.desired = e.Plan.Desired
	return a.apply(ctx, "change "+e.ID, &o.applyFlags)
}
