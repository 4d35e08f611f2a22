package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/config"
)

const traceHelp = `Follows a packet through what the kernel holds, hook by hook, and says who decides: the request, its reply, and the
established request. Nothing is sent. The answer is about every packet of the question: where some get through and others
do not, each part is named with the rule that decides and with who wrote it.

FROM and TO are addresses, networks (10.0.0.0/8), host, outside, or names of the configuration: guest.db1, nat.lab. A packet
that NAT leads elsewhere is followed there: the answer says where packets get to. Where the link that a sender is behind is not
told (--iif), it is taken to be the one by which the host would answer, and the answer says so.
With --plan the answer is given twice: for the host as it is, and as the saved plan would leave it.

Exit 0 only when everything passes (with --plan: would pass), else 8.`

type traceFlags struct {
	sources
	config string
	plan   string
	in     string
	out    string
	full   bool
	format *string
}

func (a *app) traceCmd() *cobra.Command {
	var o traceFlags
	cmd := &cobra.Command{
		Use: "trace FROM TO [tcp/22]", Short: "a packet's way, hook by hook, and who decides", Long: traceHelp,
		Example: "  vmnet trace guest.db1 203.0.113.10 tcp/443\n  vmnet trace 192.168.1.5 host icmp --live snapshot.json",
		Args:    cobra.RangeArgs(2, 3),
		RunE:    func(cmd *cobra.Command, args []string) error { return failed(a.trace(cmd.Context(), args, &o)) },
	}
	f := cmd.Flags()
	o.registerLive(f)
	f.StringVar(&o.config, "config", "", "the configuration that names come from; default: the current directory")
	f.StringVar(&o.plan, "plan", "", "answer for the host as it is and as this saved plan would leave it")
	f.StringVar(&o.in, "iif", "", "the link that packets come in by, a port of a bridge for a guest (as in ip route get); default: where the way back leads")
	f.StringVar(&o.out, "oif", "", "the link that packets must leave by; default: wherever they are led")
	f.BoolVar(&o.full, "full", false, "the way of one packet of every part")
	o.format = format(f, "text", "json")
	return cmd
}

func (a *app) trace(ctx context.Context, args []string, o *traceFlags) error {
	p, desired, err := a.asked(o)
	if err != nil {
		return err
	}
	from, err1 := endpoint(desired, args[0])
	to, err2 := endpoint(desired, args[1])
	service, err3 := serviceOf(args[2:])
	if err := errors.Join(err1, err2, err3); err != nil {
		return usage(err)
	}
	seen, err := a.observe(ctx, o.live, desired)
	if err != nil {
		return err
	}
	defer seen.Close()
	for _, link := range []string{o.in, o.out} {
		if link != "" && seen.state.Link(link) == nil {
			return usage(fmt.Errorf("there is no link %q", link))
		}
	}
	goal := plan.Question{Goal: schema.Goal{From: from, To: to, Service: service, Allow: true}, In: o.in, Out: o.out}
	t := view.NewTraced(args[0], args[1], service.String(), plan.Ask(seen.state, desired, goal))
	if p != nil {
		if t, err = under(t, p, seen.state, desired, goal); err != nil {
			return err
		}
	}
	if t.Verdict == "" {
		why := "no address or device is known for one of them, or they speak different IP versions"
		if len(t.Assumed) > 0 {
			why = strings.Join(t.Assumed, "; ")
		}
		return usage(fmt.Errorf("no packet goes from %s to %s: %s", args[0], args[1], why))
	}
	if *o.format == "json" {
		err = a.outJSON(view.TraceJSON(t))
	} else {
		v := a.view(a.out)
		v.Full = o.full
		a.outText(view.Trace(t, v))
	}
	if err != nil {
		return err
	}
	var codes []code
	if t.Verdict != trace.Pass {
		codes = append(codes, exitExpect)
	}
	if blind := seen.state.Blind; len(blind) > 0 {
		a.errText(schema.Unseen(blind) + "\n")
		codes = append(codes, exitBlind)
	}
	return ended(codes...)
}

