package world_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/ruleset"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// town is a host with a network of each mode:
//
//	nat.lab          a .11  b .12    10.20.0.0/24  fd20::/64   wherever the route leads
//	nat.shop         c .11           10.21.0.0/24  fd21::/64   by its uplink
//	host_only.build  d .11  e .12    10.30.0.0/24  fd30::/64
//	bridge.lan       l .51           the LAN itself (only where the uplink is a bridge)
type town struct {
	*world.World
	networks []schema.Network
	forwards []schema.Forward
}

// newTown builds it, with the addresses of the host on br0 or on its NIC, and without any table.
func newTown(t *testing.T, uplinkIsBridge bool, uplinkMTU int) *town {
	t.Helper()
	w := build(t, world.Spec{NoHostAddress: uplinkIsBridge, UplinkMTU: uplinkMTU})
	uplink := w.Uplink
	if uplinkIsBridge {
		uplink = "br0"
	}
	town := &town{World: w, networks: []schema.Network{
		{Address: "nat.lab", Mode: "nat", Device: "virbr-lab", Subnets: prefixes("10.20.0.0/24", "fd20::/64")},
		{Address: "nat.shop", Mode: "nat", Device: "virbr-shop", Subnets: prefixes("10.21.0.0/24", "fd21::/64"), Uplink: uplink},
		{Address: "host_only.build", Mode: "host_only", Device: "virbr-build", Subnets: prefixes("10.30.0.0/24", "fd30::/64")},
	}}
	if err := town.furnish(uplinkIsBridge); err != nil {
		t.Fatal(errors.Join(err, w.Close()))
	}
	return town
}

func (w *town) furnish(uplinkIsBridge bool) error {
	guests := []world.Guest{
		guest("a", "virbr-lab", "10.20.0.11/24", "fd20::11/64"), guest("b", "virbr-lab", "10.20.0.12/24", "fd20::12/64"),
		guest("c", "virbr-shop", "10.21.0.11/24", "fd21::11/64"),
		guest("d", "virbr-build", "10.30.0.11/24", "fd30::11/64"), guest("e", "virbr-build", "10.30.0.12/24", "fd30::12/64"),
	}
	bridges := map[string][]netip.Prefix{
		"virbr-lab":   prefixes("10.20.0.1/24", "fd20::1/64"),
		"virbr-shop":  prefixes("10.21.0.1/24", "fd21::1/64"),
		"virbr-build": prefixes("10.30.0.1/24", "fd30::1/64"),
	}
	for name, addrs := range bridges {
		if err := w.Bridge(name, addrs); err != nil {
			return err
		}
	}
	if uplinkIsBridge {
		w.networks = append(w.networks, schema.Network{
			Address: "bridge.lan", Mode: "bridge", Device: "br0", Ports: []string{w.Uplink}, Subnets: prefixes("192.0.2.0/24", "2001:db8:2::/64"),
		})
		if err := w.Bridge("br0", []netip.Prefix{w.Host4, w.Host6}, w.Uplink); err != nil {
			return err
		}
		if err := errors.Join(w.Host().Route(netip.MustParsePrefix("0.0.0.0/0"), w.Router4), w.Host().Route(netip.MustParsePrefix("::/0"), w.Router6)); err != nil {
			return err
		}
		l := guest("l", "br0", "192.0.2.51/24", "2001:db8:2::51/64")
		l.Gateways = []netip.Addr{w.Router4, w.Router6}
		guests = append(guests, l)
	}
	for i := range guests {
		guests[i].Device = fmt.Sprintf("vnet%d", i)
	}
	if err := w.AddGuests(guests...); err != nil {
		return err
	}
	for _, g := range guests {
		if err := errors.Join(w.Guest(g.Name).Serve(22, 53, 80), w.Running(g.Bridge)); err != nil {
			return err
		}
	}
	return w.letThrough()
}

