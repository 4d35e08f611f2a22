package providers_test

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/providers/nft"
	"github.com/vmnet/vmnet/schema"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// inHost opens a host in a fresh network namespace, with its files below a directory of its own.
func inHost(t *testing.T, test func(h *providers.Host, root string)) {
	t.Helper()
	root := t.TempDir()
	world.InNewHost(t, func() {
		h, err := providers.Open(providers.Options{FileRoot: root, Sysctls: []string{"net.ipv4.tcp_mtu_probing"}})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		test(h, root)
	})
}

func run(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

func read(t *testing.T, h *providers.Host) *schema.State {
	t.Helper()
	s, err := h.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// One of every kind that can be there is read, and looking at the host twice changes nothing, by every judge there is.
func TestReadWithoutTraces(t *testing.T) {
	t.Parallel()
	inHost(t, func(h *providers.Host, root string) {
		run(t, `
			ip link add br0 type bridge && ip link set br0 up && ip addr add 192.0.2.1/24 dev br0 &&
			ip rule add pref 7 lookup 7 && ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev br0 nud permanent &&
			nft 'table inet t { chain c { type filter hook input priority 0; tcp dport 22 accept; }; }' &&
			XTABLES_LOCKFILE=/run/xtables.lock iptables-legacy -A FORWARD -d 192.168.1.100 -p tcp --dport 22 -j DROP`)
		rules := filepath.Join(root, "etc/iptables/rules.v4")
		if err := os.MkdirAll(filepath.Dir(rules), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(rules, []byte("*filter\nCOMMIT\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		judge := func() string {
			out, err := exec.Command("sh", "-c", "ip link; ip addr; ip route show table all; ip rule; ip -6 rule; nft list ruleset; cat /proc/net/ip_tables_names; cat /proc/modules; sysctl -a 2>/dev/null | grep -E '^net.(ipv4|bridge)'").CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			return string(out)
		}
		before := judge()
		for range 100 { // carrier and IPv6 addresses come late
			time.Sleep(20 * time.Millisecond)
			now := judge()
			if now == before {
				break
			}
			before = now
		}
		s := read(t, h)
		again := read(t, h)
		if after := judge(); after != before {
			t.Errorf("reading changed the host: (-before +after)\n%s", cmp.Diff(before, after))
		}
		if d := schema.Diff(s, again); len(d) > 0 {
			t.Errorf("read twice: %v", d)
		}
		if len(s.Blind) > 0 || s.Generation == 0 || s.Unstable {
			t.Errorf("blind %v, generation %d, unstable %v", s.Blind, s.Generation, s.Unstable)
		}
		for _, k := range []schema.Kind{
			schema.KindLink, schema.KindAddress, schema.KindRoute, schema.KindPolicyRule, schema.KindNeighbour, schema.KindFDB, schema.KindSysctl,
			schema.KindTable, schema.KindXTable, schema.KindFile,
		} {
			if len(s.Refs(k)) == 0 {
				t.Errorf("nothing of kind %s was read", k)
			}
		}
		if _, ok := s.Sysctl("net.ipv4.tcp_mtu_probing"); !ok {
			t.Error("a sysctl asked for was not read")
		}
		if v, _ := s.Sysctl("net.ipv4.conf.br0.rp_filter"); v != "0" {
			t.Errorf("net.ipv4.conf.br0.rp_filter = %q", v)
		}
	})
}

// Changes of every kind there and back, each to the provider of its kind.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	inHost(t, func(h *providers.Host, _ string) {
		start := read(t, h)
		changes := []schema.Change{
			{After: &schema.Link{Name: "br0", Type: "bridge", MAC: new("02:00:00:00:00:b0"), Up: new(true), Alias: new("vmnet:nat.lab")}},
			{After: &schema.Neighbour{Link: "br0", IP: addr("192.0.2.9"), MAC: new("02:00:00:00:00:09"), Permanent: new(true)}},
			{After: &schema.PolicyRule{Family: "ip", Priority: 7, Table: 7}},
			{Before: &schema.Sysctl{Key: "net.ipv4.conf.br0.rp_filter", Value: "0"}, After: &schema.Sysctl{Key: "net.ipv4.conf.br0.rp_filter", Value: "2"}},
			{Before: &schema.Sysctl{Key: "net.ipv4.ip_local_port_range", Value: "32768 60999"}, After: &schema.Sysctl{Key: "net.ipv4.ip_local_port_range", Value: "40000 60999"}},
			{After: &schema.Table{Family: "inet", Name: "vmnet"}},
			{After: &schema.Route{Table: 7, Dst: prefix("198.51.100.0/24"), Type: "blackhole", Proto: new(uint8(schema.ProtoVMNET))}},
		}
		for i, c := range changes {
			changes[i].Ref = c.After.Ref()
			if err := h.Do(t.Context(), changes[i]); err != nil {
				t.Fatal(err)
			}
		}
		s := read(t, h)
		for _, c := range changes {
			if live := s.Get(c.Ref); live == nil || len(schema.Compare(live, c.After)) > 0 {
				t.Errorf("%s is %v", c.Ref, live)
			}
		}
		for _, c := range slices.Backward(changes) {
			if c.Before == nil {
				c.After = s.Get(c.Ref)
			}
			if err := h.Do(t.Context(), c.Inverse()); err != nil {
				t.Fatal(err)
			}
		}
		if d := schema.Diff(start, read(t, h)); len(d) > 0 {
			t.Errorf("at the end: %v", d)
		}
	})
}

func TestWhoDoesWhat(t *testing.T) {
	t.Parallel()
	inHost(t, func(h *providers.Host, _ string) {
		for _, o := range []schema.Object{
			&schema.Listener{Proto: "tcp", Addr: addr("0.0.0.0"), Port: 22},
		} {
			err := h.Do(t.Context(), schema.Change{Ref: o.Ref(), After: o})
			if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "only reads") {
				t.Errorf("%s: %v", o.Ref(), err)
			}
		}
		err := h.Do(t.Context(), schema.Change{Ref: schema.Ref{Kind: "teapot", Name: "x"}})
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("teapot: %v", err)
		}
	})
}

