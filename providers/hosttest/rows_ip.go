package hosttest

import (
	"io/fs"

	"github.com/vmnet/vmnet/schema"
)

func addressRows() []row {
	a := func(p string, fill func(*schema.Address)) *schema.Address {
		x := address("v0", p)
		if fill != nil {
			fill(x)
		}
		return x
	}
	two := with(running(), create(a("10.0.0.1/24", nil)), create(a("10.0.0.2/24", nil)), create(a("10.1.0.1/24", nil)))
	return []row{
		{name: "add", given: running(), do: create(a("10.0.0.1/24", nil))},
		{name: "add to a link that is down", given: pair(), do: create(a("10.0.0.1/24", nil))},
		{name: "add to a link without carrier", given: with(pair(), up("v0")), do: create(a("10.0.0.1/24", nil))},
		{name: "add a second one of the network", given: with(running(), create(a("10.0.0.1/24", nil))), do: create(a("10.0.0.2/24", nil))},
		{name: "add one of another network", given: with(running(), create(a("10.0.0.1/24", nil))), do: create(a("10.1.0.1/24", nil))},
		{name: "add a host's own", given: running(), do: create(a("10.0.0.1/32", nil))},
		{name: "add a /31", given: running(), do: create(a("10.0.0.0/31", nil))},
		{name: "add a /30", given: running(), do: create(a("10.0.0.1/30", nil))},
		{name: "add point to point", given: running(), do: create(a("10.0.0.1/32", func(a *schema.Address) { a.Peer = new(prefix("10.0.0.2/32")) }))},
		{name: "add with broadcast", given: running(), do: create(a("10.0.0.1/24", func(a *schema.Address) { a.Broadcast = new(ip("10.0.0.255")) }))},
		{name: "add with another broadcast", given: running(), do: create(a("10.0.0.1/24", func(a *schema.Address) { a.Broadcast = new(ip("10.0.0.127")) }))},
		{name: "add without a connected route", given: running(), do: create(a("10.0.0.1/24", func(a *schema.Address) { a.NoPrefixRoute = new(true) }))},
		{name: "add with scope link and a label", given: running(), do: create(a("10.0.0.1/24", func(a *schema.Address) { a.Scope, a.Label = new("link"), new("v0:1") }))},
		{name: "add the same address with another length", given: with(running(), create(a("10.0.0.1/24", nil))), do: create(a("10.0.0.1/16", nil))},
		{name: "add the same address to another link", given: with(running(), create(a("10.0.0.1/24", nil))), do: create(address("v1", "10.0.0.1/24"))},
		{name: "add to the loopback", do: create(address("lo", "192.0.2.1/32"))},
		{name: "add a second one to the loopback's network", do: create(&schema.Address{Link: "lo", Prefix: prefix("127.0.0.2/8"), Scope: new("host")})},
		{name: "add a second one of another scope to the loopback", do: create(address("lo", "127.0.0.2/8")), fails: errAny},
		{name: "add twice", given: with(running(), create(a("10.0.0.1/24", nil))), do: create(a("10.0.0.1/24", nil)), fails: fs.ErrExist},
		{name: "add to a link that is not there", do: create(a("10.0.0.1/24", nil)), fails: fs.ErrNotExist},
		{
			name: "add a second one of another scope", given: with(running(), create(a("10.0.0.1/24", nil))),
			do: create(a("10.0.0.2/24", func(a *schema.Address) { a.Scope = new("link") })), fails: errAny,
		},
		{name: "delete", given: with(running(), create(a("10.0.0.1/24", nil)), create(a("10.1.0.1/24", nil))), do: remove(a("10.0.0.1/24", nil))},
		{name: "delete what is not there", given: running(), do: remove(a("10.0.0.1/24", nil)), fails: fs.ErrNotExist},
		{name: "delete of a link that is not there", do: remove(a("10.0.0.1/24", nil)), fails: fs.ErrNotExist},
		{name: "delete a primary one", given: two, do: remove(a("10.0.0.1/24", nil))},
		{name: "delete a secondary one", given: two, do: remove(a("10.0.0.2/24", nil))},
		{
			name:  "delete a primary one, promoting",
			given: with(two, set(&schema.Sysctl{Key: "net.ipv4.conf.all.promote_secondaries", Value: "1"})), do: remove(a("10.0.0.1/24", nil)),
		},
		{
			name:  "delete a primary one, promoting on this link",
			given: with(two, set(&schema.Sysctl{Key: "net.ipv4.conf.v0.promote_secondaries", Value: "1"})), do: remove(a("10.0.0.1/24", nil)),
		},
		{
			name: "delete the last one, with routes and neighbours",
			given: with(running(), create(a("10.0.0.1/24", nil)), create(via("0.0.0.0/0", "10.0.0.254", "v0", 0)),
				create(&schema.Route{Table: 100, Dst: prefix("10.8.0.0/16"), Link: "v0", Proto: new(uint8(118))}), create(neighbour("v0", "10.0.0.7"))),
			do: remove(a("10.0.0.1/24", nil)),
		},
		{
			name: "delete the source of a route",
			given: with(running(), create(address("v1", "10.2.0.1/24")), create(a("10.0.0.1/24", nil)), create(a("10.1.0.1/24", nil)),
				create(&schema.Route{Table: 254, Dst: prefix("10.8.0.0/16"), Link: "v1", Source: ip("10.0.0.1"), Proto: new(uint8(118))}),
				create(&schema.Route{Table: 77, Dst: prefix("10.8.0.0/16"), Link: "v1", Source: ip("10.0.0.1"), Proto: new(uint8(118))})),
			do: remove(a("10.0.0.1/24", nil)),
		},
		{
			name: "delete the source of a route that is elsewhere, too",
			given: with(running(), create(a("10.0.0.1/24", nil)), create(address("v1", "10.0.0.1/24")),
				create(&schema.Route{Table: 254, Dst: prefix("10.8.0.0/16"), Link: "v1", Source: ip("10.0.0.1"), Proto: new(uint8(118))})),
			do: remove(a("10.0.0.1/24", nil)),
		},
		{
			name: "change the scope", given: with(running(), create(a("10.0.0.1/24", nil))),
			do: set(&schema.Address{Link: "v0", Prefix: prefix("10.0.0.1/24"), Scope: new("link")}), fails: errAny,
		},
	}
}

