package hosttest

import (
	"io/fs"
	"net/netip"

	"github.com/vmnet/vmnet/schema"
)

// on is a link of which only what is given is set.
func on(name string, fill func(*schema.Link)) *schema.Link {
	l := &schema.Link{Name: name}
	fill(l)
	return l
}

func up(name string) change   { return set(on(name, func(l *schema.Link) { l.Up = new(true) })) }
func down(name string) change { return set(on(name, func(l *schema.Link) { l.Up = new(false) })) }

func mtu(name string, n uint32) change {
	return set(on(name, func(l *schema.Link) { l.MTU = &n }))
}

func mac(name, address string) change {
	return set(on(name, func(l *schema.Link) { l.MAC = &address }))
}

func master(name, bridge string) change {
	return set(on(name, func(l *schema.Link) { l.Master = &bridge }))
}

func port(name string, p schema.Port) change {
	return set(on(name, func(l *schema.Link) { l.Port = &p }))
}

func option(name string, b schema.Bridge) change {
	return set(on(name, func(l *schema.Link) { l.Bridge = &b }))
}

// bridge is a bridge with its own address, down.
func bridge(name, address string) change {
	return create(&schema.Link{Name: name, Type: "bridge", MAC: &address})
}

// pair is a veth v0 with the other end v1, both with addresses of their own, down.
func pair() []change {
	return []change{
		create(&schema.Link{Name: "v0", Type: "veth", Pair: "v1", MAC: new("06:00:00:00:00:10")}),
		mac("v1", "06:00:00:00:00:11"),
	}
}

// running is a pair that is up.
func running() []change { return append(pair(), up("v0"), up("v1")) }

// bridged is a running pair whose v0 is a port of br0, which is up.
func bridged() []change {
	return append([]change{bridge("br0", "02:00:00:00:00:01"), up("br0")}, append(running(), master("v0", "br0"))...)
}

// addressed is a running pair with 10.0.0.1/24 and 2001:db8::1/64 on v0.
func addressed() []change {
	return append(running(), create(address("v0", "10.0.0.1/24")), create(address("v0", "2001:db8::1/64")))
}

func address(link, p string) *schema.Address {
	return &schema.Address{Link: link, Prefix: netip.MustParsePrefix(p), Proto: new(uint8(schema.ProtoVMNET))}
}

func with(first []change, more ...change) []change {
	return append(append([]change(nil), first...), more...)
}

