package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vmnet/vmnet/apply"
)

func TestWorstCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		codes []code
		want  code
	}{
		{nil, 0},
		{[]code{0, 2}, 2},
		{[]code{2, 8}, 8},
		{[]code{8, 10}, 10},
		{[]code{10, 9}, 9},
		{[]code{10, 9, 5}, 5},
		{[]code{4, 5, 9, 10}, 4},
		{[]code{4, 3, 1}, 1},
		{[]code{1, 6, 7}, 7},
	} {
		if got := worst(c.codes...); got != c.want {
			t.Errorf("worst(%v) = %d, want %d", c.codes, got, c.want)
		}
	}
}

// Every error that packages end with has its code, however deep it is wrapped.
func TestCodesOfErrors(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, c := range []struct {
		err  error
		want code
	}{
		{cause, exitError},
		{&apply.Failure{Outcome: apply.ErrRolledBack, Cause: cause}, exitRolledBack},
		{&apply.Failure{Outcome: apply.ErrNeedsHuman, Cause: cause}, exitHuman},
		{&apply.Failure{Outcome: apply.ErrRolledBack, Cause: apply.ErrNotAsPlanned}, exitRolledBack},
		{&apply.StaleError{}, exitStale},
		{&apply.MisfitError{}, exitStale},
		{&apply.BusyError{}, exitBusy},
		{&apply.PendingError{Entry: &apply.Entry{}}, exitBusy},
		{usage(cause), exitUsage},
	} {
		var e *exit
		if err := failed(fmt.Errorf("more: %w", c.err)); !errors.As(err, &e) || e.code != c.want {
			t.Errorf("failed(%v) = %v, want code %d", c.err, err, c.want)
		}
	}
}

func TestExitCodesAreExplained(t *testing.T) {
	t.Parallel()
	for c := range exitUsage + 1 {
		explained := false
		for _, e := range exitCodes {
			explained = explained || e.code == c
		}
		if used := c <= exitBlind || c == exitUsage; used != explained {
			t.Errorf("exit code %d: used %t, explained %t", c, used, explained)
		}
	}
}

func TestLongFlagsWithOneDash(t *testing.T) {
	t.Parallel()
	root := newApp(streams{}, nil).root()
	for _, c := range []struct{ args, want []string }{
		{[]string{"plan", "-out", "x", "-var=a=b", "-detailed-exitcode"}, []string{"plan", "--out", "x", "--var=a=b", "--detailed-exitcode"}},
		{[]string{"plan", "-o", "json", "-C", "dir", "--json"}, []string{"plan", "-o", "json", "-C", "dir", "--json"}},
		{[]string{"validate", "-"}, []string{"validate", "-"}},
		{[]string{"fmt", "--", "-out"}, []string{"fmt", "--", "-out"}},
		{[]string{"-nonsense"}, []string{"-nonsense"}},
	} {
		if got := longFlags(root, c.args); !slices.Equal(got, c.want) {
			t.Errorf("longFlags(%q) = %q, want %q", c.args, got, c.want)
		}
	}
}

// A code is explained once, and has the form that people search for.
func TestCodesAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range codes() {
		if len(c.Code) != 5 || c.Code[:2] != "VN" || c.Title == "" || c.Text == "" {
			t.Errorf("code %+v is not complete", c)
		}
		if seen[c.Code] {
			t.Errorf("code %s is explained twice", c.Code)
		}
		seen[c.Code] = true
	}
}

// A signal ends the wait for an answer: the lock is not held by somebody who wants to be gone.
func TestAskIsInterrupted(t *testing.T) {
	t.Parallel()
	in, keyboard := io.Pipe()
	defer func() { _ = keyboard.Close() }()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(&signalError{syscall.SIGTERM})
	var e *exit
	if err := newApp(streams{in, io.Discard, io.Discard}, nil).ask(ctx); !errors.As(err, &e) || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("interrupted at the question: %v, want to be told that nothing was changed", err)
	}
}
