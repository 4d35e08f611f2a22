package config

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// network is a decoded bridge, nat or host_only block.
type network struct {
	inst   *instance
	mode   string
	device field[string]
	// subnets are those of a nat or host_only network, or one for each address of a bridge; masked.
	subnets []field[netip.Prefix]
	// hosts are the host's own addresses in the network, with the length of the network.
	hosts []field[netip.Prefix]
	// routers are a bridge's gateways: the LAN's routers.
	routers  []field[netip.Addr]
	ports    []field[string]
	uplink   field[string]
	uplinkTo *network // when the uplink is a network of the file
	mtu      field[uint32]
	stp      field[bool]
	isolate  field[bool]
	served   served
	mac      string // of the bridge; "" leaves it to the ports
}

func (n *network) address() string { return n.inst.address }

// subnetOf is the network's subnet that holds an address.
func (n *network) subnetOf(a netip.Addr) (netip.Prefix, bool) {
	for _, s := range n.subnets {
		if s.ok() && s.v.Contains(a) {
			return s.v, true
		}
	}
	return netip.Prefix{}, false
}

// hasFamily tells whether the network has a subnet of the family.
func (n *network) hasFamily(v4 bool) bool {
	for _, s := range n.subnets {
		if s.v.IsValid() && s.v.Addr().Is4() == v4 {
			return true
		}
	}
	return false
}

// newNetwork reads what all networks have.
func (l *loader) newNetwork(i *instance) *network {
	n := &network{inst: i, mode: i.node.kind, device: l.deviceOrLabel(i), mtu: l.mtu(i)}
	i.thing = n
	l.networks = append(l.networks, n)
	l.byID[i.address] = n
	return n
}

// deviceOrLabel is the device attribute, or else the label, with what tells instances apart.
func (l *loader) deviceOrLabel(i *instance) field[string] {
	d := l.device(i)
	if d.status != absent {
		return d
	}
	at := i.at()
	if len(i.block().LabelRanges) > 0 {
		at.rng = &i.block().LabelRanges[0]
	}
	name := i.node.name + i.suffix
	return as(l, codeDeviceName, field[string]{v: name, at: at, status: good}, func(s string) (string, string) {
		if _, why := deviceName(s); why != "" {
			return s, "The device is named after the block, and that does not work. " + why
		}
		return s, ""
	})
}

func (l *loader) decodeBridge(i *instance) {
	n := l.newNetwork(i)
	for _, p := range l.texts(i, "ports", `["eno1"]`) {
		n.ports = append(n.ports, as(l, codeDeviceName, p, deviceName))
	}
	for _, a := range l.texts(i, "addresses", `["192.0.2.10/24"]`) {
		p := as(l, codeAddress, a, parsePrefix)
		p = as(l, codeReservedAddress, p, hostPrefix)
		n.hosts = append(n.hosts, p)
		p.v = p.v.Masked()
		n.subnets = append(n.subnets, p)
	}
	n.stp = l.flag(i, "stp")
	l.router(n, "gateway")
	l.router(n, "gateway6")
}

// hostPrefix refuses an address with a length that no host may have.
func hostPrefix(p netip.Prefix) (netip.Prefix, string) {
	if why := reserved(p, p.Addr()); why != "" {
		return p, why + ", which no host may have. Write the host's own address."
	}
	if a := p.Addr(); a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return p, fmt.Sprintf("%s is not an address that a bridge can have.", a)
	}
	return p, ""
}

// router reads the gateway of a bridge: a router on the LAN.
func (l *loader) router(n *network, name string) {
	g := l.address(n.inst, name)
	if !g.ok() {
		return
	}
	a := g.v
	if name == "gateway6" && a.Is4() {
		l.fail(codeAddress, g.at, "gateway6 takes an IPv6 address. Write gateway = %q.", a)
		return
	}
	if a.Is6() && a.IsLinkLocalUnicast() {
		n.routers = append(n.routers, g) // routers announce themselves by such an address (RFC 4861, 6.1.2)
		return
	}
	if p, ok := n.subnetOf(a); ok {
		if why := reserved(p, a); why != "" {
			l.fail(codeReservedAddress, g.at, "%s, so no router has it.", why)
			return
		}
		for _, h := range n.hosts {
			if h.ok() && h.v.Addr() == a {
				l.fail(codeSameAddress, g.at, "%s is the host's own address (%s). The gateway is the router of the LAN.", a, h.at.place())
				return
			}
		}
		n.routers = append(n.routers, g)
		return
	}
	for _, h := range n.hosts {
		if h.status == wrong {
			return // perhaps that was its network
		}
	}
	if len(n.hosts) == 0 {
		l.fail(codeGatewayOutside, g.at, "%s has no addresses, so the host cannot reach a gateway through it. Add addresses, or remove the gateway.", n.address())
		return
	}
	l.fail(codeGatewayOutside, g.at, "The gateway %s lies in none of the networks of %s: %s. Use an address of one of them.", a, n.address(), n.subnetList())
}