func address6Rows() []row {
	a := func(p string) *schema.Address { return address("v0", p) }
	forwarding := set(&schema.Sysctl{Key: "net.ipv6.conf.all.forwarding", Value: "1"})
	return []row{
		{name: "add", given: running(), do: create(a("2001:db8::1/64"))},
		{name: "add to a link that is down", given: pair(), do: create(a("2001:db8::1/64"))},
		{name: "add to a link without carrier", given: with(pair(), up("v0")), do: create(a("2001:db8::1/64"))},
		{name: "add a second one of the network", given: with(running(), create(a("2001:db8::1/64"))), do: create(a("2001:db8::2/64"))},
		{name: "add a host's own", given: running(), do: create(a("2001:db8::1/128"))},
		{name: "add without a connected route", given: running(), do: create(&schema.Address{Link: "v0", Prefix: prefix("2001:db8::1/64"), NoPrefixRoute: new(true)})},
		{name: "add without detection", given: running(), do: create(&schema.Address{Link: "v0", Prefix: prefix("2001:db8::1/64"), NoDAD: new(true)})},
		{name: "add a link-local one", given: running(), do: create(a("fe80::1/64"))},
		{name: "add on a router", given: with(running(), forwarding), do: create(a("2001:db8::1/64"))},
		{name: "add to the loopback", do: create(address("lo", "2001:db8::1/128"))},
		{
			name:  "add with duplicate address detection",
			given: with(running(), set(&schema.Sysctl{Key: "net.ipv6.conf.v0.accept_dad", Value: "1"})), do: create(a("2001:db8::1/64")),
		},
		{
			name:  "add with detection that waits for the carrier",
			given: with(pair(), set(&schema.Sysctl{Key: "net.ipv6.conf.v0.accept_dad", Value: "1"}), up("v0")), do: create(a("2001:db8::1/64")),
		},
		{name: "add twice", given: with(running(), create(a("2001:db8::1/64"))), do: create(a("2001:db8::1/64")), fails: fs.ErrExist},
		{name: "add the same address with another length", given: with(running(), create(a("2001:db8::1/64"))), do: create(a("2001:db8::1/48")), fails: fs.ErrExist},
		{name: "add to a link that is not there", do: create(a("2001:db8::1/64")), fails: fs.ErrNotExist},
		{name: "add where IPv6 is off", given: with(running(), set(&schema.Sysctl{Key: "net.ipv6.conf.v0.disable_ipv6", Value: "1"})), do: create(a("2001:db8::1/64")), fails: errAny},
		{name: "add a group's", given: running(), do: create(a("ff02::5/64")), fails: errAny},
		{name: "add the loopback's", given: running(), do: create(a("::1/128")), fails: errAny},
		{name: "delete", given: with(running(), create(a("2001:db8::1/64"))), do: remove(a("2001:db8::1/64"))},
		{name: "delete one of two", given: with(running(), create(a("2001:db8::1/64")), create(a("2001:db8::2/64"))), do: remove(a("2001:db8::1/64"))},
		{name: "delete on a router", given: with(running(), forwarding, create(a("2001:db8::1/64")), create(a("2001:db8::2/64"))), do: remove(a("2001:db8::1/64"))},
		{
			name: "delete, with routes",
			given: with(running(), create(a("2001:db8::1/64")), create(via("::/0", "2001:db8::9", "v0", 1024)),
				create(&schema.Route{Table: 254, Dst: prefix("2001:db8:7::/48"), Link: "v1", Metric: 1024, Source: ip("2001:db8::1"), Proto: new(uint8(118))})),
			do: remove(a("2001:db8::1/64")),
		},
		{name: "no connected route any more", given: with(running(), create(a("2001:db8::1/64"))), do: set(&schema.Address{Link: "v0", Prefix: prefix("2001:db8::1/64"), NoPrefixRoute: new(true)})},
		{name: "who made it", given: with(running(), create(a("2001:db8::1/64"))), do: set(&schema.Address{Link: "v0", Prefix: prefix("2001:db8::1/64"), Proto: new(uint8(7))})},
	}
}