// letThrough makes the host forward, and lets the LAN know the way to every guest: nothing but rules keeps it out.
func (w *town) letThrough() error {
	host := w.Host()
	errs := []error{w.LAN().Serve(22, 53, 80, 2222), host.Serve(22, 53, 80), host.Sysctl("ipv4.ip_forward", "1"), host.Sysctl("ipv6.conf.all.forwarding", "1")}
	for _, n := range w.networks {
		errs = append(errs, host.Sysctl("ipv4.conf."+n.Device+".route_localnet", "1"))
	}
	for _, p := range prefixes("10.20.0.0/15", "10.30.0.0/24") {
		errs = append(errs, w.LAN().Route(p, w.Host4.Addr()))
	}
	for _, p := range prefixes("fd20::/15", "fd30::/64") {
		errs = append(errs, w.LAN().Route(p, w.Host6.Addr()))
	}
	return errors.Join(errs...)
}

func guest(name, bridge, ip4, ip6 string) world.Guest {
	p := prefixes(ip4, ip6)
	g := world.Guest{Name: name, Bridge: bridge, Addrs: p}
	for _, x := range p {
		g.Gateways = append(g.Gateways, x.Masked().Addr().Next())
	}
	return g
}

// forward adds a forward to a guest.
func (w *town) forward(proto string, port uint16, network, to string, toPort uint16, ips ...string) {
	f := schema.Forward{
		Address: fmt.Sprintf("forward.%s%d", proto, port), Proto: proto, Ports: schema.PortRange{First: port, Last: port},
		ToPort: toPort, To: "guest." + to, Network: network,
	}
	for _, ip := range ips {
		f.ToIPs = append(f.ToIPs, addr(ip))
	}
	w.forwards = append(w.forwards, f)
}

// bridgeNetfilter says whether bridged frames meet the rules of the host.
func (w *town) bridgeNetfilter(on bool) error {
	value := map[bool]string{true: "1", false: "0"}[on]
	return errors.Join(w.Host().Sysctl("bridge.bridge-nf-call-iptables", value), w.Host().Sysctl("bridge.bridge-nf-call-ip6tables", value))
}

// hairpin lets a port of a bridge send frames back to where they came from.
func (w *town) hairpin(device string) error {
	return w.Host().Do(func() error {
		l, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		return netlink.LinkSetHairpin(l, true)
	})
}

// flow is a question and who must answer it.
type flow struct {
	from  *world.Node
	proto string // "tcp", "udp" or "icmp"
	to    string // address, with a port unless icmp
	// want is the name of the machine that answers; "" for nobody.
	want string
	// seen is the address that it sees; "" when that does not matter.
	seen string
}

func (f flow) String() string { return fmt.Sprintf("%s %s %s", f.from.Name, f.proto, f.to) }

func (f flow) ask() (world.Answer, error) {
	// A packet that must not arrive is waited for briefly, one that must is given time: the machine may be busy.
	from := f.from.Within(5 * time.Second)
	if f.want == "" {
		from = f.from.Within(300 * time.Millisecond)
	}
	switch f.proto {
	case "icmp":
		return world.Answer{Node: f.want}, from.Ping(addr(f.to))
	case "udp":
		return from.UDP(netip.MustParseAddrPort(f.to))
	}
	return from.TCP(netip.MustParseAddrPort(f.to))
}

// check asks all at once.
func check(t *testing.T, flows []flow) {
	t.Helper()
	var wg sync.WaitGroup
	for _, f := range flows {
		wg.Go(func() {
			got, err := f.ask()
			switch {
			case f.want == "" && err == nil:
				t.Errorf("%s: must not get through; %s answered", f, got.Node)
			case f.want != "" && err != nil:
				t.Errorf("%s: must reach %s: %v", f, f.want, err)
			case f.want != "" && got.Node != f.want:
				t.Errorf("%s: %s answered, want %s", f, got.Node, f.want)
			case f.want != "" && f.seen != "" && got.From.Addr() != addr(f.seen):
				t.Errorf("%s: %s saw %s, want %s", f, f.want, got.From.Addr(), f.seen)
			}
		})
	}
	wg.Wait()
}

