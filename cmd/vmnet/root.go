package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/sessions"
)

// version is this program's own; required_version of a configuration is compared with it.
const version = "0.1.0"

// app is what the commands share: streams, environment and the global flags.
type app struct {
	in       io.Reader
	out, err io.Writer
	environ  []string

	chdir      string
	noColor    bool
	runtimeDir string
	stateDir   string

	processes bool // ask whose sockets and taps they are

	lost  error // the first error of writing a result
	wrote bool  // a document was written

	present *sessions.Who   // who is at this host; nil: not looked for yet
	unknown string          // why that is not known; "" where it is
	watched *providers.Host // listens to who changes the ruleset, while an apply plans; nil: nobody does
}

func newApp(s streams, environ []string) *app {
	return &app{in: s.in, out: s.out, err: s.err, environ: environ}
}

const rootHelp = `vmnet says what is wrong between your virtual machines, their host and the world, and puts it right.

A file *.vmnet.hcl says what the network must be. plan reads the live kernel, says what differs, what is broken and why,
and what it would do. apply does exactly that, proves that it worked, and takes it back if it did not. There is no state
file: the kernel is the state.

  vmnet demo                 the whole loop in a private network: no root, no risk
  vmnet plan                 what is wrong here, and what would be done
  vmnet apply                do it, after asking`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "vmnet", Short: "plan, repair and prove the network between VMs, their host and the world", Long: rootHelp,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.start() },
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	f := root.PersistentFlags()
	f.StringVarP(&a.chdir, "chdir", "C", "", "change to this directory first")
	f.BoolVar(&a.noColor, "no-color", false, "plain text (also: NO_COLOR, TERM=dumb)")
	f.StringVar(&a.runtimeDir, "runtime-dir", "", "where the lock lives")
	f.StringVar(&a.stateDir, "state-dir", "", "where changes under way and the history live")
	_ = f.MarkHidden("runtime-dir") // fails for an unknown flag only
	_ = f.MarkHidden("state-dir")
	groups := []*cobra.Group{{ID: "everyday", Title: "Everyday:"}, {ID: "understand", Title: "Understand:"}, {ID: "language", Title: "The language:"}}
	root.AddGroup(groups...)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("everyday", a.planCmd(), a.applyCmd(), a.confirmCmd(), a.rollbackCmd(), a.historyCmd(), a.checkCmd(), a.demoCmd())
	add("understand", a.doctorCmd(), a.showCmd(), a.traceCmd(), a.explainCmd(), a.snapshotCmd())
	add("language", a.validateCmd(), a.fmtCmd())
	root.AddCommand(a.versionCmd(), a.watchdogCmd())
	return root
}

// start runs before every command.
func (a *app) start() error {
	if a.runtimeDir == "" {
		a.runtimeDir = a.env("VMNET_RUNTIME_DIR")
	}
	if a.runtimeDir == "" {
		a.runtimeDir = apply.DefaultRun
	}
	if a.stateDir == "" {
		a.stateDir = a.env("VMNET_STATE_DIR")
	}
	if a.chdir == "" {
		return nil
	}
	if err := os.Chdir(a.chdir); err != nil {
		return usage(err)
	}
	return nil
}

func (a *app) env(name string) string {
	for _, e := range slices.Backward(a.environ) { // the last one counts
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// view says how to write to w: colours on a terminal that wants them, and its width.
func (a *app) view(w io.Writer) view.Options {
	f, ok := w.(*os.File)
	if !ok {
		return view.Options{}
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil { // no terminal
		return view.Options{}
	}
	dumb := a.noColor || a.env("NO_COLOR") != "" || a.env("VMNET_NO_COLOR") != "" || a.env("TERM") == "dumb"
	return view.Options{Color: !dumb, Width: min(int(size.Col), 120)}
}

// outText writes a result. What cannot be written is remembered: it is the command's error in the end.
func (a *app) outText(s string) {
	if _, err := io.WriteString(a.out, s); err != nil && a.lost == nil {
		a.lost = err
	}
}

// errText writes progress and diagnostics.
func (a *app) errText(s string) { _, _ = io.WriteString(a.err, s) }

// outJSON writes a document that a view made.
func (a *app) outJSON(b []byte, err error) error {
	if err != nil {
		return failed(err)
	}
	a.outText(string(b))
	return nil
}

// newID names a plan: short enough to be typed.
func newID() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// path is the configuration a command is about: its argument, or the current directory.
func path(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

// format adds -o and --json to a command; the pointer is set when the flags are read.
func format(f *pflag.FlagSet, kinds ...string) *string {
	out := &choice{value: kinds[0], allowed: kinds}
	f.VarP(out, "output", "o", strings.Join(kinds, ", "))
	f.BoolFunc("json", "the same as -o json", func(string) error { return out.Set("json") })
	return &out.value
}

// choice is a flag with few values.
type choice struct {
	value   string
	allowed []string
}

// Set implements pflag.Value.
func (c *choice) Set(s string) error {
	if slices.Contains(c.allowed, s) {
		c.value = s
		return nil
	}
	return fmt.Errorf("want %s", strings.Join(c.allowed, ", "))
}

// String implements pflag.Value.
func (c *choice) String() string { return c.value }

// Type implements pflag.Value.
func (c *choice) Type() string { return "format" }

// longFlags lets long flags be given with one dash, as Terraform's users do: -out is --out, -var-file=x is --var-file=x.
func longFlags(root *cobra.Command, args []string) []string {
	known := map[string]bool{}
	learn := func(f *pflag.Flag) { known[f.Name] = true }
	root.PersistentFlags().VisitAll(learn)
	for _, c := range root.Commands() {
		c.Flags().VisitAll(learn)
	}
	out := make([]string, 0, len(args))
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && len(name) > 1 && known[name] {
			arg = "-" + arg
		}
		out = append(out, arg)
	}
	return out
}