func via(dst, gateway, link string, metric uint32) *schema.Route {
	return &schema.Route{Table: 254, Dst: prefix(dst), Gateway: ip(gateway), Link: link, Metric: metric, Proto: new(uint8(schema.ProtoVMNET))}
}

func neighbour(link, addr string) *schema.Neighbour {
	return &schema.Neighbour{Link: link, IP: ip(addr), MAC: new("02:00:00:00:00:07"), Permanent: new(true)}
}

func routeRows() []row {
	given := with(addressed(), create(address("v1", "10.1.0.1/24")))
	direct := func(dst, link string) *schema.Route {
		return &schema.Route{Table: 254, Dst: prefix(dst), Link: link, Proto: new(uint8(schema.ProtoVMNET))}
	}
	fill := func(r *schema.Route, f func(*schema.Route)) *schema.Route {
		f(r)
		return r
	}
	return []row{
		{name: "add the default route", given: given, do: create(via("0.0.0.0/0", "10.0.0.254", "v0", 0))},
		{name: "add a default route with a metric", given: with(given, create(via("0.0.0.0/0", "10.0.0.254", "v0", 0))), do: create(via("0.0.0.0/0", "10.0.0.254", "v0", 100))},
		{name: "add a default route over another link before the first goes", given: with(given, create(via("0.0.0.0/0", "10.0.0.254", "v0", 0))), do: create(via("0.0.0.0/0", "10.1.0.254", "v1", 0))},
		{name: "add a default route by another router before the first goes", given: with(given, create(via("0.0.0.0/0", "10.0.0.254", "v0", 0))), do: create(via("0.0.0.0/0", "10.0.0.253", "v0", 0))},
		{name: "delete the first of two default routes", given: with(given, create(via("0.0.0.0/0", "10.0.0.254", "v0", 0)), create(via("0.0.0.0/0", "10.1.0.254", "v1", 0))), do: remove(via("0.0.0.0/0", "10.0.0.254", "v0", 0))},
		{name: "add an on-link route", given: given, do: create(direct("10.8.0.0/16", "v0"))},
		{name: "add a route in another table", given: given, do: create(fill(via("0.0.0.0/0", "10.0.0.254", "v0", 0), func(r *schema.Route) { r.Table = 1000 }))},
		{name: "add a route with a source, an MTU and a TOS", given: given, do: create(fill(direct("10.8.0.0/16", "v1"), func(r *schema.Route) {
			r.Source, r.MTU, r.TOS = ip("10.0.0.1"), new(uint32(1400)), 0x10
		}))},
		{name: "add a route by a router that is nowhere", given: given, do: create(fill(via("10.8.0.0/16", "192.0.2.1", "v0", 0), func(r *schema.Route) { r.OnLink = new(true) }))},
		{name: "add a blackhole", do: create(&schema.Route{Table: 254, Dst: prefix("10.8.0.0/16"), Type: "blackhole", Proto: new(uint8(118))})},
		{name: "add an unreachable destination", do: create(&schema.Route{Table: 254, Dst: prefix("10.8.0.0/16"), Type: "unreachable", Proto: new(uint8(118))})},
		{name: "add a route with two legs", given: given, do: create(&schema.Route{
			Table: 254, Dst: prefix("10.8.0.0/16"), Proto: new(uint8(118)),
			NextHops: []schema.NextHop{{Link: "v0", Gateway: ip("10.0.0.8"), Weight: 1}, {Link: "v1", Gateway: ip("10.1.0.8"), Weight: 3}},
		})},
		{name: "a link of a route with two legs goes down", given: with(given, create(&schema.Route{
			Table: 254, Dst: prefix("10.8.0.0/16"), Proto: new(uint8(118)),
			NextHops: []schema.NextHop{{Link: "v0", Gateway: ip("10.0.0.8"), Weight: 1}, {Link: "v1", Gateway: ip("10.1.0.8"), Weight: 1}},
		})), do: down("v1")},
		{name: "add twice", given: with(given, create(direct("10.8.0.0/16", "v0"))), do: create(direct("10.8.0.0/16", "v0")), fails: fs.ErrExist},
		{name: "add over a link that is not there", do: create(direct("10.8.0.0/16", "v0")), fails: fs.ErrNotExist},
		{name: "add over a link that is down", given: pair(), do: create(direct("10.8.0.0/16", "v0")), fails: errAny},
		{name: "add by a router out of reach", given: given, do: create(via("10.8.0.0/16", "192.0.2.1", "v0", 0)), fails: errAny},
		{name: "add by a router that is the host", given: given, do: create(via("10.8.0.0/16", "10.0.0.1", "v0", 0))},
		{name: "add with a source that is not here", given: given, do: create(fill(direct("10.8.0.0/16", "v1"), func(r *schema.Route) { r.Source = ip("192.0.2.1") })), fails: errAny},
		{name: "delete", given: with(given, create(direct("10.8.0.0/16", "v0"))), do: remove(direct("10.8.0.0/16", "v0"))},
		{name: "delete what is not there", given: given, do: remove(direct("10.8.0.0/16", "v0")), fails: fs.ErrNotExist},
		{name: "delete a connected route", given: given, do: remove(&schema.Route{Table: 254, Dst: prefix("10.0.0.0/24"), Link: "v0"})},
		{name: "change the MTU", given: with(given, create(direct("10.8.0.0/16", "v0"))), do: set(fill(direct("10.8.0.0/16", "v0"), func(r *schema.Route) { r.MTU = new(uint32(1300)) }))},
		{name: "change the protocol", given: with(given, create(direct("10.8.0.0/16", "v0"))), do: set(fill(direct("10.8.0.0/16", "v0"), func(r *schema.Route) { r.Proto = new(uint8(4)) }))},
		{name: "change the source", given: with(given, create(direct("10.8.0.0/16", "v0"))), do: set(fill(direct("10.8.0.0/16", "v0"), func(r *schema.Route) { r.Source = ip("10.1.0.1") }))},
		{name: "change one of two", given: with(given, create(via("0.0.0.0/0", "10.0.0.254", "v0", 0)), create(via("0.0.0.0/0", "10.1.0.254", "v1", 0))), do: set(fill(via("0.0.0.0/0", "10.0.0.254", "v0", 0), func(r *schema.Route) { r.MTU = new(uint32(1300)) }))},
	}
}

