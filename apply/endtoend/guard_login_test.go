package endtoend_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

// closing keeps a network of the other side from the host's SSH.
const closing = `
vmnet {
  required_version = ">= 0.1"
}

firewall "host" {
  deny {
    from = "203.0.113.0/24"
    to   = host
    tcp  = 22
  }
}
`

// TestGuardFollowsWhoAppliesTheSavedPlan: a plan is made at one login and carried out at another. Who is there then is followed.
func TestGuardFollowsWhoAppliesTheSavedPlan(t *testing.T) {
	on(t, world.Spec{}, func(b *bed) {
		_, s := b.session(b.Server4, addr("192.0.2.10"))
		p := b.plan(closing) // made where nobody was logged in
		if err := apply.Permitted(p, apply.Permission{}); err != nil {
			b.Fatalf("a plan that cuts nobody off: %v", err)
		}
		p.Guard(b.read(), []schema.Session{s}, "")
		if f := b.finding(p, "VN905"); f.Severity != "error" || p.Summary.WorstRisk != plan.RiskCut {
			b.Errorf("finding %+v, worst risk %v", f, p.Summary.WorstRisk)
		}
		b.refused(p, apply.CodeLockout)
		n := len(p.Findings)
		if p.Guard(b.read(), []schema.Session{s}, ""); len(p.Findings) != n {
			b.Errorf("%d findings, and after another look %d", n, len(p.Findings))
		}
	})
}

// TestGuardIsBlind: where nobody knows who is logged in, the plan says so, and is not carried out by the way.
func TestGuardIsBlind(t *testing.T) {
	on(t, world.Spec{}, func(b *bed) {
		p := b.plan(closing)
		p.Guard(b.read(), nil, "find sessions: permission denied")
		if f := b.finding(p, "VN909"); f.Severity != "error" {
			b.Errorf("finding %+v", f)
		}
		b.refused(p, apply.CodeLockout)
		if err := apply.Permitted(p, apply.Permission{AcceptLockout: true}); err != nil {
			b.Errorf("refused though the lock-out is accepted: %v", err)
		}
	})
}

func (b *bed) refused(p *plan.Plan, code string) {
	b.Helper()
	var refused *apply.NotPermittedError
	if err := apply.Permitted(p, apply.Permission{}); !errors.As(err, &refused) || refused.Code != code {
		b.Errorf("Permitted = %v, want %s", err, code)
	}
}

// TestGuardRelies: what the session passes through is among the facts of the plan, so that a plan is stale when it changes.
func TestGuardRelies(t *testing.T) {
	on(t, world.Spec{}, func(b *bed) {
		b.sh("nft 'table inet f { chain in { type filter hook input priority 0; tcp dport 22 accept; }; }'")
		_, s := b.session(b.Server4, addr("192.0.2.10"))
		desired := b.load("vmnet {\n  required_version = \">= 0.1\"\n}\nhost_only \"build\" {\n  device = \"build0\"\n  subnet = \"10.30.0.0/24\"\n}\n")
		p, err := plan.New(b.read(), desired, plan.Options{Now: time.Now(), ID: "test", Sessions: []schema.Session{s}})
		if err != nil {
			b.Fatal(err)
		}
		for _, ref := range []schema.Ref{schema.TableRef("inet", "f"), schema.LinkRef("eno1")} {
			if !slices.ContainsFunc(p.Basis, func(f plan.Fact) bool { return f.Ref == ref }) {
				b.Errorf("%s is not among the %d facts", ref, len(p.Basis))
			}
		}
		if stale := apply.Stale(b.read(), p); stale != nil {
			b.Fatalf("stale at once: %v", stale)
		}
		b.sh("nft insert rule inet f in ip saddr 203.0.113.0/24 tcp dport 22 drop")
		if stale := apply.Stale(b.read(), p); stale == nil {
			b.Error("not stale though the session dies now")
		}
	})
}

// BenchmarkGuard plans 20 new networks with a session that is followed through every step, and without.
func BenchmarkGuard(b *testing.B) {
	const networks = 20
	world.InNewHost(b, func() {
		w, err := world.New(world.Spec{})
		if err != nil {
			b.Fatal(err)
		}
		defer w.Close()
		src, devices := manyNetworks(networks)
		if err := makeDevices(devices); err != nil {
			b.Fatal(err)
		}
		h, desired := benchHost(b, src)
		defer h.Close()
		live, err := h.Read(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		s := schema.Session{
			Proto: "tcp", Own: true, Server: "sshd", Certain: true,
			Local: netip.MustParseAddrPort("192.0.2.10:22"), Peer: netip.MustParseAddrPort("203.0.113.10:51532"),
		}
		took := func(sessions ...schema.Session) time.Duration {
			start := cpu()
			if _, err := plan.New(live, desired, plan.Options{ID: "bench", Sessions: sessions}); err != nil {
				b.Fatal(err)
			}
			return cpu() - start
		}
		var with, without time.Duration
		for b.Loop() {
			without += took()
			with += took(s)
		}
		b.ReportMetric(float64(with)/float64(without), "x-with-session")
		b.ReportMetric(float64(without.Milliseconds())/float64(b.N), "plan-ms")
	})
}

// cpu is the time this process has computed: other processes of the machine do not count.
func cpu() time.Duration {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
