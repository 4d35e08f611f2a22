package config

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/ruleset"
)

// compiler makes the objects and goals out of the blocks. It runs only when there is nothing to complain about.
type compiler struct {
	*loader
	d *schema.Desired
	// endpoints of networks and guests, made once.
	endpoints map[string]schema.Endpoint
	guestsOf  map[*network][]*guest
}

// compile makes the Desired.
func (l *loader) compile() *schema.Desired {
	c := &compiler{loader: l, endpoints: map[string]schema.Endpoint{}, guestsOf: map[*network][]*guest{}, d: &schema.Desired{
		State: schema.NewState(), Settings: l.settings, Files: l.names,
		Origins: map[schema.Ref]schema.Origin{}, Blocks: map[string]schema.Origin{}, Addresses: map[schema.Ref]string{},
	}}
	c.blocks()
	for _, g := range l.guests {
		c.guestsOf[g.network] = append(c.guestsOf[g.network], g)
	}
	for _, n := range l.networks {
		c.network(n)
	}
	for _, g := range l.guests {
		c.guest(g)
	}
	for _, f := range l.forwards {
		c.forward(f)
	}
	for _, a := range l.adapters {
		c.adapter(a)
	}
	c.sysctls()
	policies := c.policies()
	c.tables(policies)
	c.goals(policies)
	c.compileProtects()
	return c.d
}

// blocks records where each block stands.
func (c *compiler) blocks() {
	for _, n := range c.order {
		for _, i := range n.instances {
			if n.name != "" {
				c.d.Blocks[i.address] = i.at().origin()
			}
		}
	}
}

// put adds an object and says where it comes from.
func (c *compiler) put(o schema.Object, address string, at where) {
	c.d.State.Put(o)
	c.d.Origins[o.Ref()] = at.origin()
	c.d.Addresses[o.Ref()] = address
}

// putLink adds what a block says of a link to what others say of it. The first block keeps the link.
func (c *compiler) putLink(link *schema.Link, address string, at where) {
	if old := c.d.State.Link(link.Name); old != nil {
		c.d.State.Put(schema.Merge(old, link))
		return
	}
	c.put(link, address, at)
}

func (c *compiler) network(n *network) {
	out := schema.Network{
		Address: n.address(), Mode: n.mode, Device: n.device.v, Uplink: n.uplink.v, Isolate: n.isolate.v, MTU: n.mtu.v,
	}
	for _, s := range n.subnets {
		if !slices.Contains(out.Subnets, s.v) {
			out.Subnets = append(out.Subnets, s.v)
		}
	}
	for _, h := range n.hosts {
		out.Gateways = append(out.Gateways, h.v.Addr())
	}
	for _, p := range n.ports {
		out.Ports = append(out.Ports, p.v)
	}
	server := c.server(n)
	if server != nil {
		out.DHCP, out.DNS = server.DHCP, server.DNS
	}
	c.d.Networks = append(c.d.Networks, out)
	c.bridge(n)
	for _, h := range n.hosts {
		c.put(&schema.Address{Link: n.device.v, Prefix: h.v, Proto: new(uint8(schema.ProtoVMNET))}, n.address(), h.at)
	}
	for _, r := range n.routers {
		c.defaultRoute(n, r)
	}
	if server != nil {
		c.put(server, n.address(), n.served.at)
	}
	for _, p := range n.ports {
		c.putLink(&schema.Link{Name: p.v, Master: new(n.device.v), Up: new(true)}, n.address(), p.at)
	}
	c.endpoints[n.address()] = schema.Endpoint{Kind: "network", Address: n.address(), Device: n.device.v, Prefixes: out.Subnets}
}

// bridge adds the network's own link.
func (c *compiler) bridge(n *network) {
	link := &schema.Link{
		Name: n.device.v, Type: "bridge", Alias: new(schema.AliasFor(n.address())), Up: new(true), MACPinned: new(true),
		Bridge: &schema.Bridge{STP: new(n.stp.v)},
	}
	if !n.stp.v {
		// Without STP nothing is to be waited for, and guests have their network at once (15 s later otherwise).
		link.Bridge.ForwardDelay = new(uint32(0))
	}
	if n.mtu.ok() {
		link.MTU = new(n.mtu.v)
	}
	if n.mac != "" {
		link.MAC = new(n.mac)
	}
	c.put(link, n.address(), n.inst.at())
}

