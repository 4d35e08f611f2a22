package main

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers/probe"
	"github.com/vmnet/vmnet/schema"
)

const checkHelp = `Holds every expectation of the configuration, written down or implied by a mode, against every rule of the live host.
Exit 8 when one fails. Nothing is sent: the packet's way is followed through what the kernel holds.

--probe also sends real packets for every expectation that says probe = true: a TCP connection, a UDP datagram, an ICMP echo.
They come from this host; expectations about packets of others are named as not probed and never count as held.`

func (a *app) checkCmd() *cobra.Command {
	var s sources
	var detailed, probe bool
	cmd := &cobra.Command{
		Use: "check [PATH]", Short: "hold every expectation against the live host", Long: checkHelp,
		Args: cobra.MaximumNArgs(1),
	}
	s.registerLive(cmd.Flags())
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit 2 when a plan would have changes")
	cmd.Flags().BoolVar(&probe, "probe", false, "send real packets too, for expectations with probe = true")
	out := format(cmd.Flags(), "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if probe && s.live != "" {
			return usage(errors.New("--probe sends packets from this host; a snapshot sends none: leave out --live"))
		}
		return failed(a.check(cmd.Context(), path(args), &s, *out, detailed, probe))
	}
	return cmd
}

func (a *app) check(ctx context.Context, path string, s *sources, format string, detailed, send bool) error {
	p, err := a.makePlan(ctx, path, s, nil, format == "json")
	if err != nil {
		return err
	}
	var probes []schema.ProbeResult
	if send {
		probes = probe.Probe(ctx, probed(p))
	}
	if format == "json" {
		err = a.outJSON(view.ChecksJSON(p, probes))
	} else {
		a.outText(view.Checks(p, probes, a.view(a.out)))
	}
	if err != nil {
		return err
	}
	return ended(planCode(p, detailed), checksCode(p.Checks), probesCode(probes))
}

// probed are the goals to send packets for, as resolved on the live host.
func probed(p *plan.Plan) []schema.Goal {
	var goals []schema.Goal
	for _, c := range p.Checks {
		goals = append(goals, c.Goal)
	}
	return schema.Probed(goals)
}

// probesCode is 8 when packets did not fare as the file wants.
func probesCode(probes []schema.ProbeResult) code {
	if slices.ContainsFunc(probes, func(r schema.ProbeResult) bool { return r.Status == "fail" }) {
		return exitExpect
	}
	return exitOK
}
