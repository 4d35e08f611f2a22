package probe_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/providers/probe"
	"github.com/vmnet/vmnet/schema"
)

// goal is one that is about packets of the host: "tcp/7000 203.0.113.10".
func goal(t testing.TB, what string, allow bool) schema.Goal {
	t.Helper()
	service, to, _ := strings.Cut(what, " ")
	g := schema.Goal{Address: "expect.x", Name: what, Allow: allow, Probe: true, From: schema.Endpoint{Kind: "host"}, To: schema.Endpoint{Kind: "prefix"}}
	addr := netip.MustParseAddr(to)
	g.To.Prefixes = []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}
	proto, port, _ := strings.Cut(service, "/")
	g.Service.Proto = proto
	if port != "" {
		p := netip.MustParseAddrPort("0.0.0.0:" + port).Port()
		g.Service.Ports = []schema.PortRange{{First: p, Last: p}}
	}
	return g
}

// The host has a LAN with a server that answers on port 7000, and rules of its own; the router has others.
const (
	hostRules = `table inet here {
	chain out {
		type filter hook output priority 0; policy accept;
		udp dport 7101 drop
		tcp dport 7101 drop
	}
}`
	routerRules = `table inet there {
	chain in {
		type filter hook input priority 0; policy accept;
		tcp dport 7201 drop
		tcp dport 7202 reject
		tcp dport 7203 reject with tcp reset
		tcp dport 7204 reject with icmpx type admin-prohibited
		udp dport 7202 reject
		udp dport 7204 reject with icmpx type admin-prohibited
		udp dport 7201 drop
	}
}`
)

func load(t testing.TB, rules string) error {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("nft: %v: %s", err, out)
	}
	return err
}

