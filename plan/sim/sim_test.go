package sim_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/providers/hosttest"
	"github.com/vmnet/vmnet/schema"
)

// world is a host with a bridge, a guest's veth in it, and an uplink with a default route.
func world(t testing.TB) *schema.State {
	t.Helper()
	s := hosttest.Fresh()
	for _, o := range []schema.Object{
		&schema.Link{Name: "eno1", Type: "veth", Pair: "wire", MAC: new("02:00:00:00:00:05")},
		&schema.Link{Name: "br0", Type: "bridge", MAC: new("02:00:00:00:00:01"), Up: new(true)},
		&schema.Link{Name: "vnet0", Type: "veth", Pair: "eth0", MAC: new("02:00:00:00:00:10"), Master: new("br0"), Up: new(true)},
	} {
		do(t, s, schema.Change{Ref: o.Ref(), After: o})
	}
	for name, mac := range map[string]string{"wire": "02:00:00:00:00:06", "eth0": "02:00:00:00:00:11"} {
		set(t, s, &schema.Link{Name: name, MAC: &mac, Up: new(true)})
	}
	set(t, s, &schema.Link{Name: "eno1", Up: new(true)})
	for _, o := range []schema.Object{
		&schema.Address{Link: "eno1", Prefix: netip.MustParsePrefix("192.0.2.10/24")},
		&schema.Address{Link: "br0", Prefix: netip.MustParsePrefix("10.0.0.1/24")},
		&schema.Address{Link: "br0", Prefix: netip.MustParsePrefix("2001:db8::1/64")},
		&schema.Route{Table: 254, Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Link: "eno1", Proto: new(uint8(16))},
		&schema.Neighbour{Link: "br0", IP: netip.MustParseAddr("10.0.0.11"), MAC: new("02:00:00:00:00:11"), Permanent: new(true)},
	} {
		do(t, s, schema.Change{Ref: o.Ref(), After: o})
	}
	return s
}

func do(t testing.TB, s *schema.State, c schema.Change) {
	t.Helper()
	if err := sim.Do(s, c); err != nil {
		t.Fatal(err)
	}
}

func set(t testing.TB, s *schema.State, want schema.Object) {
	t.Helper()
	live := s.Get(want.Ref())
	do(t, s, schema.Change{Ref: want.Ref(), Before: live, After: schema.Merge(live, want)})
}

// brief lists what differs between two states in the words of ip(8).
func brief(before, after *schema.State) string {
	a, b := strings.Split(hosttest.Brief(before), "\n"), strings.Split(hosttest.Brief(after), "\n")
	var out []string
	for _, l := range a {
		if !slices.Contains(b, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			out = append(out, "+ "+l)
		}
	}
	return strings.Join(out, "\n")
}

