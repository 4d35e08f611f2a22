package main

import (
	"context"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/apply"
)

// watchdogCmd is the process that apply arms; nobody types it.
func (a *app) watchdogCmd() *cobra.Command {
	var journal, files string
	cmd := &cobra.Command{
		Use: "__watchdog", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return failed(a.watchdog(journal, files)) },
	}
	cmd.Flags().StringVar(&journal, "journal", "", "the change to guard")
	cmd.Flags().StringVar(&files, "file-root", "", "stands for / in files")
	return cmd
}

// watchdogArgs make this program the watchdog of a journal, whatever its environment.
func (a *app) watchdogArgs(journal string) []string {
	d := a.dirs()
	files := a.env("VMNET_FILE_ROOT")
	for _, path := range []*string{&d.Run, &d.State, &files, &journal} { // it works in another directory
		if abs, err := filepath.Abs(*path); err == nil && *path != "" {
			*path = abs
		}
	}
	return []string{"__watchdog", "--journal", journal, "--runtime-dir", d.Run, "--state-dir", d.State, "--file-root", files}
}

func (a *app) watchdog(journal, files string) error {
	// It is there for when all others are told to go.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGTSTP)
	a.environ = append(a.environ, "VMNET_FILE_ROOT="+files)
	return apply.Watch(context.Background(), apply.Guard{Dirs: a.dirs(), Path: journal, Open: a.open, Tell: a.tellEverybody, Options: apply.Options{Settle: 10 * time.Second}})
}
