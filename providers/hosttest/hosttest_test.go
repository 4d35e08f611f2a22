package hosttest_test

import (
	"os"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

func TestFake(t *testing.T) {
	hosttest.Run(t, func(*testing.T) hosttest.Host { return &hosttest.Fake{State: hosttest.Fresh()} })
}

func TestKernel(t *testing.T) {
	hosttest.Run(t, func(t *testing.T) hosttest.Host { return hosttest.Netns(t) })
}
