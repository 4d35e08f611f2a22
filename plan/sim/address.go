package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// addresses lists the addresses of a link in one family, primary ones first, as the kernel keeps them.
func (h *host) addresses(link string, v4 bool) []*schema.Address {
	var all []*schema.Address
	for _, r := range h.Dependents(schema.LinkRef(link)) {
		if a, ok := h.Get(r).(*schema.Address); ok && a.Prefix.Addr().Is4() == v4 {
			all = append(all, a)
		}
	}
	slices.SortStableFunc(all, func(a, b *schema.Address) int { return rank(a) - rank(b) })
	return all
}

func rank(a *schema.Address) int {
	if value(a.Facts).Secondary {
		return 1
	}
	return 0
}

func (h *host) createAddress(a *schema.Address) error {
	l := h.Link(a.Link)
	if l == nil {
		return noLink(a.Link)
	}
	if !a.Prefix.IsValid() {
		return fmt.Errorf("no address: %w", unix.EINVAL)
	}
	a = filled(a)
	if a.Prefix.Addr().Is4() {
		return h.addAddress4(l, a)
	}
	return h.addAddress6(l, a)
}

// filled is a copy of an address with every open field as the kernel fills it.
func filled(want *schema.Address) *schema.Address {
	a := schema.Clone(want).(*schema.Address)
	if ip := a.Prefix.Addr(); ip.Is6() { // the kernel goes by the address, whatever is asked
		scope := "global"
		switch {
		case ip.IsLoopback():
			scope = "host"
		case ip.IsLinkLocalUnicast():
			scope = "link"
		}
		a.Scope, a.Label = &scope, nil
	}
	a.Scope = or(a.Scope, "global")
	if value(a.Label) == "" && a.Prefix.Addr().Is4() {
		a.Label = &a.Link
	}
	a.Peer = or(a.Peer, netip.Prefix{})
	a.Proto = or(a.Proto, 0)
	a.NoPrefixRoute = or(a.NoPrefixRoute, false)
	a.NoDAD = or(a.NoDAD, false)
	made := *a.Proto
	a.Facts = &schema.AddressFacts{KernelMade: made == protoKernelLo || made == protoKernelRA || made == protoKernelLL}
	return a
}

// network is where the connected route leads: the far end of a point-to-point address, else the address's own network.
func network(a *schema.Address) netip.Prefix {
	if p := value(a.Peer); p.IsValid() {
		return p.Masked()
	}
	return a.Prefix.Masked()
}

// addAddress4 follows __inet_insert_ifa (net/ipv4/devinet.c): a second address of a network is secondary.
func (h *host) addAddress4(l *schema.Link, a *schema.Address) error {
	if l.Facts != nil && l.Facts.IPv4 == nil {
		return fmt.Errorf("%s does not speak IPv4: %w", l.Name, unix.ENOBUFS)
	}
	for _, other := range h.addresses(a.Link, true) {
		if other.Prefix.Bits() != a.Prefix.Bits() || network(other) != network(a) {
			continue
		}
		if value(other.Scope) != value(a.Scope) {
			return fmt.Errorf("%s has scope %s: %w", other, value(other.Scope), unix.EINVAL)
		}
		a.Facts.Secondary = true
	}
	h.routes4Around(a.Link, func() { h.put(a) })
	return nil
}

func (h *host) deleteAddress(a *schema.Address) error {
	live := h.Get(a.Ref()).(*schema.Address)
	if live.Prefix.Addr().Is4() {
		h.delAddress4(live)
	} else {
		h.delAddress6(live)
	}
	return nil
}

