package hosttest

import (
	"io/fs"

	"github.com/vmnet/vmnet/schema"
)

func sysctlRows() []row {
	sysctl := func(key, value string) change { return set(&schema.Sysctl{Key: key, Value: value}) }
	router := with(addressed(), sysctl("net.ipv6.conf.all.forwarding", "1"))
	return []row{
		{name: "forward IPv4", given: addressed(), do: sysctl("net.ipv4.ip_forward", "1")},
		{name: "forward IPv4 by its other name", given: addressed(), do: sysctl("net.ipv4.conf.all.forwarding", "1")},
		{name: "no longer forward IPv4", given: with(addressed(), sysctl("net.ipv4.ip_forward", "1")), do: sysctl("net.ipv4.ip_forward", "0")},
		{name: "forward IPv4 by default", given: addressed(), do: sysctl("net.ipv4.conf.default.forwarding", "1")},
		{name: "a new link takes the default", given: []change{sysctl("net.ipv4.ip_forward", "1"), sysctl("net.ipv6.conf.all.forwarding", "1"), sysctl("net.ipv4.conf.default.rp_filter", "2")}, do: bridge("br0", "02:00:00:00:00:01")},
		{name: "forward IPv4 on one link", given: addressed(), do: sysctl("net.ipv4.conf.v0.forwarding", "1")},
		{name: "forward IPv6", given: addressed(), do: sysctl("net.ipv6.conf.all.forwarding", "1")},
		{name: "no longer forward IPv6", given: router, do: sysctl("net.ipv6.conf.all.forwarding", "0")},
		{name: "forward IPv6 on one link", given: addressed(), do: sysctl("net.ipv6.conf.v0.forwarding", "1")},
		{name: "a router's link comes up", given: with(router, down("v0")), do: up("v0")},
		{name: "no IPv6 on one link", given: addressed(), do: sysctl("net.ipv6.conf.v0.disable_ipv6", "1")},
		{name: "IPv6 again on one link", given: with(addressed(), sysctl("net.ipv6.conf.v0.disable_ipv6", "1")), do: sysctl("net.ipv6.conf.v0.disable_ipv6", "0")},
		{name: "no IPv6", given: addressed(), do: sysctl("net.ipv6.conf.all.disable_ipv6", "1")},
		{name: "IPv6 again", given: with(addressed(), sysctl("net.ipv6.conf.all.disable_ipv6", "1")), do: sysctl("net.ipv6.conf.all.disable_ipv6", "0")},
		{name: "up without IPv6", given: with(pair(), up("v1"), sysctl("net.ipv6.conf.v0.disable_ipv6", "1")), do: up("v0")},
		{name: "a loose path filter", given: addressed(), do: sysctl("net.ipv4.conf.v0.rp_filter", "2")},
		{name: "a loose path filter everywhere", given: addressed(), do: sysctl("net.ipv4.conf.all.rp_filter", "2")},
		{name: "a loose path filter by default", given: append(addressed(), bridge("br0", "02:00:00:00:00:01")), do: sysctl("net.ipv4.conf.default.rp_filter", "2")},
		{name: "route the loopback's network", given: addressed(), do: sysctl("net.ipv4.conf.v0.route_localnet", "1")},
		{name: "a setting of its own", do: sysctl("net.ipv4.icmp_echo_ignore_all", "1")},
		{name: "a setting that is no number", given: addressed(), do: sysctl("net.ipv4.conf.v0.rp_filter", "loose"), fails: errAny},
		{name: "of a link that is not there", do: func(*schema.State) schema.Change {
			before, after := schema.Sysctl{Key: "net.ipv4.conf.v0.rp_filter", Value: "0"}, schema.Sysctl{Key: "net.ipv4.conf.v0.rp_filter", Value: "1"}
			return schema.Change{Ref: before.Ref(), Before: &before, After: &after}
		}, fails: fs.ErrNotExist},
		{
			name: "make one", fails: fs.ErrNotExist,
			do: create(&schema.Sysctl{Key: "net.ipv4.nosuch", Value: "1"}),
		},
	}
}

func fileRows() []row {
	return []row{
		{name: "replace", do: set(&schema.File{Path: rulesFile, Content: "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"})},
		{name: "make one of others", do: create(&schema.File{Path: "/etc/nftables.conf", Content: "x"}), fails: errAny},
		{name: "remove one of others", do: remove(&schema.File{Path: rulesFile}), fails: errAny},
	}
}

// sequences are ways that vmnet goes for real.
func sequences() []sequence {
	return append(grantSequences(), []sequence{
		{name: "a NIC with its addresses moves into a bridge", steps: with(addressed(),
			create(via("0.0.0.0/0", "10.0.0.254", "v0", 100)),
			create(&schema.Link{Name: "br0", Type: "bridge", MAC: new("06:00:00:00:00:10"), MACPinned: new(true), Up: new(true)}),
			create(address("br0", "10.0.0.1/24")),
			master("v0", "br0"),
			create(via("0.0.0.0/0", "10.0.0.254", "br0", 100)),
			remove(via("0.0.0.0/0", "10.0.0.254", "v0", 100)),
			remove(address("v0", "10.0.0.1/24")),
			remove(address("v0", "2001:db8::1/64")),
			create(address("br0", "2001:db8::1/64")),
		)},
		{name: "a NAT network and its guest", steps: with(running(),
			create(&schema.Link{
				Name: "virbr-lab", Type: "bridge", Alias: new("vmnet:nat.lab"), MAC: new("02:00:00:00:00:99"), MACPinned: new(true),
				Bridge: &schema.Bridge{STP: new(false), ForwardDelay: new(uint32(0))}, Up: new(true),
			}),
			create(address("virbr-lab", "10.20.0.1/24")),
			create(address("virbr-lab", "2001:db8:20::1/64")),
			set(&schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"}),
			set(&schema.Sysctl{Key: "net.ipv6.conf.all.forwarding", Value: "1"}),
			master("v0", "virbr-lab"),
			port("v0", schema.Port{Isolated: new(true)}),
			mtu("virbr-lab", 1450),
		)},
		{name: "an adapter is reset", steps: with(bridged(),
			create(address("br0", "10.0.0.1/24")), create(via("0.0.0.0/0", "10.0.0.254", "br0", 0)), create(neighbour("br0", "10.0.0.254")),
			down("v0"), up("v0"), down("br0"), up("br0"),
		)},
	}...)
}