func linkRows() []row {
	return []row{
		{name: "make a bridge", do: create(&schema.Link{Name: "br0", Type: "bridge"})},
		{name: "make a bridge with everything", do: create(&schema.Link{
			Name: "br0", Type: "bridge", Alias: new("vmnet:bridge.lan"), MTU: new(uint32(1400)), MAC: new("02:00:00:00:00:01"),
			MACPinned: new(true), Up: new(true), Bridge: &schema.Bridge{STP: new(false), ForwardDelay: new(uint32(0)), McastSnoop: new(false)},
		})},
		{name: "a bridge without ports and without an address given comes up", given: []change{create(&schema.Link{Name: "br0", Type: "bridge"})}, do: up("br0")},
		{name: "make a veth", do: create(&schema.Link{Name: "v0", Type: "veth", Pair: "v1", MAC: new("06:00:00:00:00:10")})},
		{name: "make a link twice", given: []change{bridge("br0", "02:00:00:00:00:01")}, do: bridge("br0", "02:00:00:00:00:02"), fails: fs.ErrExist},
		{
			name: "make a veth whose other end is there", given: []change{bridge("v1", "02:00:00:00:00:01")},
			do: create(&schema.Link{Name: "v0", Type: "veth", Pair: "v1"}), fails: fs.ErrExist,
		},
		{name: "a name that is too long", do: bridge("a234567890123456", "02:00:00:00:00:01"), fails: errAny},
		{name: "a name with a slash", do: bridge("a/b", "02:00:00:00:00:01"), fails: errAny},
		{name: "an address of a group", do: bridge("br0", "03:00:00:00:00:01"), fails: errAny},
		{name: "an MTU below the least", do: create(&schema.Link{Name: "br0", Type: "bridge", MTU: new(uint32(20))}), fails: errAny},
		{name: "an MTU above the most", given: pair(), do: mtu("v0", 70000), fails: errAny},
		{name: "delete what is not there", do: remove(&schema.Link{Name: "br0", Type: "bridge"}), fails: fs.ErrNotExist},
		{name: "delete a bridge", given: []change{bridge("br0", "02:00:00:00:00:01")}, do: remove(&schema.Link{Name: "br0"})},
		{name: "delete a bridge that is up", given: []change{bridge("br0", "02:00:00:00:00:01"), up("br0")}, do: remove(&schema.Link{Name: "br0"})},
		{name: "delete a bridge with a port", given: bridged(), do: remove(&schema.Link{Name: "br0"})},
		{
			name: "delete a bridge with addresses, routes and neighbours",
			given: with(bridged(), create(address("br0", "10.0.0.1/24")), create(address("br0", "2001:db8::1/64")),
				create(via("0.0.0.0/0", "10.0.0.254", "br0", 0)), create(neighbour("br0", "10.0.0.7"))),
			do: remove(&schema.Link{Name: "br0"}),
		},
		{
			name: "delete a bridge whose addresses are the sources of routes elsewhere",
			given: with(bridged(), create(address("br0", "10.0.0.1/24")), create(address("br0", "10.0.0.2/24")),
				create(&schema.Route{Table: 254, Dst: prefix("10.8.0.0/16"), Link: "v1", Source: ip("10.0.0.1"), Proto: new(uint8(118))}),
				create(&schema.Route{Table: 254, Dst: prefix("10.9.0.0/16"), Link: "v1", Source: ip("10.0.0.2"), Proto: new(uint8(118))})),
			do: remove(&schema.Link{Name: "br0"}),
		},
		{name: "set an alias", given: pair(), do: set(on("v0", func(l *schema.Link) { l.Alias = new("vmnet:guest.db1") }))},
		{
			name:  "clear an alias",
			given: with(pair(), set(on("v0", func(l *schema.Link) { l.Alias = new("vmnet:guest.db1") }))),
			do:    set(on("v0", func(l *schema.Link) { l.Alias = new("") })),
		},
		{name: "set an MTU", given: pair(), do: mtu("v0", 9000)},
		{name: "set an MTU too small for IPv6", given: addressed(), do: mtu("v0", 1000)},
		{name: "set an MTU large enough for IPv6 again", given: with(running(), mtu("v0", 1000)), do: mtu("v0", 1400)},
		{name: "set an address", given: pair(), do: mac("v0", "06:00:00:00:00:77")},
		{name: "set an address of a link that is up", given: addressed(), do: mac("v0", "06:00:00:00:00:77")},
		{name: "set an address flushes neighbours", given: with(addressed(), create(neighbour("v0", "10.0.0.7"))), do: mac("v0", "06:00:00:00:00:77")},
		{name: "set an address that is none", given: pair(), do: mac("v0", "00:00:00:00:00:00"), fails: errAny},
		{name: "up without the other end", given: pair(), do: up("v0")},
		{name: "up with the other end", given: with(pair(), up("v0")), do: up("v1")},
		{name: "down", given: running(), do: down("v0")},
		{name: "down with addresses", given: addressed(), do: down("v0")},
		{
			name:  "down with routes and neighbours",
			given: with(addressed(), create(via("0.0.0.0/0", "10.0.0.254", "v0", 0)), create(via("::/0", "2001:db8::9", "v0", 1024)), create(neighbour("v0", "10.0.0.7")), create(neighbour("v0", "2001:db8::7"))),
			do:    down("v0"),
		},
		{name: "up with addresses", given: with(addressed(), down("v0")), do: up("v0")},
		{name: "up with addresses given while it was down", given: with(pair(), up("v1"), create(address("v0", "10.0.0.1/24")), create(address("v0", "2001:db8::1/64"))), do: up("v0")},
		{name: "delete a veth", given: running(), do: remove(&schema.Link{Name: "v0"})},
		{name: "delete a veth that is a port", given: bridged(), do: remove(&schema.Link{Name: "v1"})},
		{name: "the loopback down", do: down("lo")},
		{name: "delete the loopback", do: remove(&schema.Link{Name: "lo"}), fails: errAny},
		{
			name: "several things at once", given: with(pair(), bridge("br0", "02:00:00:00:00:01"), up("br0"), up("v1")),
			do: set(&schema.Link{Name: "v0", MTU: new(uint32(1400)), Alias: new("a"), Master: new("br0"), Up: new(true), Port: &schema.Port{Isolated: new(true)}}),
		},
		{
			name: "several things, one of them wrong", given: with(pair(), bridge("br0", "02:00:00:00:00:01")),
			do: set(&schema.Link{Name: "v0", MTU: new(uint32(1400)), Alias: new("a"), Master: new("nosuch"), Up: new(true)}), fails: fs.ErrNotExist,
		},
	}
}

