package trace_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/providers/nft"
	"github.com/vmnet/vmnet/providers/rtnl"
	"github.com/vmnet/vmnet/providers/sysctl"
	"github.com/vmnet/vmnet/schema"
)

// TestNeighboursAsTheKernel pings between machines that know none of each other's MAC addresses, through rules and settings that
// stop questions for them, and answers. First the cases that went wrong once, or must be told by name; then random ones.
func TestNeighboursAsTheKernel(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		l, err := newNeighbourLab()
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		for _, c := range neighbourCases {
			l.try(t, c.setup, c.want)
		}
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		l.Rand = rand.New(rand.NewPCG(seed, 0))
		rounds := 8
		if testing.Short() {
			rounds = 2
		}
		for range rounds {
			l.try(t, l.throw(), nil)
		}
		t.Logf("%d flows: %d pass, %d are blocked, %d depend", l.passed+l.blocked+l.depend, l.passed, l.blocked, l.depend)
		if l.depend > l.passed+l.blocked {
			t.Error("too many depend")
		}
	})
}

// neighbourCases are set-ups, of rules in the notation of nft(8) and settings, with what is to be said of flows.
var neighbourCases = []struct {
	setup []string
	want  map[string]string
}{
	{nil, map[string]string{"a>host 4": "pass", "host>a 4": "pass", "a>b 4": "pass", "a>world 4": "pass", "host>world 6": "pass", "a>host 6": "pass", "a>b 6": "pass", "a>world 6": "pass"}},
	{[]string{"table arp filter { chain output { type filter hook output priority 0; arp operation request drop; }; }"}, map[string]string{
		"host>a 4": "block resolution arp filter output: arp operation request drop", "a>host 4": "depends", "a>b 4": "pass", "a>world 4": "block resolution", "host>a 6": "pass",
	}},
	{[]string{"table arp filter { chain input { type filter hook input priority 0; policy drop; }; }"}, map[string]string{
		"a>host 4": "block resolution arp filter input: policy drop", "host>a 4": "block resolution", "a>b 4": "pass",
	}},
	{[]string{"table ip6 f { chain i { type filter hook input priority 0; icmpv6 type nd-neighbor-solicit drop; }; }"}, map[string]string{
		"a>host 6": "block resolution ip6 f i: icmpv6 type nd-neighbor-solicit drop", "host>a 6": "depends", "a>b 6": "pass", "a>host 4": "pass",
	}},
	{[]string{"table ip6 f { chain o { type filter hook output priority 0; policy drop; icmpv6 type { echo-request, echo-reply } accept; }; }"}, map[string]string{
		"a>host 6": "block resolution ip6 f o: policy drop", "host>world 6": "block resolution",
	}},
	{[]string{"table bridge f { chain f { type filter hook forward priority 0; ether type arp drop; }; }"}, map[string]string{
		"a>b 4": "block resolution bridge f f: ether type arp drop", "a>host 4": "pass", "a>b 6": "pass",
	}},
	{[]string{"table bridge f { chain p { type filter hook prerouting priority 0; iifname \"va\" arp saddr ip != 10.20.0.11 drop; }; }"}, map[string]string{
		"a>host 4": "pass", "a>b 4": "pass", "host>a 4": "pass", "a>world 4": "pass",
	}},
	{[]string{"table netdev f { chain i { type filter hook ingress device va priority 0; arp operation request drop; }; }"}, map[string]string{
		"a>host 4": "block resolution netdev f i: arp operation request drop", "host>a 4": "depends", "a>b 4": "block resolution",
	}},
	{[]string{"net.ipv4.conf.br0.arp_ignore=8"}, map[string]string{"a>host 4": "block resolution VN312", "host>a 4": "depends", "a>b 4": "pass"}},
	{[]string{"net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2"}, map[string]string{"a>host 4": "pass", "host>a 4": "pass", "a>world 4": "pass"}},
	{[]string{"table arp filter { chain output { type filter hook output priority 0; oifname \"br0\" arp saddr ip != 10.20.0.1 drop; }; }"}, map[string]string{"host>a 4": "pass", "a>host 4": "pass"}},
}

// neighbourLab is a host with two guests in a network br0, and an uplink.
type neighbourLab struct {
	*rand.Rand
	w                       *world.World
	rt                      *rtnl.Provider
	nft                     *nft.Provider
	passed, blocked, depend int
}

