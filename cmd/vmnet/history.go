package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
)

func (a *app) historyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "history", Short: "what was applied, by whom, with what result",
		Example: "  vmnet history\n  vmnet history show 7f3a", Args: cobra.NoArgs,
	}
	out := format(cmd.Flags(), "text", "json")
	cmd.RunE = func(*cobra.Command, []string) error { return failed(a.history(*out)) }
	cmd.AddCommand(a.historyShowCmd())
	return cmd
}

func (a *app) history(format string) error {
	open, err := a.dirs().Open()
	if err != nil {
		return err
	}
	ended, err := a.dirs().History()
	if err != nil {
		return err
	}
	entries := append(open, ended...)
	if format == "json" {
		return a.outJSON(view.HistoryJSON(entries))
	}
	a.outText(view.History(entries, a.view(a.out)))
	return nil
}

func (a *app) historyShowCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "show ID", Short: "one change: who, when, the plan, the result", Args: cobra.ExactArgs(1)}
	full := cmd.Flags().Bool("full", false, "every line, expectation and command")
	out := format(cmd.Flags(), "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		e, err := a.dirs().Find(args[0])
		if errors.Is(err, apply.ErrNoChange) {
			return usage(err)
		}
		if err != nil {
			return failed(err)
		}
		if *out == "json" {
			return a.outJSON(view.EntryJSON(e))
		}
		v := a.view(a.out)
		v.Full = *full
		a.outText(view.Entry(e, v))
		return nil
	}
	return cmd
}
