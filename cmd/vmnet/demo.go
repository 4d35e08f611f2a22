package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

// demo.vmnet.hcl is what the host of the demo must be.
//
//go:embed demo.vmnet.hcl
var demoConfig []byte

const demoHelp = `Builds a small world in a private network namespace: a LAN with a router and a server of the internet behind it, this
host, and two guests. Applies a configuration, breaks the host in three ways, plans, applies, and sends real packets before
and after. No root is needed, and nothing outside of the namespace is touched.`

func (a *app) demoCmd() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "the whole loop in a private network: no root, no risk", Long: demoHelp, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return failed(a.demo(cmd.Context())) },
	}
}

// demo runs itself again inside namespaces of its own, where the story is told.
func (a *app) demo(ctx context.Context) error {
	exitCode, inside, err := world.Enter()
	if err != nil || !inside {
		return errors.Join(err, ended(code(exitCode)))
	}
	const dir = "/run/vmnet-demo" // private, and gone with the namespace
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make a place for the demo: %w", err)
	}
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("make a place for the demo: %w", err)
	}
	if err := os.WriteFile(demoFile, demoConfig, 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	a.runtimeDir = dir + "/run"
	a.environ = append(a.environ, "VMNET_FILE_ROOT="+dir) // there is no /etc in here
	s := &story{app: a}
	return errors.Join(s.tell(ctx), s.close())
}

const demoFile = "demo.vmnet.hcl"

// story is the demo under way.
type story struct {
	*app
	world *world.World
	host  *providers.Host // to break things with
	n     int             // of the chapter
}

func (s *story) close() error {
	var errs []error
	if s.host != nil {
		errs = append(errs, s.host.Close())
	}
	if s.world != nil {
		errs = append(errs, s.world.Close())
	}
	return errors.Join(errs...)
}

func (s *story) tell(ctx context.Context) error {
	for _, chapter := range []func(context.Context) error{
		s.build, s.applyFirst, s.breakThings, s.planRepair, s.applyRepair, s.nothingLeft,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) chapter(title string) {
	s.n++
	s.outText(fmt.Sprintf("\n=== %d. %s\n\n", s.n, title))
}

func (s *story) build(context.Context) error {
	s.chapter("A host with two guests, in a private network namespace. Nothing on your machine is touched.")
	s.outText(`  internet 203.0.113.10 ── router ── 192.0.2.10 [ this host ] ──┬── db1   10.20.0.11
                                                                └── web1  10.20.0.12

`)
	gateway := []netip.Addr{netip.MustParseAddr("10.20.0.1")}
	guest := func(name, device, mac, ip string) world.Guest {
		return world.Guest{Name: name, Device: device, MAC: mac, Addrs: []netip.Prefix{netip.MustParsePrefix(ip + "/24")}, Gateways: gateway}
	}
	w, err := world.New(world.Spec{Guests: []world.Guest{
		guest("db1", "vnet0", "52:54:00:12:34:56", "10.20.0.11"), guest("web1", "vnet1", "52:54:00:12:34:57", "10.20.0.12"),
	}})
	if err != nil {
		return fmt.Errorf("build the demo's world: %w", err)
	}
	s.world = w
	if err := errors.Join(w.LAN().Serve(443), w.Guest("db1").Serve(22)); err != nil {
		return fmt.Errorf("start the demo's servers: %w", err)
	}
	if s.host, err = providers.Open(providers.Options{FileRoot: "/run/vmnet-demo"}); err != nil {
		return err
	}
	s.outText("  " + demoFile + " says what the network must be:\n\n")
	for line := range strings.Lines(string(demoConfig)) {
		s.outText("    " + line)
	}
	return nil
}

// applyFirst makes the network of the file, without many words: the repair is what the demo shows.
func (s *story) applyFirst(ctx context.Context) error {
	s.chapter("vmnet apply --auto-approve: the network of the file, from nothing")
	quiet := *s.app
	var said strings.Builder
	quiet.out, quiet.err = &said, &said
	if err := quiet.apply(ctx, demoFile, s.approved()); err != nil {
		s.outText(said.String())
		return fmt.Errorf("apply the demo's configuration: %w", err)
	}
	s.outText("  Done. Real packets:\n\n")
	return s.probe(true)
}

// approved are the flags of an apply that does not ask.
func (s *story) approved() *applyFlags {
	return &applyFlags{autoApprove: true, lockTimeout: time.Second, format: new("text")}
}

// breakThings does what happens to hosts at night.
func (s *story) breakThings(ctx context.Context) error {
	s.chapter("Three things go wrong")
	live, err := s.host.Read(ctx)
	if err != nil {
		return fmt.Errorf("read the demo's host: %w", err)
	}
	for _, f := range faults(live) {
		s.outText("  $ " + f.command + "\n")
		if err := s.host.Do(ctx, f.change); err != nil {
			return fmt.Errorf("break the demo's host: %w", err)
		}
	}
	s.outText("\n  Real packets:\n\n")
	return s.probe(false)
}

func (s *story) planRepair(ctx context.Context) error {
	s.chapter("vmnet plan: what is wrong, why, and what would be done")
	return s.plan(ctx, demoFile, &planFlags{format: new("text")})
}

func (s *story) applyRepair(ctx context.Context) error {
	s.chapter("vmnet apply --auto-approve")
	quiet := *s.app // the plan was just shown
	quiet.out = io.Discard
	quiet.err = s.out
	if err := quiet.apply(ctx, demoFile, s.approved()); err != nil {
		return fmt.Errorf("repair the demo's host: %w", err)
	}
	s.outText("\n  Real packets:\n\n")
	return s.probe(true)
}

func (s *story) nothingLeft(ctx context.Context) error {
	s.chapter("vmnet plan --detailed-exitcode: a plan after an apply is empty")
	if err := s.plan(ctx, demoFile, &planFlags{detailed: true, format: new("text")}); err != nil {
		return fmt.Errorf("the second plan is not empty: %w", err)
	}
	s.outText("\nThat was all of it, in a namespace that is gone now. Next: write your own file, or read examples/.\n")
	return nil
}

// fault is a change that somebody makes by hand.
type fault struct {
	command string // how they would
	change  schema.Change
}

func faults(live *schema.State) []fault {
	forward := live.Get(schema.SysctlRef("net.ipv4.ip_forward"))
	port := live.Link("vnet1")
	table := sshDrop()
	return []fault{
		{"sysctl -w net.ipv4.ip_forward=0", change(forward, &schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "0"})},
		{"ip link set vnet1 nomaster", change(&schema.Link{Name: "vnet1", Master: port.Master}, &schema.Link{Name: "vnet1", Master: new("")})},
		{"iptables -A FORWARD -d 10.20.0.11 -p tcp --dport 22 -j DROP", change(nil, table)},
	}
}

