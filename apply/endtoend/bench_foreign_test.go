package endtoend_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// foreignShapes are rules of somebody else's in front of a host's FORWARD chain: as text for a tool, by number. None stops what the file
// of the benchmarks asks for; "answers" are about ports that clients have, and so about answers from the outside, which no index leaves out.
var foreignShapes = map[string]func(i int) string{
	"addresses": func(i int) string {
		return fmt.Sprintf("-s 172.%d.%d.%d/32 -p tcp --dport %d -j DROP", 16+i/4096, i/256%16, i%256, 100+i%60000)
	},
	"prefixes": func(i int) string {
		return fmt.Sprintf("-s 172.%d.%d.0/24 -p tcp --dport %d -j DROP", 16+i>>8&15, i%256, 100+i%30000)
	},
	"answers": func(i int) string {
		return fmt.Sprintf("-s 172.%d.%d.0/24 -p tcp --dport %d -j ACCEPT", 16+i>>8&15, i%256, 33000+i%30000)
	},
}

// BenchmarkForeignRules plans NAT networks on a host with 10,000 foreign rules in its FORWARD chain: the time of a plan in which nothing
// is to be done is that of judging every expectation of the networks against every rule. The goal is a plan/read below 2 for 100
// networks. Garbage is collected as seldom as in the command.
func BenchmarkForeignRules(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for _, bench := range []struct {
		shape    string
		networks int
	}{{"addresses", 1}, {"addresses", 100}, {"prefixes", 100}, {"answers", 1}} {
		b.Run(fmt.Sprintf("%s/networks=%d", bench.shape, bench.networks), func(b *testing.B) {
			world.InNewHost(b, func() { benchForeignRules(b, bench.networks, foreignShapes[bench.shape]) })
		})
	}
}

func benchForeignRules(b *testing.B, networks int, shape func(i int) string) {
	b.Helper()
	w, err := world.New(world.Spec{})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	src, devices := manyNetworks(networks)
	if err := makeDevices(devices); err != nil {
		b.Fatal(err)
	}
	h, desired := benchHost(b, src)
	defer h.Close()
	live, err := h.Read(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	first, err := plan.New(live, desired, plan.Options{ID: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	benchApply(b, h, first)
	if err := foreignRules(b.Context(), "FORWARD", 10_000, shape); err != nil {
		b.Fatal(err)
	}
	measure(b, h, desired)
}

// foreignRules appends rules of a shape to a chain.
func foreignRules(ctx context.Context, chain string, n int, shape func(i int) string) error {
	var rules strings.Builder
	rules.WriteString("*filter\n")
	for i := range n {
		fmt.Fprintf(&rules, "-A %s %s\n", chain, shape(i))
	}
	rules.WriteString("COMMIT\n")
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/sbin/iptables-nft-restore")
	cmd.Stdin = strings.NewReader(rules.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("load rules: %w %s", err, out)
	}
	return nil
}

// BenchmarkMemory reads n rules of somebody else's and follows one packet through them, and says what of it stays, in bytes per rule.
func BenchmarkMemory(b *testing.B) {
	for _, n := range []int{1000, 10_000, 50_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			world.InNewHost(b, func() { benchMemory(b, n) })
		})
	}
}

func benchMemory(b *testing.B, n int) {
	b.Helper()
	h, err := providers.Open(providers.Options{FileRoot: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	if err := foreignRules(b.Context(), "OUTPUT", n, foreignShapes["addresses"]); err != nil {
		b.Fatal(err)
	}
	var state, walker float64
	for b.Loop() {
		before := heap()
		s, err := h.Read(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		read := heap()
		w := trace.New(s)
		w.Walk(trace.Flow{Src: netip.MustParseAddr("127.0.0.1"), Dst: netip.MustParseAddr("127.0.0.1"), Proto: "tcp", SrcPort: 40000, DstPort: 22})
		state, walker = read-before, heap()-read
		runtime.KeepAlive(w)
	}
	b.ReportMetric(state/float64(n), "state-B/rule")
	b.ReportMetric(walker/float64(n), "walker-B/rule")
}

// heap is what is in use, in bytes.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
