package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

const planHelp = `Reads the live host, compares it with the configuration, and says what is wrong, why, and what would be done.
Nothing is changed, loaded or sent.

PATH is a directory of *.vmnet.hcl files, one file, or "-"; the current directory when it is left out.`

type planFlags struct {
	sources
	out      string
	rebase   string
	detailed bool
	full     bool
	resets   []string
	format   *string
}

func (a *app) planCmd() *cobra.Command {
	var o planFlags
	cmd := &cobra.Command{
		Use: "plan [PATH]", Short: "say what is wrong and what would be done; change nothing", Long: planHelp,
		Example: "  vmnet plan\n  vmnet plan lab.vmnet.hcl -out fix.vmplan\n  vmnet plan --live snapshot.json --json",
		Args:    cobra.MaximumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return failed(a.plan(cmd.Context(), path(args), &o)) },
	}
	f := cmd.Flags()
	o.registerLive(f)
	f.StringVar(&o.rebase, "rebase", "", "plan anew for the configuration of this saved plan, and show only what differs from it")
	f.StringVar(&o.out, "out", "", "save the plan in this file, for apply and show")
	f.BoolVar(&o.detailed, "detailed-exitcode", false, "exit 2 when there are changes, 8 when an expectation fails in spite of them")
	f.BoolVar(&o.full, "full", false, "every line, expectation and command")
	f.StringArrayVar(&o.resets, "reset", nil, "reset this adapter too: adapter.x")
	o.format = format(f, "text", "json", "markdown")
	return cmd
}

func (a *app) plan(ctx context.Context, path string, o *planFlags) error {
	if o.rebase != "" {
		return a.rebase(ctx, path, o)
	}
	p, err := a.makePlan(ctx, path, &o.sources, o.resets, *o.format == "json")
	if err != nil {
		return err
	}
	if o.out != "" {
		if err := apply.Save(o.out, p); err != nil {
			return err
		}
	}
	v := a.view(a.out)
	v.Full, v.Saved, v.Path = o.full, o.out, path
	if err := a.showPlan(p, *o.format, v); err != nil {
		return err
	}
	return ended(planCode(p, o.detailed))
}

// rebase plans anew what a saved plan was made for, and shows what the reviewer has not seen.
func (a *app) rebase(ctx context.Context, path string, o *planFlags) error {
	if path != "." || len(o.vars)+len(o.varFiles)+len(o.resets) > 0 {
		return usage(errors.New("--rebase plans for the configuration in the saved plan: PATH, -var, -var-file and --reset do not go with it"))
	}
	b, err := a.readFile(o.rebase)
	if err != nil {
		return usage(err)
	}
	reviewed, err := loadPlan(o.rebase, b)
	if err != nil {
		return err
	}
	seen, err := a.observe(ctx, o.live, reviewed.Desired)
	if err != nil {
		return err
	}
	defer seen.Close()
	p, err := makePlan(seen, reviewed.Desired, reviewed.Configuration.Path, reviewed.Resets)
	if err != nil {
		return err
	}
	if o.out != "" {
		if err := apply.Save(o.out, p); err != nil {
			return err
		}
	}
	r := apply.Rebase(seen.state, reviewed, p)
	if *o.format == "json" {
		err = a.outJSON(view.RebasedJSON(r))
	} else {
		a.outText(view.Rebased(r, a.view(a.out)))
	}
	return errors.Join(err, ended(planCode(p, o.detailed)))
}

// makePlan loads, observes, checks the configuration against the host, and plans.
func (a *app) makePlan(ctx context.Context, path string, s *sources, resets []string, asJSON bool) (*plan.Plan, error) {
	cfg, err := a.load(path, s, asJSON)
	if err != nil {
		return nil, err
	}
	if err := knownAdapters(cfg.Desired, resets); err != nil {
		return nil, err
	}
	seen, err := a.observe(ctx, s.live, cfg.Desired)
	if err != nil {
		return nil, err
	}
	defer seen.Close()
	if err := a.diagnose(cfg.CheckLive(seen.state), cfg.Files, asJSON); err != nil {
		return nil, err
	}
	return makePlan(seen, cfg.Desired, path, resets)
}

// knownAdapters refuses to reset what the file has no block for.
func knownAdapters(d *schema.Desired, resets []string) error {
	for _, r := range resets {
		var known []string
		for _, ad := range d.Adapters {
			known = append(known, ad.Address)
		}
		if slices.Contains(known, r) {
			continue
		}
		hint := "it has none"
		if len(known) > 0 {
			hint = "it has " + strings.Join(known, ", ")
		}
		return usage(fmt.Errorf("--reset %s: the configuration has no such adapter block: %s", r, hint))
	}
	return nil
}

func (a *app) showPlan(p *plan.Plan, format string, v view.Options) error {
	switch format {
	case "json":
		return a.outJSON(view.PlanJSON(p))
	case "markdown":
		a.outText(view.Markdown(p, v))
	default:
		a.outText(view.Plan(p, v))
	}
	return nil
}

// planCode is how a plan ends: what was not seen outweighs what fails in spite of the plan, and that whether there are
// changes.
func planCode(p *plan.Plan, detailed bool) code {
	switch {
	case !p.Observation.Complete:
		return exitBlind
	case detailed && slices.ContainsFunc(p.Checks, func(c plan.Check) bool { return c.After.Status == "fail" }):
		return exitExpect
	case detailed && !p.Empty():
		return exitChanges
	}
	return exitOK
}