func change(before, after schema.Object) schema.Change {
	return schema.Change{Ref: after.Ref(), Before: before, After: after}
}

// sshDrop is the filter table that such an iptables makes: everything may pass but SSH to db1. In nftables' bytecode, for
// iptables need not be installed here.
func sshDrop() *schema.Table {
	const reg = 8 // the first 32-bit register
	rule := &schema.Rule{Exprs: []schema.Expr{
		{Name: "payload", Base: "network", Offset: 16, Len: 4, DReg: reg}, // IPv4 destination
		{Name: "cmp", Op: "eq", SReg: reg, Data: netip.MustParseAddr("10.20.0.11").AsSlice()},
		{Name: "meta", Key: "l4proto", DReg: reg},
		{Name: "cmp", Op: "eq", SReg: reg, Data: schema.Bytes{6}}, // TCP
		{Name: "payload", Base: "transport", Offset: 2, Len: 2, DReg: reg},
		{Name: "cmp", Op: "eq", SReg: reg, Data: schema.Bytes{0, 22}},
		{Name: "immediate", Verdict: &schema.Verdict{Kind: "drop"}},
	}}
	return &schema.Table{Family: "ip", Name: "filter", Chains: []*schema.Chain{
		{Name: "FORWARD", Type: "filter", Hook: "forward", Policy: "accept", Rules: []*schema.Rule{rule}},
	}}
}

// attempt is a question with a real packet.
type attempt struct {
	name string
	ask  func() error
}

// insist asks until an answer comes, at most five seconds; or once. A link that has just come up may lose what is sent in
// its first second (net/core/link_watch.c).
func (p attempt) insist(again bool) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := p.ask()
		if err == nil || !again || time.Now().After(deadline) {
			return err
		}
	}
}

// attempts are what the demo asks of its world: what the file promises.
func (s *story) attempts() []attempt {
	const patience = 800 * time.Millisecond
	w := s.world
	tcp := func(from *world.Node, to netip.Addr, port uint16) func() error {
		return func() error {
			_, err := from.Within(patience).TCP(netip.AddrPortFrom(to, port))
			return err
		}
	}
	db1 := netip.MustParseAddr("10.20.0.11")
	return []attempt{
		{"db1  -> internet 203.0.113.10        tcp/443   through NAT", tcp(w.Guest("db1"), w.Server4, 443)},
		{"web1 -> internet 203.0.113.10        tcp/443   through NAT", tcp(w.Guest("web1"), w.Server4, 443)},
		{"web1 -> db1                          ping      on their bridge", func() error { return w.Guest("web1").Within(patience).Ping(db1) }},
		{"LAN  -> this host 192.0.2.10 -> db1  tcp/2222  the forward of SSH", tcp(w.LAN(), w.Host4.Addr(), 2222)},
	}
}

// probe sends them all at once and says what became of them. Where all must get through, one that does not is an error.
func (s *story) probe(all bool) error {
	asked := s.attempts()
	results := make([]error, len(asked))
	var wg sync.WaitGroup
	for i, p := range asked {
		wg.Go(func() { results[i] = p.insist(all) })
	}
	wg.Wait()
	var lost []error
	for i, p := range asked {
		word := "ok  "
		if results[i] != nil {
			word = "FAIL"
			lost = append(lost, fmt.Errorf("%s: %w", p.name, results[i]))
		}
		s.outText("    " + word + "  " + p.name + "\n")
	}
	if all {
		return errors.Join(lost...)
	}
	if len(lost) == 0 {
		return errors.New("the demo's faults broke nothing")
	}
	return nil
}
