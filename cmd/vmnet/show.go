package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/schema"
)

func (a *app) showCmd() *cobra.Command {
	var full bool
	cmd := &cobra.Command{
		Use: "show FILE", Short: "render a saved plan or a snapshot: no root, any host",
		Example: "  vmnet show fix.vmplan --full\n  vmnet show fix.vmplan -o markdown\n  vmnet show snapshot.json",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&full, "full", false, "every line, expectation and command")
	out := format(cmd.Flags(), "text", "json", "markdown")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return failed(a.show(args[0], *out, full)) }
	return cmd
}

func (a *app) show(path, format string, full bool) error {
	b, err := a.readFile(path)
	if err != nil {
		return usage(err)
	}
	v := a.view(a.out)
	v.Full = full
	if apply.IsPlan(b) || filepath.Ext(path) == planSuffix {
		p, err := loadPlan(path, b)
		if err != nil {
			return err
		}
		return a.showPlan(p, format, v)
	}
	s := schema.NewState()
	if err := json.Unmarshal(b, s); err != nil {
		return usage(fmt.Errorf("%s is neither a saved plan nor a snapshot: %w", path, err))
	}
	if format == "json" {
		return a.outJSON(view.SnapshotJSON(s))
	}
	a.outText(view.Snapshot(s, v))
	return nil
}