// neighbourHosts are the addresses of the machines, in IPv4 and IPv6, and the host's links behind which they are.
var neighbourHosts = map[string]struct {
	link   string
	v4, v6 netip.Addr
}{
	"a":    {"va", netip.MustParseAddr("10.20.0.11"), netip.MustParseAddr("2001:db8:20::11")},
	"b":    {"vb", netip.MustParseAddr("10.20.0.12"), netip.MustParseAddr("2001:db8:20::12")},
	"host": {"", netip.MustParseAddr("10.20.0.1"), netip.MustParseAddr("2001:db8:20::1")},
	// Those two have an address of the other side's network; see TestProxiesAsTheKernel.
	"inside":  {"vb", netip.MustParseAddr("192.0.2.77"), netip.Addr{}},
	"outside": {"eno1", netip.MustParseAddr("10.20.0.200"), netip.Addr{}},
	"world":   {"eno1", netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:2::1")},
}

func newNeighbourLab() (*neighbourLab, error) {
	for _, s := range []string{"net.ipv6.conf.default.accept_dad=0", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"} {
		k, v, _ := strings.Cut(s, "=")
		if err := writeSysctl(k, v); err != nil {
			return nil, err
		}
	}
	spec := world.Spec{}
	for i, name := range []string{"a", "b"} {
		h := neighbourHosts[name]
		spec.Guests = append(spec.Guests, world.Guest{
			Name: name, Device: h.link, MAC: fmt.Sprintf("52:54:00:00:00:0%d", i+1),
			Addrs:    []netip.Prefix{netip.PrefixFrom(h.v4, 24), netip.PrefixFrom(h.v6, 64)},
			Gateways: []netip.Addr{neighbourHosts["host"].v4, neighbourHosts["host"].v6},
		})
	}
	w, err := world.New(spec)
	if err != nil {
		return nil, err
	}
	l := &neighbourLab{w: w}
	own := neighbourHosts["host"]
	if err = w.Bridge("br0", []netip.Prefix{netip.PrefixFrom(own.v4, 24), netip.PrefixFrom(own.v6, 64)}, "va", "vb"); err == nil {
		err = errors.Join(w.LAN().Route(netip.MustParsePrefix("10.20.0.0/24"), w.Host4.Addr()), w.LAN().Route(netip.MustParsePrefix("2001:db8:20::/64"), w.Host6.Addr()))
	}
	if err != nil {
		return nil, err
	}
	if l.rt, err = rtnl.Open(); err == nil {
		l.nft, err = nft.Open()
	}
	return l, err
}

func (l *neighbourLab) close() { _ = errors.Join(l.rt.Close(), l.nft.Close(), l.w.Close()) }

// forget empties the neighbour tables of all machines, and what the bridge has learned.
func (l *neighbourLab) forget() error {
	flush := func() error { return run("ip neigh flush all") }
	return errors.Join(flush(), run("ip link set dev br0 type bridge fdb_flush"), l.w.Guest("a").Do(flush), l.w.Guest("b").Do(flush), l.w.LAN().Do(flush))
}

func (l *neighbourLab) walker() (*trace.Walker, error) {
	s := &schema.State{}
	for _, p := range []interface {
		Read(ctx context.Context) ([]schema.Object, error)
	}{l.rt, sysctl.New(""), l.nft} {
		objects, err := p.Read(context.Background())
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			s.Put(o)
		}
	}
	return trace.New(s), nil
}

