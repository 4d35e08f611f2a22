package endtoend_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/config"
)

// dump asks the kernel for everything of one kind and throws the answer away: the floor under any reader.
func dump(proto int, typ uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	defer unix.Close(fd)
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	msg = binary.NativeEndian.AppendUint16(msg, typ)
	msg = binary.NativeEndian.AppendUint16(msg, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	msg = append(msg, make([]byte, 8)...)
	if err := unix.Sendto(fd, append(msg, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask for dump %d: %w", typ, err)
	}
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return fmt.Errorf("read dump %d: %w", typ, err)
		}
		for b := buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			size := binary.NativeEndian.Uint32(b)
			switch binary.NativeEndian.Uint16(b[4:]) {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				return fmt.Errorf("dump %d: error %d", typ, int32(binary.NativeEndian.Uint32(b[16:])))
			}
			b = b[min(int(size+3)&^3, len(b)):]
		}
	}
}

// dumps is the bare price of everything a plan must know of a host: links, addresses, routes, rules, neighbours, FDB, and
// the nftables rules and sets, one request after the other.
func dumps(s *schema.State) error {
	rt := func(typ uint16, size int, family byte) error {
		body := make([]byte, size)
		body[0] = family
		return dump(unix.NETLINK_ROUTE, typ, body)
	}
	for _, q := range []struct {
		typ    uint16
		size   int
		family byte
	}{
		{unix.RTM_GETLINK, 16, 0},
		{unix.RTM_GETADDR, 8, 0},
		{unix.RTM_GETROUTE, 12, 0},
		{unix.RTM_GETRULE, 12, 0},
		{unix.RTM_GETNEIGH, 12, 0},
		{unix.RTM_GETNEIGH, 12, unix.AF_BRIDGE},
	} {
		if err := rt(q.typ, q.size, q.family); err != nil {
			return err
		}
	}
	families := map[string]byte{"inet": 1, "ip": 2, "ip6": 10, "bridge": 7, "arp": 3, "netdev": 5}
	for t := range schema.Each[*schema.Table](s) {
		if t.Legacy {
			continue
		}
		for _, c := range t.Chains {
			if err := nftDump(unix.NFT_MSG_GETRULE, families[t.Family], t.Name, c.Name); err != nil {
				return err
			}
		}
		for _, set := range t.Sets {
			if err := nftDump(unix.NFT_MSG_GETSETELEM, families[t.Family], t.Name, set.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func nftDump(msg int, family byte, table, name string) error {
	body := []byte{family, 0, 0, 0}
	for i, s := range []string{table, name} {
		a := binary.NativeEndian.AppendUint16(nil, uint16(4+len(s)+1))
		a = binary.NativeEndian.AppendUint16(a, uint16(i+1))
		a = append(append(a, s...), 0)
		for len(a)%4 != 0 {
			a = append(a, 0)
		}
		body = append(body, a...)
	}
	return dump(unix.NETLINK_NETFILTER, uint16(unix.NFNL_SUBSYS_NFTABLES<<8|msg), body)
}

// manyNetworks is a file of n NAT networks with ten guests each, and the guests' devices.
func manyNetworks(n int) (src string, devices []string) {
	var b strings.Builder
	b.WriteString("vmnet {\n  required_version = \">= 0.1\"\n}\n")
	for i := range n {
		fmt.Fprintf(&b, "nat \"n%d\" {\n  device = \"br%d\"\n  subnet = \"10.%d.%d.0/24\"\n}\n", i, i, i/250, i%250)
		for g := range 10 {
			dev := fmt.Sprintf("v%d-%d", i, g)
			devices = append(devices, dev)
			fmt.Fprintf(&b, "guest \"g%d_%d\" {\n  network = nat.n%d\n  address = \"10.%d.%d.%d\"\n  device = %q\n}\n", i, g, i, i/250, i%250, 10+g, dev)
		}
		fmt.Fprintf(&b, "forward \"f%d\" {\n  tcp = %d\n  to = guest.g%d_0\n  to_port = 22\n}\n", i, 10000+i, i)
	}
	return b.String(), devices
}

func makeDevices(names []string) error {
	h, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	for _, n := range names {
		a := netlink.NewLinkAttrs()
		a.Name, a.NumTxQueues, a.NumRxQueues = n, 1, 1
		if err := h.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: "p" + n, PeerNumTxQueues: 1, PeerNumRxQueues: 1}); err != nil {
			return fmt.Errorf("make %s: %w", n, err)
		}
		for _, end := range []string{n, "p" + n} {
			l, err := h.LinkByName(end)
			if err == nil {
				err = h.LinkSetUp(l)
			}
			if err != nil {
				return fmt.Errorf("take up %s: %w", end, err)
			}
		}
	}
	return nil
}

// BenchmarkNetworks reads, plans and applies 10, 100 and 1,000 networks of ten guests; each is reported in milliseconds
// and as a ratio to the bare dumps of the same state in the same run.
func BenchmarkNetworks(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			world.InNewHost(b, func() { benchNetworks(b, n) })
		})
	}
}

