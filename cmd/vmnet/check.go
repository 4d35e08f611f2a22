package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/cmd/vmnet/view"
)

const checkHelp = `Holds every expectation of the configuration, written down or implied by a mode, against every rule of the live host.
Exit 8 when one fails. Nothing is sent: the packet's way is followed through what the kernel holds.`

func (a *app) checkCmd() *cobra.Command {
	var s sources
	var detailed bool
	cmd := &cobra.Command{
		Use: "check [PATH]", Short: "hold every expectation against the live host", Long: checkHelp,
		Args: cobra.MaximumNArgs(1),
	}
	s.registerLive(cmd.Flags())
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit 2 when a plan would have changes")
	out := format(cmd.Flags(), "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return failed(a.check(cmd.Context(), path(args), &s, *out, detailed))
	}
	return cmd
}

func (a *app) check(ctx context.Context, path string, s *sources, format string, detailed bool) error {
	p, err := a.makePlan(ctx, path, s, nil, format == "json")
	if err != nil {
		return err
	}
	if format == "json" {
		err = a.outJSON(view.ChecksJSON(p))
	} else {
		a.outText(view.Checks(p, a.view(a.out)))
	}
	if err != nil {
		return err
	}
	return ended(planCode(p, detailed), checksCode(p.Checks))
}