// all asks for TCP, UDP and ICMP.
func all(from *world.Node, to, want, seen string) []flow {
	return []flow{
		{from, "tcp", netip.AddrPortFrom(addr(to), 80).String(), want, seen},
		{from, "udp", netip.AddrPortFrom(addr(to), 53).String(), want, seen},
		{from, "icmp", to, want, ""},
	}
}

func (w *town) load(t *testing.T, policies ...ruleset.Policy) {
	t.Helper()
	if err := w.Host().Do(func() error { return load(t.Context(), ruleset.Tables(w.networks, w.forwards, policies)) }); err != nil {
		t.Fatal(err)
	}
}

func hosts(w *town) (here4, here6 string) { return w.Host4.Addr().String(), w.Host6.Addr().String() }

// modes are the flows that the modes of the networks imply, DESIGN's table as packets.
func (w *town) modes() []flow {
	a, b, c, d, e, host, lan := w.Guest("a"), w.Guest("b"), w.Guest("c"), w.Guest("d"), w.Guest("e"), w.Host(), w.LAN()
	here4, here6 := hosts(w)
	var flows []flow
	add := func(from *world.Node, want string, pairs ...string) {
		for _, to := range pairs {
			flows = append(flows, all(from, to, want, "")...)
		}
	}
	// Guests share the host's address, each network by its own rule.
	for _, g := range []*world.Node{a, c} {
		flows = append(flows, all(g, w.Server4.String(), "lan", here4)...)
		flows = append(flows, all(g, w.Server6.String(), "lan", here6)...)
	}
	// Within a network nothing is rewritten.
	flows = append(flows, all(a, "10.20.0.12", "b", "10.20.0.11")...)
	flows = append(flows, all(a, "fd20::12", "b", "fd20::11")...)
	flows = append(flows, all(d, "10.30.0.12", "e", "10.30.0.11")...)
	flows = append(flows, all(d, "fd30::12", "e", "fd30::11")...)
	// Guest and host, both ways, by any address of the host.
	flows = append(flows, all(a, "10.20.0.1", "host", "10.20.0.11")...)
	flows = append(flows, all(a, here4, "host", "10.20.0.11")...)
	flows = append(flows, all(d, "10.30.0.1", "host", "10.30.0.11")...)
	flows = append(flows, all(d, "fd30::1", "host", "fd30::11")...)
	add(host, "a", "10.20.0.11", "fd20::11")
	add(host, "d", "10.30.0.11", "fd30::11")
	// Nobody comes in from outside, nobody leaves host_only, networks do not meet.
	add(lan, "", "10.20.0.11", "fd20::11", "10.21.0.11", "fd21::11", "10.30.0.11", "fd30::11")
	add(d, "", w.Server4.String(), w.Server6.String(), w.Router4.String(), "10.20.0.11", "fd20::11")
	add(a, "", "10.21.0.11", "fd21::11", "10.30.0.11", "fd30::11")
	add(c, "", "10.20.0.12", "fd20::12")
	_, _ = b, e
	if l := w.Guest("l"); l != nil {
		flows = append(flows, all(l, w.Server4.String(), "lan", "192.0.2.51")...)
		flows = append(flows, all(l, w.Server6.String(), "lan", "2001:db8:2::51")...)
		flows = append(flows, all(lan, "192.0.2.51", "l", "192.0.2.1")...)
		flows = append(flows, all(host, "192.0.2.51", "l", here4)...)
		flows = append(flows, all(a, "192.0.2.51", "l", here4)...)
		add(l, "", "10.20.0.11", "fd20::11", "10.30.0.11")
		add(l, "host", here4, here6)
	}
	return flows
}