func route6Rows() []row {
	given := with(addressed(), create(address("v1", "2001:db8:1::1/64")))
	direct := func(dst, link string) *schema.Route {
		return &schema.Route{Table: 254, Dst: prefix(dst), Link: link, Metric: 1024, Proto: new(uint8(schema.ProtoVMNET))}
	}
	return []row{
		{name: "add the default route", given: given, do: create(via("::/0", "2001:db8::9", "v0", 1024))},
		{name: "add the default route by a link-local router", given: given, do: create(via("::/0", "fe80::9", "v0", 1024))},
		{name: "add a route by another router before the first goes", given: with(given, create(via("::/0", "2001:db8::9", "v0", 1024))), do: create(via("::/0", "2001:db8:1::9", "v1", 512))},
		{name: "add an on-link route", given: given, do: create(direct("2001:db8:8::/48", "v0"))},
		{name: "add a blackhole", do: create(&schema.Route{Table: 254, Dst: prefix("2001:db8:8::/48"), Metric: 1024, Type: "blackhole", Proto: new(uint8(118))})},
		{name: "add a route with two legs", given: given, do: create(&schema.Route{
			Table: 254, Dst: prefix("2001:db8:8::/48"), Metric: 1024, Proto: new(uint8(118)),
			NextHops: []schema.NextHop{{Link: "v0", Gateway: ip("2001:db8::8"), Weight: 1}, {Link: "v1", Gateway: ip("2001:db8:1::8"), Weight: 1}},
		})},
		{name: "add twice", given: with(given, create(direct("2001:db8:8::/48", "v0"))), do: create(direct("2001:db8:8::/48", "v0")), fails: fs.ErrExist},
		{name: "add over a link that is not there", do: create(direct("2001:db8:8::/48", "v0")), fails: fs.ErrNotExist},
		{name: "add over a link that is down", given: pair(), do: create(direct("2001:db8:8::/48", "v0")), fails: errAny},
		{name: "add by a router out of reach", given: given, do: create(via("2001:db8:8::/48", "2001:db8:99::1", "v0", 1024)), fails: errAny},
		{name: "add by a router that is the host", given: given, do: create(via("2001:db8:8::/48", "2001:db8::1", "v0", 1024)), fails: errAny},
		{name: "add without a metric", given: given, do: create(via("2001:db8:8::/48", "2001:db8::8", "v0", 0)), fails: errAny},
		{name: "delete", given: with(given, create(direct("2001:db8:8::/48", "v0"))), do: remove(direct("2001:db8:8::/48", "v0"))},
		{name: "delete what is not there", given: given, do: remove(direct("2001:db8:8::/48", "v0")), fails: fs.ErrNotExist},
		{name: "change the MTU", given: with(given, create(direct("2001:db8:8::/48", "v0"))), do: set(&schema.Route{Table: 254, Dst: prefix("2001:db8:8::/48"), Link: "v0", Metric: 1024, MTU: new(uint32(1300))})},
		{name: "a link with a route goes down", given: with(given, create(via("::/0", "2001:db8::9", "v0", 1024)), create(direct("2001:db8:8::/48", "v0"))), do: down("v0")},
	}
}

