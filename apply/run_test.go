package apply_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

func TestApplyConverges(t *testing.T) {
	t.Parallel()
	live, want := drifted()
	h := &memory{state: live}
	j := journal(t)
	p := newPlan(t, live, want)
	report, err := apply.Run(t.Context(), h, p, j, quick)
	if err != nil {
		t.Fatal(err)
	}
	if report.Result != apply.Applied || report.Count(apply.StepDone) != len(p.Steps) {
		t.Errorf("report = %+v, want applied, every step done", report)
	}
	if again, err := plan.New(h.state, want, plan.Options{}); err != nil || !again.Empty() {
		t.Errorf("the plan after the apply has steps %v, error %v; want none", again.Steps, err)
	}
	if _, err := os.Stat(j.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the journal is still there: %v", err)
	}
}

// Whatever fails, and whether the change was made before it failed or not: the host is as it was.
func TestEveryFailureRestores(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		for k := 1; ; k++ {
			live, want := drifted()
			p := newPlan(t, live, want)
			if k > len(p.Steps) {
				break
			}
			before := live.Clone()
			h := &memory{state: live, failAt: k, failLate: late}
			report, err := apply.Run(t.Context(), h, p, journal(t), quick)
			if !errors.Is(err, errInjected) || !errors.Is(err, apply.ErrRolledBack) {
				t.Fatalf("fail at %d: error %v, want the injected one and a rollback", k, err)
			}
			if diff := schema.Diff(before, h.state); diff != nil {
				t.Errorf("fail at %d (late %t): host not restored:\n%s", k, late, strings.Join(diff, "\n"))
			}
			if report.Held != report.Facts || report.Facts < len(p.Steps) {
				t.Errorf("fail at %d: %d of %d facts as before, want all", k, report.Held, report.Facts)
			}
		}
	}
}

// A caller who gives up after any step gets the host back: the step that runs is finished and then undone.
func TestEveryCancelRestores(t *testing.T) {
	t.Parallel()
	for k := 1; ; k++ {
		live, want := drifted()
		p := newPlan(t, live, want)
		if k > len(p.Steps) {
			break
		}
		before := live.Clone()
		ctx, cancel := context.WithCancel(t.Context())
		h := &memory{state: live, onDo: func(call int, _ schema.Change) {
			if call == k {
				cancel()
			}
		}}
		_, err := apply.Run(ctx, h, p, journal(t), apply.Options{Settle: time.Minute})
		if !errors.Is(err, context.Canceled) || !errors.Is(err, apply.ErrRolledBack) {
			t.Fatalf("cancel at %d: error %v, want a cancelled context and a rollback", k, err)
		}
		if diff := schema.Diff(before, h.state); diff != nil {
			t.Errorf("cancel at %d: host not restored:\n%s", k, strings.Join(diff, "\n"))
		}
	}
}

func TestStalePlanIsRefused(t *testing.T) {
	t.Parallel()
	live, want := drifted()
	p := newPlan(t, live, want)
	h := &memory{state: live.Clone()}
	h.state.Put(link("eth0", "device", "", 1300))
	h.state.Delete(schema.SysctlRef("net.ipv4.ip_forward"))
	h.state.Put(&schema.Sysctl{Key: "net.core.somaxconn", Value: "1"}) // the plan does not depend on it
	_, err := apply.Run(t.Context(), h, p, journal(t), quick)
	var stale *apply.StaleError
	if !errors.As(err, &stale) || !errors.Is(err, apply.ErrStale) {
		t.Fatalf("error %v, want a StaleError", err)
	}
	got := map[string]string{}
	for _, c := range stale.Changed {
		got[c.Ref.String()] = c.Old + " -> " + c.New
	}
	for ref, text := range map[string]string{
		"link/eth0":                  "mtu 1400 -> mtu 1300",
		"sysctl/net.ipv4.ip_forward": "net.ipv4.ip_forward = 0 -> not there",
	} {
		if got[ref] != text {
			t.Errorf("changed fact %s: %q, want %q", ref, got[ref], text)
		}
	}
	if len(got) != 2 || h.calls != 0 {
		t.Errorf("%d changed facts and %d changes made, want 2 and 0: %v", len(got), h.calls, got)
	}
}

// A host on which the changes do not last is taken back.
func TestUnverifiedIsRolledBack(t *testing.T) {
	t.Parallel()
	live, want := drifted()
	before := live.Clone()
	p := newPlan(t, live, want)
	h := &memory{state: live}
	broken := false
	h.onDo = func(call int, _ schema.Change) { broken = call >= len(p.Steps) && call < 2*len(p.Steps) }
	h.onRead = func(s *schema.State) {
		if broken && h.calls == len(p.Steps) {
			s.Put(link("eth0", "device", "", 1400)) // somebody sets it back at once
		}
	}
	_, err := apply.Run(t.Context(), h, p, journal(t), quick)
	if !errors.Is(err, apply.ErrNotAsPlanned) || !errors.Is(err, apply.ErrRolledBack) {
		t.Fatalf("error %v, want ErrNotAsPlanned and a rollback", err)
	}
	if diff := schema.Diff(before, h.state); diff != nil {
		t.Errorf("host not restored:\n%s", strings.Join(diff, "\n"))
	}
}

