package apply_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/providers/hosttest"
	"github.com/vmnet/vmnet/schema"
)

// What is not seen is not gone: a host that from some step on does not show its tables is not taken for one without them,
// neither as what the plan relied on, nor as planned, nor as before.
func TestBlind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from  int // the step after which it is blind
		fails bool
		began bool
	}{"before": {0, false, false}, "when it is verified": {14, false, true}, "when it is taken back": {14, true, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, want := drifted(t)
			p := newPlan(t, h, want)
			before, already := read(t, h), made(h)
			steps := min(c.from, len(p.Steps)-1)
			if c.fails {
				h.FailAt = already + steps + 1
			}
			blind := lens{refusing{h, func(ch schema.Change) error {
				if ch.After == nil && ch.Ref.Kind == schema.KindTable { // nor is it let go of
					return errors.New("no")
				}
				return nil
			}}, func(s *schema.State) {
				if made(h) >= already+steps {
					s.Blind = []string{"nftables"}
					for _, ref := range s.Refs(schema.KindTable) {
						s.Delete(ref)
					}
				}
			}}
			dir := t.TempDir()
			l := acquire(t, dir)
			report, err := apply.Run(t.Context(), blind, p, l.Journal("test"), quick)
			switch {
			case !c.began && (!errors.Is(err, apply.ErrBlind) || errors.Is(err, apply.ErrStale) || made(h) != already):
				t.Errorf("error %v, %d steps made; want blind, not stale, and nothing made", err, made(h)-already)
			case !c.began:
				return
			case !errors.Is(err, apply.ErrNeedsHuman) || report.Result != apply.NeedsHuman || !strings.Contains(strings.Join(report.Differences, " "), "nftables"):
				t.Errorf("error %v, result %s, differences %q; want a human needed, and why", err, report.Result, report.Differences)
			case c.fails && !errors.Is(err, hosttest.ErrInjected), !c.fails && !errors.Is(err, apply.ErrBlind):
				t.Errorf("error %v, want its cause", err)
			}
			open, err := apply.DirsAt(dir, "").Open()
			if err != nil || len(open) != 1 {
				t.Fatalf("changes %v, error %v; want the one", open, err)
			}
			if _, err := apply.Rollback(t.Context(), l, open[0], h, quick, errors.New("asked for")); !errors.Is(err, apply.ErrRolledBack) {
				t.Errorf("with open eyes: %v", err)
			}
			if diff := schema.Diff(before, read(t, h)); diff != nil {
				t.Errorf("host not restored:\n%s", strings.Join(diff, "\n"))
			}
		})
	}
}
