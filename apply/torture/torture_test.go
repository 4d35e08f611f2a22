package torture_test

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/schema"
)

// tally counts what a run has hit.
type tally struct {
	planless, missed           atomic.Int32
	asBefore, asPlanned, mixed atomic.Int32
	unsure                     atomic.Int32 // steps begun, and taken back without knowing whether they were done
	half                       atomic.Int32 // of those, seen to be neither before nor after
}

// usual is how many moments are tried unless TORTURE says otherwise.
const usual = 24

// TestTorture: TORTURE moments.
func TestTorture(t *testing.T) {
	t.Parallel()
	moments, seed := usual, rand.Uint64()
	if s := os.Getenv("TORTURE"); s != "" {
		moments = number(t, s)
	}
	if s := os.Getenv("TORTURE_SEED"); s != "" {
		seed, moments = uint64(number(t, s)), 1
	}
	count := &tally{}
	t.Run("moments", func(t *testing.T) {
		for i := range moments {
			t.Run(strconv.FormatUint(seed+uint64(i), 10), func(t *testing.T) {
				t.Parallel()
				strike(t, seed+uint64(i), count)
			})
		}
	})
	t.Logf("%d moments from seed %d: %d as before, %d as planned, %d with another's hand in it; %d too late, %d without a plan; unsure steps %d, of them seen half made %d",
		moments, seed, count.asBefore.Load(), count.asPlanned.Load(), count.mixed.Load(), count.missed.Load(), count.planless.Load(), count.unsure.Load(), count.half.Load())
	if moments >= 4*usual && count.unsure.Load() == 0 {
		t.Error("no step was hit in its middle: the test proves little")
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(n) //nolint:gosec // a seed wraps around
}

// strike makes a host, lets vmnet change it, strikes, and holds what is left against what is said.
func strike(t *testing.T, seed uint64, count *tally) {
	t.Helper()
	r := seeded(seed)
	s, m := newScene(r), draw(r)
	try(t, s, func(x *trial) {
		defer func() {
			if t.Failed() {
				t.Logf("TORTURE_SEED=%d: %s\n%s\n%s\n%s\n%s", seed, m, s.host, s.earlier, s.config, x.journals())
			}
		}()
		confirm := "none"
		if m.wait1s {
			confirm = "1s"
		}
		f := x.follow()
		v := x.start("apply", x.config, "--auto-approve", "--confirm", confirm)
		if err := m.await(v, f); err != nil {
			count.missed.Add(1)
		} else {
			m.what.hit(x, v, f)
		}
		code := x.code(v)
		if len(f.seen) == 0 && (code == 0 || code == 5 || code == 8) {
			count.planless.Add(1) // nothing to do, or refused: with every right, as other tests know
			return
		}
		x.quiet()
		f.next()
		f.close()
		count.unsure.Add(f.unsure())
		after := x.recovered(r, f, count)
		converged := x.judge(m, v, code, after, count)
		x.converges(converged)
	})
}

// recovered lets the next command end what nobody is left to end. It tells which that was: "" for none.
func (x *trial) recovered(r random, f *follower, count *tally) string {
	x.Helper()
	if len(x.open()) == 0 || x.needsHuman() {
		return ""
	}
	x.count(f, count)
	if r.coin() {
		if code, out := x.vmnet("rollback"); code != 0 && code != 7 {
			x.Errorf("rollback after a crash: code %d\n%s", code, out)
		}
		return "rollback"
	}
	// A plan that has nothing to do recovers all the same; it is asked of an empty configuration, and refused or not is no matter.
	code, out := x.vmnet("apply", x.config, "--auto-approve", "--confirm", "none")
	if code == 9 && strings.Contains(out, "VN808") { // its time is not over, and it has a watchdog again
		x.quiet()
		if open := x.open(); len(open) > 0 {
			x.Errorf("nobody took it back: %v", open)
		}
		return "apply"
	}
	if !slices.Contains([]int{0, 7, 8}, code) || !strings.Contains(out, "change") {
		x.Errorf("apply after a crash: code %d\n%s", code, out)
	}
	return "apply"
}

// count looks how far the steps are that were begun and that nobody says are done.
func (x *trial) count(f *follower, count *tally) {
	x.Helper()
	state := map[int]string{}
	for _, l := range f.seen {
		if l.Step > 0 {
			state[l.Step] = l.Type
		}
	}
	open, err := apply.DirsAt(x.run, "").Open()
	x.must(err)
	live := x.read()
	for _, e := range open {
		for _, s := range e.Remaining() {
			if state[s.ID] != "begin" && state[s.ID] != "undo" {
				continue
			}
			count.unsure.Add(1)
			have := live.Get(s.Change.Ref)
			if !holds(have, s.Change.Before) && !holds(have, s.Change.After) {
				count.half.Add(1)
			}
		}
	}
}

// unsure is how many steps were taken back of which nobody knew whether they had been made.
func (f *follower) unsure() (n int32) {
	last := map[int]string{}
	for _, l := range f.seen {
		if l.Type == "undone" && last[l.Step] == "begin undo" {
			n++
		}
		if l.Type == "undo" {
			l.Type = last[l.Step] + " undo"
		}
		last[l.Step] = l.Type
	}
	return n
}

func holds(have, want schema.Object) bool {
	if have == nil || want == nil {
		return have == nil && want == nil
	}
	return len(schema.Compare(have, want)) == 0
}

func (x *trial) needsHuman() bool {
	return slices.Contains(x.history(), "needs human")
}

// judge: the host is as before or as planned, but for what somebody else did, and everything that was said is true.
func (x *trial) judge(m moment, v *vmnet, code int, after string, count *tally) (converged bool) {
	x.Helper()
	changed, left, results := x.changed(), -1, x.history()
	if len(changed) > 0 {
		left = x.steps()
	}
	said := "nothing"
	if len(results) > 0 {
		said = results[0]
	}
	others := func(d string) bool {
		return slices.ContainsFunc(m.what.foreign, func(f string) bool { return strings.Contains(d, f) })
	}
	own := slices.DeleteFunc(slices.Clone(changed), others)
	truth := "neither"
	switch {
	case len(changed) == 0:
		truth = "as before"
		count.asBefore.Add(1)
	case left == 0:
		truth = "as planned"
		count.asPlanned.Add(1)
	case len(m.what.foreign) > 0 && len(own) == 0:
		truth = "as before"
		count.mixed.Add(1)
	case len(m.what.foreign) > 0: // made, and then changed by another
		truth = "another's"
		count.mixed.Add(1)
	}
	fits := map[string][]string{
		"as before": {"rolled back", "nothing", "needs human"}, "as planned": {"applied"}, "another's": {"applied", "needs human", "nothing"},
	}
	if !slices.Contains(fits[truth], said) || said == "needs human" && len(m.what.foreign) == 0 {
		x.Errorf("the host is %s, the history says %q (%q); %d steps left, next command %q, code %d\n%s\n%s",
			truth, said, results, left, after, code, strings.Join(changed, "\n"), v.out)
	}
	codes := map[int][]string{0: {"applied"}, 8: {"applied"}, 6: {"rolled back"}, 7: {"needs human"}}
	if m.what.name == "SIGHUP" && strings.Contains(v.out.String(), "not confirmed") { // its terminal went while it waited: it left the rest to the watchdog
		codes[0] = append(codes[0], "rolled back")
	}
	if want, known := codes[code]; known && after == "" && !v.killed && !slices.Contains(want, said) {
		x.Errorf("exit code %d, the history says %q\n%s", code, said, v.out)
	}
	if code == 1 && !v.killed && said != "nothing" && m.what.name != "SIGHUP" {
		x.Errorf("exit code 1, the history says %q\n%s", said, v.out)
	}
	return left == 0
}

// converges: the next apply brings the host to what is wanted, and nothing is left behind. already says that a plan is
// known to be empty.
func (x *trial) converges(already bool) {
	x.Helper()
	if !already {
		code, out := x.vmnet("apply", x.config, "--auto-approve", "--confirm", "none")
		if code != 0 && code != 8 {
			x.Errorf("the next apply: code %d\n%s", code, out)
		}
		if left := x.steps(); left != 0 {
			x.Errorf("a plan after the next apply has %d steps\n%s", left, out)
		}
	}
	x.quiet()
	if open := x.open(); len(open) > 0 && !x.needsHuman() {
		x.Errorf("left open: %v", open)
	}
}