// defaultRoute leads by a bridge's gateway.
func (c *compiler) defaultRoute(n *network, gateway field[netip.Addr]) {
	r := &schema.Route{
		Table: schema.TableMain, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Link: n.device.v, Gateway: gateway.v,
		Proto: new(uint8(schema.ProtoVMNET)),
	}
	if gateway.v.Is6() {
		r.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		r.Metric = 1024 // what the kernel gives where none is asked (IP6_RT_PRIO_USER)
	}
	c.put(r, n.address(), gateway.at)
}

func (c *compiler) guest(g *guest) {
	out := schema.Guest{Address: g.address(), Name: g.name.v, Network: g.network.address(), MAC: g.mac.v, Device: g.device.v}
	ep := schema.Endpoint{Kind: "guest", Address: g.address(), Device: g.network.device.v, Port: g.device.v}
	for _, ip := range g.ips() {
		out.IPs = append(out.IPs, ip.v)
		ep.Prefixes = append(ep.Prefixes, netip.PrefixFrom(ip.v, ip.v.BitLen()))
	}
	c.d.Guests = append(c.d.Guests, out)
	c.endpoints[g.address()] = ep
	if !g.device.ok() {
		return
	}
	link := &schema.Link{Name: g.device.v, Master: new(g.network.device.v), Up: new(true)}
	if g.network.mode == "host_only" {
		// Also when it is false: a port that was isolated once is let out again.
		link.Port = &schema.Port{Isolated: new(g.network.isolate.v)}
	}
	c.putLink(link, g.address(), g.device.at)
}

func (c *compiler) forward(f *forward) {
	c.d.Forwards = append(c.d.Forwards, schema.Forward{
		Address: f.inst.address, Proto: f.proto, Ports: f.ports.v, ToPort: f.toPort, To: f.to, ToIPs: f.ips, Network: f.network.address(),
	})
}

func (c *compiler) adapter(a *adapter) {
	c.d.Adapters = append(c.d.Adapters, schema.Adapter{Address: a.inst.address, Device: a.device.v, Reset: a.reset})
	link := &schema.Link{Name: a.device.v, Up: new(true)}
	if a.mtu.ok() {
		link.MTU = new(a.mtu.v)
	}
	c.putLink(link, a.inst.address, a.inst.at())
}

func (c *compiler) sysctls() {
	needed := c.neededSysctls()
	for _, key := range slices.Sorted(maps.Keys(needed)) {
		n := needed[key]
		c.put(&schema.Sysctl{Key: key, Value: n.value}, n.address, n.at)
	}
	for _, s := range c.loader.sysctls {
		c.put(s.object(), s.inst.address, s.inst.at())
	}
}

// policies are the allow and deny blocks in the terms of the ruleset.
func (c *compiler) policies() []ruleset.Policy {
	var out []ruleset.Policy
	for _, p := range c.loader.policies {
		out = append(out, ruleset.Policy{
			Address: p.inst.address, Allow: p.allow, From: c.ends(p.flow.from), To: c.ends(p.flow.to), Service: p.flow.services,
		})
	}
	return out
}

func (c *compiler) ends(ends []end) []schema.Endpoint {
	var out []schema.Endpoint
	for _, e := range ends {
		out = append(out, c.endpoint(e))
	}
	return out
}

func (c *compiler) endpoint(e end) schema.Endpoint {
	switch e.kind {
	case "network":
		return c.endpoints[e.network.address()]
	case "guest":
		return c.endpoints[e.guest.address()]
	case "prefix":
		return schema.Endpoint{Kind: "prefix", Prefixes: []netip.Prefix{e.prefix}}
	}
	return schema.Endpoint{Kind: e.kind}
}

// tables adds our own nftables tables.
func (c *compiler) tables(policies []ruleset.Policy) {
	at := where{}
	switch {
	case len(c.loader.policies) > 0:
		at = c.loader.policies[0].inst.at()
	case len(c.networks) > 0:
		at = c.networks[0].inst.at()
	}
	for _, t := range ruleset.Tables(c.d.Networks, c.d.Forwards, policies) {
		c.put(t, "firewall", at)
	}
}
