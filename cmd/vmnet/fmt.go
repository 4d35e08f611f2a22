package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/schema/config"
)

type fmtFlags struct{ check, diff bool }

func (a *app) fmtCmd() *cobra.Command {
	var o fmtFlags
	cmd := &cobra.Command{
		Use: "fmt [PATH|-]...", Short: "rewrite configurations in canonical form",
		Long: "Rewrites *.vmnet.hcl and *.vmvars.hcl files, in directories and below, and lists what it changed.\n\"-\" formats standard input to standard output.",
		RunE: func(_ *cobra.Command, args []string) error { return failed(a.format(args, o)) },
	}
	cmd.Flags().BoolVar(&o.check, "check", false, "change nothing; exit 3 when a file is not in canonical form")
	cmd.Flags().BoolVar(&o.diff, "diff", false, "show what changes")
	return cmd
}

func (a *app) format(paths []string, o fmtFlags) error {
	if len(paths) == 0 {
		paths = []string{"."}
	}
	result := exitOK
	for _, p := range paths {
		files, err := formattable(p)
		if err != nil {
			return usage(err)
		}
		for _, f := range files {
			c, err := a.formatFile(f, o)
			if err != nil {
				return err
			}
			result = worst(result, c)
		}
	}
	return ended(result)
}

// formattable lists the files of a path: itself, or what a directory holds, hidden directories left out.
func formattable(path string) ([]string, error) {
	if path == "-" || !isDir(path) {
		return []string{path}, nil
	}
	var files []string
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != path && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if d.Type().IsRegular() && (strings.HasSuffix(p, ".vmnet.hcl") || strings.HasSuffix(p, ".vmvars.hcl")) {
			files = append(files, p)
		}
		return nil
	})
	return files, err
}

func (a *app) formatFile(path string, o fmtFlags) (code, error) {
	src, err := a.readFile(path)
	if err != nil {
		return exitConfig, a.diagnose(config.Unreadable(path, err), nil, false)
	}
	name := path
	if path == "-" {
		name = "<stdin>"
	}
	if files, diags := config.Parse(name, src); diags.HasErrors() {
		return exitConfig, a.diagnose(diags, files, false)
	}
	formatted := config.Format(src)
	changed := !bytes.Equal(src, formatted)
	if path == "-" && !o.check && !o.diff {
		a.outText(string(formatted))
		return exitOK, nil
	}
	if !changed {
		return exitOK, nil
	}
	if o.diff {
		a.outText(config.Diff(name, src, formatted))
	} else {
		a.outText(fmt.Sprintln(name))
	}
	if o.check {
		return exitConfig, nil
	}
	if path == "-" {
		return exitOK, nil
	}
	return exitOK, rewrite(path, formatted)
}

// rewrite replaces a file whole and keeps its mode.
func rewrite(path string, b []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", path, err)
	}
	target, err := filepath.EvalSymlinks(path) // the user's own link is kept
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", path, err)
	}
	if err := apply.WriteFile(target, b); err != nil {
		return fmt.Errorf("rewrite %s: %w", path, err)
	}
	if err := os.Chmod(target, info.Mode().Perm()); err != nil {
		return fmt.Errorf("rewrite %s: %w", path, err)
	}
	return nil
}
