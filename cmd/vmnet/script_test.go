package main

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// The test binary is also the program: a script that runs vmnet runs this binary under that name. Everything else runs in
// namespaces of its own, as root of a user namespace where the caller is not root.
func TestMain(m *testing.M) {
	testscript.Main(inNamespaces{m}, map[string]func(){"vmnet": main})
}

type inNamespaces struct{ m *testing.M }

func (n inNamespaces) Run() int { return world.Main(n.m) }

var update = flag.Bool("update", false, "rewrite the expected outputs in testdata")

// TestScripts runs testdata/*.txtar, each on a host of its own. Beside testscript's commands they know
//
//	exits CODE vmnet …    run and compare the exit code; stdout and stderr are matched as after exec
//	jq FIELD VALUE        the JSON on stdout has this value at a path such as checks.0.before.status
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			t.Parallel()
			world.InNewHost(t, func() {
				testscript.RunT(here{t}, testscript.Params{
					Files: []string{f}, Cmds: verbs(), Setup: setup, RequireExplicitExec: true, RequireUniqueNames: true,
					UpdateScripts: *update, ContinueOnError: true,
				})
			})
		})
	}
}

// here runs a script on the thread that made the host: commands inherit the namespaces of the thread that starts them.
type here struct{ *testing.T }

func (h here) Run(_ string, f func(testscript.T)) { f(h) }
func (h here) Parallel()                          {}
func (h here) Verbose() bool                      { return testing.Verbose() }

func setup(e *testscript.Env) error {
	e.Setenv("VMNET_RUNTIME_DIR", filepath.Join(e.WorkDir, ".run"))
	e.Setenv("VMNET_FILE_ROOT", filepath.Join(e.WorkDir, ".root"))
	return os.MkdirAll(filepath.Join(e.WorkDir, ".root"), 0o755)
}

func verbs() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "jq": jq}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE program argument…")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		ts.Fatalf("exits: %v", err)
	}
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("exits: %v", err)
	}
	if got != want {
		ts.Fatalf("%s: exit code %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func jq(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: jq field.0.field value")
	}
	got, err := field([]byte(ts.ReadFile("stdout")), args[0])
	if err != nil {
		ts.Fatalf("jq %s: %v", args[0], err)
	}
	if (got == args[1]) == neg {
		ts.Fatalf("jq %s: %s, want %s (negated: %t)", args[0], got, args[1], neg)
	}
}