func ruleRows() []row {
	rule := &schema.PolicyRule{Family: "ip", Priority: 100, Src: prefix("10.0.0.0/8"), Table: 100, Proto: new(uint8(schema.ProtoVMNET))}
	rule6 := &schema.PolicyRule{Family: "ip6", Priority: 100, Dst: prefix("2001:db8::/32"), Table: 100, Proto: new(uint8(schema.ProtoVMNET))}
	return []row{
		{name: "add", do: create(rule)},
		{name: "add for IPv6", do: create(rule6)},
		{name: "add with a mark", do: create(&schema.PolicyRule{Family: "ip", Priority: 101, Mark: 1, Mask: 0xff, Table: 100, Proto: new(uint8(118))})},
		{name: "add with devices", do: create(&schema.PolicyRule{Family: "ip", Priority: 101, IIF: "v0", OIF: "v1", Table: 100, Proto: new(uint8(118))})},
		{name: "add with ports", do: create(&schema.PolicyRule{Family: "ip", Priority: 101, IPProto: 6, DPort: "80-90", Table: 100, Proto: new(uint8(118))})},
		{name: "add that prohibits", do: create(&schema.PolicyRule{Family: "ip", Priority: 101, Action: "prohibit", Proto: new(uint8(118))})},
		{name: "add that suppresses", do: create(&schema.PolicyRule{Family: "ip", Priority: 101, Table: 254, SuppressPrefixLen: new(0), Proto: new(uint8(118))})},
		{name: "add that jumps", do: create(&schema.PolicyRule{Family: "ip", Priority: 101, Action: "goto", Goto: 32766, Proto: new(uint8(118))})},
		{name: "add twice", given: []change{create(rule)}, do: create(rule), fails: fs.ErrExist},
		{name: "delete", given: []change{create(rule)}, do: remove(rule)},
		{name: "delete for IPv6", given: []change{create(rule6)}, do: remove(rule6)},
		{name: "delete what is not there", do: remove(rule), fails: fs.ErrNotExist},
	}
}

