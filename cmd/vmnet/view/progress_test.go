package view_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/schema"
)

func TestProgress(t *testing.T) {
	t.Parallel()
	p := broken()
	busy := errors.New("create link/br0: device or resource busy")
	var b strings.Builder
	for _, e := range []apply.Event{
		{Kind: apply.EventChecked, Facts: 37, Held: 37},
		{Kind: apply.EventBegin, Step: &p.Steps[0]},
		{Kind: apply.EventDone, Step: &p.Steps[0], Total: 5, Elapsed: 2 * time.Millisecond},
		{Kind: apply.EventFailed, Step: &p.Steps[4], Total: 5, Elapsed: 61 * time.Second, Err: busy},
		{Kind: apply.EventRollback, Err: busy},
		{Kind: apply.EventUndone, Step: &p.Steps[0], Total: 5, Elapsed: time.Millisecond},
		{Kind: apply.EventUndoFailed, Step: &p.Steps[2], Total: 5, Err: busy},
		{Kind: apply.EventRestored, Facts: 41, Held: 41, Elapsed: 30 * time.Millisecond},
		{Kind: apply.EventNotRestored, Facts: 41, Held: 40},
		{Kind: apply.EventVerified, Elapsed: 1100 * time.Millisecond},
	} {
		b.WriteString(view.Progress(e, view.Options{}))
	}
	golden(t, "progress.txt", b.String())
}

func TestReport(t *testing.T) {
	t.Parallel()
	p := broken()
	var b strings.Builder
	report := func(r apply.Report) { b.WriteString(view.Report(&r, p, view.Options{}) + "--\n") }
	checks := p.Checks
	checks[0].Before.Status, checks[4].Before.Status = "ok", "ok"
	report(apply.Report{Result: apply.Applied, Steps: make([]apply.StepResult, 5), Millis: 4200, Checks: checks})
	report(apply.Report{Result: apply.RolledBack, Error: "step 3: no such rule", Facts: 41, Held: 41, Meanwhile: []string{"link/docker0: was not there, now docker0 type bridge"}})
	report(apply.Report{
		Result: apply.NeedsHuman, Error: "step 5: timeout", Facts: 41, Held: 40, Journal: "/run/vmnet/journal-7f3a.jsonl",
		Steps:       []apply.StepResult{{Step: 1, State: apply.StepRemained, Error: "changed meanwhile"}},
		Differences: []string{"link/br0: was not there, now br0 type bridge"},
	})
	report(apply.Report{Result: apply.Refused})
	b.WriteString(view.Stale(&apply.StaleError{Facts: 37, Changed: []apply.ChangedFact{{Ref: schema.LinkRef("br0"), Old: "mtu 1500", New: "mtu 1400"}}}, view.Options{}))
	b.WriteString(view.Failure("VN805", "busy: process 4711 (vmnet apply lab) holds /run/vmnet/lock since 13:02:11, and this text is longer than a line", view.Options{}))
	golden(t, "report.txt", b.String())
}
