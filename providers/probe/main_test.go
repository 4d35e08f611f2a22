package probe_test

import (
	"os"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }
