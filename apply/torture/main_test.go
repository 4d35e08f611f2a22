// Package torture_test proves that an apply cannot lock anybody out: it runs the real program on the real kernel, on random
// hosts with random configurations, and kills it, its watchdog, its disk and its ground at every moment. Afterwards the host
// must be as before or as planned, the program must have said which, and the next apply must converge.
//
// TORTURE is the number of moments (make torture: 1000), TORTURE_SEED repeats a run: each moment has a seed of its own, which
// is printed with what failed.
package torture_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/guest"
)

// programMark names the program under test for the process inside the namespaces.
const programMark = "VMNET_TORTURE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(refusedMark) != "" {
		fmt.Fprintln(os.Stderr, "FAIL:", beRefused()) // it comes back with an error only
		os.Exit(1)
	}
	if os.Getenv(programMark) != "" || os.Getpid() == 1 { // the first process of a guest has nothing but its files
		os.Exit(guest.Main(m))
	}
	os.Exit(built(func() int { return guest.Main(m) }))
}

// built runs f with the program built: static, as it is released.
func built(f func() int) int {
	dir, err := os.MkdirTemp("", "vmnet-torture")
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // left in the folder for temporary files at worst
	path := filepath.Join(dir, "vmnet")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-o", path, "github.com/vmnet/vmnet/cmd/vmnet")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: build the program:", err)
		return 1
	}
	if err := os.Setenv(programMark, path); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		return 1
	}
	return f()
}

// program is the program under test.
func program() string { return os.Getenv(programMark) }
