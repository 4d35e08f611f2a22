package endtoend_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"runtime/pprof"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/config"
)

func BenchmarkZZDump(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			world.InNewHost(b, func() {
				w, err := world.New(world.Spec{})
				if err != nil {
					b.Fatal(err)
				}
				defer w.Close()
				src, devices := manyNetworks(n)
				t0 := time.Now()
				if err := makeDevices(devices); err != nil {
					b.Fatal(err)
				}
				h, desired := benchHost(b, src)
				defer h.Close()
				live, err := h.Read(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				fmt.Println("devices", time.Since(t0))
				t0 = time.Now()
				j, _ := json.Marshal(live)
				os.WriteFile(fmt.Sprintf("/tmp/speed/bare%d.json", n), j, 0o600)
				first, err := plan.New(live, desired, plan.Options{ID: "bench"})
				if err != nil {
					b.Fatal(err)
				}
				fmt.Println("first plan", time.Since(t0))
				t0 = time.Now()
				benchApply(b, h, first)
				fmt.Println("apply", time.Since(t0))
				if err := foreignRules(b.Context(), 10000); err != nil {
					b.Fatal(err)
				}
				if live, err = h.Read(b.Context()); err != nil {
					b.Fatal(err)
				}
				j, _ = json.Marshal(live)
				os.WriteFile(fmt.Sprintf("/tmp/speed/live%d.json", n), j, 0o600)
				os.WriteFile(fmt.Sprintf("/tmp/speed/n%d.vmnet.hcl", n), []byte(src), 0o600)
			})
		})
	}
}

func BenchmarkZZPlan(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var live schema.State
			j, err := os.ReadFile(fmt.Sprintf("/tmp/speed/"+cmp.Or(os.Getenv("LIVE"), "live")+"%d.json", n))
			if err != nil {
				b.Skip(err)
			}
			if err := json.Unmarshal(j, &live); err != nil {
				b.Fatal(err)
			}
			src, _ := manyNetworks(n)
			os.WriteFile(fmt.Sprintf("/tmp/speed/n%d.vmnet.hcl", n), []byte(src), 0o600)
			res, diags := config.Load(fmt.Sprintf("/tmp/speed/n%d.vmnet.hcl", n), config.Options{Version: "0.1.0"})
			if diags.HasErrors() {
				b.Fatal(diags)
			}
			if os.Getenv("STOP") != "" {
				f, _ := os.Create("/tmp/speed/stop.prof")
				pprof.StartCPUProfile(f)
				time.AfterFunc(40*time.Second, func() { pprof.StopCPUProfile(); os.Exit(0) })
			}
			b.ResetTimer()
			c0 := cpuTime()
			for b.Loop() {
				p, err := plan.New(&live, res.Desired, plan.Options{ID: "bench"})
				if err != nil {
					b.Fatal(err)
				}
				if os.Getenv("SHOW") != "" {
					pj, _ := json.MarshalIndent(p, "", " ")
					os.WriteFile(fmt.Sprintf("/tmp/speed/%s%d.json", os.Getenv("SHOW"), n), pj, 0o600)
				}
				b.ReportMetric(float64(len(p.Checks)), "checks")
				b.ReportMetric(float64(len(p.Steps)), "steps")
			}
			b.ReportMetric(float64((cpuTime()-c0).Milliseconds())/float64(b.N), "cpu-ms")
		})
	}
}

func cpuTime() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
