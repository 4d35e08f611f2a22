package apply_test

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers/hosttest"
	"github.com/vmnet/vmnet/schema"
)

func TestApplyConverges(t *testing.T) {
	t.Parallel()
	h, want := drifted(t)
	j := journal(t)
	p := newPlan(t, h, want)
	report, err := apply.Run(t.Context(), h, p, j, quick)
	if err != nil {
		t.Fatal(err)
	}
	if report.Result != apply.Applied || report.Count(apply.StepDone) != len(p.Steps) {
		t.Errorf("report = %+v, want applied, every step done", report)
	}
	again, err := plan.New(read(t, h), want, plan.Options{})
	if err != nil || !again.Empty() {
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
			h, want := drifted(t)
			p := newPlan(t, h, want)
			if k > len(p.Steps) {
				break
			}
			before := read(t, h)
			h.FailAt, h.FailAfter = made(h)+k, late
			report, err := apply.Run(t.Context(), h, p, journal(t), quick)
			if !errors.Is(err, hosttest.ErrInjected) || !errors.Is(err, apply.ErrRolledBack) {
				t.Fatalf("fail at %d, %s: error %v, want the injected one and a rollback\n%s", k, p.Steps[k-1].Change, err,
					strings.Join(report.Differences, "\n"))
			}
			if diff := schema.Diff(before, read(t, h)); diff != nil {
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
		h, want := drifted(t)
		p := newPlan(t, h, want)
		if k > len(p.Steps) {
			break
		}
		before, already := read(t, h), made(h)
		ctx, cancel := context.WithCancel(t.Context())
		h.Before = func(n int, _ schema.Change, _ *schema.State) {
			if n == already+k {
				cancel()
			}
		}
		_, err := apply.Run(ctx, h, p, journal(t), apply.Options{Settle: time.Minute})
		if !errors.Is(err, context.Canceled) || !errors.Is(err, apply.ErrRolledBack) {
			t.Fatalf("cancel at %d: error %v, want a cancelled context and a rollback", k, err)
		}
		if diff := schema.Diff(before, read(t, h)); diff != nil {
			t.Errorf("cancel at %d: host not restored:\n%s", k, strings.Join(diff, "\n"))
		}
	}
}

func TestStalePlanIsRefused(t *testing.T) {
	t.Parallel()
	h, want := drifted(t)
	p := newPlan(t, h, want)
	h.ChangeBehindOurBack(func(s *schema.State) {
		s.Put(with(s, schema.Link{Name: "eno1", MTU: new(uint32(1300))}))
		s.Put(&schema.Sysctl{Key: "net.ipv4.icmp_echo_ignore_all", Value: "1"}) // the plan does not depend on it
	})
	already := made(h)
	_, err := apply.Run(t.Context(), h, p, journal(t), quick)
	var stale *apply.StaleError
	if !errors.As(err, &stale) || !errors.Is(err, apply.ErrStale) {
		t.Fatalf("error %v, want a StaleError", err)
	}
	if len(stale.Changed) != 1 || stale.Changed[0].String() != "link/eno1: was mtu 1500, now mtu 1300" {
		t.Errorf("changed facts %v, want eno1's MTU, old and new", stale.Changed)
	}
	if made(h) != already {
		t.Error("a stale plan was begun")
	}
}

// A host on which the changes do not last is taken back.
func TestUnverifiedIsRolledBack(t *testing.T) {
	t.Parallel()
	h, want := drifted(t)
	before := read(t, h)
	p := newPlan(t, h, want)
	last := made(h) + len(p.Steps)
	_, err := apply.Run(t.Context(), lens{h, func(s *schema.State) {
		if made(h) == last {
			s.Put(with(s, schema.Link{Name: "vnet3", Up: new(false)})) // somebody sets it back at once
		}
	}}, p, journal(t), quick)
	if !errors.Is(err, apply.ErrNotAsPlanned) || !errors.Is(err, apply.ErrRolledBack) {
		t.Fatalf("error %v, want ErrNotAsPlanned and a rollback", err)
	}
	if diff := schema.Diff(before, read(t, h)); diff != nil {
		t.Errorf("host not restored:\n%s", strings.Join(diff, "\n"))
	}
}

// What the kernel finishes within the time to settle is no failure.
func TestLateHostSettles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, want := drifted(t)
		p := newPlan(t, h, want)
		start, already := time.Now(), made(h)
		looks := 0
		_, err := apply.Run(t.Context(), lens{h, func(s *schema.State) {
			if made(h) > already && time.Since(start) < 2*time.Second {
				s.Delete(schema.AddressRef("virbr-lab", netip.MustParsePrefix("10.20.0.1/24")))
			}
		}}, p, journal(t), apply.Options{Progress: func(e apply.Event) {
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
	h, want := drifted(t)
	p := newPlan(t, h, want)
	vnet3 := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Change.Ref == schema.LinkRef("vnet3") })
	if vnet3 < 0 || vnet3 == len(p.Steps)-1 {
		t.Fatalf("vnet3 is changed at step %d of %d", vnet3+1, len(p.Steps))
	}
	before := read(t, h)
	already := made(h)
	h.FailAt = already + len(p.Steps)
	h.Before = func(n int, _ schema.Change, s *schema.State) {
		if n == h.FailAt {
			s.Put(with(s, schema.Link{Name: "vnet3", Master: new("br-old")}))
		}
	}
	dir := t.TempDir()
	l := acquire(t, dir)
	report, err := apply.Run(t.Context(), h, p, l.Journal("test"), quick)
	if !errors.Is(err, apply.ErrNeedsHuman) || errors.Is(err, apply.ErrRolledBack) {
		t.Fatalf("error %v, want ErrNeedsHuman", err)
	}
	if report.Steps[vnet3].State != apply.StepRemained || report.Steps[len(p.Steps)-1].State != apply.StepFailed {
		t.Errorf("steps %+v, want that of vnet3 remained and the last failed", report.Steps)
	}
	if l := read(t, h).Link("vnet3"); *l.Master != "br-old" {
		t.Errorf("%s: what somebody else set was overwritten", l)
	}
	if !slices.ContainsFunc(report.Differences, func(d string) bool { return strings.HasPrefix(d, "link/vnet3: was ") }) {
		t.Errorf("differences %q, want vnet3 named", report.Differences)
	}
	takenBackLater(t, l, apply.DirsAt(dir, ""), h, before)
}

// takenBackLater checks that what remains can be taken back when it is free to be, and that it blocks nobody.
func takenBackLater(t *testing.T, l *apply.Lock, dirs apply.Dirs, h *hosttest.Fake, before *schema.State) {
	t.Helper()
	open, err := dirs.Open()
	if err != nil || len(open) != 1 || open[0].Result != apply.NeedsHuman {
		t.Fatalf("changes under way %+v, error %v; want the one that needs a human", open, err)
	}
	h.ChangeBehindOurBack(func(s *schema.State) { s.Put(with(s, schema.Link{Name: "vnet3", Master: new("virbr-lab")})) })
	_, err = apply.Rollback(t.Context(), l, open[0], h, quick, errors.New("asked for"))
	if !errors.Is(err, apply.ErrRolledBack) {
		t.Fatalf("roll back later: %v", err)
	}
	if diff := schema.Diff(before, read(t, h)); diff != nil {
		t.Errorf("host not restored:\n%s", strings.Join(diff, "\n"))
	}
	if open, err := dirs.Open(); err != nil || len(open) != 0 {
		t.Errorf("still under way: %v, %v", open, err)
	}
}

// What others change meanwhile survives a rollback and does not make it a failure.
func TestForeignChangesSurviveRollback(t *testing.T) {
	t.Parallel()
	h, want := drifted(t)
	p := newPlan(t, h, want)
	h.FailAt = made(h) + 3
	h.Before = func(n int, _ schema.Change, s *schema.State) {
		if n == h.FailAt {
			s.Put(&schema.Table{Family: "ip", Name: "docker"})
		}
	}
	report, err := apply.Run(t.Context(), h, p, journal(t), quick)
	if !errors.Is(err, apply.ErrRolledBack) {
		t.Fatal(err)
	}
	if read(t, h).Get(schema.TableRef("ip", "docker")) == nil {
		t.Error("the table made by somebody else meanwhile is gone")
	}
	if len(report.Meanwhile) != 1 || !strings.HasPrefix(report.Meanwhile[0], "table/ip docker") {
		t.Errorf("meanwhile = %q, want the table", report.Meanwhile)
	}
}

// Undo before do: when a step is made, the journal already names it; a journal that cannot be written stops the step.
func TestJournalComesFirst(t *testing.T) {
	t.Parallel()
	h, want := drifted(t)
	p := newPlan(t, h, want)
	j := journal(t)
	h.Before = func(n int, _ schema.Change, _ *schema.State) {
		b, err := os.ReadFile(j.Path())
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		if !strings.Contains(lines[0], `"type":"change"`) || !strings.Contains(lines[len(lines)-1], `"type":"begin"`) {
			t.Errorf("at change %d the journal begins %.40q and ends %q", n, lines[0], lines[len(lines)-1])
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

// Real packets that got through before and do not after take the change back; those that never did, or cannot be sent, do not.
func TestProbesHoldAgainst(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		before, after string
		back          bool
	}{{"ok", "fail", true}, {"ok", "ok", false}, {"fail", "fail", false}, {"unknown", "fail", false}, {"ok", "unknown", true}} {
		h, want := drifted(t)
		p := newPlan(t, h, want)
		p.Checks[0].Goal.Probe = true
		already, steps := made(h), len(p.Steps)
		o := quick
		o.Probe = func(_ context.Context, goals []schema.Goal) []schema.ProbeResult {
			status := c.before
			if made(h) >= already+steps {
				status = c.after
			}
			return []schema.ProbeResult{{Goal: goals[0], Status: status, Why: "no answer"}}
		}
		report, err := apply.Run(t.Context(), h, p, journal(t), o)
		if back := errors.Is(err, apply.ErrRolledBack); back != c.back || (err != nil) != c.back {
			t.Errorf("%s before, %s after: error %v, want a rollback: %t", c.before, c.after, err, c.back)
		}
		if len(report.Probes) != 1 || report.Probes[0].Status != c.after {
			t.Errorf("probes %+v, want the last", report.Probes)
		}
	}
}

// What others began to use meanwhile is not taken away under them; what they set on an object that goes is named.
func TestUndoSparesOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		meddle func(*schema.State)
		human  bool
		told   string
	}{
		{"an address on our bridge", func(s *schema.State) {
			s.Put(&schema.Address{Link: "virbr-lab", Prefix: netip.MustParsePrefix("172.16.9.1/24")})
		}, true, "address/virbr-lab 172.16.9.1/24"},
		{"our bridge switched off", func(s *schema.State) { s.Put(with(s, schema.Link{Name: "virbr-lab", Up: new(false)})) }, false, "it went with"},
	} {
		h, want := drifted(t)
		p := newPlan(t, h, want)
		h.FailAt = made(h) + len(p.Steps)
		h.Before = func(n int, _ schema.Change, s *schema.State) {
			if n == h.FailAt {
				c.meddle(s)
			}
		}
		report, err := apply.Run(t.Context(), h, p, journal(t), quick)
		if human := errors.Is(err, apply.ErrNeedsHuman); human != c.human {
			t.Errorf("%s: error %v, want a human needed: %t", c.name, err, c.human)
		}
		var told []string
		for _, s := range report.Steps {
			told = append(told, s.Error)
		}
		if text := strings.Join(append(told, report.Meanwhile...), "\n"); !strings.Contains(text, c.told) {
			t.Errorf("%s: %q, want it named", c.name, text)
		}
		if (read(t, h).Link("virbr-lab") != nil) != c.human {
			t.Errorf("%s: is the bridge there? want %t", c.name, c.human)
		}
	}
}

// What the kernel filled in by itself on an object of ours is not told as somebody else's when a second rollback takes it away.
func TestUndoAgainTellsNoDefaults(t *testing.T) {
	t.Parallel()
	h, want := drifted(t)
	p := newPlan(t, h, want)
	bridge := schema.Ref{Kind: schema.KindLink, Name: "virbr-lab"}
	refused, first := false, true
	r := refusing{h, func(c schema.Change) error {
		switch last := p.Steps[len(p.Steps)-1].Change; {
		case !refused && c.Ref == last.Ref && c.Verb() == last.Verb():
			refused = true
			return unix.EPERM
		case refused && first && c.Ref == bridge:
			return unix.EPERM
		}
		return nil
	}}
	dir := filepath.Join(t.TempDir(), "run")
	l := acquire(t, dir)
	if _, err := apply.Run(t.Context(), r, p, l.Journal("test"), quick); !errors.Is(err, apply.ErrNeedsHuman) {
		t.Fatalf("error %v, want a bridge that stays", err)
	}
	first = false
	i := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Change.Ref == bridge })
	if schema.Equal(read(t, h).Get(bridge), p.Steps[i].Change.After) {
		t.Fatal("the model fills in nothing: this proves nothing")
	}
	open, err := apply.DirsAt(dir, "").Open()
	if err != nil || len(open) != 1 {
		t.Fatal(open, err)
	}
	report, err := apply.Rollback(t.Context(), l, open[0], r, quick, errors.New("asked for"))
	if !errors.Is(err, apply.ErrRolledBack) || len(report.Meanwhile) > 0 {
		t.Errorf("error %v; told as somebody else's: %q", err, report.Meanwhile)
	}
}