// try sets up rules and settings, asks about every flow, and pings.
func (l *neighbourLab) try(t *testing.T, setup []string, want map[string]string) {
	t.Helper()
	undo, err := l.set(setup)
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(setup, "\n"))
	}
	for _, from := range []string{"a", "b", "host", "world"} {
		for _, to := range []string{"a", "b", "host", "world"} {
			for _, v := range []string{"4", "6"} {
				name := from + ">" + to + " " + v
				if from == to || from == "b" && to != "a" || from == "world" && to == "b" || len(setup) == 0 && want[name] == "" {
					continue
				}
				if err := l.flow(t, setup, from, to, v == "6", want[name]); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := errors.Join(runInput("flush ruleset\n", "nft", "-f", "-"), undo()); err != nil {
		t.Fatal(err)
	}
}

func (l *neighbourLab) set(setup []string) (undo func() error, err error) {
	var rules, keys []string
	for _, s := range setup {
		if strings.HasPrefix(s, "table") {
			rules = append(rules, s)
			continue
		}
		k, v, _ := strings.Cut(s, "=")
		keys = append(keys, k)
		err = errors.Join(err, writeSysctl(k, v))
	}
	undo = func() error {
		var errs []error
		for _, k := range keys {
			errs = append(errs, writeSysctl(k, "0"))
		}
		return errors.Join(errs...)
	}
	return undo, errors.Join(err, runInput(strings.Join(rules, "\n")+"\n", "nft", "-f", "-"))
}

// flow compares what is said of one ping with what becomes of it. On a busy machine an answer may be late: before a
// disagreement is believed, the kernel is asked again, with patience.
func (l *neighbourLab) flow(t *testing.T, setup []string, from, to string, v6 bool, want string) error {
	t.Helper()
	src, dst := neighbourHosts[from], neighbourHosts[to]
	f := trace.Flow{From: src.link, To: dst.link, Src: src.v4, Dst: dst.v4, Proto: "icmp", Local: to == "host"}
	if v6 {
		f.Src, f.Dst = src.v6, dst.v6
	}
	if from == "host" && to == "world" {
		f.Src = l.w.Host4.Addr()
		if v6 {
			f.Src = l.w.Host6.Addr()
		}
	}
	node := map[string]*world.Node{"a": l.w.Guest("a"), "b": l.w.Guest("b"), "host": l.w.Host(), "world": l.w.LAN()}[from].From(f.Src)
	var res trace.Result
	for _, patience := range []time.Duration{150 * time.Millisecond, 900 * time.Millisecond} {
		if err := l.forget(); err != nil {
			return err
		}
		w, err := l.walker()
		if err != nil {
			return err
		}
		res = w.Walk(f)
		if res.Verdict == trace.Depends || res.Half == "established" { // one ping has no third packet
			break
		}
		if (node.Within(patience).Ping(f.Dst) == nil) == (res.Verdict == trace.Pass) {
			break
		}
		if patience > 500*time.Millisecond {
			t.Errorf("%s>%s: vmnet says %s, the kernel does not\n%s\n%s", from, to, say(res), strings.Join(setup, "\n"), show(res))
		}
	}
	switch res.Verdict {
	case trace.Depends:
		l.depend++
	case trace.Pass:
		l.passed++
	default:
		l.blocked++
	}
	if !strings.HasPrefix(say(res), want) {
		t.Errorf("%s>%s: %s, want %s\n%s\n%s", from, to, say(res), want, strings.Join(setup, "\n"), show(res))
	}
	return nil
}

// throw makes a random set-up.
func (l *neighbourLab) throw() []string {
	one := func(of ...string) string { return of[l.IntN(len(of))] }
	address := func() string {
		return one("10.20.0.1", "10.20.0.11", "10.20.0.12", "192.0.2.1", "192.0.2.10", "10.20.0.0/24")
	}
	arp := func() string {
		return one("arp operation request", "arp operation reply", "arp saddr ip "+address(), "arp daddr ip "+address(), "arp saddr ip != "+address(),
			"arp saddr ether 52:54:00:00:00:01", "arp daddr ether 00:00:00:00:00:00", "arp operation request arp daddr ip "+address(), "arp plen 4", "arp htype 1")
	}
	nd := func() string {
		return one("icmpv6 type nd-neighbor-solicit", "icmpv6 type nd-neighbor-advert", "ip6 daddr ff02::/16", "ip6 saddr fe80::/10", "icmpv6 type nd-neighbor-solicit ip6 hoplimit 255",
			"meta l4proto ipv6-icmp @th,0,8 135", "ip6 daddr ff02::1:ff00:11")
	}
	var out []string
	for i := range 1 + l.IntN(2) {
		var family, head string
		var match func() string
		switch l.IntN(4) {
		case 0:
			family, head = "arp", "hook "+one("input", "output")
			match = func() string {
				return one(arp(), arp(), "meta pkttype broadcast", "ether saddr 52:54:00:00:00:01", "iifname \"br0\"", "oifname \"br0\"")
			}
		case 1:
			family, head = "ip6", "hook "+one("prerouting", "input", "output", "postrouting")
			match = func() string {
				return one(nd(), nd(), "ct state untracked", "ct state new", "meta pkttype multicast", "iifname \"br0\"")
			}
		case 2:
			family, head = "bridge", "hook "+one("prerouting", "input", "forward", "output", "postrouting")
			match = func() string {
				return one(arp(), nd(), "ether type arp", "ether type ip6", "ether daddr ff:ff:ff:ff:ff:ff", "meta pkttype multicast", "iifname \"va\"", "meta protocol arp")
			}
		default:
			family, head = "netdev", "hook ingress device "+one("va", "vb", "br0", "eno1")
			match = func() string {
				return one(arp(), nd(), "ether type arp", "ether type ip6", "ether daddr ff:ff:ff:ff:ff:ff", "meta pkttype multicast", "meta protocol arp")
			}
		}
		policy, verdict := "accept", "drop"
		if l.IntN(4) == 0 {
			policy, verdict = "drop", "accept"
		}
		var rules []string
		for range 1 + l.IntN(3) {
			rules = append(rules, match()+" "+verdict+";")
		}
		out = append(out, fmt.Sprintf("table %s t%d { chain c { type filter %s priority %d; policy %s; %s }; }", family, i, head, l.IntN(5)-2, policy, strings.Join(rules, " ")))
	}
	for range l.IntN(2) {
		out = append(out, fmt.Sprintf("net.ipv4.conf.%s.%s", one("all", "br0", "eno1"), one("arp_ignore=1", "arp_ignore=2", "arp_ignore=8", "arp_filter=1", "arp_announce=1", "arp_announce=2")))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
