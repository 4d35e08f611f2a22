package trace_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// TestMain puts the tests into namespaces of their own, but not the workers of a fuzz run: they are bound to their parent
// by file descriptors.
func TestMain(m *testing.M) {
	for _, a := range os.Args {
		if strings.HasPrefix(a, "-test.fuzz=") && a != "-test.fuzz=" || strings.HasPrefix(a, "-test.fuzzworker") {
			os.Exit(m.Run())
		}
	}
	if os.Getenv("VMNET_WORLD_MAIN") == "" {
		fmt.Fprintln(os.Stderr, "trace: the kernel is the judge, in namespaces of this test's own")
	}
	os.Exit(world.Main(m))
}