func bridgeRows() []row {
	fresh := create(&schema.Link{Name: "br0", Type: "bridge"})
	return []row{
		{name: "a bridge with an address given has no carrier", given: []change{bridge("br0", "02:00:00:00:00:01")}, do: up("br0")},
		{name: "a bridge takes the address of its port", given: with(running(), fresh), do: master("v0", "br0")},
		{
			name:  "a bridge takes the lowest address of its ports",
			given: with(running(), fresh, master("v1", "br0")), do: master("v0", "br0"),
		},
		{name: "a bridge follows its port's address", given: with(running(), fresh, master("v0", "br0")), do: mac("v0", "06:00:00:00:00:05")},
		{name: "a bridge loses its address with the last port", given: with(running(), fresh, master("v0", "br0")), do: master("v0", "")},
		{name: "a bridge keeps an address that was set", given: with(running(), bridge("br0", "02:00:00:00:00:01")), do: master("v0", "br0")},
		{
			name:  "pin the address a bridge has",
			given: with(running(), fresh, master("v0", "br0")),
			do:    set(&schema.Link{Name: "br0", MAC: new("06:00:00:00:00:10"), MACPinned: new(true)}),
		},
		{name: "a bridge takes the MTU of its port", given: with(bridged(), mtu("v1", 1300)), do: mtu("v0", 1300)},
		{name: "a bridge keeps an MTU that was set", given: with(bridged(), mtu("br0", 1400)), do: mtu("v0", 1300)},
		{name: "a bridge's own MTU", given: bridged(), do: mtu("br0", 1400)},
		{name: "a port with a small MTU joins", given: with(bridged(), master("v0", ""), mtu("v0", 1300)), do: master("v0", "br0")},
		{
			name:  "a bridge made with an MTU keeps it",
			given: with(running(), create(&schema.Link{Name: "br0", Type: "bridge", MTU: new(uint32(1400)), MAC: new("02:00:00:00:00:01")})),
			do:    master("v0", "br0"),
		},
		{name: "a bridge up, its port running", given: with(bridged(), down("br0")), do: up("br0")},
		{name: "a bridge down, its port running", given: bridged(), do: down("br0")},
		{name: "a bridge with addresses down", given: with(bridged(), create(address("br0", "10.0.0.1/24")), create(address("br0", "2001:db8::1/64"))), do: down("br0")},
		{name: "the last running port down", given: with(bridged(), create(address("br0", "10.0.0.1/24"))), do: down("v0")},
		{name: "a bridge without carrier takes an IPv6 address", given: with(bridged(), down("v1")), do: create(address("br0", "2001:db8::1/64"))},
		{name: "a bridge gets its carrier", given: with(bridged(), down("br0"), down("v1"), up("br0"), create(address("br0", "2001:db8::1/64"))), do: up("v1")},
		{name: "no snooping", given: bridged(), do: option("br0", schema.Bridge{McastSnoop: new(false)})},
		{name: "no forward delay", given: bridged(), do: option("br0", schema.Bridge{ForwardDelay: new(uint32(0))})},
		{name: "STP", given: []change{bridge("br0", "02:00:00:00:00:01")}, do: option("br0", schema.Bridge{STP: new(true)})},
		{
			name:  "no STP and no forward delay",
			given: []change{bridge("br0", "02:00:00:00:00:01"), option("br0", schema.Bridge{STP: new(true)})},
			do:    option("br0", schema.Bridge{STP: new(false), ForwardDelay: new(uint32(0))}),
		},
		{
			name:  "a forward delay that STP does not take",
			given: []change{bridge("br0", "02:00:00:00:00:01"), option("br0", schema.Bridge{STP: new(true)})},
			do:    option("br0", schema.Bridge{ForwardDelay: new(uint32(100))}), fails: errAny,
		},
		{name: "options of a bridge for a veth", given: pair(), do: option("v0", schema.Bridge{STP: new(true)}), fails: errAny},
	}
}

