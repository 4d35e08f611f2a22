package main

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// Whatever takes long is heard of every five seconds: a step, looking whether the host is there yet, and taking back.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		told := (&app{err: &out}).teller(view.Options{})
		defer told.stop()
		step := &plan.Step{ID: 2, Action: "create", Change: schema.Change{Ref: schema.LinkRef("br0")}}
		hear := func(wait time.Duration, e apply.Event) {
			e.Step, e.Total = step, 3
			told.hear(e)
			time.Sleep(wait)
			synctest.Wait()
		}
		hear(11*time.Second, apply.Event{Kind: apply.EventBegin})
		hear(time.Minute, apply.Event{Kind: apply.EventArmed})
		hear(time.Second, apply.Event{Kind: apply.EventVerify})
		for range 7 {
			hear(time.Second, apply.Event{Kind: apply.EventSettling})
		}
		hear(6*time.Second, apply.Event{Kind: apply.EventRollback, Err: errors.New("no")})
		var beats []string
		for line := range strings.Lines(out.String()) {
			if strings.Contains(line, "still") {
				beats = append(beats, strings.TrimSpace(line))
			}
		}
		want := []string{
			"still at step 2 of 3, link br0 (5s)", "still at step 2 of 3, link br0 (10s)", "still reading the host back (5s)", "still taking back (5s)",
		}
		if strings.Join(beats, "; ") != strings.Join(want, "; ") {
			t.Errorf("heard %q, want %q", beats, want)
		}
	})
}