// What the kernel finishes within the time to settle is no failure.
func TestLateHostSettles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		live, want := drifted()
		p := newPlan(t, live, want)
		start := time.Now()
		h := &memory{state: live}
		h.onRead = func(s *schema.State) {
			if h.calls > 0 && time.Since(start) < 2*time.Second {
				s.Delete(schema.AddressRef("br0", address("br0", "10.0.0.1/24").Prefix))
			}
		}
		looks := 0
		_, err := apply.Run(t.Context(), h, p, journal(t), apply.Options{Progress: func(e apply.Event) {
			if e.Kind == apply.EventSettling {
				looks++
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 2*time.Second || took > 4*time.Second || looks > 10 {
			t.Errorf("settled after %v and %d looks, want soon after 2 s", took, looks)
		}
	})
}

// Somebody changed what a step made: that step remains, is named, and the others are undone all the same.
func TestUndoConflict(t *testing.T) {
	t.Parallel()
	live, want := drifted()
	p := newPlan(t, live, want)
	last := len(p.Steps)
	mtu := schema.LinkRef("eth0")
	h := &memory{state: live, failAt: last}
	h.onDo = func(call int, _ schema.Change) {
		if call == last {
			h.state.Put(link("eth0", "device", "", 9000))
		}
	}
	dir := t.TempDir()
	l := acquire(t, dir)
	j := l.Journal("test")
	report, err := apply.Run(t.Context(), h, p, j, quick)
	if !errors.Is(err, apply.ErrNeedsHuman) || errors.Is(err, apply.ErrRolledBack) {
		t.Fatalf("error %v, want ErrNeedsHuman", err)
	}
	for i, s := range p.Steps {
		want := apply.StepUndone
		switch {
		case s.Change.Ref == mtu:
			want = apply.StepRemained
		case i == last-1:
			want = apply.StepFailed
		}
		if got := report.Steps[i].State; got != want {
			t.Errorf("step %d, %s: %s, want %s", s.ID, s.Change, got, want)
		}
	}
	if got := h.state.Link("eth0").MTU; *got != 9000 {
		t.Errorf("eth0 has MTU %d: what somebody else set was overwritten", *got)
	}
	if len(report.Differences) != 1 || !strings.Contains(report.Differences[0], "link/eth0: was mtu 1400, now mtu 9000") {
		t.Errorf("differences %q, want eth0's MTU alone", report.Differences)
	}
	leftoverRefused(t, dir, l, report.Journal)
}

// leftoverRefused checks that the next apply is refused as long as the journal is there.
func leftoverRefused(t *testing.T, dir string, l *apply.Lock, path string) {
	t.Helper()
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	_, err := apply.Acquire(t.Context(), dir, apply.Holder{}, 0)
	var left *apply.LeftoverError
	if !errors.As(err, &left) || !errors.Is(err, apply.ErrNeedsHuman) || left.Paths[0] != path {
		t.Fatalf("the next apply: %v, want a LeftoverError that names %s", err, path)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	acquire(t, dir)
}

// What others change meanwhile survives a rollback and does not make it a failure.
func TestForeignChangesSurviveRollback(t *testing.T) {
	t.Parallel()
	live, want := drifted()
	p := newPlan(t, live, want)
	h := &memory{state: live, failAt: 3}
	h.onDo = func(call int, _ schema.Change) {
		if call == 3 {
			h.state.Put(link("docker0", "bridge", "", 1500))
		}
	}
	report, err := apply.Run(t.Context(), h, p, journal(t), quick)
	if !errors.Is(err, apply.ErrRolledBack) {
		t.Fatal(err)
	}
	if h.state.Link("docker0") == nil {
		t.Error("docker0, made by somebody else meanwhile, is gone")
	}
	if len(report.Meanwhile) != 1 || !strings.HasPrefix(report.Meanwhile[0], "link/docker0") {
		t.Errorf("meanwhile = %q, want docker0", report.Meanwhile)
	}
}

// Undo before do: when a step is made, the journal already names it; a journal that cannot be written stops the step.
func TestJournalComesFirst(t *testing.T) {
	t.Parallel()
	live, want := drifted()
	p := newPlan(t, live, want)
	j := journal(t)
	h := &memory{state: live}
	h.onDo = func(call int, _ schema.Change) {
		b, err := os.ReadFile(j.Path())
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		if !strings.Contains(lines[0], `"type":"plan"`) || !strings.Contains(lines[len(lines)-1], `"type":"begin"`) {
			t.Errorf("at step %d the journal begins %.40q and ends %q", call, lines[0], lines[len(lines)-1])
		}
		if info, err := os.Stat(j.Path()); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("journal: mode %v, error %v; want 0600", info.Mode(), err)
		}
	}
	if _, err := apply.Run(t.Context(), h, p, j, quick); err != nil {
		t.Fatal(err)
	}
}

func TestBroken(t *testing.T) {
	t.Parallel()
	check := func(address, before string) plan.Check {
		return plan.Check{Goal: schema.Goal{Address: address, Name: "reaches"}, Before: plan.CheckResult{Status: before, Why: "dropped"}}
	}
	old := []plan.Check{check("expect.a", "ok"), check("expect.b", "fail"), check("expect.c", "ok"), check("expect.d", "ok")}
	now := []plan.Check{check("expect.a", "ok"), check("expect.b", "fail"), check("expect.c", "fail"), check("expect.d", "depends")}
	got := strings.Join(apply.Broken(old, now), "; ")
	if want := "expect.c (reaches): dropped; expect.d (reaches): dropped"; got != want {
		t.Errorf("Broken = %q, want %q", got, want)
	}
}