// asked gives the saved plan, nil for none, and the configuration that names come from: the plan's own unless another is
// given.
func (a *app) asked(o *traceFlags) (*plan.Plan, *schema.Desired, error) {
	if o.plan == "" {
		d, err := a.names(o)
		return nil, d, err
	}
	b, err := a.readFile(o.plan)
	if err != nil {
		return nil, nil, usage(err)
	}
	p, err := loadPlan(o.plan, b)
	if err != nil {
		return nil, nil, err
	}
	if o.config == "" && p.Desired != nil {
		return p, p.Desired, nil
	}
	d, err := a.names(o)
	return p, d, err
}

// under answers again for the host as a plan would leave it.
func under(t view.Traced, p *plan.Plan, live *schema.State, desired *schema.Desired, goal plan.Question) (view.Traced, error) {
	after, err := plan.Foresee(live, p.Steps)
	if err != nil {
		return t, &exit{exitStale, apply.CodeStale, fmt.Errorf("plan %s does not fit this host any more: %w", p.ID, err)}
	}
	before := t.Traced
	t.Traced, t.Before, t.Plan = plan.Ask(after, desired, goal), &before, p.ID
	return t, nil
}

// names loads the configuration, if there is one: addresses need none.
func (a *app) names(o *traceFlags) (*schema.Desired, error) {
	path := o.config
	if path == "" {
		path = "."
		if found, _ := filepath.Glob("*" + config.Suffix); len(found) == 0 { // the pattern is well formed
			return &schema.Desired{State: schema.NewState()}, nil
		}
	}
	if _, err := os.Stat(path); err != nil && path != "-" {
		return nil, usage(err)
	}
	cfg, err := a.load(path, &o.sources, *o.format == "json")
	if err != nil {
		return nil, err
	}
	return cfg.Desired, nil
}

// endpoint reads one side of a trace.
func endpoint(d *schema.Desired, s string) (schema.Endpoint, error) {
	if s == "host" || s == "outside" {
		return schema.Endpoint{Kind: s}, nil
	}
	if addr, err := netip.ParseAddr(s); err == nil {
		return schema.Endpoint{Kind: "prefix", Prefixes: []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}}, nil
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return schema.Endpoint{Kind: "prefix", Prefixes: []netip.Prefix{p.Masked()}}, nil
	}
	var known []string
	for _, g := range d.Guests {
		known = append(known, g.Address)
		if g.Address == s {
			e := schema.Endpoint{Kind: "guest", Address: s, Device: deviceOf(d, g.Network), Port: g.Device}
			for _, ip := range g.IPs {
				e.Prefixes = append(e.Prefixes, netip.PrefixFrom(ip, ip.BitLen()))
			}
			return e, nil
		}
	}
	for _, n := range d.Networks {
		known = append(known, n.Address)
		if n.Address == s {
			return schema.Endpoint{Kind: "network", Address: s, Device: n.Device, Prefixes: n.Subnets}, nil
		}
	}
	hint := "no configuration was read: give --config"
	if len(known) > 0 {
		hint = "the configuration has " + strings.Join(known, ", ")
	}
	return schema.Endpoint{}, fmt.Errorf("%q is no address, not host or outside, and no name: %s", s, hint)
}

func deviceOf(d *schema.Desired, network string) string {
	for _, n := range d.Networks {
		if n.Address == network {
			return n.Device
		}
	}
	return ""
}

// serviceOf reads "tcp/22", "udp/53", "tcp", "icmp"; nothing is every protocol.
func serviceOf(args []string) (schema.Service, error) {
	if len(args) == 0 {
		return schema.Service{}, nil
	}
	proto, port, hasPort := strings.Cut(args[0], "/")
	s := schema.Service{Proto: proto}
	switch {
	case proto != "tcp" && proto != "udp" && proto != "icmp", proto == "icmp" && hasPort:
		return s, fmt.Errorf("%q is no service: want tcp/22, udp/53, icmp, or a range such as tcp/8000-8100", args[0])
	case !hasPort:
		return s, nil
	}
	first, last, isRange := strings.Cut(port, "-")
	if !isRange {
		last = first
	}
	lo, err1 := strconv.ParseUint(first, 10, 16)
	hi, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || lo == 0 || lo > hi {
		return s, fmt.Errorf("%q is no service: %q is no port from 1 to 65535, and no range", args[0], port)
	}
	s.Ports = []schema.PortRange{{First: uint16(lo), Last: uint16(hi)}}
	return s, nil
}
