package config

import (
	"fmt"
	"net/netip"

	"github.com/zclconf/go-cty/cty"
)

// guest is a decoded guest block.
type guest struct {
	inst    *instance
	name    field[string]
	network *network // nil when it could not be found
	mac     field[string]
	// first is the address attribute, second address6.
	first, second field[netip.Addr]
	device        field[string]
}

func (g *guest) address() string { return g.inst.address }

// ips are the addresses that are right.
func (g *guest) ips() []field[netip.Addr] {
	var out []field[netip.Addr]
	for _, f := range []field[netip.Addr]{g.first, g.second} {
		if f.ok() {
			out = append(out, f)
		}
	}
	return out
}

func (l *loader) decodeGuest(i *instance) {
	g := &guest{inst: i, name: l.text(i, "name"), mac: l.mac(i), device: l.device(i)}
	i.thing = g
	l.guests = append(l.guests, g)
	l.byID[i.address] = g
	if g.name.status == absent {
		g.name.v = i.node.name + i.suffix
	}
	g.network = l.networkRef(i)
	l.readAddresses(g)
	if g.mac.status == absent && g.device.status == absent && g.first.status == absent && g.second.status == absent {
		l.fail(codeMissing, i.at(), "%s has nothing to know the guest by. Add mac, address or device.", i.node.id())
	}
}

func (l *loader) readAddresses(g *guest) {
	g.first, g.second = l.address(g.inst, "address"), l.address(g.inst, "address6")
	switch {
	case g.second.ok() && g.second.v.Is4():
		l.fail(codeAddress, g.second.at, "address6 takes an IPv6 address. Write address = %q.", g.second.v)
		g.second.status = wrong
	case g.first.ok() && g.second.ok() && g.first.v.Is6():
		l.fail(codeAddress, g.second.at, "address is an IPv6 address already (%s); a guest has one of each family. Remove address6.", g.first.v)
		g.second.status = wrong
	}
	l.checkGuestAddress(g, &g.first)
	l.checkGuestAddress(g, &g.second)
}

// networkRef reads the network attribute.
func (l *loader) networkRef(i *instance) *network {
	f := l.get(i, "network")
	l.require(i, f.status, "network")
	if !f.ok() {
		return nil
	}
	id := idOf(f.v)
	if n, ok := l.byID[id].(*network); ok {
		return n
	}
	switch s, isText := toText(f.v); {
	case id != "":
		l.fail(codeWrongType, f.at, "%s is not a network. Write network = nat.lab, a bridge or a host_only network.", id)
	case isText:
		l.fail(codeWrongType, f.at, "network takes a reference, not a text.%s", l.unquoted("network", s))
	case l.isInstances(f.v):
		l.fail(codeWrongType, f.at, "This is a block with for_each or count: name one of its networks, such as nat.lab[\"a\"].")
	default:
		l.fail(codeWrongType, f.at, "network takes a reference such as nat.lab, not %s.", article(f.v.Type()))
	}
	return nil
}

// unquoted is the cure for a reference that was written as a text: " Write network = nat.lab."
func (l *loader) unquoted(name, s string) string {
	if _, ok := l.byID[s]; ok {
		return fmt.Sprintf(" Write %s = %s, without quotes.", name, s)
	}
	for _, k := range networkKinds() {
		if l.nodes[k][s] != nil {
			return fmt.Sprintf(" Write %s = %s.%s, without quotes.", name, k, s)
		}
	}
	for _, n := range l.networks {
		if n.device.v == s {
			return fmt.Sprintf(" %s is the device of %s: write %s = %s.", s, n.address(), name, n.address())
		}
	}
	return fmt.Sprintf(" Write, for example: %s = nat.lab", name)
}

// isInstances tells whether a value is all instances of a block.
func (l *loader) isInstances(v cty.Value) bool {
	if !v.IsKnown() || v.IsNull() || !v.Type().IsObjectType() && !v.Type().IsTupleType() || v.LengthInt() == 0 {
		return false
	}
	for it := v.ElementIterator(); it.Next(); {
		if _, e := it.Element(); l.byID[idOf(e)] == nil {
			return false
		}
	}
	return true
}

// checkGuestAddress compares a guest's address with its network.
func (l *loader) checkGuestAddress(g *guest, a *field[netip.Addr]) {
	if !a.ok() || g.network == nil {
		return
	}
	n := g.network
	for _, s := range n.subnets {
		if s.status == wrong {
			return
		}
	}
	if ip := a.v; ip.IsLoopback() || ip.IsMulticast() || ip.IsUnspecified() {
		l.fail(codeAddress, a.at, "%s is not an address that a guest can have.", ip)
		a.status = wrong
		return
	}
	p, inside := n.subnetOf(a.v)
	switch {
	case inside:
		if why := reserved(p, a.v); why != "" {
			l.fail(codeReservedAddress, a.at, "%s, so no guest may have it.", why)
			a.status = wrong
		}
	case n.mode == "bridge" && !n.hasFamily(a.v.Is4()):
		// The host knows nothing of the LAN's networks of that family.
	case n.mode == "bridge":
		l.warn(codeGuestOutside, a.at, "%s lies in none of the host's networks on %s (%s). That can be right on a LAN with several networks; the host then reaches the guest by its router.", a.v, n.address(), n.subnetList())
	case !n.hasFamily(a.v.Is4()):
		l.fail(codeGuestOutside, a.at, "%s is an %s address, and %s has no %s subnet (it has %s). Add %s to the network.", a.v, familyName(a.v), n.address(), familyName(a.v), n.subnetList(), map[bool]string{true: "subnet", false: "subnet6"}[a.v.Is4()])
		a.status = wrong
	default:
		l.fail(codeGuestOutside, a.at, "%s lies outside of %s, the subnet of %s. Use an address inside, or another network.", a.v, n.subnetList(), n.address())
		a.status = wrong
	}
}

// value is what guest.db1 gives in an expression.
func (g *guest) value() cty.Value {
	attrs := map[string]cty.Value{
		"id": cty.StringVal(g.address()), "name": cty.StringVal(g.name.v), "mac": textValue(g.mac), "device": textValue(g.device),
		"address": addrValue(g.first), "address6": addrValue(g.second), "network": cty.DynamicVal,
	}
	if g.network != nil {
		attrs["network"] = g.network.inst.val()
	}
	return cty.ObjectVal(attrs)
}

func addrValue(f field[netip.Addr]) cty.Value {
	text := field[string]{status: f.status}
	if f.ok() {
		text.v = f.v.String()
	}
	return textValue(text)
}
