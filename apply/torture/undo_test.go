package torture_test

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers/hosttest"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/config"
)

// TestThereAndBack: random hosts are changed and taken back, by the program on the kernel, and on the model of the kernel with
// one step after another failing.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	const hosts = 4
	seed := rand.Uint64()
	for i := range uint64(hosts) {
		t.Run(strconv.FormatUint(seed+i, 10), func(t *testing.T) {
			t.Parallel()
			s := newScene(seeded(seed + i))
			try(t, s, func(x *trial) {
				x.onModel(s)
				x.thereAndBack(s)
			})
		})
	}
}

// thereAndBack is on the kernel.
func (x *trial) thereAndBack(s scene) {
	x.Helper()
	code, out := x.vmnet("apply", x.config, "--auto-approve", "--confirm", "10m", "--detach")
	if code != 0 || len(x.open()) == 0 {
		return // refused, or nothing to do
	}
	code, undone := x.vmnet("rollback")
	if changed := x.changed(); code != 0 || len(changed) > 0 {
		x.Errorf("rollback: code %d, not as before:\n%s\n%s\n%s\n%s\n%s\n%s", code, strings.Join(changed, "\n"), out, undone, s.host, s.earlier, s.config)
	}
	x.quiet()
}

// onModel takes the very host into memory and lets each step fail there, before it acts and after.
func (x *trial) onModel(s scene) {
	x.Helper()
	r, diags := config.Load(x.config, config.Options{Version: "0.1.0"})
	if diags.HasErrors() {
		x.Fatal(diags)
	}
	p, err := plan.New(x.before.Clone(), r.Desired, plan.Options{Now: time.Now(), ID: "model"})
	x.must(err)
	for _, late := range []bool{false, true} {
		for k := len(p.Steps); k > 0; k -= 1 + rand.IntN(6) { // each costs two looks at the whole host
			h := &hosttest.Fake{State: x.before.Clone(), FailAt: k, FailAfter: late}
			lock, err := apply.Acquire(x.Context(), apply.DirsAt(x.TempDir(), ""), apply.Holder{Command: "test"}, time.Minute)
			x.must(err)
			_, err = apply.Run(x.Context(), h, p, lock.Journal("model"), apply.Options{Settle: -1})
			x.must(lock.Release())
			if !errors.Is(err, apply.ErrRolledBack) {
				x.Errorf("fail at %d (late %t), %s: %v", k, late, p.Steps[k-1].Change, err)
			}
			now, err := h.Read(x.Context())
			x.must(err)
			if diff := lasting(schema.Diff(x.before, now)); len(diff) > 0 {
				x.Errorf("fail at %d (late %t), %s: not as before:\n%s\n%s\n%s\n%s", k, late, p.Steps[k-1].Change, strings.Join(diff, "\n"), s.host, s.earlier, s.config)
				return
			}
		}
	}
}

// TestRulesGoBackToTheirPlaces: exceptions in somebody's table, some in front of its drop and some behind, are taken out
// while others come in; taken back, each stands where it stood.
func TestRulesGoBackToTheirPlaces(t *testing.T) {
	t.Parallel()
	const head = "vmnet {\n  required_version = \">= 0.1\"\n  risk_limit = \"cut\"\n}\n"
	s := scene{
		host: base + `nft 'table inet foreign { set s { type ipv4_addr; elements = { 10.1.1.1 }; }; chain f { type filter hook forward priority 0; ip saddr @s drop; tcp dport 25 reject; }; }'`,
		earlier: head + lab + "guest \"db1\" {\n  network = nat.lab\n  mac = \"52:54:00:12:34:56\"\n  address = \"10.20.0.11\"\n  device = \"vnet3\"\n}\n" +
			"forward \"ssh_db1\" {\n  tcp = 2222\n  to = guest.db1\n  to_port = 22\n}\n",
		config: head + lan,
	}
	try(t, s, func(x *trial) {
		if rules := strings.Join(x.looked, "\n"); !strings.Contains(rules, "vmnet:forward.ssh_db1") {
			x.Fatalf("no exceptions in\n%s", rules)
		}
		x.onModel(s)
		x.thereAndBack(s)
	})
}
