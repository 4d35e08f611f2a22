package config

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/vmnet/vmnet/schema"
)

// CheckLive compares the configuration with a live host: devices of networks that are no bridges, subnets that overlap an address or a route of something else,
// whichever of the two contains the other, and forwarded ports that a program of the host serves. Devices of the file,
// their ports, and whatever bears our mark do not count: they are, or will be, as the file says. Nil for a configuration
// with errors.
func (r *Result) CheckLive(live *schema.State) hcl.Diagnostics {
	if r.Desired == nil || live == nil {
		return nil
	}
	say := &loader{nodes: r.loader.nodes, funcs: r.loader.funcs, roots: r.loader.roots}
	c := &liveCheck{loader: say, live: live, own: map[string]bool{}, subnets: r.loader.allSubnets(), seen: map[liveConflict]bool{}}
	for _, l := range r.ownLinks() {
		c.own[l] = true
	}
	for l := range schema.Each[*schema.Link](live) {
		if schema.Owned(l) || (l.Master != nil && c.own[*l.Master]) {
			c.own[l.Name] = true
		}
	}
	for a := range schema.Each[*schema.Address](live) {
		c.address(a)
	}
	for route := range schema.Each[*schema.Route](live) {
		c.route(route)
	}
	c.devices(r.loader.networks)
	c.listeners(r.loader.forwards)
	return sorted(c.diags)
}

// ownLinks are the devices the file speaks of. Their addresses and routes are the plan's business.
func (r *Result) ownLinks() []string {
	var out []string
	for _, n := range r.Desired.Networks {
		out = append(append(out, n.Device), n.Ports...)
	}
	return out
}

type liveCheck struct {
	*loader
	live    *schema.State
	own     map[string]bool
	subnets []netSubnet // sorted, apart from each other
	seen    map[liveConflict]bool
}

// liveConflict is told once: an address usually comes with a route of the same prefix.
type liveConflict struct {
	subnet netip.Prefix
	link   string
}

// overlapping are the subnets of the file that share addresses with p.
func (c *liveCheck) overlapping(p netip.Prefix) []netSubnet {
	p = p.Masked()
	from, _ := slices.BinarySearchFunc(c.subnets, p, func(s netSubnet, p netip.Prefix) int { return lastAddr(s.prefix).Compare(p.Addr()) })
	to := from
	for to < len(c.subnets) && c.subnets[to].prefix.Overlaps(p) {
		to++
	}
	return c.subnets[from:to]
}

// devices finds networks whose device is something else on this host: a link keeps its kind for life (ip-link(8)), so the
// bridge cannot be made as long as that link has the name.
func (c *liveCheck) devices(networks []*network) {
	for _, n := range networks {
		if !n.device.ok() {
			continue
		}
		if l := c.live.Link(n.device.v); l != nil && l.Type != "bridge" {
			c.fail(codeLiveDevice, n.device.at, "%s needs a bridge of its own, and on this host %s is %s. Choose another device, such as device = %q.",
				n.address(), l.Name, kindOfLink(l), c.freeName(l.Name))
		}
	}
}

// kindOfLink says what a link that is no bridge is.
func kindOfLink(l *schema.Link) string {
	switch l.Type {
	case "", "device":
		return "a network card"
	case "loopback":
		return "the loopback device"
	}
	return "a link of type " + l.Type
}

// freeName is a name for a bridge that no link of the host has yet.
func (c *liveCheck) freeName(taken string) string {
	name := shorten("br-" + taken)
	for n := 0; c.live.Link(name) != nil || c.own[name]; n++ {
		name = fmt.Sprintf("br%d", n)
	}
	return name
}

func (c *liveCheck) address(a *schema.Address) {
	if c.own[a.Link] || schema.Owned(a) {
		return
	}
	p, what := a.Prefix, fmt.Sprintf("%s has the address %s", a.Link, a.Prefix)
	if a.Peer != nil && a.Peer.IsValid() {
		// Of a point-to-point link it is the far end that is reached there.
		p, what = *a.Peer, fmt.Sprintf("%s leads to %s", a.Link, *a.Peer)
	}
	for _, s := range c.overlapping(p) {
		c.conflict(s, a.Link, a.Peer == nil || !a.Peer.IsValid(), what)
	}
}

