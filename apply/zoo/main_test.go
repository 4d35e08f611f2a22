package zoo_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmnet/vmnet/apply/zoo"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers/hosttest/guest"
)

var (
	everything = flag.Bool("zoo.all", false, "run every case, and many at once; write the table")
	update     = flag.Bool("update", false, "write the table")
	seedFlag   = flag.Uint64("zoo.seed", 0, "which cases are run at once; 0 for new ones")
	parallel   = 6 // most of a case is waiting
)

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set(fmt.Sprint(parallel)); err != nil {
			panic(err)
		}
	}
	os.Exit(guest.Main(m))
}

func load(t *testing.T) []*zoo.Case {
	t.Helper()
	cases, err := zoo.Load("cases")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, c := range plan.Codes() {
		known[c.Code] = true
	}
	for _, c := range cases {
		c.Await(known)
	}
	return cases
}

// often are the cases of slow beds that every test runs; the others are run by make zoo.
var often = map[string]bool{"FW-01/docker": true, "FW-12": true}

// clock keeps how long cases took to heal.
type clock struct {
	sync.Mutex
	took map[string]time.Duration
}

func (c *clock) set(id string, d time.Duration) {
	c.Lock()
	defer c.Unlock()
	c.took[id] = d
}

// TestCases runs every case on its own.
func TestCases(t *testing.T) {
	measured := &clock{took: map[string]time.Duration{}}
	t.Run("all", func(t *testing.T) {
		for _, c := range load(t) {
			if c.Outcome == zoo.Uncovered || c.Bed == zoo.SecondKernel || c.Bed == zoo.Neighbour && !*everything && !often[c.Name()] {
				continue
			}
			t.Run(c.Name(), func(t *testing.T) {
				t.Parallel()
				measured.set(c.Name(), run(t, c))
			})
		}
	})
	if *everything {
		keep(t, measured.took)
	}
}

// TestTogether breaks a host in two ways at once, or three: all are named, all are repaired.
func TestTogether(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	r := rand.New(rand.NewPCG(seed, 0))
	var fit []*zoo.Case
	for _, c := range load(t) {
		if c.Outcome == zoo.Repaired && c.Bed == zoo.Namespace && c.Alone == "" {
			fit = append(fit, c)
		}
	}
	n := 6
	if *everything {
		n = 60
	}
	for range n {
		some := choose(r, fit, 2+r.IntN(2))
		var names []string
		for _, c := range some {
			names = append(names, strings.ReplaceAll(c.Name(), "/", "."))
		}
		t.Run(strings.Join(names, "+"), func(t *testing.T) {
			t.Parallel()
			t.Logf("-zoo.seed=%d", seed)
			run(t, some...)
		})
	}
}

// TestThreeLayers breaks a port, the routing and the firewall at once: one plan names all three, one apply heals them.
func TestThreeLayers(t *testing.T) {
	t.Parallel()
	var some []*zoo.Case
	for _, c := range load(t) {
		if c.Name() == "L2-03" || c.Name() == "L3-01" || c.Name() == "FW-01" {
			some = append(some, c)
		}
	}
	if len(some) != 3 {
		t.Fatalf("%d of three cases are there", len(some))
	}
	run(t, some...)
}

// choose takes n cases that can be run together.
func choose(r *rand.Rand, fit []*zoo.Case, n int) []*zoo.Case {
	for {
		some := []*zoo.Case{fit[r.IntN(len(fit))]}
		for range 20 * n {
			c := fit[r.IntN(len(fit))]
			ok := true
			for _, o := range some {
				ok = ok && zoo.Together(o, c)
			}
			if ok {
				some = append(some, c)
			}
			if len(some) == n {
				return some
			}
		}
		if len(some) > 1 {
			return some
		}
	}
}

// TestGuest runs the cases that need what this kernel lacks, on a second one. One boot serves them all.
func TestGuest(t *testing.T) {
	if !*everything {
		t.Skip("interpreting the second kernel takes minutes: make zoo runs it")
	}
	guest.Run(t, func() {
		for _, c := range load(t) {
			if c.Bed == zoo.SecondKernel && c.Outcome != zoo.Uncovered {
				t.Run(c.Name(), func(t *testing.T) { run(t, c) })
			}
		}
	})
}