func benchNetworks(b *testing.B, n int) {
	b.Helper()
	w, err := world.New(world.Spec{})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	src, devices := manyNetworks(n)
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
	start := time.Now()
	benchApply(b, h, first)
	took := time.Since(start)
	measure(b, h, desired)
	b.ReportMetric(float64(took.Milliseconds()), "apply-ms")
	b.ReportMetric(float64(len(first.Steps)), "steps")
}

func benchHost(b *testing.B, src string) (*providers.Host, *schema.Desired) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "bench.vmnet.hcl")
	if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
		b.Fatal(err)
	}
	res, diags := config.Load(path, config.Options{Version: "0.1.0"})
	if diags.HasErrors() {
		b.Fatal(diags)
	}
	h, err := providers.Open(providers.Options{FileRoot: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	return h, res.Desired
}

func benchApply(b *testing.B, h *providers.Host, p *plan.Plan) {
	b.Helper()
	dir := b.TempDir()
	lock, err := apply.Acquire(b.Context(), apply.DirsAt(dir, ""), apply.Holder{}, time.Second)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := lock.Release(); err != nil {
			b.Error(err)
		}
	}()
	if _, err := apply.Run(b.Context(), h, p, lock.Journal("bench"), apply.Options{}); err != nil {
		b.Fatal(err)
	}
}

// measure takes turns between the bare dumps, reading, and planning, and reports the median of each and of their ratios. Those by the
// processors' time ("-cpu") hardly count what else the machine does.
func measure(b *testing.B, h *providers.Host, desired *schema.Desired) {
	b.Helper()
	live, err := h.Read(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	var clock, cpu [3][]float64 // dumps, read, plan
	took := func(i int, do func() error) {
		start, used := time.Now(), processorTime(b)
		if err := do(); err != nil {
			b.Fatal(err)
		}
		clock[i] = append(clock[i], time.Since(start).Seconds())
		cpu[i] = append(cpu[i], (processorTime(b) - used).Seconds())
	}
	b.ResetTimer()
	for b.Loop() {
		took(0, func() error { return dumps(live) })
		took(1, func() (err error) { live, err = h.Read(b.Context()); return err })
		took(2, func() error {
			p, err := plan.New(live, desired, plan.Options{ID: "bench"})
			if err == nil && !p.Empty() {
				b.Fatalf("the plan is not empty:\n%s", steps(p))
			}
			return err
		})
	}
	ratio := func(of, to []float64) float64 {
		out := make([]float64, len(of))
		for i := range of {
			out[i] = of[i] / to[i]
		}
		return median(out)
	}
	for i, name := range []string{"dumps", "read", "plan"} {
		b.ReportMetric(1000*median(slices.Clone(clock[i])), name+"-ms")
		b.ReportMetric(1000*median(slices.Clone(cpu[i])), name+"-cpu-ms")
	}
	b.ReportMetric(ratio(clock[1], clock[0]), "read/dumps")
	b.ReportMetric(ratio(clock[2], clock[1]), "plan/read")
	b.ReportMetric(ratio(cpu[2], cpu[1]), "plan/read-cpu")
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
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
