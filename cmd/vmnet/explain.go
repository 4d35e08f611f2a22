package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema/config"
)

func (a *app) explainCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "explain [CODE|exit-codes]", Short: "say what a finding means, why it happens and how it is fixed; offline",
		Example: "  vmnet explain VN410\n  vmnet explain exit-codes",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var out []string
			for _, c := range codes() {
				out = append(out, c.Code+"\t"+c.Title)
			}
			return append(out, "exit-codes"), cobra.ShellCompDirectiveNoFileComp
		},
	}
	out := format(cmd.Flags(), "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return failed(a.explain(args, *out)) }
	return cmd
}

// codes is every code of every package, sorted.
func codes() []plan.CodeInfo {
	all := slices.Concat(plan.Codes(), apply.Codes())
	for _, c := range config.Codes() {
		all = append(all, plan.CodeInfo{Code: string(c.Code), Title: c.Title, Text: strings.TrimSpace(c.Why + " " + c.Cure)})
	}
	slices.SortFunc(all, func(x, y plan.CodeInfo) int { return cmp.Compare(x.Code, y.Code) })
	return all
}

func (a *app) explain(args []string, format string) error {
	found := codes()
	if len(args) == 1 {
		if args[0] == "exit-codes" {
			return a.explainExits()
		}
		want := strings.ToUpper(args[0])
		found = slices.DeleteFunc(found, func(c plan.CodeInfo) bool { return c.Code != want })
		if len(found) == 0 {
			return usage(fmt.Errorf("no finding has the code %q; vmnet explain lists them", args[0]))
		}
	}
	if format == "json" {
		return a.outJSON(view.CodesJSON(found))
	}
	a.outText(view.Codes(found, len(args) == 1, a.view(a.out)))
	return nil
}

func (a *app) explainExits() error {
	for _, e := range exitCodes {
		a.outText(fmt.Sprintf("%3d  %s\n", e.code, e.meaning))
	}
	return nil
}
