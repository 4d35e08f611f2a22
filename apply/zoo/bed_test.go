package zoo_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/apply/zoo"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest/neighbour"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/config"
)

// bed is a host in a world, and what vmnet is given to work on it.
type bed struct {
	*testing.T
	*world.World
	zoo    *zoo.World
	host   *providers.Host
	root   string // stands for / in files
	run    string // runtime directory
	config string // what vmnet is given
}

// within runs fn in a new host of a world, beside managers.
func within(t *testing.T, w *zoo.World, c *zoo.Case, fn func(b *bed)) {
	t.Helper()
	world.InNewHost(t, func() {
		net, err := world.New(spec(t, w))
		if err != nil {
			t.Fatalf("build world: %v", err)
		}
		defer net.Close()
		b := &bed{T: t, World: net, zoo: w, root: t.TempDir(), run: t.TempDir(), config: w.Config}
		if c.Config != "" {
			b.config = c.Config
		}
		b.config = "vmnet {\n  required_version = \">= 0.1\"\n}\n" + b.config + c.Also
		if c.Bed == zoo.Neighbour {
			b.root = "/"
			neighbour.Prepare(t)
		}
		b.host, err = providers.Open(providers.Options{FileRoot: strings.TrimSuffix(b.root, "/"), Sysctls: sysctls(b.desired(b.config))})
		if err != nil {
			t.Fatalf("open host: %v", err)
		}
		defer b.host.Close()
		fn(b)
	})
}

func spec(t *testing.T, w *zoo.World) (s world.Spec) {
	t.Helper()
	for _, g := range w.Guests {
		one := world.Guest{Name: g.Name, Device: g.Device}
		if g.MAC != "-" {
			one.MAC = g.MAC
		}
		for a := range strings.SplitSeq(g.Addresses, ",") {
			if a != "-" {
				one.Addrs = append(one.Addrs, netip.MustParsePrefix(a))
			}
		}
		for a := range strings.SplitSeq(g.Gateways, ",") {
			if a != "-" {
				one.Gateways = append(one.Gateways, netip.MustParseAddr(a))
			}
		}
		s.Guests = append(s.Guests, one)
	}
	return s
}

func sysctls(d *schema.Desired) (out []string) {
	for _, r := range d.State.Refs(schema.KindSysctl) {
		out = append(out, r.Name)
	}
	return out
}

func (b *bed) desired(src string) *schema.Desired {
	b.Helper()
	path := filepath.Join(b.TempDir(), "zoo.vmnet.hcl")
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

func (b *bed) plan(src string) *plan.Plan {
	b.Helper()
	p, err := plan.New(b.read(), b.desired(src), plan.Options{Now: time.Now(), ID: "zoo"})
	if err != nil {
		b.Fatalf("plan: %v", err)
	}
	return p
}

func (b *bed) apply(p *plan.Plan) {
	b.Helper()
	lock, err := apply.Acquire(b.Context(), apply.DirsAt(b.run, ""), apply.Holder{Command: "zoo"}, time.Second)
	if err != nil {
		b.Fatal(err)
	}
	_, err = apply.Run(b.Context(), b.host, p, lock.Journal(p.ID), apply.Options{})
	if e := lock.Release(); e != nil {
		b.Error(e)
	}
	if err != nil {
		b.Fatalf("apply: %v\n%s", err, told(p))
	}
}

// settled insists that there is nothing more to do or to say.
func (b *bed) settled(when string) {
	b.Helper()
	p := b.plan(b.config)
	if !p.Empty() {
		b.Errorf("%s: the next plan is not empty:\n%s", when, told(p))
	}
	for _, c := range p.Checks {
		if c.Before.Status != "ok" {
			b.Errorf("%s: %q is %s: %s", when, c.Goal.Name, c.Before.Status, c.Before.Why)
		}
	}
}

// told is a plan in short.
func told(p *plan.Plan) string {
	var s strings.Builder
	for _, f := range p.Findings {
		owner := ""
		if f.Owner != nil {
			owner = fmt.Sprintf(" [%s: %s]", f.Owner.Name, strings.Join(f.Owner.Evidence, "; "))
		}
		fmt.Fprintf(&s, "%s %s %s%s\n", f.Code, f.Severity, f.Title, owner)
		for _, e := range f.Evidence {
			s.WriteString("    evidence " + e + "\n")
		}
		for _, x := range f.Fixes {
			if x.Chosen {
				s.WriteString("    fix " + x.Title + "\n")
			} else {
				s.WriteString("    not " + x.Title + ": " + x.WhyNot + "\n")
			}
		}
	}
	for _, st := range p.Steps {
		what, _, _ := strings.Cut(st.Change.String(), "\n")
		fmt.Fprintf(&s, "step %d %s %s because %s\n", st.ID, st.Action, what, st.Because)
	}
	for _, u := range p.Unrequested {
		s.WriteString("newly reachable and not asked for: " + u + "\n")
	}
	return s.String()
}

// prelude gives scripts a way into the other machines: on NAME COMMAND.
const prelude = `on() { machine=$1; shift; eval "net=\$NET_$machine"; nsenter --net="$net" -- "$@"; }
`

// sh runs a script on the host.
func (b *bed) sh(script string) string {
	b.Helper()
	if script == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-ec", prelude+script)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "XTABLES_LOCKFILE=/run/xtables.lock", "ROOT="+strings.TrimSuffix(b.root, "/"))
	for _, n := range b.machines() {
		cmd.Env = append(cmd.Env, fmt.Sprintf("NET_%s=/proc/%d/fd/%d", n.Name, os.Getpid(), n.FD()))
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func (b *bed) machines() []*world.Node {
	out := []*world.Node{b.Host(), b.LAN()}
	for _, g := range b.zoo.Guests {
		out = append(out, b.Guest(g.Name))
	}
	return out
}

func (b *bed) write(files map[string]string) {
	b.Helper()
	for path, content := range files {
		full := filepath.Join(b.root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o640); err != nil {
			b.Fatal(err)
		}
	}
}

func (b *bed) start(names []string) {
	b.Helper()
	for _, n := range names {
		neighbour.Start(b.T, neighbour.Name(n), neighbour.Opts{})
	}
}
