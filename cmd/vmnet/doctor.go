package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/plan/checks"
	"github.com/vmnet/vmnet/schema/config"
)

const doctorHelp = `Says what is wrong with the virtual networks of this host, whoever made them, and whether the host is fit for more. It needs
no file, reads only, and sends nothing.

It looks at the host itself, adapters, bridges and what is attached to them, addresses, routes and settings, rules, and
services, in this order; finds the networks of libvirt, Incus, Docker, Podman, VirtualBox, VMware, and bridges that nobody
claims; and asks whether their guests reach the outside, the host's servers and each other. vmnet explain CODE tells all
about a finding.

Exit codes: 0 nothing is wrong, 8 something is, 10 not everything could be read.`

type doctorFlags struct {
	live, write string
	list        bool
	format      *string
}

func (a *app) doctorCmd() *cobra.Command {
	var o doctorFlags
	cmd := &cobra.Command{
		Use: "doctor [CHECK]", Short: "say what is wrong with this host's virtual networks, without a file", Long: doctorHelp,
		Example: "  vmnet doctor\n  vmnet doctor --list-checks\n  vmnet doctor bridge-mtu --json\n  vmnet doctor --write repair.vmnet.hcl",
		Args:    cobra.MaximumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return failed(a.doctor(cmd.Context(), args, &o)) },
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var out []string
			for _, c := range checks.All() {
				out = append(out, c.Name+"\t"+c.Title)
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.live, "live", "", "look at this snapshot instead of the kernel")
	f.StringVar(&o.write, "write", "", "write a configuration here whose plan repairs what it can")
	f.BoolVar(&o.list, "list-checks", false, "list the checks, and look at nothing")
	o.format = format(f, "text", "json")
	return cmd
}

func (a *app) doctor(ctx context.Context, args []string, o *doctorFlags) error {
	which := checks.All()
	if len(args) == 1 {
		c, ok := checks.Named(strings.ToLower(args[0]))
		if !ok {
			c, ok = checks.Named(strings.ToUpper(args[0]))
		}
		if !ok {
			return usage(fmt.Errorf("there is no check %q; vmnet doctor --list-checks lists them", args[0]))
		}
		which = []checks.Check{c}
	}
	if o.list {
		return a.listChecks(which, *o.format)
	}
	seen, err := a.observeAll(ctx, o.live)
	if err != nil {
		return err
	}
	defer seen.Close()
	d := plan.Diagnose(seen.state, which)
	d.Host, d.Tool.Version, d.Observation.Millis = seen.host, version, seen.took.Milliseconds()
	if o.write != "" {
		if err := a.writeRepair(d, seen, which, o.write); err != nil {
			return err
		}
	}
	if *o.format == "json" {
		err = a.outJSON(view.DiagnosisJSON(d))
	} else {
		a.outText(view.Diagnosis(d, a.view(a.out)))
	}
	if err != nil {
		return err
	}
	return ended(doctorCode(d))
}

func doctorCode(d *plan.Diagnosis) code {
	switch {
	case !d.Observation.Complete:
		return exitBlind
	case d.Wrong() > 0:
		return exitExpect
	}
	return exitOK
}

func (a *app) listChecks(which []checks.Check, format string) error {
	if format == "json" {
		return a.outJSON(view.ChecksListJSON(which))
	}
	a.outText(view.ChecksList(which, a.view(a.out)))
	return nil
}

// writeRepair writes the configuration of the networks with findings, and finds out what its plan repairs.
func (a *app) writeRepair(d *plan.Diagnosis, seen *observation, which []checks.Check, path string) error {
	networks, guests := d.Concerned()
	if len(networks) == 0 {
		a.errText("Nothing was written: no finding is about a network that a file of vmnet's may describe.\n")
		return nil
	}
	text := string(config.Write(networks, guests))
	r, diags := config.Load("-", config.Options{Stdin: strings.NewReader(text), Version: version})
	if diags.HasErrors() {
		return fmt.Errorf("write %s: these networks cannot be described: %w", path, diags)
	}
	p, err := makePlan(seen, r.Desired, path, nil)
	if err != nil {
		return err
	}
	after, err := plan.Foresee(seen.state, p.Steps)
	if err != nil {
		return fmt.Errorf("foresee the repair: %w", err)
	}
	d.Repair, d.Repaired = text, d.Gone(plan.Diagnose(after, which))
	if err := apply.WriteFile(path, []byte(text)); err != nil {
		return err
	}
	a.errText(fmt.Sprintf("Wrote %s. vmnet plan %s shows what would be done.\n", path, path))
	return nil
}

// observeAll reads the host with whatever takes longer to find out: whose sockets and taps they are.
func (a *app) observeAll(ctx context.Context, live string) (*observation, error) {
	a.processes = true
	return a.observe(ctx, live, nil)
}