// The expectations were seen on Linux 6.18 with ip(8).
func TestDo(t *testing.T) {
	update := func(want schema.Object) func(*schema.State) schema.Change {
		return func(s *schema.State) schema.Change {
			live := s.Get(want.Ref())
			return schema.Change{Ref: want.Ref(), Before: live, After: schema.Merge(live, want)}
		}
	}
	remove := func(ref schema.Ref) func(*schema.State) schema.Change {
		return func(s *schema.State) schema.Change { return schema.Change{Ref: ref, Before: s.Get(ref)} }
	}
	tests := []struct {
		name   string
		change func(*schema.State) schema.Change
		want   string
	}{
		{"the uplink goes down: its default route is lost", update(&schema.Link{Name: "eno1", Up: new(false)}), `
- link eno1 type veth mtu 1500 address 02:00:00:00:00:05 up
- address fe80::ff:fe00:5/64 dev eno1 scope link
- route local 192.0.2.255/32 type broadcast dev eno1 src 192.0.2.10
- route local fe80::ff:fe00:5/128 type local dev eno1
- route local ff00::/8 type multicast dev eno1 metric 256
- route default via 192.0.2.1 dev eno1
- route 192.0.2.0/24 dev eno1 src 192.0.2.10
- route fe80::/64 dev eno1 metric 256
+ link eno1 type veth mtu 1500 address 02:00:00:00:00:05 down`},
		{"the last address goes, and with it every route", remove(schema.AddressRef("eno1", netip.MustParsePrefix("192.0.2.10/24"))), `
- address 192.0.2.10/24 dev eno1
- route local 192.0.2.10/32 type local dev eno1 src 192.0.2.10
- route local 192.0.2.255/32 type broadcast dev eno1 src 192.0.2.10
- route default via 192.0.2.1 dev eno1
- route 192.0.2.0/24 dev eno1 src 192.0.2.10`},
		{"a bridge is deleted with all it has", remove(schema.LinkRef("br0")), `
- link br0 type bridge mtu 1500 address 02:00:00:00:00:01 stp off up
- link vnet0 type veth mtu 1500 address 02:00:00:00:00:10 master br0 up
- address 10.0.0.1/24 dev br0
- address 2001:db8::1/64 dev br0
- address fe80::ff:fe00:1/64 dev br0 scope link
- route local 10.0.0.1/32 type local dev br0 src 10.0.0.1
- route local 10.0.0.255/32 type broadcast dev br0 src 10.0.0.1
- route local 2001:db8::1/128 type local dev br0
- route local fe80::ff:fe00:1/128 type local dev br0
- route local ff00::/8 type multicast dev br0 metric 256
- route 10.0.0.0/24 dev br0 src 10.0.0.1
- route 2001:db8::/64 dev br0 metric 256
- route fe80::/64 dev br0 metric 256
- neighbour 10.0.0.11 dev br0 lladdr 02:00:00:00:00:11 permanent
+ link vnet0 type veth mtu 1500 address 02:00:00:00:00:10 up`},
		{"a new address of the bridge takes its neighbours", update(&schema.Link{Name: "br0", MAC: new("02:00:00:00:00:99")}), `
- link br0 type bridge mtu 1500 address 02:00:00:00:00:01 stp off up
- neighbour 10.0.0.11 dev br0 lladdr 02:00:00:00:00:11 permanent
+ link br0 type bridge mtu 1500 address 02:00:00:00:00:99 stp off up`},
		{"a small MTU takes IPv6", update(&schema.Link{Name: "br0", MTU: new(uint32(1000))}), `
- link br0 type bridge mtu 1500 address 02:00:00:00:00:01 stp off up
- address 2001:db8::1/64 dev br0
- address fe80::ff:fe00:1/64 dev br0 scope link
- route local 2001:db8::1/128 type local dev br0
- route local fe80::ff:fe00:1/128 type local dev br0
- route local ff00::/8 type multicast dev br0 metric 256
- route 2001:db8::/64 dev br0 metric 256
- route fe80::/64 dev br0 metric 256
+ link br0 type bridge mtu 1000 address 02:00:00:00:00:01 stp off up`},
		{"a router has anycast addresses", update(&schema.Sysctl{Key: "net.ipv6.conf.all.forwarding", Value: "1"}), `
+ route local 2001:db8::/128 type anycast dev br0
+ route local fe80::/128 type anycast dev br0
+ route local fe80::/128 type anycast dev eno1
+ route local fe80::/128 type anycast dev eth0
+ route local fe80::/128 type anycast dev vnet0
+ route local fe80::/128 type anycast dev wire`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := world(t)
			before := s.Clone()
			do(t, s, tt.change(s))
			if got := brief(before, s); got != strings.TrimSpace(tt.want) {
				t.Errorf("got\n%s\nwant\n%s", got, strings.TrimSpace(tt.want))
			}
		})
	}
}

// TestFailureLeavesNoTrace makes changes that fail only at their last part.
func TestFailureLeavesNoTrace(t *testing.T) {
	s := world(t)
	live := s.Link("vnet0")
	tests := []struct {
		change schema.Change
		want   error
	}{
		{schema.Change{Ref: live.Ref(), Before: live, After: schema.Merge(live, &schema.Link{Name: "vnet0", MTU: new(uint32(1400)), Master: new("br9"), Up: new(false)})}, fs.ErrNotExist},
		{schema.Change{Ref: live.Ref(), After: live}, fs.ErrExist},
		{schema.Change{Ref: schema.LinkRef("br9"), Before: &schema.Link{Name: "br9"}}, fs.ErrNotExist},
		{schema.Change{Ref: schema.LinkRef("x"), After: &schema.Link{Name: "x", Type: "vxlan"}}, sim.ErrUnmodelled},
		{schema.Change{Ref: live.Ref(), Before: schema.Merge(live, &schema.Link{Name: "vnet0", MTU: new(uint32(1400))}), After: live}, sim.ErrChanged},
		{schema.Change{Ref: schema.LinkRef("v5"), After: &schema.Link{Name: "v5", Type: "veth", Pair: "eth0"}}, fs.ErrExist},
	}
	for _, tt := range tests {
		before := s.Clone()
		if err := sim.Do(s, tt.change); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.change, err, tt.want)
		}
		if d := schema.Diff(before, s); len(d) > 0 {
			t.Errorf("%s left a trace: %v", tt.change, d)
		}
	}
}

