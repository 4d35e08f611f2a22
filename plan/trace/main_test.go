package trace_test

import (
	"os"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/guest"
)

// TestMain puts the tests into namespaces of their own, but not the workers of a fuzz run: they are bound to their parent
// by file descriptors.
func TestMain(m *testing.M) {
	for _, a := range os.Args {
		if strings.HasPrefix(a, "-test.fuzz=") && a != "-test.fuzz=" || strings.HasPrefix(a, "-test.fuzzworker") {
			os.Exit(m.Run())
		}
	}
	os.Exit(guest.Main(m))
}
