package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// rival changes the host as soon as a plan is on the screen: then it is stale before its first step.
type rival struct {
	text  bytes.Buffer
	plans int
	busy  int // how many plans are met by a change
	write func()
}

func (r *rival) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("FINDINGS")) && r.plans < r.busy {
		r.plans++
		r.write()
	}
	return r.text.Write(b)
}

// A plan that nobody approved by hand is made anew where somebody changed the host meanwhile: a few times, then they are named.
func TestLostRace(t *testing.T) { //nolint:paralleltest // the pauses are everybody's
	old := pauses
	pauses = []time.Duration{0, 0, 0}
	t.Cleanup(func() { pauses = old })
	for name, c := range map[string]struct {
		busy, plans int
		code        int
		text        string
	}{
		"a burst": {2, 2, 0, "planning again (2 of 3)"},
		"no end":  {100, 4, 4, "VN801"},
	} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // as above
			world.InNewHost(t, func() {
				environ, file := lab(t)
				do := func(name string, args ...string) {
					if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
						t.Fatalf("%s %q: %v: %s", name, args, err, out)
					}
				}
				do("nft", "table ip admin { chain passing { type filter hook forward priority 0; ip saddr 10.20.0.0/24 drop; }; }")
				out := &rival{busy: c.busy, write: func() { do("nft", "add rule ip admin passing ip saddr 10.20.0.7 counter") }}
				var told bytes.Buffer
				code := run([]string{"apply", "--auto-approve", "--confirm", "none", file}, streams{nil, out, &told}, environ)
				text := strings.Join(strings.Fields(told.String()), " ")
				if code != c.code || out.plans != c.plans || !strings.Contains(text, c.text) || !strings.Contains(text, "nft (pid ") {
					t.Errorf("code %d after %d plans, want %d after %d, and %q with who it was\n%s%s", code, out.plans, c.code, c.plans, c.text, out.text.String(), told.String())
				}
			})
		})
	}
}
