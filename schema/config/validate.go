package config

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// validate compares the blocks with each other.
func (l *loader) validate() {
	l.checkSubnets()
	l.checkBridgeAddresses()
	l.checkGuestAddresses()
	l.checkMACs()
	l.checkDevices()
	l.checkPorts()
	l.checkUplinks()
	l.checkMTUs()
	l.checkDefaultRoutes()
	l.checkForwardPorts()
	l.checkSysctls()
	l.checkServed()
}

// netSubnet is one subnet of one network.
type netSubnet struct {
	network *network
	prefix  netip.Prefix
	at      where
}

// allSubnets lists the subnets of all networks by address. A bridge with two addresses of one network has it once.
func (l *loader) allSubnets() []netSubnet {
	var out []netSubnet
	for _, n := range l.networks {
		seen := map[netip.Prefix]bool{}
		for _, s := range n.subnets {
			if s.ok() && !seen[s.v] {
				seen[s.v] = true
				out = append(out, netSubnet{n, s.v, s.at})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b netSubnet) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	return out
}

// checkSubnets finds overlapping subnets in one pass over the sorted list: prefixes either nest or are apart, so it is
// enough to remember those that are still open. Each is told the nearest one around it.
func (l *loader) checkSubnets() {
	var open []netSubnet
	for _, s := range l.allSubnets() {
		for len(open) > 0 && !open[len(open)-1].prefix.Overlaps(s.prefix) {
			open = open[:len(open)-1]
		}
		for _, o := range slices.Backward(open) {
			if o.network != s.network {
				l.reportOverlap(o, s)
				break
			}
		}
		open = append(open, s)
	}
}

func (l *loader) reportOverlap(a, b netSubnet) {
	if before(b.at, a.at) {
		a, b = b, a
	}
	verb := "overlaps"
	if a.prefix == b.prefix {
		verb = "is the same as"
	}
	l.fail(codeOverlap, b.at, "%s of %s %s %s of %s (%s). The host could not tell where a packet for an address of both belongs. Give one of them another subnet.",
		b.prefix, b.network.address(), verb, a.prefix, a.network.address(), a.at.place())
}

// before tells which of two places a reader meets first.
func before(a, b where) bool {
	p, q := a.span(), b.span()
	return cmp.Or(cmp.Compare(p.Filename, q.Filename), cmp.Compare(p.Start.Byte, q.Start.Byte)) < 0
}

// checkBridgeAddresses finds an address that is given to a bridge twice. In two networks their subnets overlap, too.
func (l *loader) checkBridgeAddresses() {
	for _, n := range l.networks {
		seen := map[netip.Addr]field[netip.Prefix]{}
		for _, h := range n.hosts {
			if !h.ok() {
				continue
			}
			if first, ok := seen[h.v.Addr()]; ok {
				l.fail(codeSameAddress, h.at, "%s is given to the host already at %s. Remove one of the two.", h.v.Addr(), first.at.place())
				continue
			}
			seen[h.v.Addr()] = h
		}
	}
}

// checkGuestAddresses finds addresses that two guests have, or a guest and the host or a router.
func (l *loader) checkGuestAddresses() {
	type owner struct {
		what string // "the address of"
		inst *instance
		at   *where
	}
	taken := make(map[netip.Addr]owner, len(l.networks)+len(l.guests))
	for _, n := range l.networks {
		for k, h := range n.hosts {
			if h.ok() {
				taken[h.v.Addr()] = owner{"the host's own address in", n.inst, &n.hosts[k].at}
			}
		}
		for k, r := range n.routers {
			taken[r.v] = owner{"the gateway of", n.inst, &n.routers[k].at}
		}
	}
	for _, g := range l.guests {
		for _, ip := range []*field[netip.Addr]{&g.first, &g.second} {
			if !ip.ok() {
				continue
			}
			if o, ok := taken[ip.v]; ok {
				l.fail(codeSameAddress, ip.at, "%s is %s %s (%s). Give %s another address.", ip.v, o.what, o.inst.address, o.at.place(), g.address())
				continue
			}
			taken[ip.v] = owner{"the address of", g.inst, &ip.at}
		}
	}
}

func (l *loader) checkMACs() {
	seen := map[string]*guest{}
	for _, g := range l.guests {
		if !g.mac.ok() {
			continue
		}
		if first := seen[g.mac.v]; first != nil {
			l.fail(codeSameMAC, g.mac.at, "%s has the MAC %s already (%s). Give %s its own; mac(%q) makes one.", first.address(), g.mac.v, first.mac.at.place(), g.address(), g.name.v)
			continue
		}
		seen[g.mac.v] = g
	}
}

// checkDevices finds devices that play two parts. What else concerns ports is in checkPorts.
func (l *loader) checkDevices() {
	networks := map[string]*network{}
	for _, n := range l.networks {
		if !n.device.ok() {
			continue
		}
		if first := networks[n.device.v]; first != nil {
			l.fail(codeSameDevice, n.device.at, "%q is the device of %s already (%s). Set device to another name.", n.device.v, first.address(), first.device.at.place())
			continue
		}
		networks[n.device.v] = n
	}
	guests := map[string]*guest{}
	for _, g := range l.guests {
		if !g.device.ok() {
			continue
		}
		switch n, first := networks[g.device.v], guests[g.device.v]; {
		case n != nil:
			l.fail(codeSameDevice, g.device.at, "%q is the device of the network %s (%s). A guest's device is its tap or veth on the host, such as vnet3.", g.device.v, n.address(), n.device.at.place())
		case first != nil:
			l.fail(codeSameDevice, g.device.at, "%q is the device of %s already (%s).", g.device.v, first.address(), first.device.at.place())
		default:
			guests[g.device.v] = g
		}
	}
	adapters := map[string]*adapter{}
	for _, a := range l.adapters {
		if !a.device.ok() {
			continue
		}
		if first := adapters[a.device.v]; first != nil {
			l.fail(codeSameDevice, a.device.at, "%q has an adapter block already: %s (%s). Join the two.", a.device.v, first.inst.address, first.device.at.place())
			continue
		}
		adapters[a.device.v] = a
	}
}

// checkPorts sees that a device is a port of one bridge, and that no network is a port.
func (l *loader) checkPorts() {
	networks := map[string]*network{}
	for _, n := range l.networks {
		if n.device.ok() {
			networks[n.device.v] = n
		}
	}
	type port struct {
		of *network
		at where
	}
	seen := map[string]port{}
	for _, n := range l.networks {
		for _, p := range n.ports {
			if !p.ok() {
				continue
			}
			first, twice := seen[p.v]
			switch other := networks[p.v]; {
			case other == n:
				l.fail(codePortIsNetwork, p.at, "%q is the bridge itself. Name the NIC that leads to the LAN, such as \"eno1\".", p.v)
			case other != nil:
				l.fail(codePortIsNetwork, p.at, "%q is the device of the network %s (%s), and the kernel takes no bridge as a port of a bridge.", p.v, other.address(), other.device.at.place())
			case twice && first.of == n:
				l.fail(codeSamePort, p.at, "%q is in the list already (%s). Remove it here.", p.v, first.at.place())
			case twice:
				l.fail(codeSamePort, p.at, "%q is a port of %s already (%s), and a device has one master. Remove it from one of the two.", p.v, first.of.address(), first.at.place())
			default:
				seen[p.v] = port{n, p.at}
			}
		}
	}
	for _, g := range l.guests {
		first, twice := seen[g.device.v]
		if g.device.ok() && twice && first.of != g.network {
			l.fail(codeSamePort, g.device.at, "%q is a port of %s (%s), so it cannot lead to a guest of another network.", g.device.v, first.of.address(), first.at.place())
		}
	}
}

// checkUplinks finds uplinks that packets never leave by.
func (l *loader) checkUplinks() {
	if !slices.ContainsFunc(l.networks, func(n *network) bool { return n.uplink.ok() }) {
		return
	}
	ports := map[string]*network{}
	for _, n := range l.networks {
		for _, p := range n.ports {
			ports[p.v] = n
		}
	}
	for _, n := range l.networks {
		if !n.uplink.ok() {
			continue
		}
		switch b := ports[n.uplink.v]; {
		case n.uplink.v == n.device.v:
			l.fail(codeUplink, n.uplink.at, "%q is the device of %s itself: packets leave by another one.", n.uplink.v, n.address())
		case b != nil:
			l.fail(codeUplink, n.uplink.at, "%q is a port of %s, so packets leave by its device %q. Write uplink = %s.", n.uplink.v, b.address(), b.device.v, b.address())
		case n.uplinkTo != nil && n.uplinkTo.mode == "host_only":
			l.fail(codeUplink, n.uplink.at, "%s is a host_only network: nothing behind it leads outside.", n.uplinkTo.address())
		}
	}
}

// checkMTUs compares an adapter's MTU with that of the network on the same device, and sees that IPv6 has room.
func (l *loader) checkMTUs() {
	networks := map[string]*network{}
	for _, n := range l.networks {
		networks[n.device.v] = n
		if n.mtu.ok() && n.mtu.v < 1280 && n.hasFamily(false) {
			l.fail(codeMTU, n.mtu.at, "%s has an IPv6 subnet, and IPv6 needs an MTU of at least 1280 (RFC 8200, 5); the kernel takes IPv6 off a device with %d.", n.address(), n.mtu.v)
		}
	}
	for _, a := range l.adapters {
		n := networks[a.device.v]
		if a.device.ok() && n != nil && a.mtu.ok() && n.mtu.ok() && a.mtu.v != n.mtu.v {
			l.fail(codeConflict, a.mtu.at, "%s wants an MTU of %d for %q, and %s one of %d (%s). Make them equal, or leave one out.",
				a.inst.address, a.mtu.v, a.device.v, n.address(), n.mtu.v, n.mtu.at.place())
		}
	}
}

// checkDefaultRoutes sees that there is one default route of each family.
func (l *loader) checkDefaultRoutes() {
	type family struct{ v4 bool }
	seen := map[family]field[netip.Addr]{}
	for _, n := range l.networks {
		for _, r := range n.routers {
			f := family{r.v.Is4()}
			if first, ok := seen[f]; ok {
				l.fail(codeTwoDefaults, r.at, "%s and %s (%s) would both be the default gateway of the host for %s. Leave gateway to one bridge.", r.v, first.v, first.at.place(), familyName(r.v))
				continue
			}
			seen[f] = r
		}
	}
}

// checkForwardPorts finds ports of the host that two forwards claim.
func (l *loader) checkForwardPorts() {
	byPort := slices.Clone(l.forwards)
	slices.SortStableFunc(byPort, func(a, b *forward) int {
		return cmp.Or(cmp.Compare(a.proto, b.proto), cmp.Compare(a.ports.v.First, b.ports.v.First))
	})
	var widest *forward // the one before that reaches furthest
	for _, f := range byPort {
		if widest == nil || widest.proto != f.proto || f.ports.v.First > widest.ports.v.Last {
			widest = f
			continue
		}
		l.reportSamePort(widest, f)
		if f.ports.v.Last > widest.ports.v.Last {
			widest = f
		}
	}
}

func (l *loader) reportSamePort(a, b *forward) {
	if before(b.ports.at, a.ports.at) {
		a, b = b, a
	}
	shared := schema.PortRange{First: max(a.ports.v.First, b.ports.v.First), Last: min(a.ports.v.Last, b.ports.v.Last)}
	l.fail(codeSameForward, b.ports.at, "%s %s leads to %s already (%s, %s). Use another port of the host.", b.proto, shared, a.to, a.inst.address, a.ports.at.place())
}

// checkSysctls finds settings that are asked for twice, or against what the networks need.
func (l *loader) checkSysctls() {
	needed := l.neededSysctls()
	seen := map[string]*sysctl{}
	for _, s := range l.sysctls {
		if !s.key.ok() || !s.value.ok() {
			continue
		}
		if first := seen[s.key.v]; first != nil {
			l.fail(codeConflict, s.key.at, "%s is set already by %s (%s). Remove one of the two.", s.key.v, first.inst.address, first.key.at.place())
			continue
		}
		seen[s.key.v] = s
		if n, ok := needed[s.key.v]; ok && n.value != s.value.v {
			l.fail(codeConflict, s.value.at, "%s must be %s for %s (%s) to work, and this sets it to %s. Remove one of the two.", s.key.v, n.value, n.address, n.at.place(), s.value.v)
		}
	}
}

// need is a kernel setting that a block cannot work without.
type need struct {
	value   string
	address string
	at      where
}

// neededSysctls are the settings that forwarding packets takes (ip-sysctl in the kernel's documentation).
func (l *loader) neededSysctls() map[string]need {
	out := map[string]need{}
	add := func(key, value, address string, at where) {
		if _, ok := out[key]; !ok {
			out[key] = need{value, address, at}
		}
	}
	forwarding := func(v4, v6 bool, address string, at where) {
		if v4 {
			add("net.ipv4.ip_forward", "1", address, at)
		}
		if v6 {
			add("net.ipv6.conf.all.forwarding", "1", address, at)
		}
	}
	for _, n := range l.networks {
		if n.mode == "nat" {
			forwarding(n.hasFamily(true), n.hasFamily(false), n.address(), n.inst.at())
		}
	}
	for _, f := range l.forwards {
		if f.network == nil {
			continue
		}
		for _, ip := range f.ips {
			forwarding(ip.Is4(), ip.Is6(), f.inst.address, f.inst.at())
			if ip.Is4() && f.network.device.ok() {
				// Connections of the host to 127.0.0.1 are sent on to the guest.
				add(schema.LinkSysctl("ipv4", f.network.device.v, "route_localnet"), "1", f.inst.address, f.inst.at())
			}
		}
	}
	return out
}
