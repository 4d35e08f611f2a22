package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

func (a *app) versionCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "print the version", Args: cobra.NoArgs}
	out := format(cmd.Flags(), "text", "json")
	cmd.RunE = func(*cobra.Command, []string) error { return failed(a.showVersion(*out)) }
	return cmd
}

func (a *app) showVersion(format string) error {
	commit := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	if format == "text" {
		a.outText(fmt.Sprintf("vmnet %s\n", version))
		return nil
	}
	b, err := json.Marshal(map[string]string{
		"format_version": "1.0", "version": version, "commit": commit, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
		"plan_format": plan.FormatVersion, "state_format": schema.FormatVersion,
	})
	return a.outJSON(append(b, '\n'), err)
}