// Without privileges the firewall cannot be seen; that is said, and the rest is read. Privileges belong to threads, and a
// Host reads on several: so this takes a process of its own.
func TestBlind(t *testing.T) {
	const child = "VMNET_TEST_BLIND"
	if os.Getenv(child) != "" {
		blind(t)
		return
	}
	t.Parallel()
	world.InNewHost(t, func() {
		run(t, "ip link add br0 type bridge")
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestBlind$")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

func blind(t *testing.T) {
	t.Helper()
	h, err := providers.Open(providers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	l := &schema.Link{Name: "br1", Type: "bridge"}
	if err := h.Do(t.Context(), schema.Change{Ref: l.Ref(), After: l}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("made a link: %v", err)
	}
	s := read(t, h)
	if !slices.Contains(s.Blind, "nftables") {
		t.Errorf("blind: %v", s.Blind)
	}
	if s.Link("br0") == nil || len(s.Refs(schema.KindSysctl)) == 0 {
		t.Error("what anybody may read was not read")
	}
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// A ruleset that never comes to rest is read all the same, and the state says that nothing rests on it.
func TestReadWhileRulesChange(t *testing.T) {
	t.Parallel()
	inHost(t, func(h *providers.Host, _ string) {
		writer, err := nft.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer writer.Close()
		run(t, `
			nft add table inet slow && nft add chain inet slow c &&
			for i in $(seq 20); do
				yes "add rule inet slow c ip saddr 192.0.2.1 tcp dport 22 counter accept" | head -200 | nft -f - || exit 1
			done`)
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			tab := &schema.Table{Family: "ip6", Name: "busy"}
			c := schema.Change{Ref: tab.Ref(), After: tab}
			for {
				select {
				case <-stop:
					return
				default:
					_ = writer.Do(context.Background(), c)
					c = c.Inverse()
				}
			}
		}()
		defer func() { close(stop); <-done }()
		for range 5 {
			if s := read(t, h); s.Unstable {
				if len(s.Blind) != 1 || !strings.Contains(s.Blind[0], "kept changing") {
					t.Errorf("blind %q", s.Blind)
				}
				return
			}
		}
		t.Error("five readings, and each found the rules at rest")
	})
}

// A filter of tc can stop packets where nobody looks: it stands in the state as a chain with a rule that cannot be read.
func TestLinkPrograms(t *testing.T) {
	t.Parallel()
	inHost(t, func(h *providers.Host, _ string) {
		run(t, `
			ip link add v0 type veth peer name v1 && tc qdisc add dev v0 clsact &&
			tc filter add dev v0 egress protocol ip u32 match ip src 192.0.2.1 flowid 1:1`)
		tab, _ := read(t, h).Get(schema.Ref{Kind: schema.KindXTable, Name: "netdev programs"}).(*schema.Table)
		if tab == nil || len(tab.Chains) != 1 || tab.Chains[0].Hook != "egress" || !slices.Equal(tab.Chains[0].Devices, []string{"v0"}) {
			t.Fatalf("%+v", tab)
		}
		if got, want := tab.Chains[0].Rules[0].Text, "tc u32 on v0, which cannot be read"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// Whoever changes rules while the host is watched is named, and its tables.
func TestWriters(t *testing.T) {
	t.Parallel()
	inHost(t, func(h *providers.Host, _ string) {
		if err := h.Watch(); err != nil {
			t.Fatal(err)
		}
		before := read(t, h).Generation
		run(t, "nft add table ip lab")
		w, complete := h.Writers(before)
		if len(w) != 1 || !complete || w[0].Name != "nft" || !slices.Equal(w[0].Tables, []schema.Ref{schema.TableRef("ip", "lab")}) {
			t.Errorf("writers: %v, complete %t", w, complete)
		}
	})
}
