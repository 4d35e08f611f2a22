package config

import (
	"fmt"
	"net/netip"

	"github.com/zclconf/go-cty/cty"

	"github.com/vmnet/vmnet/schema"
)

// forward is a decoded forward block: one for each protocol and range of ports.
type forward struct {
	inst    *instance
	proto   string
	ports   field[schema.PortRange]
	toPort  uint16
	to      string // "guest.db1", or the address itself
	guest   *guest // nil when the target is an address
	network *network
	ips     []netip.Addr
	at      where // of the target
}

func (l *loader) decodeForward(i *instance) {
	tcp, tcpStatus := l.ports(i, "tcp")
	udp, udpStatus := l.ports(i, "udp")
	if tcpStatus == absent && udpStatus == absent {
		l.fail(codeMissing, i.at(), "%s needs the port of the host that leads to the guest. Write, for example: tcp = 2222", i.node.id())
	}
	target := l.forwardTarget(i)
	toPort := l.toPort(i, len(tcp)+len(udp))
	for _, p := range tcp {
		l.addForward(target, "tcp", p, toPort)
	}
	for _, p := range udp {
		l.addForward(target, "udp", p, toPort)
	}
}

// addForward completes a forward by its ports. Also one with a wrong target is kept: its port may be taken twice.
func (l *loader) addForward(f forward, proto string, ports field[schema.PortRange], toPort field[uint16]) {
	if !ports.ok() {
		return
	}
	f.proto, f.ports, f.toPort = proto, ports, ports.v.First
	if toPort.ok() {
		f.toPort = toPort.v
		if last := int(toPort.v) + int(ports.v.Last-ports.v.First); last > 65535 {
			l.fail(codePort, toPort.at, "The ports %s would lead to %d-%d, and ports end at 65535.", ports.v, toPort.v, last)
		}
	}
	l.forwards = append(l.forwards, &f)
}

func (l *loader) toPort(i *instance, ranges int) field[uint16] {
	f := as(l, codePort, l.get(i, "to_port"), func(v cty.Value) (uint16, string) {
		s, ok := toText(v)
		if !ok {
			return 0, fmt.Sprintf("to_port takes one port, not %s.", article(v.Type()))
		}
		return parsePort(s)
	})
	if f.ok() && ranges > 1 {
		l.fail(codePort, f.at, "to_port goes with one port or one range. Write a forward block for each, or leave to_port out to keep the ports.")
		f.status = wrong
	}
	return f
}

// forwardTarget reads to: a guest, or an address in a network of the file.
func (l *loader) forwardTarget(i *instance) forward {
	f := forward{inst: i}
	v := l.get(i, "to")
	f.at = v.at
	l.require(i, v.status, "to")
	if !v.ok() {
		return f
	}
	id := idOf(v.v)
	switch t := l.byID[id].(type) {
	case *guest:
		l.forwardToGuest(&f, t)
		return f
	case *network:
		l.fail(codeForwardTarget, v.at, "%s is a network; a forward leads to one guest of it. Write to = guest.db1.", id)
		return f
	}
	s, isText := toText(v.v)
	switch {
	case isText:
		l.forwardToAddress(&f, s)
	case l.isInstances(v.v):
		l.fail(codeForwardTarget, v.at, "This is a block with for_each or count; a forward leads to one guest. Name it, as in guest.vm[\"a\"], or give the forward for_each too.")
	default:
		l.fail(codeForwardTarget, v.at, "to takes a guest, not %s. Write to = guest.db1.", article(v.v.Type()))
	}
	return f
}

func (l *loader) forwardToGuest(f *forward, g *guest) {
	f.to, f.guest, f.network = g.address(), g, g.network
	for _, ip := range g.ips() {
		f.ips = append(f.ips, ip.v)
	}
	if len(f.ips) == 0 {
		if g.first.status == absent && g.second.status == absent {
			l.fail(codeForwardAddress, f.at, "%s has no address, and packets are sent on to an address. Add address to the guest (%s).", g.address(), g.inst.at().place())
		}
		return
	}
	l.checkForwardNetwork(f)
}

func (l *loader) forwardToAddress(f *forward, s string) {
	if t, ok := l.byID[s].(*guest); ok {
		l.fail(codeForwardTarget, f.at, "%q is a text. A reference stands without quotes: to = %s.", s, t.address())
		return
	}
	a, why := parseAddr(s)
	if why != "" {
		l.fail(codeForwardTarget, f.at, "to takes a guest, or an address of one. %s", why)
		return
	}
	f.to, f.ips = s, []netip.Addr{a}
	for _, kind := range networkKinds() {
		for _, n := range l.sortedNodes(kind) {
			l.demand(n, f.at)
		}
	}
	for _, n := range l.networks {
		if _, ok := n.subnetOf(a); ok {
			f.network = n
			l.checkForwardNetwork(f)
			return
		}
	}
	l.fail(codeForwardTarget, f.at, "%s lies in no network of this configuration. Point to a guest, or an address of a guest.", a)
}

func (l *loader) checkForwardNetwork(f *forward) {
	n := f.network
	switch {
	case n == nil:
	case n.mode == "host_only":
		l.fail(codeForwardTarget, f.at, "%s is in %s, and nothing from outside may enter a host_only network. Make it a nat network, or remove the forward.", f.to, n.address())
	case n.mode == "bridge" && len(n.hosts) == 0:
		l.fail(codeForwardTarget, f.at, "%s is on %s, where the host has no address, so it cannot send packets on to it. The guest is on the LAN itself: connect to it there.", f.to, n.address())
	}
}
