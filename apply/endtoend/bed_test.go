// Package endtoend_test drives the whole program, from the text of a file to packets on the wire, on the real kernel.
package endtoend_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/config"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// bed is a host in a world, and what vmnet is given to work on it.
type bed struct {
	*testing.T
	*world.World
	host *providers.Host
	root string // stands for / in files
	run  string // runtime directory
}

// on runs fn on a host of its own, in a world of its own.
func on(t *testing.T, spec world.Spec, fn func(b *bed)) {
	t.Helper()
	t.Parallel()
	world.InNewHost(t, func() {
		w, err := world.New(spec)
		if err != nil {
			t.Fatalf("build world: %v", err)
		}
		defer w.Close()
		b := &bed{T: t, World: w, root: t.TempDir(), run: t.TempDir()}
		// Servers read their files again as somebody else, who has to come that far.
		if err := os.Chmod(filepath.Dir(b.root), 0o755); err != nil {
			t.Fatal(err)
		}
		h, err := providers.Open(providers.Options{FileRoot: b.root})
		if err != nil {
			t.Fatalf("open host: %v", err)
		}
		defer h.Close()
		b.host = h
		defer func() {
			if err := hosttest.EndServices(h); err != nil {
				t.Errorf("end services: %v", err)
			}
		}()
		fn(b)
	})
}

func (b *bed) load(src string) *schema.Desired {
	b.Helper()
	path := filepath.Join(b.TempDir(), "test.vmnet.hcl")
	if !strings.Contains(src, "required_version") {
		src = "vmnet {\n  required_version = \">= 0.1\"\n}\n" + src
	}
	if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
		b.Fatal(err)
	}
	res, diags := config.Load(path, config.Options{Version: "0.1.0"})
	if diags.HasErrors() {
		b.Fatalf("load: %v\n%s", diags, src)
	}
	return res.Desired
}

func (b *bed) read() *schema.State {
	b.Helper()
	s, err := b.host.Read(b.Context())
	if err != nil {
		b.Fatalf("read host: %v", err)
	}
	if len(s.Blind) > 0 {
		b.Fatalf("blind: %v", s.Blind)
	}
	return s
}

func (b *bed) plan(src string, resets ...string) *plan.Plan {
	b.Helper()
	p, err := plan.New(b.read(), b.load(src), plan.Options{Now: time.Now(), ID: "test", Resets: resets})
	if err != nil {
		b.Fatalf("plan: %v", err)
	}
	return p
}

func (b *bed) carryOut(h apply.Host, p *plan.Plan) (*apply.Report, error) {
	b.Helper()
	lock, err := apply.Acquire(b.Context(), apply.DirsAt(b.run, ""), apply.Holder{Command: "test"}, time.Second)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := lock.Release(); err != nil {
			b.Error(err)
		}
	}()
	return apply.Run(b.Context(), h, p, lock.Journal(p.ID), apply.Options{})
}

// apply plans, applies, and insists that a new plan is empty and that every expectation holds.
func (b *bed) apply(src string, resets ...string) *plan.Plan {
	b.Helper()
	p := b.plan(src, resets...)
	if _, err := b.carryOut(b.host, p); err != nil {
		b.Fatalf("apply: %v\n%s", err, steps(p))
	}
	b.settled(src)
	return p
}

func (b *bed) settled(src string) {
	b.Helper()
	again := b.plan(src)
	if !again.Empty() {
		b.Fatalf("a plan right after the apply is not empty:\n%s", steps(again))
	}
	for _, f := range again.Findings {
		if f.Severity == "error" {
			b.Errorf("after the apply there is still %s %s %+v", f.Code, f.Title, f.Fixes)
		}
	}
	for _, c := range again.Checks {
		if c.Before.Status != "ok" {
			b.Errorf("after the apply %q is %s: %s", c.Goal.Name, c.Before.Status, c.Before.Why)
		}
	}
}

func steps(p *plan.Plan) string {
	var s strings.Builder
	for _, f := range p.Findings {
		s.WriteString(f.Code + " " + f.Title + "\n")
		for _, x := range f.Fixes {
			if !x.Chosen {
				s.WriteString("    not " + x.Title + ": " + x.WhyNot + "\n")
			}
		}
	}
	for _, st := range p.Steps {
		s.WriteString(st.Action + " " + st.Change.String() + " because " + st.Because + "\n")
	}
	return s.String()
}

func (b *bed) finding(p *plan.Plan, code string) *plan.Finding {
	b.Helper()
	for i := range p.Findings {
		if p.Findings[i].Code == code {
			return &p.Findings[i]
		}
	}
	b.Errorf("no finding %s in:\n%s", code, steps(p))
	return &plan.Finding{}
}

// sh runs a command of the host under test.
func (b *bed) sh(line string) string {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-ec", line)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "XTABLES_LOCKFILE=/run/xtables.lock")
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// file writes a file of the host under test.
func (b *bed) file(path, content string) {
	b.Helper()
	full := filepath.Join(b.root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o640); err != nil {
		b.Fatal(err)
	}
}

func (b *bed) content(path string) string {
	b.Helper()
	c, err := os.ReadFile(filepath.Join(b.root, path))
	if err != nil {
		b.Fatal(err)
	}
	return string(c)
}

// passes and blocked ask with a real packet.
func (b *bed) passes(what string, err error) {
	b.Helper()
	if err != nil {
		b.Errorf("%s must pass: %v", what, err)
	}
}

// eventually asks again for three seconds: a link that came up carries packets up to a second later (net/core/link_watch.c).
func (b *bed) eventually(ask func() error) error {
	var err error
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		if err = ask(); err == nil {
			return nil
		}
	}
	return err
}

func (b *bed) blocked(what string, err error) {
	b.Helper()
	if err == nil {
		b.Errorf("%s must not pass", what)
	}
}

func tcp(n *world.Node, to netip.Addr, port uint16) error {
	_, err := n.TCP(netip.AddrPortFrom(to, port))
	return err
}

func udp(n *world.Node, to netip.Addr, port uint16) error {
	_, err := n.UDP(netip.AddrPortFrom(to, port))
	return err
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

var (
	errInjected = errors.New("injected")
	errStopped  = errors.New("it does not pass")
)

// failing fails the k-th change before it is made.
type failing struct {
	apply.Host
	at, n int
}

func (f *failing) Do(ctx context.Context, c schema.Change) error {
	if f.n++; f.n == f.at {
		return errInjected
	}
	return f.Host.Do(ctx, c)
}