// variants are the hosts on which everything is tried.
func variants(t *testing.T, fn func(t *testing.T, w *town, bridgeNetfilter bool)) {
	t.Helper()
	for _, uplinkIsBridge := range []bool{false, true} {
		for _, netfilter := range []bool{false, true} {
			t.Run(fmt.Sprintf("uplink-is-bridge=%v/bridge-nf=%v", uplinkIsBridge, netfilter), func(t *testing.T) {
				t.Parallel()
				world.InNewHost(t, func() {
					w := newTown(t, uplinkIsBridge, 0)
					defer closeWorld(t, w.World)
					if err := w.bridgeNetfilter(netfilter); err != nil {
						t.Fatal(err)
					}
					fn(t, w, netfilter)
				})
			})
		}
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, w *town, _ bool) {
		w.load(t)
		check(t, w.modes())
	})
}

func TestForwards(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, w *town, netfilter bool) {
		w.forward("tcp", 2222, "nat.lab", "a", 22, "10.20.0.11", "fd20::11")
		w.forward("udp", 5353, "nat.lab", "a", 53, "10.20.0.11", "fd20::11")
		if netfilter { // a bridged frame that DNAT sends back to its own port
			if err := w.hairpin("vnet0"); err != nil {
				t.Fatal(err)
			}
		}
		w.load(t)
		here4, here6 := hosts(w)
		var flows []flow
		add := func(from *world.Node, to, want, seen string) {
			flows = append(flows, flow{from, "tcp", netip.AddrPortFrom(addr(to), 2222).String(), want, seen},
				flow{from, "udp", netip.AddrPortFrom(addr(to), 5353).String(), want, seen})
		}
		add(w.LAN(), here4, "a", "192.0.2.1")
		add(w.LAN(), here6, "a", "2001:db8:2::1")
		add(w.Host(), here4, "a", "")
		add(w.Host(), here6, "a", "")
		add(w.Host(), "10.20.0.1", "a", "10.20.0.1")
		add(w.Host(), "127.0.0.1", "a", "10.20.0.1")
		add(w.Host(), "127.1.2.3", "a", "10.20.0.1")
		if err := w.Host().Serve(5353); err != nil {
			t.Fatal(err)
		}
		flows = append(flows, flow{w.Host(), "udp", "[::1]:5353", "host", "::1"}) // no way from there: left to the host
		for _, sibling := range []string{"a", "b"} {                              // the guest itself is its own sibling
			add(w.Guest(sibling), here4, "a", "10.20.0.1")
			add(w.Guest(sibling), here6, "a", "fd20::1")
			add(w.Guest(sibling), "10.20.0.1", "a", "10.20.0.1")
		}
		add(w.Guest("c"), here4, "a", "10.21.0.11")
		add(w.Guest("c"), here6, "a", "fd21::11")
		add(w.Guest("d"), here4, "", "")
		add(w.Guest("d"), here6, "", "")
		// The same port elsewhere is not the host's.
		for _, g := range []string{"a", "b", "c"} {
			flows = append(flows, flow{w.Guest(g), "tcp", netip.AddrPortFrom(w.Server4, 2222).String(), "lan", here4},
				flow{w.Guest(g), "tcp", netip.AddrPortFrom(w.Server6, 2222).String(), "lan", here6})
		}
		// A forward opens its target on its way only.
		flows = append(flows, flow{w.LAN(), "tcp", "10.20.0.11:22", "", ""}, flow{w.LAN(), "tcp", "[fd20::11]:22", "", ""})
		if l := w.Guest("l"); l != nil {
			add(l, here4, "a", "192.0.2.51")
			add(l, here6, "a", "2001:db8:2::51")
		}
		check(t, append(flows, w.modes()...))
	})
}

