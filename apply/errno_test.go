package apply_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// refusing is a host whose kernel says no.
type refusing struct {
	apply.Host
	no func(schema.Change) error // nil: it says yes
}

func (r refusing) Do(ctx context.Context, c schema.Change) error {
	if err := r.no(c); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	return r.Host.Do(ctx, c)
}

// errnos are what a kernel says, and whether it may say yes a moment later.
var errnos = []struct {
	no     error
	passes bool
}{{unix.EPERM, false}, {unix.EEXIST, false}, {unix.EBUSY, true}, {unix.ENOBUFS, true}}

// The kernel refuses a step, and then, for a while or for good, to take one of those before it back. What passes is waited
// for; what does not is named and left, the others are undone, and it can be taken back when the reason is gone.
func TestKernelRefuses(t *testing.T) {
	t.Parallel()
	for _, e := range errnos {
		for _, times := range []int{0, 3, 1 << 30} { // how often the undo is refused
			t.Run(fmt.Sprintf("%v, %d times", e.no, times), func(t *testing.T) {
				t.Parallel()
				h, want := drifted(t)
				steps := newPlan(t, h, want).Steps
				for _, k := range []int{4, len(steps) / 2, len(steps) - 1} {
					for _, back := range []int{rand.IntN(k), k - 1} {
						refuse(t, e.no, e.passes, k, back, times)
					}
				}
			})
		}
	}
}

// refuse lets step k be refused, counting from 0, and the undo of the step back so many times.
func refuse(t *testing.T, no error, passes bool, k, back, times int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, want := drifted(t)
		p := newPlan(t, h, want)
		before := read(t, h)
		undoing := false
		r := refusing{h, func(c schema.Change) error {
			switch {
			case !undoing && c.Ref == p.Steps[k].Change.Ref && c.Verb() == p.Steps[k].Change.Verb():
				undoing = true
				return no
			case undoing && times > 0 && c.Ref == p.Steps[back].Change.Ref:
				times--
				return no
			}
			return nil
		}}
		dir := t.TempDir()
		l := acquire(t, dir)
		report, err := apply.Run(t.Context(), r, p, l.Journal("test"), apply.Options{})
		what := fmt.Sprintf("step %d refused, %s, and the undo of step %d, %s", k+1, p.Steps[k].Change, back+1, p.Steps[back].Change)
		if !errors.Is(err, no) {
			t.Errorf("%s: error %v, want what the kernel said", what, err)
		}
		// It still says no, and what it keeps did not go with something else, such as an address with its link.
		human := times > 0 && schema.Diff(before, read(t, h)) != nil
		if errors.Is(err, apply.ErrNeedsHuman) != human || errors.Is(err, apply.ErrRolledBack) == human {
			t.Errorf("%s: error %v, want a human needed: %t\n%s", what, err, human, strings.Join(report.Differences, "\n"))
		}
		if human {
			alone := report.Count(apply.StepRemained) == 1 // what stands on it may say something else
			if f, ok := errors.AsType[*apply.Failure](err); ok && f.Transient != passes && (passes || alone) {
				t.Errorf("%s: may pass: %t, want %t", what, f.Transient, passes)
			}
			named(t, what, report, p, back)
			times = 0 // the reason is gone
			open, err := apply.DirsAt(dir, "").Open()
			if err != nil || len(open) != 1 {
				t.Fatalf("%s: changes %v, error %v; want the one", what, open, err)
			}
			if _, err := apply.Rollback(t.Context(), l, open[0], r, apply.Options{}, errors.New("asked for")); !errors.Is(err, apply.ErrRolledBack) {
				t.Errorf("%s: taken back later: %v", what, err)
			}
		}
		if diff := schema.Diff(before, read(t, h)); diff != nil {
			t.Errorf("%s: host not restored:\n%s", what, strings.Join(diff, "\n"))
		}
	})
}

// named checks that what remains is told.
func named(t *testing.T, what string, report *apply.Report, p *plan.Plan, back int) {
	t.Helper()
	if report.Steps[back].State != apply.StepRemained || report.Steps[back].Error == "" {
		t.Errorf("%s: step %+v, want it remained, and why", what, report.Steps[back])
	}
	ref := p.Steps[back].Change.Ref.String()
	if !slices.ContainsFunc(report.Differences, func(d string) bool { return strings.HasPrefix(d, ref) }) {
		t.Errorf("%s: differences %q, want %s", what, report.Differences, ref)
	}
}
