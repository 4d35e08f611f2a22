// Package examples_test does with every example what its README says: reads it, plans, applies, asks with real packets, plans
// again, and takes it all back.
package examples_test

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/config"
)

var update = flag.Bool("update", false, "write the plans into the READMEs")

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// host is a host in a world that holds an example's guests.
type host struct {
	*testing.T
	*world.World
	live    *providers.Host
	run     string
	desired *schema.Desired
}

// example runs one: prepare, when not nil, makes the host what it was before vmnet came; flows are asked at the end.
func example(t *testing.T, name string, prepare func(*host), flows func(*host) []flow) {
	t.Helper()
	t.Parallel()
	world.InNewHost(t, func() {
		h := newHost(t, name)
		defer func() {
			if err := h.Close(); err != nil {
				t.Errorf("close world: %v", err)
			}
		}()
		if prepare != nil {
			prepare(h)
		}
		before := h.read()
		p := h.plan(h.desired)
		h.document(name, p)
		h.apply(p)
		h.settled()
		h.attachLate()
		h.serve()
		check(t, flows(h))
		h.takeBack(before)
	})
}

// load reads an example, or an empty file.
func load(t *testing.T, path string) *schema.Desired {
	t.Helper()
	r, diags := config.Load(path, config.Options{Version: "0.1.0"})
	if len(diags) > 0 {
		t.Fatal(view.Diagnostics(diags, r.Files, view.Options{}))
	}
	return r.Desired
}

func newHost(t *testing.T, name string) *host {
	t.Helper()
	h := &host{T: t, run: t.TempDir(), desired: load(t, name)}
	var spec world.Spec
	for _, g := range h.desired.Guests {
		if g.Device != "" {
			spec.Guests = append(spec.Guests, h.guest(g))
		}
	}
	var err error
	if h.World, err = world.New(spec); err != nil {
		t.Fatal(err)
	}
	// The LAN knows the way to every guest: nothing but rules keeps it out.
	for _, n := range h.desired.Networks {
		for _, s := range n.Subnets {
			via := h.Host4.Addr()
			if s.Addr().Is6() {
				via = h.Host6.Addr()
			}
			if n.Mode == "bridge" {
				continue
			}
			if err := h.LAN().Route(s, via); err != nil {
				t.Fatal(err)
			}
		}
	}
	root := t.TempDir()
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil { // servers read their files again as somebody else
		t.Fatal(err)
	}
	if h.live, err = providers.Open(providers.Options{FileRoot: root}); err != nil {
		t.Fatal(err)
	}
	return h
}

// Close closes the providers and the world.
func (h *host) Close() error {
	if err := hosttest.EndServices(h.live); err != nil {
		h.Errorf("end services: %v", err)
	}
	if err := h.live.Close(); err != nil {
		h.Errorf("close host: %v", err)
	}
	return h.World.Close()
}

// guest is a guest of the file as a machine.
func (h *host) guest(g schema.Guest) world.Guest {
	n := h.network(g.Network)
	out := world.Guest{Name: g.Name, Device: g.Device, MAC: g.MAC}
	for _, ip := range g.IPs {
		for _, s := range n.Subnets {
			if s.Contains(ip) {
				out.Addrs = append(out.Addrs, netip.PrefixFrom(ip, s.Bits()))
			}
		}
	}
	if n.DHCP != nil { // it asks for everything
		out.Addrs = nil
		return out
	}
	out.Gateways = n.Gateways
	if n.Mode == "bridge" {
		out.Gateways = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	}
	return out
}

func (h *host) network(address string) schema.Network {
	for _, n := range h.desired.Networks {
		if n.Address == address {
			return n
		}
	}
	h.Fatalf("no network %s", address)
	return schema.Network{}
}

func (h *host) read() *schema.State {
	h.Helper()
	s, err := h.live.Read(h.Context())
	if err != nil {
		h.Fatalf("read host: %v", err)
	}
	if len(s.Blind) > 0 || s.Unstable {
		h.Fatalf("read host: blind %v, unstable %v", s.Blind, s.Unstable)
	}
	return s
}

func (h *host) plan(desired *schema.Desired) *plan.Plan {
	h.Helper()
	p, err := plan.New(h.read(), desired, plan.Options{})
	if err != nil {
		h.Fatalf("plan: %v", err)
	}
	return p
}

func (h *host) apply(p *plan.Plan) {
	h.Helper()
	lock, err := apply.Acquire(h.Context(), apply.DirsAt(h.run, ""), apply.Holder{Command: "test"}, time.Second)
	if err != nil {
		h.Fatal(err)
	}
	_, err = apply.Run(h.Context(), h.live, p, lock.Journal("test"), apply.Options{})
	if err != nil {
		h.Fatalf("apply: %v\n%s", err, text(p))
	}
	if err := lock.Release(); err != nil {
		h.Fatal(err)
	}
}

// settled insists that a plan right after an apply is empty, and that every expectation holds.
func (h *host) settled() {
	h.Helper()
	p := h.plan(h.desired)
	if !p.Empty() {
		h.Fatalf("a plan right after the apply is not empty:\n%s", text(p))
	}
	for _, c := range p.Checks {
		if c.Before.Status != "ok" && c.Before.Status != "unknown" {
			h.Errorf("after the apply %q is %s: %s", c.Goal.Name, c.Before.Status, c.Before.Why)
		}
	}
}

