package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
)

func (a *app) snapshotCmd() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "snapshot", Short: "write what was observed as JSON, for --live, show and bug reports",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return failed(a.snapshot(cmd.Context(), out)) },
	}
	cmd.Flags().StringVar(&out, "out", "", "write to this file instead of standard output")
	cmd.Flags().Bool("json", true, "there is no other form")
	return cmd
}

func (a *app) snapshot(ctx context.Context, out string) error {
	seen, err := a.observe(ctx, "", nil)
	if err != nil {
		return err
	}
	defer seen.Close()
	b, err := view.SnapshotJSON(seen.state)
	if err != nil {
		return err
	}
	if out == "" {
		err = a.outJSON(b, nil)
	} else if err = apply.WriteFile(out, b); err == nil {
		a.errText(fmt.Sprintf("Saved %s: %d objects.\n", out, seen.state.Len()))
	}
	if err != nil {
		return err
	}
	if len(seen.state.Blind) > 0 {
		return ended(exitBlind)
	}
	return nil
}