// The way to the LAN takes 1400 bytes, and nobody says so: both ends must learn it from the segment size.
func TestClamp(t *testing.T) {
	t.Parallel()
	for _, bridge := range []bool{false, true} {
		t.Run(fmt.Sprintf("uplink-is-bridge=%v", bridge), func(t *testing.T) {
			t.Parallel()
			world.InNewHost(t, func() {
				w := newTown(t, bridge, 1400)
				defer closeWorld(t, w.World)
				w.forward("tcp", 2222, "nat.lab", "a", 22, "10.20.0.11", "fd20::11")
				w.load(t)
				here4, here6 := hosts(w)
				const options = 12 // timestamps
				for _, c := range []struct {
					from *world.Node
					to   string
					most int
				}{
					{w.Guest("a"), w.Server4.String() + ":80", 1400 - 40 - options},
					{w.Guest("a"), "[" + w.Server6.String() + "]:80", 1400 - 60 - options},
					{w.LAN(), here4 + ":2222", 1400 - 40 - options},
					{w.LAN(), "[" + here6 + "]:2222", 1400 - 60 - options},
				} {
					conn, err := c.from.Within(5 * time.Second).Dial(netip.MustParseAddrPort(c.to))
					if err != nil {
						t.Error(err)
						continue
					}
					if conn.Answer.MSS != c.most || conn.Answer.OwnMSS != c.most {
						t.Errorf("%s to %s: segments of %d there and %d here, want %d", c.from.Name, c.to, conn.Answer.MSS, conn.Answer.OwnMSS, c.most)
					}
					if err := errors.Join(conn.Echo(make([]byte, 200_000)), conn.Close()); err != nil {
						t.Errorf("%s to %s: %v", c.from.Name, c.to, err)
					}
				}
			})
		})
	}
}

// Forwards from 127.0.0.1 need route_localnet, which opens the host's loopback to the guests: the rules close it again.
func TestLoopbackIsClosed(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		w := newTown(t, false, 0)
		defer closeWorld(t, w.World)
		if err := w.bridgeNetfilter(false); err != nil {
			t.Fatal(err)
		}
		a := w.Guest("a")
		if err := a.Sysctl("ipv4.conf.all.route_localnet", "1"); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(a.Do(dropLoopback), a.Route(netip.MustParsePrefix("127.0.0.0/8"), addr("10.20.0.1"))); err != nil {
			t.Fatal(err)
		}
		attack := func(want string) []flow { return all(a, "127.0.0.1", want, "") }
		check(t, attack("host")) // so it is without rules
		w.forward("tcp", 2222, "nat.lab", "a", 22, "10.20.0.11")
		w.load(t)
		check(t, append(attack(""), flow{w.Host(), "tcp", "127.0.0.1:2222", "a", "10.20.0.1"}))
	})
}

// dropLoopback takes 127.0.0.1 from this machine, so that packets to it leave.
func dropLoopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	addrs, err := netlink.AddrList(lo, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for i := range addrs {
		if err := netlink.AddrDel(lo, &addrs[i]); err != nil {
			return err
		}
	}
	return nil
}

func network(w *town, address string) schema.Endpoint {
	for _, n := range w.networks {
		if n.Address == address {
			return schema.Endpoint{Kind: "network", Address: address, Device: n.Device, Prefixes: n.Subnets}
		}
	}
	return schema.Endpoint{Kind: "network", Address: address}
}

func guestEnd(name, device string, ips ...string) schema.Endpoint {
	e := schema.Endpoint{Kind: "guest", Address: "guest." + name, Device: device}
	for _, ip := range ips {
		e.Prefixes = append(e.Prefixes, netip.PrefixFrom(addr(ip), addr(ip).BitLen()))
	}
	return e
}

func prefixEnd(p ...string) schema.Endpoint {
	return schema.Endpoint{Kind: "prefix", Prefixes: prefixes(p...)}
}

func service(proto string, ports ...uint16) schema.Service {
	s := schema.Service{Proto: proto}
	for _, p := range ports {
		s.Ports = append(s.Ports, schema.PortRange{First: p, Last: p})
	}
	return s
}

type ends = []schema.Endpoint