// delAddress4 follows __inet_del_ifa: with a primary address its secondaries go, unless promote_secondaries makes the next
// one primary. With the last address of a link all its IPv4 routes and neighbours go (fib_inetaddr_event), and routes of
// the main table that prefer a source which no longer is an address of the host (fib_sync_down_addr).
func (h *host) delAddress4(a *schema.Address) {
	lost := []netip.Addr{a.Prefix.Addr()}
	h.routes4Around(a.Link, func() {
		h.del(a.Ref())
		if value(a.Facts).Secondary {
			return
		}
		promoted := false
		for _, s := range h.addresses(a.Link, true) {
			if !value(s.Facts).Secondary || s.Prefix.Bits() != a.Prefix.Bits() || network(s) != network(a) {
				continue
			}
			switch {
			case !h.promotes(a.Link):
				h.del(s.Ref())
				lost = append(lost, s.Prefix.Addr())
			case !promoted:
				p := schema.Clone(s).(*schema.Address)
				p.Facts.Secondary = false
				h.put(p)
				promoted = true
			}
		}
	})
	for _, ip := range lost {
		h.loseSource4(ip)
	}
	if len(h.addresses(a.Link, true)) == 0 {
		h.flush4(a.Link, false, func(*schema.Route) bool { return true })
		h.delNeighbours(a.Link, func(n *schema.Neighbour) bool { return n.IP.Is4() })
	}
}

// promotes tells whether net.ipv4.conf.{all,link}.promote_secondaries is on (IN_DEV_PROMOTE_SECONDARIES); systemd switches
// it on.
func (h *host) promotes(link string) bool {
	for _, key := range []string{"net.ipv4.conf.all.promote_secondaries", schema.LinkSysctl("ipv4", link, "promote_secondaries")} {
		if v, ok := h.Sysctl(key); ok && v != "0" {
			return true
		}
	}
	return false
}

// loseSource4 flushes what prefers ip as its source, when ip is no longer local anywhere.
func (h *host) loseSource4(ip netip.Addr) {
	for _, r := range h.WithIP(ip) {
		if r.Kind == schema.KindAddress {
			return
		}
	}
	for _, r := range h.WithIP(ip) {
		if h.Get(r).(*schema.Route).Table == schema.TableMain {
			h.del(r)
		}
	}
}

// updateAddress changes what the kernel changes in place: who made it and its lifetimes, in IPv6 also whether it has a
// connected route. The rest takes a deletion, which takes routes along: the provider refuses it.
func (h *host) updateAddress(after *schema.Address) error {
	live := h.Get(after.Ref()).(*schema.Address)
	six := live.Prefix.Addr().Is6()
	for _, d := range schema.Compare(live, after) {
		if d.Field != "proto" && !(six && (d.Field == "noprefixroute" || d.Field == "nodad")) {
			return fmt.Errorf("the kernel cannot change %s of an address in place: %w", d.Field, errors.ErrUnsupported)
		}
	}
	whole := schema.Merge(live, after).(*schema.Address)
	whole.Valid, whole.Preferred, whole.Facts = after.Valid, after.Preferred, live.Facts
	if value(live.NoPrefixRoute) == value(whole.NoPrefixRoute) {
		h.put(whole)
		return nil
	}
	if l := h.Link(live.Link); value(whole.NoPrefixRoute) {
		h.disconnect6(l, live)
		h.put(whole)
	} else {
		h.put(whole)
		h.connect6(l, whole)
	}
	return nil
}

// routes4Around runs change, which touches the addresses of a link, and then adds and deletes the routes that the kernel
// makes of IPv4 addresses.
func (h *host) routes4Around(link string, change func()) {
	before := h.kernelRoutes4(link)
	change()
	after := h.kernelRoutes4(link)
	for ref := range before {
		if after[ref] == nil {
			h.del(ref)
		}
	}
	for ref, r := range after {
		if old := before[ref]; old == nil || old.Source != r.Source {
			h.put(r)
		}
	}
}