func portRows() []row {
	// A change of carrier that is still under way would enable the port again (br_port_carrier_check).
	calm := with(bridged(), pause)
	rows := []row{
		{name: "join", given: with(running(), bridge("br0", "02:00:00:00:00:01"), up("br0")), do: master("v0", "br0")},
		{name: "join a bridge that is down", given: with(running(), bridge("br0", "02:00:00:00:00:01")), do: master("v0", "br0")},
		{name: "join while down", given: with(pair(), bridge("br0", "02:00:00:00:00:01"), up("br0")), do: master("v0", "br0")},
		{name: "join what is not there", given: pair(), do: master("v0", "br0"), fails: fs.ErrNotExist},
		{name: "join what is no bridge", given: pair(), do: master("v0", "v1"), fails: errAny},
		{name: "a bridge joins a bridge", given: []change{bridge("br0", "02:00:00:00:00:01"), bridge("br1", "02:00:00:00:00:02")}, do: master("br0", "br1"), fails: errAny},
		{name: "the loopback joins", given: []change{bridge("br0", "02:00:00:00:00:01")}, do: master("lo", "br0"), fails: errAny},
		{name: "join with addresses", given: with(addressed(), bridge("br0", "02:00:00:00:00:01"), up("br0")), do: master("v0", "br0")},
		{name: "leave", given: bridged(), do: master("v0", "")},
		{name: "move to another bridge", given: with(bridged(), bridge("br1", "02:00:00:00:00:02"), up("br1")), do: master("v0", "br1")},
		{
			name:  "move to another bridge with switches",
			given: with(bridged(), port("v0", schema.Port{Isolated: new(true)}), bridge("br1", "02:00:00:00:00:02"), up("br1")),
			do:    master("v0", "br1"),
		},
		{name: "leave with switches", given: with(bridged(), port("v0", schema.Port{Isolated: new(true), Learning: new(false)})), do: master("v0", "")},
		{name: "disabled", given: calm, do: port("v0", schema.Port{State: new("disabled")})},
		{name: "blocking without STP", given: with(calm, port("v0", schema.Port{State: new("disabled")})), do: port("v0", schema.Port{State: new("forwarding")})},
		{name: "a disabled port recovers when it is set down and up", given: with(calm, port("v0", schema.Port{State: new("disabled")}), down("v0")), do: up("v0")},
	}
	for name, p := range map[string]schema.Port{
		"isolated": {Isolated: new(true)}, "hairpin": {Hairpin: new(true)}, "no learning": {Learning: new(false)},
		"no flood": {Flood: new(false)}, "no multicast flood": {McastFlood: new(false)}, "no broadcast flood": {BcastFlood: new(false)},
		"neighbour suppression": {NeighSuppr: new(true)}, "BPDU guard": {Guard: new(true)}, "root block": {RootBlock: new(true)},
		"proxy ARP for wireless": {ProxyARPWiFi: new(true)},
	} {
		rows = append(rows, row{name: name, given: bridged(), do: port("v0", p)})
	}
	return rows
}

// tapRows need the device that taps are made with. Nobody holds these open, so they never have a carrier.
func tapRows() []row {
	const device = "/dev/net/tun"
	tap := []change{create(&schema.Link{Name: "t0", Type: "tap", MAC: new("06:00:00:00:00:20")})}
	return []row{
		{name: "up", needs: device, given: tap, do: up("t0")},
		{name: "delete", needs: device, given: with(tap, up("t0")), do: remove(&schema.Link{Name: "t0"})},
		{name: "make twice", needs: device, given: tap, do: tap[0], fails: fs.ErrExist},
		{name: "join", needs: device, given: with(tap, up("t0"), bridge("br0", "02:00:00:00:00:01"), up("br0")), do: master("t0", "br0")},
		{name: "an MTU above the most", needs: device, given: tap, do: mtu("t0", 65535), fails: errAny},
		{name: "everything", needs: device, given: tap, do: set(&schema.Link{Name: "t0", MTU: new(uint32(1400)), Alias: new("vmnet:guest.db1"), Up: new(true)})},
	}
}