func (n *network) subnetList() string {
	var out []string
	for _, s := range n.subnets {
		if s.ok() {
			out = append(out, s.v.String())
		}
	}
	return listOf(out)
}

func (l *loader) decodeNAT(i *instance) {
	n := l.newNetwork(i)
	l.routedNetwork(n)
	l.readUplink(n)
}

func (l *loader) decodeHostOnly(i *instance) {
	n := l.newNetwork(i)
	l.routedNetwork(n)
	n.isolate = l.flag(i, "isolate")
}

// routedNetwork reads what nat and host_only networks share: subnets with the host's address, and DHCP.
func (l *loader) routedNetwork(n *network) {
	i := n.inst
	n.mac = stableMAC(n.address())
	first, second := l.subnet(i, "subnet"), l.subnet(i, "subnet6")
	switch {
	case first.status == absent && second.status == absent:
		l.require(i, absent, "subnet")
	case second.ok() && second.v.Addr().Is4():
		l.fail(codeAddress, second.at, "subnet6 takes an IPv6 prefix. Write subnet = %q.", second.v)
		second.status = wrong
	case first.ok() && second.ok() && first.v.Addr().Is6():
		l.fail(codeAddress, second.at, "subnet is an IPv6 prefix already (%s); a network has one of each family. Remove subnet6.", first.v)
		second.status = wrong
	}
	l.addSubnet(n, first, "gateway")
	l.addSubnet(n, second, "gateway6")
	l.readServed(n)
}

// addSubnet takes a subnet in, with the host's address in it: its gateway attribute, or else its first address.
func (l *loader) addSubnet(n *network, subnet field[netip.Prefix], gateway string) {
	g := l.address(n.inst, gateway)
	if subnet.status == absent {
		if g.ok() {
			l.fail(codeGatewayOutside, g.at, "%s goes with a subnet that is not there. Add %s.", gateway, strings.Replace(gateway, "gateway", "subnet", 1))
		}
		return
	}
	n.subnets = append(n.subnets, subnet)
	if !subnet.ok() {
		return
	}
	p := subnet.v
	host := field[netip.Prefix]{v: netip.PrefixFrom(p.Addr().Next(), p.Bits()), at: subnet.at, status: good}
	switch {
	case g.status == absent:
	case !g.ok():
		host.status = wrong
	case !p.Contains(g.v):
		l.fail(codeGatewayOutside, g.at, "The gateway %s lies outside of the subnet %s. It is the host's own address in the network: use one from %s to %s.", g.v, p, p.Addr().Next(), lastUsable(p))
		host.status = wrong
	case reserved(p, g.v) != "":
		l.fail(codeReservedAddress, g.at, "%s, so the host cannot have it. Use one from %s to %s.", reserved(p, g.v), p.Addr().Next(), lastUsable(p))
		host.status = wrong
	default:
		host.v, host.at = netip.PrefixFrom(g.v, p.Bits()), g.at
	}
	n.hosts = append(n.hosts, host)
}

// lastUsable is the last address of a subnet that a machine may have.
func lastUsable(p netip.Prefix) netip.Addr {
	last := lastAddr(p)
	if last.Is4() {
		return last.Prev() // the last is the broadcast address
	}
	return last
}

// stableMAC is a MAC of our own for a network's bridge: always the same, locally administered, of one interface.
// Without one the bridge would take the lowest MAC of its ports and change it when guests come and go.
func stableMAC(address string) string {
	h := sha256.Sum256([]byte("vmnet:" + address))
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3], h[4])
}