// kernelRoutes4 is what fib_add_ifaddr (net/ipv4/fib_frontend.c) makes of all addresses of a link.
func (h *host) kernelRoutes4(link string) map[schema.Ref]*schema.Route {
	l := h.Link(link)
	routes := map[schema.Ref]*schema.Route{}
	addresses := h.addresses(link, true)
	for _, a := range addresses {
		src := primaryOf(a, addresses)
		add := func(table uint32, typ string, scope uint8, dst netip.Prefix) {
			r := kernelRoute(table, typ, l, dst, 0)
			r.Source, r.Scope = src, &scope
			r.Facts.LinkDown = !carrier(l) && typ != "local"
			if routes[r.Ref()] == nil {
				routes[r.Ref()] = r
			}
		}
		ip := a.Prefix.Addr()
		add(schema.TableLocal, "local", unix.RT_SCOPE_HOST, netip.PrefixFrom(ip, 32))
		net := network(a)
		if all := netip.AddrFrom4([4]byte{255, 255, 255, 255}); value(l.Up) && a.Broadcast != nil && *a.Broadcast != all {
			add(schema.TableLocal, "broadcast", unix.RT_SCOPE_LINK, netip.PrefixFrom(*a.Broadcast, 32))
		}
		if !value(l.Up) || value(a.Facts).Secondary || net.Addr().As4()[0] == 0 || net.Addr() == ip && net.Bits() == 32 {
			continue
		}
		switch {
		case value(a.NoPrefixRoute):
		case l.Type == "loopback":
			add(schema.TableLocal, "local", unix.RT_SCOPE_HOST, net)
		default:
			add(schema.TableMain, "", unix.RT_SCOPE_LINK, net)
		}
		if net.Bits() < 31 {
			add(schema.TableLocal, "broadcast", unix.RT_SCOPE_LINK, netip.PrefixFrom(lastOf(net), 32))
		}
	}
	return routes
}

// primaryOf is the source that routes of a prefer: its own address, or the primary address of its network.
func primaryOf(a *schema.Address, all []*schema.Address) netip.Addr {
	if value(a.Facts).Secondary {
		for _, p := range all {
			if !value(p.Facts).Secondary && p.Prefix.Bits() == a.Prefix.Bits() && network(p) == network(a) {
				return p.Prefix.Addr()
			}
		}
	}
	return a.Prefix.Addr()
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// kernelRoute is a route with protocol kernel.
func kernelRoute(table uint32, typ string, l *schema.Link, dst netip.Prefix, metric uint32) *schema.Route {
	return &schema.Route{
		Table: table, Dst: dst, Metric: metric, Type: typ, Link: l.Name, Proto: new(uint8(schema.ProtoKernel)),
		Scope: new(uint8(0)), MTU: new(uint32(0)), OnLink: new(false), Facts: &schema.RouteFacts{},
	}
}

// up4 brings the connected routes back; lo gets 127.0.0.1/8 when it has no address (inetdev_event, NETDEV_UP).
func (h *host) up4(link string) {
	l := h.Link(link)
	if l.Type == "loopback" && len(h.addresses(link, true)) == 0 {
		h.put(filled(&schema.Address{
			Link: link, Prefix: netip.MustParsePrefix("127.0.0.1/8"), Scope: new("host"), Proto: new(uint8(protoKernelLo)),
		}))
	}
	for ref, r := range h.kernelRoutes4(link) {
		if h.Get(ref) == nil {
			h.put(r)
		}
	}
}

// down4 takes all IPv4 routes over a link but those to its own addresses (fib_sync_down_dev). Routes with a gateway do not
// come back by themselves.
func (h *host) down4(link string) {
	h.flush4(link, false, func(r *schema.Route) bool { return value(r.Scope) != unix.RT_SCOPE_HOST })
}

// flush4 takes the IPv4 routes over a link of which it is true; gone: the link itself goes.
func (h *host) flush4(link string, gone bool, which func(*schema.Route) bool) {
	for _, ref := range h.Dependents(schema.LinkRef(link)) {
		if r, ok := h.Get(ref).(*schema.Route); ok && r.Dst.Addr().Is4() && which(r) {
			h.dropLeg(ref, link, gone)
		}
	}
}
