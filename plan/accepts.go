package plan

import (
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// accepts are the narrowest rules that let the blocked packet's part of the goal through the culprit's hook.
func (h *healer) accepts(g *schema.Goal, res trace.Result, c culprit) []accept {
	if c.table.Compat && c.table.Family == "arp" || c.table.Family == "bridge" && c.table.Name == "broute" {
		return nil // arptables is not written; and to accept in broute says who carries a packet, not whether it passes
	}
	reply := res.Half == "reply"
	in, out := h.devices(g, res, c.table)
	base := accept{address: g.Address}
	if c.base.Hook == "output" && g.Via != nil {
		out = res.Decider.Out // of the route to where the host sends it: it is led on later
	}
	switch c.base.Hook {
	case "forward":
		base.in, base.out = in, out
	case "input", "prerouting", "ingress":
		base.in = in
	case "output", "postrouting", "egress":
		base.out = out
	default:
		return nil
	}
	switch {
	case !tracked(c):
	case reply || res.Half == "established":
		base.state = ctEstablished
	case g.Via != nil && led(c):
		base.state = ctDNAT
	}
	v6 := res.Flow.Dst.Is6()
	if g.Via != nil && !reply && !led(c) {
		return beforeDNAT(base, g, res.Flow, v6)
	}
	receiver := g.To
	if reply {
		receiver = g.From
	}
	acc := spread(base, g, v6, reply)
	for i := range acc {
		switch a := &acc[i]; {
		case !seesRoutes(c):
		case receiver.Kind == "host" && !a.dst.IsValid():
			a.place = toHost
		case receiver.Kind != "host" && h.holdsOwn(a.dst):
			a.place = throughHost
		}
	}
	return acc
}

// led tells whether a forward's packets have got the guest's address where a chain sees them.
func led(c culprit) bool {
	switch c.base.Hook {
	case "ingress":
		return false
	case "prerouting", "output":
		return c.base.Hook == "output" && c.table.Family == "bridge" || c.table.Family != "bridge" && c.base.Priority > prioDNAT
	}
	return true
}

// prioDNAT is NF_IP_PRI_NAT_DST (include/uapi/linux/netfilter_ipv4.h).
const prioDNAT = -100

// holdsOwn tells whether a prefix, invalid for every address, has an address of the host among others.
func (h *healer) holdsOwn(p netip.Prefix) bool {
	if !p.IsValid() {
		return true
	}
	for a := range h.layout(h.state).host {
		if p.Contains(a) && !p.IsSingleIP() {
			return true
		}
	}
	return false
}

// seesRoutes tells whether a chain sees packets before they are routed, so that those for the host are among those for others,
// and can ask the routing tables whose they are: in the bridge family nothing can (net/netfilter/nft_fib_netdev.c,
// nft_fib_inet.c).
func seesRoutes(c culprit) bool {
	return c.table.Family != "bridge" && (c.base.Hook == "prerouting" || c.base.Hook == "ingress")
}

// devices are the interfaces that a table's rules see a packet of the blocked half come in and go out by: those of layer 3
// for the IP families, a bridge's ports for the bridge family. A netdev chain sees its own device only.
func (h *healer) devices(g *schema.Goal, res trace.Result, t *schema.Table) (in, out string) {
	switch t.Family {
	case "netdev":
		return "", ""
	case "bridge":
		in, out = h.port(res.Flow.From), h.port(res.Flow.To)
	default:
		in, out = l3Device(g.From, h.r), l3Device(g.To, h.r)
	}
	if res.Half == "reply" {
		in, out = out, in
	}
	return in, out
}

// widths are the accepts to try, the best first. In a bridge's chains those for a whole network do not say behind which ports
// its guests are, for they come and go; where that would open more, those of the blocked packet's ports are left.
func widths(g *schema.Goal, res trace.Result, c culprit, acc []accept) [][]accept {
	if c.table.Family != "bridge" {
		if began := byBeginner(c, res, acc); began != nil {
			return [][]accept{acc, began}
		}
		return [][]accept{acc}
	}
	from, to := g.From.Kind == "network", g.To.Kind == "network"
	if res.Half == "reply" {
		from, to = to, from
	}
	wide := slices.Clone(acc)
	for i := range wide {
		if from {
			wide[i].in = ""
		}
		if to {
			wide[i].out = ""
		}
	}
	if slices.Equal(wide, acc) {
		return [][]accept{acc}
	}
	return [][]accept{wide, acc}
}

// byBeginner are accepts for answers that still have the host's address, for NAT gives them the asker's later: of those who
// began the connection conntrack knows already. nil where answers are none such.
func byBeginner(c culprit, res trace.Result, acc []accept) []accept {
	if res.Half == "request" || c.base.Hook != "prerouting" || c.base.Priority > prioDNAT || !tracked(c) {
		return nil
	}
	out := slices.Clone(acc)
	for i := range out {
		a := &out[i]
		if a.state != ctEstablished || prefixText(a.dst) == "" {
			return nil
		}
		a.began, a.dst, a.place = a.dst, netip.Prefix{}, anywhere
	}
	return out
}

// ofPorts says between which ports of a bridge accepts are, or by what else than their own addresses; "" for any.
func ofPorts(c culprit, acc []accept) string {
	if acc[0].began.IsValid() {
		return ", told by who began the connection"
	}
	in, out := acc[0].in, acc[0].out
	switch {
	case c.table.Family != "bridge" || in == "" && out == "":
		return ""
	case out == "":
		return " from port " + in
	case in == "":
		return " to port " + out
	}
	return " from port " + in + " to port " + out
}

// port is the name if it is a bridge's port: a bridge itself stands for ports that are not known.
func (h *healer) port(name string) string {
	if l := h.state.Link(name); l != nil && l.Type == "bridge" {
		return ""
	}
	return name
}

// tracked tells whether a chain's rules know the connection of a packet: those of IP do, but for the ones that are run before
// conntrack looks at it, where it comes in or is made.
func tracked(c culprit) bool {
	switch {
	case c.table.Family == "bridge", c.table.Family == "netdev", c.base.Hook == "ingress", c.base.Hook == "egress":
		return false
	}
	return c.base.Hook != "prerouting" && c.base.Hook != "output" || c.base.Priority >= prioConntrack
}

// prioConntrack is NF_IP_PRI_CONNTRACK (include/uapi/linux/netfilter_ipv4.h).
const prioConntrack = -200

// beforeDNAT is a forward as it comes in: to the host's own address and port.
func beforeDNAT(base accept, g *schema.Goal, f trace.Flow, v6 bool) []accept {
	var out []accept
	for _, src := range prefixesOf(g.From, v6) {
		a := base
		a.src, a.proto, a.dport = src, g.Via.Proto, g.Via.Ports
		if g.From.Kind == "host" { // localhost among others
			a.place, a.v6 = toHost, v6
		} else {
			a.dst = netip.PrefixFrom(f.Dst, f.Dst.BitLen())
		}
		out = append(out, a)
	}
	return out
}

// spread makes one accept for each pair of prefixes and each port range of the goal.
func spread(base accept, g *schema.Goal, v6, reply bool) []accept {
	var out []accept
	ports := g.Service.Ports
	if len(ports) == 0 {
		ports = []schema.PortRange{{}}
	}
	for _, src := range prefixesOf(g.From, v6) {
		for _, dst := range prefixesOf(g.To, v6) {
			for _, p := range ports {
				a := base
				a.src, a.dst, a.proto, a.dport = src, dst, g.Service.Proto, p
				if reply {
					a.src, a.dst, a.sport, a.dport = dst, src, p, schema.PortRange{}
				}
				out = append(out, a)
			}
		}
	}
	return out
}

func prefixesOf(e schema.Endpoint, v6 bool) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range e.Prefixes {
		if p.Addr().Is6() == v6 {
			out = append(out, p)
		}
	}
	if len(e.Prefixes) == 0 {
		return []netip.Prefix{{}}
	}
	return out
}

// l3Device is the interface that iptables and nft see for an endpoint: the bridge, never its port.
func l3Device(e schema.Endpoint, r *resolved) string {
	if e.Device != "" {
		return e.Device
	}
	if n := r.network(e.Address); n != nil {
		return n.Device
	}
	return ""
}
