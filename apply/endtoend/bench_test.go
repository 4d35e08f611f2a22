package endtoend_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// measure takes turns between the bare dumps, reading, and planning, and reports the ratios.
func measure(b *testing.B, h *providers.Host, desired *schema.Desired) {
	b.Helper()
	var bare, read, planned time.Duration
	live, err := h.Read(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for b.Loop() {
		t0 := time.Now()
		if err := dumps(live); err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		if live, err = h.Read(b.Context()); err != nil {
			b.Fatal(err)
		}
		t2 := time.Now()
		p, err := plan.New(live, desired, plan.Options{ID: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		if !p.Empty() {
			b.Fatalf("the plan is not empty:\n%s", steps(p))
		}
		bare, read, planned = bare+t1.Sub(t0), read+t2.Sub(t1), planned+time.Since(t2)
	}
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(b.N) }
	b.ReportMetric(per(bare), "dumps-ms")
	b.ReportMetric(per(read), "read-ms")
	b.ReportMetric(per(planned), "plan-ms")
	b.ReportMetric(float64(read)/float64(bare), "read/dumps")
	b.ReportMetric(float64(read+planned)/float64(bare), "read+plan/dumps")
	b.ReportMetric(float64(planned)/float64(read), "plan/read")
}

// BenchmarkForeignRules plans 1 and 100 NAT networks on a host with 10,000 foreign rules in its FORWARD chain: the time of a
// plan in which nothing is to be done is that of judging every expectation of the networks against every rule.
func BenchmarkForeignRules(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("networks=%d", n), func(b *testing.B) {
			world.InNewHost(b, func() { benchForeignRules(b, n) })
		})
	}
}

func benchForeignRules(b *testing.B, networks int) {
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
	if err := foreignRules(b.Context(), 10_000); err != nil {
		b.Fatal(err)
	}
	measure(b, h, desired)
}

// foreignRules appends rules about other networks to FORWARD.
func foreignRules(ctx context.Context, n int) error {
	var rules strings.Builder
	rules.WriteString("*filter\n")
	for i := range n {
		fmt.Fprintf(&rules, "-A FORWARD -s 172.%d.%d.%d/32 -p tcp --dport %d -j DROP\n", 16+i/4096, i/256%16, i%256, 100+i%60000)
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
