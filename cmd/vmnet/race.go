package main

import (
	"context"
	"errors"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
)

// pauses are those before a plan is made anew that lost the race against somebody who changes the host: a manager that writes its rules
// anew has done so within a second or two.
var pauses = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second}

// race carries out a plan, and where the host changed between the plan and its first step, one made anew for the same
// configuration. The last that is stale is told as any other, with who writes.
func (a *app) race(ctx context.Context, path string, p *plan.Plan, lock *apply.Lock, o *applyFlags) error {
	o.desired = p.Desired // standard input can be read only once
	for i, pause := range pauses {
		err := a.carryOut(ctx, p, lock, o, true)
		stale, lost := errors.AsType[*apply.StaleError](err)
		if !lost {
			return err
		}
		a.errText(view.Lost(stale, i+1, len(pauses), a.view(a.err)))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		if p, err = a.approvedPlan(ctx, path, o, nil); err != nil || p == nil {
			return err
		}
	}
	return a.carryOut(ctx, p, lock, o, false)
}
