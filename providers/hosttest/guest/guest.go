package guest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// stageMark tells the test binary where it runs: unset on the machine, else one of the stages.
const (
	stageMark   = "VMNET_GUEST"
	stageInit   = "init"   // as the guest's first process
	stageInside = "inside" // as the test in the guest
)

// Main runs tests as world.Main does, and is the guest's first process there.
func Main(m interface{ Run() int }) int {
	if os.Getenv(stageMark) == stageInit && os.Getpid() == 1 {
		beInit()
	}
	return world.Main(m)
}

// Inside tells whether the caller runs on the second kernel.
func Inside() bool { return os.Getenv(stageMark) == stageInside }

// Run runs fn on the second kernel: the calling test is started again there, and fn is called when it gets here. What the
// test does before is done on both kernels. The result of the test there is the result here.
func Run(t *testing.T, fn func()) {
	t.Helper()
	if Inside() {
		fn()
		return
	}
	k, err := findKernel()
	if err != nil {
		t.Fatal(err)
	}
	deadline, ok := t.Deadline()
	if !ok {
		deadline = time.Now().Add(10 * time.Minute)
	}
	b := boot{kernel: k, args: arguments(t.Name(), os.Args[1:], deadline), dir: t.TempDir(), out: t.Output(), deadline: deadline}
	code, err := b.run(t.Context())
	switch {
	case err != nil:
		t.Fatal(err)
	case code != 0:
		t.Fatalf("failed in the guest (exit status %d)", code)
	}
}

// arguments are those of the test binary in the guest: the same test, its subtests as asked for here, and flags of the test's
// own. Profiles and logs of the go command stay outside.
func arguments(name string, given []string, deadline time.Time) []string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + p + "$"
	}
	args := []string{"-test.v=true", fmt.Sprintf("-test.timeout=%s", time.Until(deadline).Round(time.Second))}
	for _, a := range given {
		flag, value, _ := strings.Cut(a, "=")
		switch {
		case flag == "-test.run":
			asked := strings.Split(value, "/")
			if len(asked) > len(parts) {
				parts = append(parts, asked[len(parts):]...)
			}
		case flag == "-test.short" || !strings.HasPrefix(flag, "-test."):
			args = append(args, a)
		}
	}
	return append(args, "-test.run="+strings.Join(parts, "/"))
}

// environment is what the test in the guest inherits.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "VMNET_WORLD_") {
			env = append(env, e)
		}
	}
	return append(env, stageMark+"="+stageInside)
}