// readUplink reads where a nat network leaves the host: a device, or a network of the file.
func (l *loader) readUplink(n *network) {
	f := l.get(n.inst, "uplink")
	if !f.ok() {
		n.uplink.status = f.status
		return
	}
	if t, ok := l.byID[idOf(f.v)]; ok {
		switch t := t.(type) {
		case *network:
			n.uplinkTo, n.uplink = t, field[string]{v: t.device.v, at: f.at, status: t.device.status}
		case *adapter:
			n.uplink = field[string]{v: t.device.v, at: f.at, status: t.device.status}
		default:
			l.fail(codeUplink, f.at, "%s is neither a device nor a network. Write uplink = \"eno1\" or uplink = bridge.lan.", idOf(f.v))
			n.uplink.status = wrong
		}
		return
	}
	s := as(l, codeWrongType, f, func(v cty.Value) (string, string) {
		s, ok := toText(v)
		if !ok {
			return "", fmt.Sprintf("uplink takes the name of a device or a network, not %s. Write uplink = \"eno1\" or uplink = bridge.lan.", article(v.Type()))
		}
		return s, ""
	})
	n.uplink = as(l, codeDeviceName, s, func(s string) (string, string) {
		if kind, _, ok := strings.Cut(s, "."); ok && isBlockRoot(kind) {
			return s, fmt.Sprintf("%q is a text. A reference stands without quotes: uplink = %s.", s, s)
		}
		return deviceName(s)
	})
}

// value is what nat.lab gives in an expression. All networks have the same attributes, so that they can stand in one
// list.
func (n *network) value() cty.Value {
	one := func(pick func(netip.Prefix) string, fields []field[netip.Prefix], v4 bool) cty.Value {
		for _, f := range fields {
			if f.status == wrong {
				return cty.UnknownVal(cty.String)
			}
			if f.v.Addr().Is4() == v4 {
				return cty.StringVal(pick(f.v))
			}
		}
		return cty.NullVal(cty.String)
	}
	prefix := func(p netip.Prefix) string { return p.String() }
	addr := func(p netip.Prefix) string { return p.Addr().String() }
	first := !n.onlyIPv6()
	gateway, gateway6 := one(addr, n.hosts, first), one(addr, n.hosts, false)
	if n.mode == "bridge" {
		gateway, gateway6 = n.routerValue(true), n.routerValue(false)
	}
	return cty.ObjectVal(map[string]cty.Value{
		"id": cty.StringVal(n.address()), "name": cty.StringVal(n.inst.node.name + n.inst.suffix), "mode": cty.StringVal(n.mode),
		"device": textValue(n.device), "subnet": one(prefix, n.subnets, first), "subnet6": one(prefix, n.subnets, false),
		"gateway": gateway, "gateway6": gateway6, "mac": stringOrNull(n.mac), "mtu": numberValue(n.mtu),
		"addresses": prefixList(n.hosts), "ports": textList(n.ports),
	})
}

// onlyIPv6 tells whether subnet itself is IPv6.
func (n *network) onlyIPv6() bool { return n.hasFamily(false) && !n.hasFamily(true) }

func (n *network) routerValue(v4 bool) cty.Value {
	for _, r := range n.routers {
		if r.v.Is4() == v4 {
			return cty.StringVal(r.v.String())
		}
	}
	return cty.NullVal(cty.String)
}

func textValue(f field[string]) cty.Value {
	switch f.status {
	case good:
		return cty.StringVal(f.v)
	case wrong:
		return cty.UnknownVal(cty.String)
	case absent:
	}
	return cty.NullVal(cty.String)
}

func stringOrNull(s string) cty.Value {
	if s == "" {
		return cty.NullVal(cty.String)
	}
	return cty.StringVal(s)
}

func numberValue(f field[uint32]) cty.Value {
	switch f.status {
	case good:
		return cty.NumberUIntVal(uint64(f.v))
	case wrong:
		return cty.UnknownVal(cty.Number)
	case absent:
	}
	return cty.NullVal(cty.Number)
}

func textList(fields []field[string]) cty.Value {
	var out []cty.Value
	for _, f := range fields {
		out = append(out, textValue(f))
	}
	return listValue(out)
}

func prefixList(fields []field[netip.Prefix]) cty.Value {
	var out []cty.Value
	for _, f := range fields {
		if f.ok() {
			out = append(out, cty.StringVal(f.v.String()))
		} else {
			out = append(out, cty.UnknownVal(cty.String))
		}
	}
	return listValue(out)
}

func listValue(vals []cty.Value) cty.Value {
	if len(vals) == 0 {
		return cty.ListValEmpty(cty.String)
	}
	return cty.ListVal(vals)
}
