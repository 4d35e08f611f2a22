package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
)

const confirmHelp = `Lets the change stay that waits for it. It counts only from a login that is newer than the change: an old connection
lives on where no new one gets in.

ID is printed by apply and by vmnet history; it may be left out, or cut short.`

type confirmFlags struct {
	fromHere bool
	extend   time.Duration
	format   *string
}

func (a *app) confirmCmd() *cobra.Command {
	var o confirmFlags
	cmd := &cobra.Command{
		Use: "confirm [ID]", Short: "let a change stay, from a new login", Long: confirmHelp,
		Example: "  vmnet confirm\n  vmnet confirm 7f3a --extend 5m",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.documented(failed(a.confirm(cmd.Context(), args, &o, cmd.Flags().Changed("extend"))), *o.format)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.fromHere, "from-this-session", false, "also from the login that made the change")
	f.DurationVar(&o.extend, "extend", 0, "do not confirm: give it this much more time, from now")
	o.format = format(f, "text", "json")
	return cmd
}

func (a *app) confirm(ctx context.Context, args []string, o *confirmFlags, extend bool) error {
	if extend && (o.extend <= 0 || o.extend > apply.MaxWait) {
		return usage(fmt.Errorf("--extend %s: want a time to wait, such as 5m, and at most %s", o.extend, apply.MaxWait))
	}
	lock, err := a.lock(ctx, "vmnet confirm", 10*time.Second)
	if err := first(unprivileged(err), err); err != nil {
		return err
	}
	defer func() { _ = lock.Release() }() // the kernel releases it with the process at the latest
	e, err := a.underWay(args)
	if err != nil {
		return err
	}
	if extend {
		if err := apply.Extend(lock, e, o.extend); err != nil {
			return unconfirmed(err)
		}
		if err := a.guarded(ctx, lock, e); err != nil {
			return err
		}
		if *o.format == "json" {
			a.wrote = true
			return a.outJSON(view.ReportJSON(&apply.Report{
				FormatVersion: apply.ReportVersion, PlanID: e.ID, Result: apply.Unconfirmed, Steps: []apply.StepResult{}, Deadline: time.Now().Add(o.extend),
			}))
		}
		a.outText(fmt.Sprintf("Change %s is undone in %s unless somebody confirms it.\n", e.ID, o.extend))
		return nil
	}
	if e.Unreadable() {
		_, err := apply.Confirm(ctx, lock, e, nil, apply.Options{}, o.fromHere)
		return unconfirmed(err)
	}
	noPause()
	h, done, err := a.open(e.Plan.Desired)
	if err != nil {
		return err
	}
	defer func() { _ = done() }() // nothing is left to write
	report, err := apply.Confirm(ctx, lock, e, h, apply.Options{Who: a.who(ctx)}, o.fromHere)
	if report != nil {
		a.record("confirm", e.ID, report)
	}
	if err == nil && *o.format != "json" {
		a.outText("Confirmed: change " + e.ID + " stays.\n")
		return nil
	}
	return a.tellReport(e, report, unconfirmed(err), *o.format)
}

// unconfirmed gives the refusal of a confirmation its exit code.
func unconfirmed(err error) error {
	var no *apply.NotConfirmedError
	switch {
	case !errors.As(err, &no):
		return err
	case no.SameLogin:
		return &exit{exitBlocked, apply.CodeSameLogin, err}
	}
	return &exit{exitError, apply.CodeTooLate, err}
}

// underWay finds the change meant: the one named, or else the newest of this network namespace, those before others that wait for an
// answer.
func (a *app) underWay(args []string) (*apply.Entry, error) {
	if len(args) > 0 {
		e, err := a.dirs().Find(args[0])
		if errors.Is(err, apply.ErrNoChange) {
			return nil, usage(err)
		}
		return e, err
	}
	open, err := a.dirs().Open()
	if err != nil {
		return nil, err
	}
	here := slices.DeleteFunc(open, func(e *apply.Entry) bool { return e.Elsewhere() && !e.Rebooted() })
	for _, meant := range []func(*apply.Entry) bool{
		func(e *apply.Entry) bool { return e.Phase == apply.Waiting },
		func(e *apply.Entry) bool { return !e.Unreadable() },
		(*apply.Entry).Unreadable,
	} {
		for _, e := range slices.Backward(here) {
			if meant(e) {
				return e, nil
			}
		}
	}
	return nil, usage(fmt.Errorf("%w under way: vmnet history lists those that ended, or wait elsewhere", apply.ErrNoChange))
}

// tellReport writes what became of a change, and ends the command.
func (a *app) tellReport(e *apply.Entry, r *apply.Report, err error, format string) error {
	if r == nil {
		return err
	}
	if format == "json" {
		a.wrote = true
		return errors.Join(a.outJSON(view.ReportJSON(r)), a.applied(r, err, a.view(a.err)))
	}
	a.outText(view.Report(r, e.Plan, a.view(a.out)))
	return a.applied(r, err, a.view(a.err))
}
