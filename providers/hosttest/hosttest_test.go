package hosttest_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

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

// TestDiffer compares random changes on the kernel and in sim. HOSTTEST_SEED and HOSTTEST_TIME repeat or lengthen a run.
func TestDiffer(t *testing.T) {
	limit := 4 * time.Second
	if s := os.Getenv("HOSTTEST_TIME"); s != "" {
		var err error
		if limit, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	seeds := []uint64{rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64()}
	if s := os.Getenv("HOSTTEST_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = []uint64{seed}
	}
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			hosttest.Differ(t, hosttest.Netns(t), seed, limit)
		})
	}
}
