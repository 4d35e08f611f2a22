package main

import (
	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/schema/config"
)

func (a *app) validateCmd() *cobra.Command {
	var s sources
	cmd := &cobra.Command{
		Use: "validate [PATH]", Short: "check a configuration without looking at the host",
		Args: cobra.MaximumNArgs(1),
	}
	s.register(cmd.Flags())
	out := format(cmd.Flags(), "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return failed(a.validate(path(args), &s, *out)) }
	return cmd
}

func (a *app) validate(path string, s *sources, format string) error {
	r, diags := config.Load(path, config.Options{Vars: s.vars, VarFiles: s.varFiles, Environ: a.environ, Stdin: a.in, Version: version})
	if format == "json" {
		if err := a.outJSON(view.DiagnosticsJSON(diags, r.Files)); err != nil {
			return err
		}
	} else if err := a.diagnose(diags, r.Files, false); err != nil {
		return err
	}
	if diags.HasErrors() {
		return ended(exitConfig)
	}
	if format == "text" {
		a.outText(view.Valid(r.Desired))
	}
	return nil
}