// TestRules inserts, finds and deletes rules inside a table of somebody else's.
func TestRules(t *testing.T) {
	rule := func(text string) *schema.Rule { return &schema.Rule{Text: text} }
	s := schema.NewState(&schema.Table{Family: "ip", Name: "filter", Compat: true, Chains: []*schema.Chain{{
		Name: "FORWARD", Type: "filter", Hook: "forward", Policy: "drop",
		Rules: []*schema.Rule{rule("-j A"), rule("-j DROP"), rule("-j B"), rule("-j DROP")},
	}}})
	texts := func() string {
		var out []string
		for _, r := range s.Get(schema.TableRef("ip", "filter")).(*schema.Table).Chain("FORWARD").Rules {
			out = append(out, r.Text)
		}
		return strings.Join(out, " ")
	}
	before := s.Clone()
	mine := &schema.ForeignRule{Family: "ip", Table: "filter", Chain: "FORWARD", ByTool: true, Rule: *rule("-j MINE"), Next: "-j DROP", Index: 3}
	second := s.Get(schema.Ref{Kind: schema.KindNftRule, Name: "ip filter FORWARD -j DROP #2"})
	steps := []struct {
		change schema.Change
		want   string
	}{
		{schema.Change{Ref: mine.Ref(), After: mine}, "-j A -j DROP -j B -j MINE -j DROP"},
		{schema.Change{Ref: second.Ref(), Before: second}, "-j A -j DROP -j B -j MINE"},
		{schema.Change{Ref: second.Ref(), After: second}, "-j A -j DROP -j B -j DROP -j MINE"},
		{schema.Change{Ref: mine.Ref(), Before: mine}, "-j A -j DROP -j B -j DROP"},
	}
	for _, step := range steps {
		if err := sim.Do(s, step.change); err != nil {
			t.Fatal(err)
		}
		if got := texts(); got != step.want {
			t.Fatalf("after %s: %s, want %s", step.change, got, step.want)
		}
	}
	if d := schema.Diff(before, s); len(d) > 0 {
		t.Errorf("there and back: %v", d)
	}
	nowhere := &schema.ForeignRule{Family: "ip", Table: "filter", Chain: "NONE", Rule: *rule("-j A")}
	if err := sim.Do(s, schema.Change{Ref: nowhere.Ref(), After: nowhere}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a chain that is not there: %v", err)
	}
}

// large is a host with n guests, 10 to a bridge.
func large(b *testing.B, n int) *schema.State {
	b.Helper()
	s := hosttest.Fresh()
	for i := range n / 10 {
		br := fmt.Sprintf("br%d", i)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 24)
		do(b, s, schema.Change{Ref: schema.LinkRef(br), After: &schema.Link{Name: br, Type: "bridge", MAC: new("02:00:00:00:00:01"), Up: new(true)}})
		do(b, s, schema.Change{Ref: schema.AddressRef(br, p), After: &schema.Address{Link: br, Prefix: p}})
		for k := range 10 {
			v := fmt.Sprintf("vnet%d", 10*i+k)
			do(b, s, schema.Change{Ref: schema.LinkRef(v), After: &schema.Link{Name: v, Type: "tap", Master: &br, Up: new(true)}})
		}
	}
	return s
}

// BenchmarkDo shows that a change costs the same on a large host as on a small one.
func BenchmarkDo(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("guests=%d", n), func(b *testing.B) {
			s := large(b, n)
			br := schema.LinkRef("br1")
			a := &schema.Address{Link: "br1", Prefix: netip.MustParsePrefix("192.0.2.1/24")}
			for b.Loop() {
				do(b, s, schema.Change{Ref: a.Ref(), After: a})
				if _, _, err := sim.Cascade(s, schema.Change{Ref: br, Before: s.Get(br)}); err != nil {
					b.Fatal(err)
				}
				do(b, s, schema.Change{Ref: a.Ref(), Before: a})
			}
		})
	}
}

// BenchmarkBuild makes a whole host, change by change.
func BenchmarkBuild(b *testing.B) {
	for b.Loop() {
		large(b, 10000)
	}
}

// The kernel does not say whether a bridge's MTU was set on purpose. One that is not as its ports make of it was, and stays.
func TestBridgeKeepsMTU(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ bridge, port, after uint32 }{{1300, 1500, 1300}, {1300, 1300, 1500}, {1500, 1500, 1500}} {
		s := world(t)
		for name, mtu := range map[string]uint32{"br0": c.bridge, "vnet0": c.port} { // as a reading has them
			l := schema.Clone(s.Link(name)).(*schema.Link)
			l.MTU, l.Facts.MTUSet = &mtu, false
			s.Put(l)
		}
		set(t, s, &schema.Link{Name: "vnet0", Master: new("")})
		if got := *s.Link("br0").MTU; got != c.after {
			t.Errorf("bridge %d, port %d: without the port %d, want %d", c.bridge, c.port, got, c.after)
		}
	}
}

// A bridge whose MTU followed a port of an odd one is deleted after the port has left, though it has another then.
func TestBridgeGoesWithAnotherMTU(t *testing.T) {
	t.Parallel()
	s := world(t)
	set(t, s, &schema.Link{Name: "vnet0", MTU: new(uint32(1300))})
	before := s.Get(schema.LinkRef("br0"))
	set(t, s, &schema.Link{Name: "vnet0", Master: new("")})
	do(t, s, schema.Change{Ref: schema.LinkRef("br0"), Before: before})
	if s.Link("br0") != nil {
		t.Error("the bridge is still there")
	}
}
