package rtnl

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/hosttest/guest"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

func TestMain(m *testing.M) { os.Exit(guest.Main(m)) }

// host is a Provider in a fresh network namespace, with ip(8) beside it as the judge.
type host struct {
	*testing.T
	p *Provider
}

// inHost runs test in a fresh network namespace, after the ip commands of setup, one a line.
func inHost(t *testing.T, setup string, test func(h *host)) {
	t.Helper()
	world.InNewHost(t, func() {
		p, err := Open()
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		h := &host{t, p}
		// Duplicate address detection ends a second or two later, and routes come with its end.
		if err := setSysctl("net/ipv6/conf/default/accept_dad", "0"); err != nil {
			t.Fatal(err)
		}
		h.ip(setup)
		h.settle()
		test(h)
	})
}

// settle waits for what the kernel does late: carrier, and the IPv6 addresses and routes that come with it.
func (h *host) settle() {
	h.Helper()
	was, quiet := h.read(), 0
	for range 300 {
		time.Sleep(5 * time.Millisecond)
		now := h.read()
		if len(schema.Diff(was, now)) > 0 {
			quiet = 0
		}
		if quiet++; quiet > 8 {
			return
		}
		was = now
	}
	h.Fatal("the namespace does not settle")
}

// ip runs commands of ip(8) or, where a line begins so, of bridge(8) or echo into a file.
func (h *host) ip(commands string) {
	h.Helper()
	for line := range strings.Lines(commands) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if !strings.HasPrefix(line, "bridge ") && !strings.HasPrefix(line, "echo ") {
			line = "ip " + line
		}
		out, err := exec.Command("sh", "-c", line).CombinedOutput()
		if err != nil {
			h.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
}

// out is what a command prints.
func (h *host) out(command string) string {
	h.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		h.Fatalf("%s: %v\n%s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (h *host) read() *schema.State {
	h.Helper()
	objects, err := h.p.Read(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	return schema.NewState(objects...)
}

func (h *host) do(before, after schema.Object) {
	h.Helper()
	if err := h.try(before, after); err != nil {
		h.Fatal(err)
	}
}

func (h *host) try(before, after schema.Object) error {
	c := schema.Change{Before: before, After: after}
	if before != nil {
		c.Ref = before.Ref()
	} else {
		c.Ref = after.Ref()
	}
	return h.p.Do(h.Context(), c)
}

// refused checks that a change fails with that error and touches nothing.
func (h *host) refused(before, after schema.Object, want error) {
	h.Helper()
	was := h.read()
	err := h.try(before, after)
	if err == nil || (want != nil && !errors.Is(err, want)) {
		h.Errorf("change %v -> %v: error %v, want %v", before, after, err, want)
	}
	h.same(was, h.read(), "after a refused change")
}

func (h *host) same(a, b *schema.State, when string) {
	h.Helper()
	for _, d := range schema.Diff(a, b) {
		h.Errorf("%s: %s", when, d)
	}
}

func addr(s string) netip.Addr       { return netip.MustParseAddr(s) }
func prefixOf(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// TestThereAndBack creates, changes and deletes an object of each kind. At each step the host holds what was asked, a
// change that starts from something else is refused, and at the end the host is as it was.
func TestThereAndBack(t *testing.T) {
	const dev = "link add v0 address 02:00:00:00:00:0a type veth peer name v1\nlink set v0 up\nlink set v1 up\n"
	for _, row := range []struct {
		name, setup    string
		create, update schema.Object
		// shown is a command and what it has to print, after create and after update.
		judge         string
		shown, shown2 string
	}{
		{
			name:   "bridge",
			create: &schema.Link{Name: "br0", Type: "bridge", Alias: new("vmnet:bridge.lan"), MTU: new(uint32(1400)), MAC: new("02:00:00:00:00:01"), Up: new(true), Bridge: &schema.Bridge{STP: new(false), ForwardDelay: new(uint32(0))}},
			update: &schema.Link{Name: "br0", Type: "bridge", Alias: new(""), MTU: new(uint32(1300)), MAC: new("02:00:00:00:00:02"), Up: new(false), Bridge: &schema.Bridge{STP: new(true), ForwardDelay: new(uint32(300)), McastSnoop: new(false), NfCallIP: new(true), NfCallIP6: new(true)}},
			judge:  "ip -d -o link show br0 | grep -oE '(stp_state|forward_delay|mcast_snooping|nf_call_iptables|alias) [^ ]+' | xargs",
			shown:  "forward_delay 0 stp_state 0 mcast_snooping 1 nf_call_iptables 0 alias vmnet:bridge.lan",
			shown2: "forward_delay 300 stp_state 1 mcast_snooping 0 nf_call_iptables 1",
		},
		{
			name:   "bridge of the kernel's making",
			create: &schema.Link{Name: "br0", Type: "bridge"},
			update: &schema.Link{Name: "br0", Type: "bridge", Up: new(true)},
			judge:  "ip -o link show br0 | grep -oE 'UP' | head -1",
			shown2: "UP",
		},
		{
			name:   "veth as port",
			setup:  "link add br0 address 02:00:00:00:00:b0 type bridge\nlink add br1 address 02:00:00:00:00:b1 type bridge",
			create: &schema.Link{Name: "v0", Type: "veth", Pair: "v1", Master: new("br0"), Up: new(true), Port: &schema.Port{Isolated: new(true), Hairpin: new(true)}},
			update: &schema.Link{Name: "v0", Type: "veth", Master: new("br1"), Port: &schema.Port{Isolated: new(false), Flood: new(false), McastFlood: new(false), BcastFlood: new(false), Learning: new(false), Guard: new(true), RootBlock: new(true), ProxyARPWiFi: new(true), NeighSuppr: new(true)}},
			judge:  "ip -d -o link show v0 | grep -oE '(master|isolated|hairpin|guard| flood|learning|neigh_suppress) [^ ]+' | xargs",
			shown:  "master br0 hairpin on guard off learning on flood on neigh_suppress off isolated on",
			shown2: "master br1 hairpin on guard on learning off flood off neigh_suppress on isolated off",
		},
		{
			name:   "tap",
			setup:  "link add br0 address 02:00:00:00:00:b0 type bridge",
			create: &schema.Link{Name: "tap0", Type: "tap", MAC: new("02:00:00:00:00:03"), Master: new("br0"), Up: new(true)},
			update: &schema.Link{Name: "tap0", Type: "tap", Master: new(""), MTU: new(uint32(1280))},
			judge:  "ip -d -o link show tap0 | grep -oE '> mtu [0-9]+|master [^ ]+|tun type [^ ]+' | xargs",
			shown:  "> mtu 1500 master br0 tun type tap",
			shown2: "> mtu 1280 tun type tap",
		},
		{
			name:   "tun",
			create: &schema.Link{Name: "tun0", Type: "tun"},
			update: &schema.Link{Name: "tun0", Type: "tun", Up: new(true)},
			judge:  "ip -d -o link show tun0 | grep -oE '(type) [^ ]+' | xargs",
			shown:  "type tun", shown2: "type tun",
		},
		{
			name: "macvlan", setup: dev,
			create: &schema.Link{Name: "mv0", Type: "macvlan", Pair: "v0", MAC: new("02:00:00:00:00:04")},
			update: &schema.Link{Name: "mv0", Type: "macvlan", Alias: new("x")},
			judge:  "ip -d -o link show mv0 | grep -oE '(macvlan mode|alias) [^ ]+' | xargs",
			shown:  "macvlan mode bridge", shown2: "macvlan mode bridge alias x",
		},
		{
			name: "IPv4 address", setup: dev,
			create: &schema.Address{Link: "v0", Prefix: prefixOf("192.0.2.10/24"), Proto: new(uint8(schema.ProtoVMNET)), Broadcast: new(addr("192.0.2.255")), Valid: new(uint32(1000)), Preferred: new(uint32(500))},
			update: &schema.Address{Link: "v0", Prefix: prefixOf("192.0.2.10/24"), Proto: new(uint8(0)), Valid: new(uint32(2000)), Preferred: new(uint32(2000))},
			judge:  "ip -o addr show dev v0 to 192.0.2.10 | grep -oE '(brd|_lft) [^ ]+|proto.* v0' | xargs",
			shown:  "brd 192.0.2.255 _lft 1000sec _lft 500sec",
			shown2: "brd 192.0.2.255 _lft 2000sec _lft 2000sec",
		},
		{
			name: "IPv4 address with peer, label, scope and without prefix route", setup: dev,
			create: &schema.Address{Link: "v0", Prefix: prefixOf("192.0.2.10/32"), Peer: new(prefixOf("192.0.2.77/32")), Label: new("v0:1"), Scope: new("link"), NoPrefixRoute: new(true)},
			judge:  "ip -o addr show dev v0 label v0:1 | grep -oE 'inet.*v0:1'",
			shown:  "inet 192.0.2.10 peer 192.0.2.77/32 scope link noprefixroute v0:1",
		},
		{
			name: "IPv6 address", setup: dev,
			create: &schema.Address{Link: "v0", Prefix: prefixOf("2001:db8::10/64"), NoDAD: new(true)},
			update: &schema.Address{Link: "v0", Prefix: prefixOf("2001:db8::10/64"), NoDAD: new(true), NoPrefixRoute: new(true), Proto: new(uint8(schema.ProtoVMNET))},
			judge:  "ip -o addr show dev v0 to 2001:db8::10 | sed -E 's/.*inet6//;s/valid.*//;s/proto 0x76//' | xargs",
			shown:  "2001:db8::10/64 scope global nodad", shown2: "2001:db8::10/64 scope global nodad noprefixroute",
		},
		{
			name: "IPv4 route", setup: dev + "addr add 192.0.2.10/24 dev v0\naddr add 192.0.2.11/24 dev v0",
			create: &schema.Route{Table: 254, Dst: prefixOf("0.0.0.0/0"), Gateway: addr("192.0.2.1"), Link: "v0", Metric: 100, Proto: new(uint8(schema.ProtoVMNET)), MTU: new(uint32(1400))},
			update: &schema.Route{Table: 254, Dst: prefixOf("0.0.0.0/0"), Gateway: addr("192.0.2.1"), Link: "v0", Metric: 100, Proto: new(uint8(schema.ProtoStatic)), Source: addr("192.0.2.11"), MTU: new(uint32(0))},
			judge:  "ip -o -N route show default",
			shown:  "default via 192.0.2.1 dev v0 proto 118 metric 100 mtu 1400",
			shown2: "default via 192.0.2.1 dev v0 proto 4 src 192.0.2.11 metric 100",
		},
		{
			name: "on-link IPv4 route in another table with TOS", setup: dev,
			create: &schema.Route{Table: 4711, Dst: prefixOf("198.51.100.0/24"), TOS: 0x10, Gateway: addr("192.0.2.1"), Link: "v0", OnLink: new(true), Proto: new(uint8(3))},
			judge:  "ip -o -N route show table 4711",
			shown:  "198.51.100.0/24 tos 0x10 via 192.0.2.1 dev v0 onlink",
		},
		{
			name: "multipath IPv4 route", setup: dev + "addr add 192.0.2.10/24 dev v0",
			create: &schema.Route{Table: 254, Dst: prefixOf("198.51.100.0/24"), Proto: new(uint8(4)), NextHops: []schema.NextHop{{Link: "v0", Gateway: addr("192.0.2.1"), Weight: 1}, {Link: "v1", Gateway: addr("192.0.2.2"), Weight: 5, OnLink: true}}},
			update: &schema.Route{Table: 254, Dst: prefixOf("198.51.100.0/24"), Proto: new(uint8(4)), Source: addr("192.0.2.10"), NextHops: []schema.NextHop{{Link: "v0", Gateway: addr("192.0.2.1"), Weight: 1}, {Link: "v1", Gateway: addr("192.0.2.2"), Weight: 5, OnLink: true}}},
			judge:  "ip -N route show 198.51.100.0/24 | xargs",
			shown:  "198.51.100.0/24 proto 4 nexthop via 192.0.2.1 dev v0 weight 1 nexthop via 192.0.2.2 dev v1 weight 5 onlink",
			shown2: "198.51.100.0/24 proto 4 src 192.0.2.10 nexthop via 192.0.2.1 dev v0 weight 1 nexthop via 192.0.2.2 dev v1 weight 5 onlink",
		},
		{
			name: "IPv4 route by an IPv6 router", setup: dev,
			create: &schema.Route{Table: 254, Dst: prefixOf("198.51.100.0/24"), Gateway: addr("fe80::1"), Link: "v0"},
			judge:  "ip -o route show 198.51.100.0/24",
			shown:  "198.51.100.0/24 via inet6 fe80::1 dev v0 proto unspec",
		},
		{
			name:   "blackhole",
			create: &schema.Route{Table: 254, Dst: prefixOf("198.51.100.0/24"), Type: "blackhole", Metric: 7},
			update: &schema.Route{Table: 254, Dst: prefixOf("198.51.100.0/24"), Type: "blackhole", Metric: 7, Proto: new(uint8(schema.ProtoVMNET))},
			judge:  "ip -o route show 198.51.100.0/24",
			shown:  "blackhole 198.51.100.0/24 proto unspec metric 7", shown2: "blackhole 198.51.100.0/24 proto 118 metric 7",
		},
		{
			name: "IPv6 route", setup: dev + "addr add 2001:db8::10/64 dev v0 nodad",
			create: &schema.Route{Table: 254, Dst: prefixOf("::/0"), Gateway: addr("fe80::1"), Link: "v0", Metric: 1024, Proto: new(uint8(schema.ProtoVMNET))},
			update: &schema.Route{Table: 254, Dst: prefixOf("::/0"), Gateway: addr("fe80::1"), Link: "v0", Metric: 1024, Proto: new(uint8(4)), MTU: new(uint32(1400)), Source: addr("2001:db8::10")},
			judge:  "ip -6 -o -N route show default",
			shown:  "default via fe80::1 dev v0 proto 118 metric 1024 pref medium",
			shown2: "default via fe80::1 dev v0 proto 4 src 2001:db8::10 metric 1024 mtu 1400 pref medium",
		},
		{
			name:   "IPv6 unreachable",
			create: &schema.Route{Table: 254, Dst: prefixOf("2001:db8:1::/48"), Type: "unreachable", Metric: 1024},
			judge:  "ip -6 -o route show 2001:db8:1::/48",
			shown:  "unreachable 2001:db8:1::/48 dev lo metric 1024 pref medium",
		},
		{
			name:   "multipath IPv6 route",
			setup:  dev,
			create: &schema.Route{Table: 254, Dst: prefixOf("2001:db8:1::/48"), Metric: 1024, Proto: new(uint8(4)), NextHops: []schema.NextHop{{Link: "v0", Gateway: addr("fe80::1"), Weight: 1}, {Link: "v1", Gateway: addr("fe80::2"), Weight: 2}}},
			judge:  "ip -6 -N route show 2001:db8:1::/48 | xargs",
			shown:  "2001:db8:1::/48 proto 4 metric 1024 pref medium nexthop via fe80::1 dev v0 weight 1 nexthop via fe80::2 dev v1 weight 2",
		},
		{
			name: "rule with everything",
			create: &schema.PolicyRule{
				Family: "ip", Priority: 100, Invert: true, Src: prefixOf("10.0.0.0/8"), Dst: prefixOf("192.0.2.0/24"), IIF: "lo", OIF: "nope", Mark: 1, Mask: 0xff, TOS: 0x10,
				IPProto: 6, SPort: "80", DPort: "8000-8100", UIDRange: "0-0", Table: 4711, SuppressPrefixLen: new(0), SuppressIfGroup: new(3), Proto: new(uint8(schema.ProtoVMNET)),
			},
			update: &schema.PolicyRule{
				Family: "ip", Priority: 100, Invert: true, Src: prefixOf("10.0.0.0/8"), Dst: prefixOf("192.0.2.0/24"), IIF: "lo", OIF: "nope", Mark: 1, Mask: 0xff, TOS: 0x10,
				IPProto: 6, SPort: "80", DPort: "8000-8100", UIDRange: "0-0", Table: 4711, SuppressPrefixLen: new(0), SuppressIfGroup: new(3), Proto: new(uint8(4)),
			},
			judge:  "ip -N rule show pref 100 | sed s/ipproto-// | xargs",
			shown:  "100: not from 10.0.0.0/8 to 192.0.2.0/24 tos 0x10 fwmark 0x1/0xff iif lo oif nope [detached] uidrange 0-0 ipproto 6 sport 80 dport 8000-8100 lookup 4711 suppress_prefixlength 0 suppress_ifgroup 3 proto 118",
			shown2: "100: not from 10.0.0.0/8 to 192.0.2.0/24 tos 0x10 fwmark 0x1/0xff iif lo oif nope [detached] uidrange 0-0 ipproto 6 sport 80 dport 8000-8100 lookup 4711 suppress_prefixlength 0 suppress_ifgroup 3 proto 4",
		},
		{
			name:   "IPv6 rule",
			create: &schema.PolicyRule{Family: "ip6", Priority: 5, Src: prefixOf("2001:db8::/32"), Action: "unreachable"},
			judge:  "ip -6 rule show pref 5", shown: "5:\tfrom 2001:db8::/32 unreachable",
		},
		{
			name: "l3mdev", create: &schema.PolicyRule{Family: "ip", Priority: 6, L3MDev: true},
			judge: "ip -N rule show pref 6", shown: "6:\tfrom all lookup [l3mdev-table]",
		},
		{
			name: "goto", create: &schema.PolicyRule{Family: "ip", Priority: 6, Action: "goto", Goto: 32766},
			judge: "ip -N rule show pref 6", shown: "6:\tfrom all goto 32766",
		},
		{
			name: "neighbour", setup: dev,
			create: &schema.Neighbour{Link: "v0", IP: addr("192.0.2.5"), MAC: new("02:00:00:00:00:05"), Permanent: new(true)},
			update: &schema.Neighbour{Link: "v0", IP: addr("192.0.2.5"), MAC: new("02:00:00:00:00:06"), Permanent: new(true)},
			judge:  "ip -o neigh show dev v0",
			shown:  "192.0.2.5 lladdr 02:00:00:00:00:05 PERMANENT", shown2: "192.0.2.5 lladdr 02:00:00:00:00:06 PERMANENT",
		},
		{
			name: "IPv6 neighbour", setup: dev,
			create: &schema.Neighbour{Link: "v0", IP: addr("2001:db8::5"), MAC: new("02:00:00:00:00:05"), Permanent: new(true)},
			judge:  "ip -o neigh show dev v0", shown: "2001:db8::5 lladdr 02:00:00:00:00:05 PERMANENT",
		},
		{
			name: "proxy neighbour", setup: dev,
			create: &schema.Neighbour{Link: "v0", IP: addr("192.0.2.5"), Proxy: true},
			judge:  "ip -o neigh show proxy", shown: "192.0.2.5 dev v0 proxy",
		},
		{
			name: "FDB entry", setup: dev + "link add br0 type bridge\nlink set v0 master br0",
			create: &schema.FDBEntry{Link: "v0", MAC: "02:00:00:00:00:05", Master: "br0", State: "static"},
			judge:  "bridge fdb show dev v0 | grep 02:00:00:00:00:05", shown: "02:00:00:00:00:05 master br0 static",
		},
		{
			name: "FDB entry of the device", setup: "link add vx0 type vxlan id 7 dstport 4789 local 127.0.0.1",
			create: &schema.FDBEntry{Link: "vx0", MAC: "02:00:00:00:00:05", Dst: "192.0.2.9", State: "permanent"},
			judge:  "bridge fdb show dev vx0 | grep 02:00:00:00:00:05", shown: "02:00:00:00:00:05 dst 192.0.2.9 self permanent",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inHost(t, row.setup, func(h *host) {
				start := h.read()
				if l, ok := row.create.(*schema.Link); ok && (l.Type == "tap" || l.Type == "tun") && !mayTun() {
					t.Logf("%s is not for this user: checking that vmnet says so", tunDevice)
					h.refused(nil, row.create, fs.ErrPermission)
					return
				}
				h.refused(row.create, nil, fs.ErrNotExist)
				h.do(nil, row.create)
				live := h.holds(row.create, row.judge, row.shown)
				h.refused(nil, row.create, fs.ErrExist)
				if row.update != nil {
					after := schema.Merge(live, row.update)
					h.do(live, after)
					changed := h.holds(row.update, row.judge, row.shown2)
					if !schema.Equal(live, changed) { // lifetimes are not compared
						h.refused(live, after, nil)
					}
					h.do(changed, live)
					h.holds(row.create, row.judge, row.shown)
					live = h.read().Get(row.create.Ref())
				}
				h.do(live, nil)
				if l, ok := row.create.(*schema.Link); ok && l.Pair != "" && l.Type == "veth" {
					h.refused(nil, &schema.Link{Name: l.Name, Type: "nonsense"}, errors.ErrUnsupported)
				}
				h.same(start, h.read(), "at the end")
			})
		})
	}
}

// holds checks that the host has the object, both by our reading and by the judge's.
func (h *host) holds(want schema.Object, judge, shown string) schema.Object {
	h.Helper()
	live := h.read().Get(want.Ref())
	if live == nil {
		h.Fatalf("%s is not there", want.Ref())
	}
	w := schema.Clone(want)
	if l, ok := w.(*schema.Link); ok {
		l.MACPinned = nil
	}
	if r, ok := w.(*schema.Route); ok && r.MTU != nil && *r.MTU == 0 {
		r.MTU = nil
	}
	if d := schema.Compare(live, w); len(d) > 0 {
		h.Errorf("%s: differs: %v", want.Ref(), d)
	}
	if got := h.out(judge + " || true"); got != shown {
		h.Errorf("%s\ngot  %q\nwant %q", judge, got, shown)
	}
	return live
}

// setSysctl writes a setting of the calling thread's namespace.
func setSysctl(path, value string) error {
	return os.WriteFile("/proc/sys/"+path, []byte(value), 0o600)
}

// mayTun tells whether this user may make tap links, as on most distributions anybody may within a namespace.
func mayTun() bool { return unix.Access(tunDevice, unix.R_OK|unix.W_OK) == nil }