func inWorld(t *testing.T, f func(w *world.World)) {
	t.Helper()
	t.Parallel()
	world.InNewHost(t, func() {
		w, err := world.New(world.Spec{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if err := w.LAN().Serve(7000); err != nil {
			t.Fatal(err)
		}
		// Errors are sent once a second to each host otherwise (icmp(7), icmp_ratelimit).
		if err := errors.Join(w.LAN().Sysctl("ipv4.icmp_ratelimit", "0"), w.LAN().Sysctl("ipv6.icmp.ratelimit", "0")); err != nil {
			t.Fatal(err)
		}
		if load(t, hostRules) != nil || w.LAN().Do(func() error { return load(t, routerRules) }) != nil {
			t.FailNow()
		}
		f(w)
	})
}

// Every way in which a packet can fare, and what it says of a goal that wants it through and of one that wants it not.
var outcomes = []struct {
	what            string
	outcome         schema.ProbeOutcome
	detail          string // part of it
	allowed, denied string // the verdicts
}{
	{"tcp/7000 203.0.113.10", schema.ProbeReached, "", "ok", "fail"},
	{"tcp/7000 2001:db8:113::10", schema.ProbeReached, "", "ok", "fail"},
	{"udp/7000 203.0.113.10", schema.ProbeReached, "", "ok", "fail"},
	{"udp/7000 2001:db8:113::10", schema.ProbeReached, "", "ok", "fail"},
	{"icmp 203.0.113.10", schema.ProbeReached, "", "ok", "fail"},
	{"icmp 2001:db8:113::10", schema.ProbeReached, "", "ok", "fail"},

	{"tcp/7001 203.0.113.10", schema.ProbeRefused, "connection refused", "unknown", "unknown"},
	{"tcp/7203 203.0.113.10", schema.ProbeRefused, "connection refused", "unknown", "unknown"},
	{"udp/7001 203.0.113.10", schema.ProbeRefused, "icmp port unreachable, says 203.0.113.10", "unknown", "unknown"},
	{"udp/7001 2001:db8:113::10", schema.ProbeRefused, "icmpv6 port unreachable, says 2001:db8:113::10", "unknown", "unknown"},

	{"tcp/7202 203.0.113.10", schema.ProbeUnreachable, "icmp port unreachable, says 203.0.113.10", "fail", "ok"},
	{"tcp/7202 2001:db8:113::10", schema.ProbeUnreachable, "icmpv6 port unreachable, says 2001:db8:113::10", "fail", "ok"},
	{"tcp/7204 203.0.113.10", schema.ProbeUnreachable, "icmp administratively prohibited", "fail", "ok"},
	{"tcp/7204 2001:db8:113::10", schema.ProbeUnreachable, "icmpv6 administratively prohibited", "fail", "ok"},
	{"udp/7204 203.0.113.10", schema.ProbeUnreachable, "icmp administratively prohibited", "fail", "ok"},
	{"tcp/80 198.51.100.1", schema.ProbeUnreachable, "network is unreachable", "fail", "ok"},
	{"tcp/80 198.51.100.2", schema.ProbeUnreachable, "no route to host", "fail", "ok"},
	{"tcp/80 198.51.100.3", schema.ProbeUnreachable, "permission denied", "fail", "ok"},
	{"udp/80 198.51.100.4", schema.ProbeUnreachable, "invalid argument", "fail", "ok"},
	{"icmp 198.51.100.2", schema.ProbeUnreachable, "no route to host", "fail", "ok"},

	{"udp/7101 203.0.113.10", schema.ProbeUnsent, "this host's own rules", "fail", "ok"},
	{"tcp/7101 203.0.113.10", schema.ProbeSilent, "within 2s", "fail", "ok"},
	{"tcp/7201 203.0.113.10", schema.ProbeSilent, "within 2s", "fail", "ok"},
	{"udp/7201 203.0.113.10", schema.ProbeSilent, "within 2s", "unknown", "unknown"},
	{"icmp 192.0.2.77", schema.ProbeSilent, "within 2s", "fail", "ok"},
}

func TestProbe(t *testing.T) {
	inWorld(t, func(*world.World) {
		for _, args := range []string{
			"throw 198.51.100.1", "unreachable 198.51.100.2", "prohibit 198.51.100.3", "blackhole 198.51.100.4",
		} {
			if out, err := exec.CommandContext(t.Context(), "ip", append([]string{"route", "add"}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
				t.Fatalf("ip route add %s: %v: %s", args, err, out)
			}
		}
		var goals []schema.Goal
		for _, o := range outcomes {
			goals = append(goals, goal(t, o.what, true), goal(t, o.what, false))
		}
		began := time.Now()
		results := probe.Probe(t.Context(), goals)
		if took := time.Since(began); took > 7*time.Second {
			t.Errorf("%d packets took %v: more than 16 at a time would need less than 7s", len(goals), took)
		}
		for i, o := range outcomes {
			for j, want := range []string{o.allowed, o.denied} {
				r := results[2*i+j]
				if len(r.Attempts) != 1 {
					t.Errorf("%s: %d attempts: %s", o.what, len(r.Attempts), r.Why)
					continue
				}
				if a := r.Attempts[0]; a.Outcome != o.outcome || !strings.Contains(a.Detail, o.detail) || r.Status != want {
					t.Errorf("%s allow=%t: %s, %s (%q)\nwant %s, %s (%q)", o.what, r.Goal.Allow, r.Status, a.Outcome, a.Detail, want, o.outcome, o.detail)
				}
				if (r.Status == "ok") != (r.Why == "") {
					t.Errorf("%s: status %s, why %q", o.what, r.Status, r.Why)
				}
			}
		}
		if src := results[0].Attempts[0].Source; src.Addr().String() != "192.0.2.10" || src.Port() == 0 {
			t.Errorf("source: %v", src)
		}
	})
}

// Packets that cannot be sent from here never count.
func TestNotProbed(t *testing.T) {
	db1 := goal(t, "tcp/22 203.0.113.10", true)
	db1.From = schema.Endpoint{Kind: "guest", Address: "guest.db1"}
	anyone := goal(t, "tcp/22 203.0.113.10", false)
	anyone.From = schema.Endpoint{Kind: "any"}
	network := goal(t, "tcp/22 203.0.113.10", true)
	network.To.Prefixes = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	outside := goal(t, "tcp/22 203.0.113.10", true)
	outside.To = schema.Endpoint{Kind: "outside"}
	for _, c := range []struct {
		goal schema.Goal
		why  string
	}{
		{db1, "not probed: packets of guest.db1 cannot be sent from the host"},
		{anyone, "not probed: it is about packets from anywhere, and only those of this host can be sent from here"},
		{network, "not probed: 203.0.113.0/24 is many addresses; an expectation for one of them can be probed"},
		{outside, "not probed: the address of outside is not known"},
		{goal(t, "tcp 203.0.113.10", true), "not probed: it names no port of tcp"},
		{goal(t, "icmp 224.0.0.1", true), "not probed: 224.0.0.1 has no single place in the network"},
	} {
		r := probe.Probe(t.Context(), []schema.Goal{c.goal})[0]
		if r.Status != "unknown" || r.Why != c.why || len(r.Attempts) > 0 {
			t.Errorf("%+v, want %q", r, c.why)
		}
	}
}

// More ports than are tried cannot be called held.
func TestManyPorts(t *testing.T) {
	inWorld(t, func(*world.World) {
		g := goal(t, "tcp/7201 203.0.113.10", false)
		g.To.Prefixes[0] = netip.MustParsePrefix("198.51.100.9/32")
		g.Service.Ports = []schema.PortRange{{First: 1, Last: 65535}}
		if out, err := exec.CommandContext(t.Context(), "ip", "route", "add", "unreachable", "198.51.100.9").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		r := probe.Probe(t.Context(), []schema.Goal{g})[0]
		if want := "the first 16 packets say so, 65519 more were not sent"; r.Status != "unknown" || r.Why != want || len(r.Attempts) != 16 {
			t.Errorf("%s: %q, %d attempts; want %q", r.Status, r.Why, len(r.Attempts), want)
		}
	})
}

func TestCancel(t *testing.T) {
	inWorld(t, func(*world.World) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		began := time.Now()
		r := probe.Probe(ctx, []schema.Goal{goal(t, "tcp/7201 203.0.113.10", false)})[0]
		if time.Since(began) > time.Second || r.Status != "unknown" || r.Attempts[0].Outcome != schema.ProbeUnknown {
			t.Errorf("after %v: %+v", time.Since(began), r)
		}
	})
}

// An echo goes out by a raw socket where ping sockets are forbidden, as they are in a new namespace, and by a ping socket where they are
// allowed.
func TestPingSocket(t *testing.T) {
	inWorld(t, func(*world.World) {
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, to := range []string{"icmp 203.0.113.10", "icmp 2001:db8:113::10"} {
			if r := probe.Probe(t.Context(), []schema.Goal{goal(t, to, true)})[0]; r.Status != "ok" {
				t.Errorf("%s: %s", to, r.Why)
			}
		}
	})
}

// Without privileges TCP and UDP are probed, and an echo is where the host allows it to everybody.
func TestUnprivileged(t *testing.T) {
	inWorld(t, func(*world.World) {
		// The capabilities of this thread only, which ends with the test.
		var none [2]unix.CapUserData
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			t.Fatal(err)
		}
		for what, want := range map[string]string{"tcp/7000 203.0.113.10": "", "udp/7000 2001:db8:113::10": "", "icmp 203.0.113.10": "an echo needs CAP_NET_RAW or net.ipv4.ping_group_range"} {
			r := probe.Probe(t.Context(), []schema.Goal{goal(t, what, false)})[0]
			if want == "" && r.Attempts[0].Outcome != schema.ProbeReached || want != "" && (r.Status != "unknown" || !strings.Contains(r.Why, want)) {
				t.Errorf("%s: %s: %s", what, r.Status, r.Why)
			}
		}
	})
}