func neighbourRows() []row {
	return []row{
		{name: "add", given: addressed(), do: create(neighbour("v0", "10.0.0.7"))},
		{name: "add for IPv6", given: addressed(), do: create(neighbour("v0", "2001:db8::7"))},
		{name: "add on a link that is down", given: pair(), do: create(neighbour("v0", "10.0.0.7"))},
		{name: "add twice", given: with(addressed(), create(neighbour("v0", "10.0.0.7"))), do: create(neighbour("v0", "10.0.0.7")), fails: fs.ErrExist},
		{name: "add on a link that is not there", do: create(neighbour("v0", "10.0.0.7")), fails: fs.ErrNotExist},
		{name: "change", given: with(addressed(), create(neighbour("v0", "10.0.0.7"))), do: set(&schema.Neighbour{Link: "v0", IP: ip("10.0.0.7"), MAC: new("02:00:00:00:00:08"), Permanent: new(true)})},
		{name: "delete", given: with(addressed(), create(neighbour("v0", "10.0.0.7"))), do: remove(neighbour("v0", "10.0.0.7"))},
		{name: "delete what is not there", given: addressed(), do: remove(neighbour("v0", "10.0.0.7")), fails: fs.ErrNotExist},
		{
			name: "a bridge that takes another address forgets", given: with(running(),
				create(&schema.Link{Name: "br0", Type: "bridge"}), up("br0"), create(address("br0", "10.5.0.1/24")), create(neighbour("br0", "10.5.0.7"))),
			do: master("v0", "br0"),
		},
	}
}
