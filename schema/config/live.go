package config

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/vmnet/vmnet/schema"
)

// CheckLive compares the configuration with a live host: subnets that overlap an address or a route of something else,
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
		c.conflict(s, a.Link, what)
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
		c.conflict(s, device, fmt.Sprintf("there is the route %q", r))
	}
}

func (c *liveCheck) conflict(s netSubnet, link, what string) {
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
	if link != "" {
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
			c.fail(codeLivePort, f.ports.at, "%s listens on %s port %d of this host (%s); %s would take its clients away. Forward another port, or stop it.", who, s.Proto, s.Port, s.Addr, f.inst.address)
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
