package view_test

import (
	"strings"
	"testing"

	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// guarded is a plan that nearly everything suffers from.
func guarded() *plan.Plan {
	p := broken()
	p.Guarded = []plan.Guarded{
		{
			Kind: "session", Name: "ssh 198.51.100.7:51532 -> 192.0.2.10:22", Before: "pass", Verdict: plan.Survives, Steps: []int{2}, MaxPauseMS: 50,
			Session: &schema.Session{Proto: "tcp", Own: true},
		},
		{Kind: "login", Name: "new logins 198.51.100.7 -> 192.0.2.10:22", Before: "pass", Verdict: plan.Survives, Session: &schema.Session{Own: true}},
		{
			Kind: "session", Name: "ssh 198.51.100.9:4711 -> 192.0.2.10:22", Before: "pass", Verdict: plan.Cut, Worse: true, Steps: []int{3},
			Why: "the established packet dies at ip filter INPUT: -j DROP", Session: &schema.Session{Proto: "tcp"},
		},
		{
			Kind: "flow", Name: "198.51.100.0/24 reaches host by tcp/22", Address: "protect.management", Before: "pass", Verdict: plan.Depending, Worse: true,
			Steps: []int{3}, Why: "the request depends on ip filter INPUT: -m limit --limit 1/sec -j ACCEPT",
		},
		{Kind: "interface", Name: "eno3", Address: "protect.nic", Before: "pass", Verdict: plan.Cut, Worse: true, Steps: []int{5}, Why: "step 5 changes the up of eno3"},
		{Kind: "gateway", Name: "default route to 192.0.2.1", Before: "pass", Verdict: plan.Interrupted, Steps: []int{2, 5}, MaxPauseMS: 15050, Why: "eno3 looks for its carrier again"},
	}
	return p
}

func TestGuarded(t *testing.T) {
	t.Parallel()
	text := view.Plan(guarded(), view.Options{})
	from, to := strings.Index(text, "YOUR SESSION"), strings.Index(text, "\nPlan: ")
	if from < 0 || to < from {
		t.Fatalf("no YOUR SESSION before the summary:\n%s", text)
	}
	golden(t, "guarded.txt", text[from:])
	text = view.Markdown(guarded(), view.Options{})
	from, to = strings.Index(text, "- **YOUR SESSION**"), strings.Index(text, "<details>")
	if from < 0 || to < from {
		t.Fatalf("no session in the Markdown:\n%s", text)
	}
	golden(t, "guarded.md", text[from:to])
}

// TestSessionsUnknown: that nobody knows who is logged in is said where the session would be.
func TestSessionsUnknown(t *testing.T) {
	t.Parallel()
	p := broken()
	p.SessionsUnknown = "find sessions: open /proc/thread-self/net/tcp: permission denied"
	for _, text := range []string{view.Plan(p, view.Options{}), view.Markdown(p, view.Options{})} {
		for _, want := range []string{"YOUR SESSION", "unknown", "permission denied"} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
	}
}