func (c *liveCheck) route(r *schema.Route) {
	// /0 and the halves of it, as VPN clients lay them over it, lead everywhere and are in nobody's way.
	if r.Dst.Bits() <= 1 || r.Table == schema.TableLocal || schema.Owned(r) {
		return
	}
	devices := r.Devices()
	if len(devices) > 0 && !slices.ContainsFunc(devices, func(d string) bool { return !c.own[d] }) {
		return
	}
	device := ""
	if len(devices) > 0 {
		device = devices[0]
	}
	for _, s := range c.overlapping(r.Dst) {
		// A null route for a whole range is there for what no subnet of it takes: ours is more specific.
		if len(devices) == 0 && r.Dst.Bits() < s.prefix.Bits() {
			continue
		}
		// A network that runs is not to be refused: what came over it later is a fault, and the plan's business.
		if c.running(s) {
			continue
		}
		c.conflict(s, device, !r.Gateway.IsValid() && len(r.NextHops) == 0, fmt.Sprintf("there is the route %q", r))
	}
}

// running tells whether a network's device has its subnet already.
func (c *liveCheck) running(s netSubnet) bool {
	for a := range schema.Each[*schema.Address](c.live) {
		if a.Link == s.network.device.v && a.Prefix.Masked() == s.prefix {
			l := c.live.Link(a.Link)
			return l != nil && schema.Owned(l)
		}
	}
	return false
}

// conflict tells that a subnet is in use by a link. direct says that the machines of the subnet are on the link itself, not
// behind a router or a tunnel: then a bridge may be the very network that the file means.
func (c *liveCheck) conflict(s netSubnet, link string, direct bool, what string) {
	k := liveConflict{s.prefix, link}
	if c.seen[k] {
		return
	}
	c.seen[k] = true
	if s.network.mode == "bridge" {
		c.warn(codeLiveOverlap, s.at, "%s is the network of %s, and on this host %s. If both lead to the same LAN, answers may leave by the other one; if not, choose another subnet.", s.prefix, s.network.address(), what)
		return
	}
	cure := ""
	if l := c.live.Link(link); l != nil && l.Type == "bridge" && direct {
		cure = fmt.Sprintf(" If %s is meant to be this network, write device = %q.", link, link)
	}
	c.fail(codeLiveOverlap, s.at, "%s of %s is in use on this host: %s. Choose another subnet, or remove what uses it.%s", s.prefix, s.network.address(), what, cure)
}

// listeners finds programs that serve a forwarded port. The address they listen on makes no difference but for its
// family: forwards take connections to any address of the host.
func (c *liveCheck) listeners(forwards []*forward) {
	if len(forwards) == 0 {
		return
	}
	for s := range schema.Each[*schema.Listener](c.live) {
		for _, f := range forwards {
			if f.proto != s.Proto || s.Port < f.ports.v.First || s.Port > f.ports.v.Last || !reaches(f, s) {
				continue
			}
			who := s.Process
			if who == "" {
				who = "a program"
			}
			c.fail(codeLivePort, f.ports.at, "Port %d (%s) of this host is served by %s on %s; %s would take its clients away. Forward another port, or stop it.", s.Port, s.Proto, who, s.Addr, f.inst.address)
		}
	}
}

// reaches tells whether a forward and a listener share a family. One on :: serves IPv4 too, unless it says otherwise,
// which cannot be seen from here.
func reaches(f *forward, s *schema.Listener) bool {
	if s.Addr.IsUnspecified() && s.Addr.Is6() {
		return true
	}
	return slices.ContainsFunc(f.ips, func(ip netip.Addr) bool { return ip.Is4() == s.Addr.Unmap().Is4() })
}
