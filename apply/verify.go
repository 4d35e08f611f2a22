package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// ErrNotAsPlanned is the cause of a Failure whose steps all went well while the host did not become what was planned.
var ErrNotAsPlanned = errors.New("the host is not as planned")

// The kernel settles most things at once and duplicate address detection within two seconds (RFC 4862, 5.4): the first
// looks are close together, the last ones rare.
const (
	firstWait = 50 * time.Millisecond
	lastWait  = time.Second
)

// verify looks until the host is as planned, or until it has had its time.
func (r *run) verify(ctx context.Context) error {
	began := time.Now()
	r.o.Progress(r.event(EventVerify, nil, 0, nil))
	err := settle(ctx, r.o.Settle, func() error {
		err := r.verifyOnce(ctx)
		if err != nil {
			r.o.Progress(r.event(EventSettling, nil, time.Since(began), err))
		}
		return err
	})
	if err != nil && !errors.Is(err, errSettling) {
		return fmt.Errorf("verify: %w", err)
	}
	r.o.Progress(r.event(EventVerified, nil, time.Since(began), nil))
	return nil
}

// settle calls look until it succeeds, ctx ends or the time is over, and returns its last error.
func settle(ctx context.Context, total time.Duration, look func() error) error {
	deadline := time.Now().Add(total)
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := look()
		if err == nil || !time.Now().Add(wait).Before(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

func (r *run) verifyOnce(ctx context.Context) error {
	live, err := see(ctx, r.host)
	if err != nil {
		return err
	}
	again, err := replan(live, r.plan)
	if err != nil {
		return err
	}
	r.report.Checks = again.Checks
	if left := r.unexpected(again.Steps); len(left) > 0 {
		return fmt.Errorf("%w: a new plan has %d steps: %s", ErrNotAsPlanned, len(left), stepNames(left))
	}
	if a := tentative(live); a != "" {
		return fmt.Errorf("%w: address %s is still being checked for duplicates", errSettling, a)
	}
	if broken := Broken(r.plan.Checks, again.Checks); len(broken) > 0 {
		return fmt.Errorf("%w: held before and no longer does: %s", ErrNotAsPlanned, strings.Join(broken, ", "))
	}
	if broken := ProbesBroken(r.probed, r.probe(ctx)); len(broken) > 0 {
		return fmt.Errorf("%w: real packets got through before and no longer do: %s", ErrNotAsPlanned, strings.Join(broken, ", "))
	}
	return nil
}

// unexpected are the steps of a new plan that should not be there: all but those that wait for the confirmation.
func (r *run) unexpected(again []plan.Step) []plan.Step {
	if r.o.Confirm == 0 {
		return again
	}
	deferred := map[schema.Ref]bool{}
	for _, s := range r.plan.Steps {
		if lasts(s.Change) {
			deferred[s.Change.Ref] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(again), func(s plan.Step) bool { return deferred[s.Change.Ref] })
}

// probe sends real packets for the goals that ask for it.
func (r *run) probe(ctx context.Context) []schema.ProbeResult {
	if r.o.Probe == nil {
		return nil
	}
	goals := make([]schema.Goal, len(r.plan.Checks))
	for i, c := range r.plan.Checks {
		goals[i] = c.Goal
	}
	if goals = schema.Probed(goals); len(goals) == 0 {
		return nil
	}
	r.report.Probes = r.o.Probe(ctx, goals)
	return r.report.Probes
}

// errSettling says that nothing is wrong yet, but not everything can be used either.
var errSettling = errors.New("not settled")

// tentative finds an address of ours that duplicate address detection (RFC 4862) has not passed, on a link where it can:
// without carrier it waits for ever.
func tentative(s *schema.State) string {
	for a := range schema.Each[*schema.Address](s) {
		l := s.Link(a.Link)
		if schema.Owned(a) && a.Facts != nil && a.Facts.Tentative && !a.Facts.DADFailed && l != nil && l.Facts != nil && l.Facts.Carrier {
			return a.String()
		}
	}
	return ""
}

// replan plans again for the same wishes. A reset is asked for once: it is not part of what must hold afterwards.
func replan(live *schema.State, p *plan.Plan) (*plan.Plan, error) {
	again, err := plan.New(live, p.Desired, plan.Options{Now: time.Now(), ID: p.ID})
	if err != nil {
		return nil, fmt.Errorf("plan again: %w", err)
	}
	return again, nil
}

func stepNames(steps []plan.Step) string {
	const shown = 5
	var names []string
	for i, s := range steps {
		if i == shown {
			names = append(names, "…")
			break
		}
		names = append(names, s.Change.String())
	}
	return strings.Join(names, "; ")
}

// Broken names the goals that held when the plan was made and do not hold in the new checks.
func Broken(old, now []plan.Check) []string {
	status := map[string]plan.CheckResult{}
	for _, c := range now {
		status[goalKey(c.Goal)] = c.Before
	}
	var out []string
	for _, c := range old {
		if n, ok := status[goalKey(c.Goal)]; ok && c.Before.Status == "ok" && n.Status != "ok" {
			out = append(out, strings.TrimSuffix(fmt.Sprintf("%s (%s): %s", c.Goal.Address, c.Goal.Name, n.Why), ": "))
		}
	}
	return out
}

// goalKey tells goals apart: their JSON, for a goal has no name of its own.
func goalKey(g schema.Goal) string {
	b, err := json.Marshal(g)
	if err != nil {
		return g.Address + " " + g.Name
	}
	return string(b)
}