// attachLate starts the guests that the file knows by their MAC only, as a hypervisor does: a new device on the bridge. The
// next plan finds them.
func (h *host) attachLate() {
	h.Helper()
	late := 0
	for _, g := range h.desired.Guests {
		if g.Device != "" {
			continue
		}
		late++
		machine := h.guest(g)
		machine.Device, machine.Bridge = fmt.Sprintf("tap%d", late), h.network(g.Network).Device
		n, err := h.AddGuest(machine)
		if err != nil {
			h.Fatal(err)
		}
		if err := n.Within(3 * time.Second).Ping(machine.Gateways[0]); err != nil { // so the bridge learns its MAC
			h.Fatal(err)
		}
	}
	if late > 0 {
		h.apply(h.plan(h.desired))
		h.settled()
	}
}

// serve opens the ports that the flows ask for, on every machine.
func (h *host) serve() {
	h.Helper()
	machines := []*world.Node{h.LAN(), h.Host()}
	for _, g := range h.desired.Guests {
		machines = append(machines, h.Guest(g.Name))
	}
	for _, m := range machines {
		ports := []uint16{22, 53, 80, 443, 5432}
		if m == h.Host() && len(h.desired.State.Refs(schema.KindService)) > 0 {
			ports = slices.DeleteFunc(ports, func(p uint16) bool { return p == 53 }) // vmnet serves it
		}
		if err := m.Serve(ports...); err != nil {
			h.Fatal(err)
		}
	}
}

// takeBack applies an empty file: everything of vmnet goes, everything else stays. A setting of the kernel cannot be marked,
// so it is never removed; nor what follows from it: a host that forwards IPv6 answers to the subnet's anycast address
// (RFC 4291, 2.6.1).
func (h *host) takeBack(before *schema.State) {
	h.Helper()
	empty := filepath.Join(h.TempDir(), "main.vmnet.hcl")
	if err := os.WriteFile(empty, []byte("vmnet {\n  required_version = \">= 0.1\"\n}\n"), 0o600); err != nil {
		h.Fatal(err)
	}
	nothing := load(h.T, empty)
	h.apply(h.plan(nothing))
	if p := h.plan(nothing); !p.Empty() {
		h.Errorf("a plan right after the removal is not empty:\n%s", text(p))
	}
	late := map[string]bool{}
	for i := range h.desired.Guests {
		late[fmt.Sprintf("tap%d", i+1)] = true
	}
	for _, line := range schema.Diff(before, h.read()) {
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '/' })
		ofLate := slices.ContainsFunc(words, func(w string) bool { return late[w] })
		if words[1] == string(schema.KindSysctl) || strings.Contains(line, " type anycast ") || ofLate {
			continue
		}
		h.Errorf("the host is not as before: %s", line)
	}
}

func text(p *plan.Plan) string { return view.Plan(p, view.Options{Full: true}) }

const begin, end = "<!-- plan:begin -->\n", "<!-- plan:end -->\n"

// document compares the plan with the one in the example's README.
func (h *host) document(name string, p *plan.Plan) {
	h.Helper()
	path := filepath.Join(name, "README.md")
	b, err := os.ReadFile(path)
	if err != nil {
		h.Fatal(err)
	}
	head, rest, found := bytes.Cut(b, []byte(begin))
	old, tail, closed := bytes.Cut(rest, []byte(end))
	if !found || !closed {
		h.Fatalf("%s: no place for the plan between %q and %q", path, begin, end)
	}
	page := view.Plan(p, view.Options{Path: "examples/" + name})
	page = page[max(0, strings.Index(page, "FINDINGS")):] // above stands how many objects were observed: every kernel has others
	fresh := "```\n$ vmnet plan examples/" + name + "\n\n" + page + "```\n"
	if string(old) == fresh {
		return
	}
	if !*update {
		h.Errorf("%s shows another plan (run the test with -update):\n%s", path, cmp.Diff(string(old), fresh))
		return
	}
	out := append(append(append(bytes.Clone(head), begin...), fresh...), append([]byte(end), tail...)...)
	if err := os.WriteFile(path, out, 0o644); err != nil {
		h.Fatal(err)
	}
}

// flow is a question and who must answer it, "" for nobody.
type flow struct {
	from  *world.Node
	proto string
	to    string
	want  string
}

func (f flow) ask() (string, error) {
	// A packet that must not arrive is waited for briefly, one that must is given time: the machine may be busy.
	from := f.from.Within(5 * time.Second)
	if f.want == "" {
		from = f.from.Within(300 * time.Millisecond)
	}
	switch f.proto {
	case "icmp":
		return f.want, from.Ping(netip.MustParseAddr(f.to))
	case "udp":
		a, err := from.UDP(netip.MustParseAddrPort(f.to))
		return a.Node, err
	}
	a, err := from.TCP(netip.MustParseAddrPort(f.to))
	return a.Node, err
}

// check asks all at once.
func check(t *testing.T, flows []flow) {
	t.Helper()
	var wg sync.WaitGroup
	for _, f := range flows {
		wg.Go(func() {
			got, err := f.ask()
			switch {
			case f.want == "" && err == nil:
				t.Errorf("%s %s %s: must not get through; %q answered", f.from.Name, f.proto, f.to, got)
			case f.want != "" && err != nil:
				t.Errorf("%s %s %s: must reach %s: %v", f.from.Name, f.proto, f.to, f.want, err)
			case f.want != got:
				t.Errorf("%s %s %s: %s answered, want %s", f.from.Name, f.proto, f.to, got, f.want)
			}
		})
	}
	wg.Wait()
}
