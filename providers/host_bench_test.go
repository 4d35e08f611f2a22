package providers_test

import (
	"encoding/binary"
	"fmt"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// snapshotRules is how many rules of others the host of BenchmarkSnapshot has.
const snapshotRules = 10000

// BenchmarkSnapshot reads a host with 10,000 foreign rules, in turns with the bare netlink dump of the same rules into a large buffer:
// "x-bare-dump" is the best time of the one divided by the best of the other, so that what else the machine does counts little;
// "x-bare-cpu" divides what the processors worked, which two of them share out. Garbage is collected as seldom as in the command
// (cmd/vmnet/main.go).
func BenchmarkSnapshot(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for _, backend := range []string{"nft", "iptables-nft", "iptables-legacy"} {
		b.Run(backend, func(b *testing.B) {
			world.InNewHost(b, func() { benchmarkSnapshot(b, backend) })
		})
	}
}

func benchmarkSnapshot(b *testing.B, backend string) {
	load(b, backend)
	h, err := providers.Open(providers.Options{FileRoot: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	bare := bareNftables
	if backend == "iptables-legacy" {
		bare = bareLegacy
	}
	best := [2]time.Duration{1 << 62, 1 << 62}
	var worked [2]time.Duration
	clock := func(i int, do func()) {
		start, used := time.Now(), processorTime(b)
		do()
		best[i] = min(best[i], time.Since(start))
		worked[i] += processorTime(b) - used
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := 0
	for b.Loop() {
		clock(0, func() { bare(b) })
		clock(1, func() {
			if _, err := h.Read(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
		n++
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(best[1])/float64(best[0]), "x-bare-dump")
	b.ReportMetric(float64(worked[1])/float64(worked[0]), "x-bare-cpu")
	b.ReportMetric(float64(best[0].Microseconds())/1000, "bare-ms")
	b.ReportMetric(float64(best[1].Microseconds())/1000, "snapshot-ms")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(n)/(1<<20), "MiB/op")
}

// processorTime is what this process has used of all processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// load makes the rules "-s A -p tcp --dport P -j ACCEPT".
func load(b *testing.B, backend string) {
	b.Helper()
	var in strings.Builder
	tool := []string{backend + "-restore", "--noflush"}
	if backend == "nft" {
		tool = []string{"nft", "-f", "/dev/stdin"}
		in.WriteString("table inet foreign {\nchain c {\n")
	} else {
		in.WriteString("*filter\n")
	}
	for i := range snapshotRules {
		addr := fmt.Sprintf("10.0.%d.%d", i>>8, i&0xff)
		if backend == "nft" {
			fmt.Fprintf(&in, "ip saddr %s tcp dport %d counter accept\n", addr, i+1)
		} else {
			fmt.Fprintf(&in, "-A FORWARD -s %s -p tcp -m tcp --dport %d -j ACCEPT\n", addr, i+1)
		}
	}
	if backend == "nft" {
		in.WriteString("}\n}\n")
	} else {
		in.WriteString("COMMIT\n")
	}
	cmd := exec.Command(tool[0], tool[1:]...)
	cmd.Stdin = strings.NewReader(in.String())
	cmd.Env = append(cmd.Environ(), "XTABLES_LOCKFILE=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", tool, err, out)
	}
}

// bareNftables dumps all rules by netlink, and throws them away.
func bareNftables(b *testing.B) {
	b.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	req := make([]byte, 20)
	binary.NativeEndian.PutUint32(req, uint32(len(req)))
	binary.NativeEndian.PutUint16(req[4:], unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE)
	binary.NativeEndian.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	for rules := 0; ; {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			b.Fatal(err)
		}
		for m := buf[:n]; len(m) >= unix.NLMSG_HDRLEN; {
			if binary.NativeEndian.Uint16(m[4:]) == unix.NLMSG_DONE {
				if rules < snapshotRules {
					b.Fatalf("%d rules", rules)
				}
				return
			}
			rules++
			m = m[(binary.NativeEndian.Uint32(m)+3)&^3:]
		}
	}
}