// The first policy that matches wins; what the modes imply comes after.
func TestPolicies(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, w *town, _ bool) {
		outside, host := schema.Endpoint{Kind: "outside"}, schema.Endpoint{Kind: "host"}
		guestA := guestEnd("a", "virbr-lab", "10.20.0.11", "fd20::11")
		guestB := guestEnd("b", "virbr-lab", "10.20.0.12", "fd20::12")
		server := prefixEnd("203.0.113.0/24", "2001:db8:113::/48")
		web := []schema.Service{service("tcp", 80)}
		w.forward("tcp", 2222, "nat.lab", "a", 22, "10.20.0.11", "fd20::11")
		w.load(t,
			ruleset.Policy{Address: "firewall.a", Allow: true, From: ends{guestA}, To: ends{server}, Service: web},
			ruleset.Policy{Address: "firewall.a", From: ends{network(w, "nat.lab")}, To: ends{server}, Service: []schema.Service{service("tcp", 80, 443), service("icmp")}},
			ruleset.Policy{Address: "firewall.b", Allow: true, From: ends{network(w, "nat.shop"), network(w, "host_only.build")}, To: ends{guestA, guestB}, Service: web},
			ruleset.Policy{Address: "firewall.c", Allow: true, From: ends{outside}, To: ends{host}, Service: []schema.Service{{Proto: "tcp", Ports: []schema.PortRange{{First: 20, Last: 25}}}}},
			ruleset.Policy{Address: "firewall.c", From: ends{outside}, To: ends{host}},
			ruleset.Policy{Address: "firewall.d", From: ends{host}, To: ends{guestB}},
			ruleset.Policy{Address: "firewall.e", From: ends{network(w, "nat.shop")}, To: ends{outside}, Service: []schema.Service{service("udp")}},
			ruleset.Policy{Address: "firewall.f", Allow: true, From: ends{network(w, "host_only.build")}, To: ends{prefixEnd("203.0.113.10/32")}, Service: []schema.Service{service("icmp"), service("tcp", 22)}},
		)
		a, b, c, d, h := w.Guest("a"), w.Guest("b"), w.Guest("c"), w.Guest("d"), w.Host()
		net4, net6 := w.LAN().From(w.Server4), w.LAN().From(w.Server6)
		here4, here6 := hosts(w)
		web4, web6 := w.Server4.String()+":80", "["+w.Server6.String()+"]:80"
		flows := []flow{
			// firewall.a: the guest may, its network may not; everything else goes on as the mode says.
			{a, "tcp", web4, "lan", ""},
			{a, "tcp", web6, "lan", ""},
			{b, "tcp", web4, "", ""},
			{b, "tcp", web6, "", ""},
			{a, "icmp", w.Server4.String(), "", ""},
			{a, "icmp", w.Server6.String(), "", ""},
			{b, "tcp", w.Server4.String() + ":22", "lan", here4},
			{b, "udp", "[" + w.Server6.String() + "]:53", "lan", here6},
			// firewall.b: other networks come in, for this only.
			{c, "tcp", "10.20.0.11:80", "a", "10.21.0.11"},
			{c, "tcp", "[fd20::12]:80", "b", "fd21::11"},
			{d, "tcp", "10.20.0.12:80", "b", "10.30.0.11"},
			{c, "tcp", "10.20.0.11:22", "", ""},
			{d, "udp", "10.20.0.11:80", "", ""},
			{a, "tcp", "10.21.0.11:80", "", ""},
			// firewall.c: the host, from beyond the LAN.
			{net4, "tcp", here4 + ":22", "host", ""},
			{net6, "tcp", "[" + here6 + "]:22", "host", ""},
			{net4, "tcp", here4 + ":80", "", ""},
			{net6, "tcp", "[" + here6 + "]:80", "", ""},
			{net4, "icmp", here4, "", ""},
			{net6, "icmp", here6, "", ""},
			{a, "tcp", here4 + ":80", "host", ""},
			{h, "tcp", web4, "lan", ""},
			{h, "tcp", here4 + ":80", "host", ""},
			{h, "tcp", "[::1]:80", "host", ""},
			{net4, "tcp", here4 + ":2222", "a", ""},
			// firewall.d: the host does not speak to b, and b may speak to the host.
			{h, "tcp", "10.20.0.12:80", "", ""},
			{h, "tcp", "[fd20::12]:80", "", ""},
			{b, "tcp", "10.20.0.1:80", "host", ""},
			{b, "tcp", "[fd20::1]:80", "host", ""},
			{h, "tcp", "10.20.0.11:80", "a", ""},
			// firewall.e
			{c, "udp", w.Server4.String() + ":53", "", ""},
			{c, "tcp", web4, "lan", here4},
			// firewall.f
			{d, "icmp", w.Server4.String(), "lan", ""},
			{d, "tcp", w.Server4.String() + ":22", "lan", here4}, // what may leave must be answered
			{d, "tcp", web4, "", ""},
		}
		// The LAN is a network of the file where it has a bridge block, else it is outside.
		neighbour := ""
		if w.Guest("l") != nil {
			neighbour = "host"
		}
		flows = append(flows, all(w.LAN(), here4, neighbour, "")...)
		flows = append(flows, all(w.LAN(), here6, neighbour, "")...)
		check(t, flows)
	})
}

