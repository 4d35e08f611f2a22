package main

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
)

// code is an exit code. The numbers never change their meaning; 2 is Terraform's "changes present".
type code int

// The exit codes.
const (
	exitOK         code = 0
	exitError      code = 1
	exitChanges    code = 2
	exitConfig     code = 3
	exitStale      code = 4
	exitBlocked    code = 5
	exitRolledBack code = 6
	exitHuman      code = 7
	exitExpect     code = 8
	exitBusy       code = 9
	exitBlind      code = 10
	exitUsage      code = 64
)

// exitCodes says what each means, for vmnet explain exit-codes.
var exitCodes = []struct {
	code    code
	meaning string
}{
	{exitOK, "done (plan: even with changes)"},
	{exitError, "unexpected error"},
	{exitChanges, "changes present (--detailed-exitcode of plan and check)"},
	{exitConfig, "configuration invalid, or not formatted (fmt --check)"},
	{exitStale, "plan stale, expired or for another host"},
	{exitBlocked, `blocked: lock-out guard, risk limit, foreign = "report", a step without undo, or a confirmation by the login that made the change`},
	{exitRolledBack, "applied, then rolled back: the host is as before"},
	{exitHuman, "the host needs a human: partly applied and not undone"},
	{exitExpect, "expectations fail; trace: anything but pass"},
	{exitBusy, "busy: another vmnet changes this host, or a change awaits confirmation"},
	{exitBlind, "observation incomplete (privileges): nothing can be promised"},
	{exitUsage, "usage"},
}

// worst picks the code that is told when several apply.
func worst(codes ...code) code {
	order := []code{exitHuman, exitRolledBack, exitError, exitConfig, exitStale, exitBlocked, exitBusy, exitBlind, exitExpect, exitChanges, exitOK}
	return slices.MinFunc(append(codes, exitOK), func(a, b code) int { return slices.Index(order, a) - slices.Index(order, b) })
}

// exit is the error of a command that ends with a code of its own. A nil err means that everything was said already.
type exit struct {
	code code
	vn   string // the finding's code for explain, "" for none
	err  error
}

// Error is the text of what it wraps.
func (e *exit) Error() string {
	if e.err == nil {
		return "exit"
	}
	return e.err.Error()
}

// Unwrap gives the cause.
func (e *exit) Unwrap() error { return e.err }

// ended ends a command with a code and nothing more to say; nil for success.
func ended(codes ...code) error {
	if c := worst(codes...); c != exitOK {
		return &exit{code: c}
	}
	return nil
}

// usage ends a command that was called wrongly.
func usage(err error) error { return &exit{code: exitUsage, err: err} }

// classes gives errors of packages their code and what explains them, the worst first.
var classes = []struct {
	is   error
	code code
	vn   string
}{
	{apply.ErrNeedsHuman, exitHuman, apply.CodeNeedsHuman},
	{apply.ErrRolledBack, exitRolledBack, apply.CodeRolledBack},
	{apply.ErrStale, exitStale, apply.CodeMisfit},
	{apply.ErrBusy, exitBusy, apply.CodeBusy},
	{apply.ErrBlind, exitBlind, apply.CodeBlind},
}

// failed wraps the error of a command's work.
func failed(err error) error {
	var e *exit
	if err == nil || errors.As(err, &e) {
		return err
	}
	for _, c := range classes {
		if errors.Is(err, c.is) {
			return &exit{c.code, c.vn, err}
		}
	}
	return &exit{exitError, "", err}
}

// end says what went wrong and returns the code. What cobra itself complains of (an unknown command, flag or number of
// arguments) reaches here bare, and is usage.
func (a *app) end(err error) code {
	c := a.told(err)
	if a.lost == nil || errors.Is(a.lost, syscall.EPIPE) { // whoever closes a pipe has read enough
		return c
	}
	a.errText(view.Failure("", "write the result: "+a.lost.Error(), a.view(a.err)))
	return worst(c, exitError)
}

func (a *app) told(err error) code {
	if err == nil {
		return exitOK
	}
	var e *exit
	if !errors.As(err, &e) {
		e = &exit{code: exitUsage, err: err}
	}
	if sig, ok := errors.AsType[*signalError](err); ok && !errors.As(err, new(*apply.Failure)) {
		e = &exit{code: exitError, err: fmt.Errorf("interrupted (%w): nothing was changed", sig)}
	}
	if e.err == nil {
		return e.code
	}
	a.errText(view.Failure(e.vn, e.err.Error(), a.view(a.err)))
	if e.code == exitUsage {
		a.errText("Try: vmnet --help\n")
	}
	return e.code
}