// A deny of everything leaves what makes a network: neighbour discovery and the loopback.
func TestDenyEverything(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, w *town, _ bool) {
		w.load(t, ruleset.Policy{Address: "firewall.x", Allow: true, Service: []schema.Service{service("tcp", 22)}}, ruleset.Policy{Address: "firewall.x"})
		here4, here6 := hosts(w)
		flows := []flow{
			{w.LAN(), "tcp", "[" + here6 + "]:22", "host", ""},
			{w.Guest("a"), "tcp", "[fd20::1]:22", "host", ""},
			{w.Guest("a"), "tcp", "[" + w.Server6.String() + "]:22", "lan", here6},
			{w.Guest("a"), "tcp", "[fd20::12]:22", "b", ""},
			{w.Host(), "tcp", "[::1]:80", "host", ""},
			{w.Host(), "tcp", "127.0.0.1:80", "host", ""},
			{w.LAN(), "tcp", here4 + ":80", "", ""},
			{w.Guest("a"), "icmp", "10.20.0.1", "", ""},
			{w.Host(), "tcp", "10.20.0.11:80", "", ""},
			// An allow comes before the mode, and says any.
			{w.LAN(), "tcp", "10.20.0.11:22", "a", ""},
		}
		check(t, flows)
	})
}

// With br_netfilter, what one guest broadcasts to the others meets the rules for masquerading as well.
func TestBroadcastKeepsItsSource(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, w *town, _ bool) {
		w.load(t)
		for _, to := range []string{"10.20.0.255:4000", "255.255.255.255:4000", "224.0.0.251:4000"} {
			if got, err := w.broadcast(to); err != nil {
				t.Errorf("%s: %v", to, err)
			} else if got != addr("10.20.0.11") {
				t.Errorf("%s: came from %s, want 10.20.0.11", to, got)
			}
		}
	})
}

// broadcast sends a datagram from a and tells from where b receives it.
func (w *town) broadcast(to string) (from netip.Addr, err error) {
	at := netip.MustParseAddrPort(to)
	var in, out *net.UDPConn
	err = w.Guest("b").Do(func() (err error) {
		if !at.Addr().IsMulticast() {
			in, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port())))
			return err
		}
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		in, err = net.ListenMulticastUDP("udp4", eth0, net.UDPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		return from, err
	}
	defer in.Close()
	err = w.Guest("a").Do(func() (err error) {
		out, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		return from, err
	}
	defer out.Close()
	if _, err := out.Write([]byte("?")); err != nil {
		return from, err
	}
	if err := in.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return from, err
	}
	_, sender, err := in.ReadFromUDPAddrPort(make([]byte, 64))
	return sender.Addr().Unmap(), err
}
