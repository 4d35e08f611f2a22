package sim

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// IFA_PROTO of addresses that the kernel makes itself (IFAPROT_KERNEL_LO and so on, include/uapi/linux/if_addr.h),
// and the metrics of its IPv6 routes (IP6_RT_PRIO_ADDRCONF, IP6_RT_PRIO_USER, include/uapi/linux/ipv6_route.h).
const (
	protoKernelLo = 1
	protoKernelRA = 2
	protoKernelLL = 3

	metricKernel6 = 256
	metricUser6   = 1024
)

// speaks6 tells whether a link takes IPv6 addresses: not below 1280 bytes of MTU, not with disable_ipv6.
func speaks6(l *schema.Link) bool {
	return l.Facts != nil && l.Facts.IPv6 != nil && l.Facts.IPv6.Disable == 0
}

// addAddress6 follows inet6_addr_add (net/ipv6/addrconf.c).
func (h *host) addAddress6(l *schema.Link, a *schema.Address) error {
	ip := a.Prefix.Addr()
	switch {
	case !speaks6(l):
		return fmt.Errorf("IPv6 is disabled on %s: %w", l.Name, unix.EACCES)
	case ip.IsUnspecified() || ip.Is4In6():
		return fmt.Errorf("%s is no address of a host: %w", ip, unix.EINVAL)
	case ip.IsMulticast():
		return fmt.Errorf("%s is a multicast address: %w", ip, unix.EINVAL)
	case ip.IsLoopback() && l.Type != "loopback":
		return fmt.Errorf("%s belongs to the loopback link: %w", ip, unix.EADDRNOTAVAIL)
	}
	for _, other := range h.addresses(a.Link, false) {
		if other.Prefix.Addr() == ip {
			return fmt.Errorf("%s is there already: %w", other, unix.EEXIST)
		}
	}
	if value(l.Up) {
		h.multicast6(l)
	}
	a.Facts.Tentative = !h.ready6(l) && h.detects(l, a)
	h.put(a)
	h.connect6(l, a)
	if !a.Facts.Tentative {
		h.local6(l, a)
	}
	return nil
}

// ready6 is IF_READY: the link has had a carrier since it was set up. It outlives the carrier, and then shows in the
// address that came with it.
func (h *host) ready6(l *schema.Link) bool {
	if !value(l.Up) {
		return false
	}
	if carrier(l) {
		return true
	}
	for _, a := range h.addresses(l.Name, false) {
		if value(a.Facts).KernelMade {
			return true
		}
	}
	return false
}

// detects tells whether an address has to pass duplicate address detection first (addrconf_dad_begin).
func (h *host) detects(l *schema.Link, a *schema.Address) bool {
	all, _ := h.Sysctl("net.ipv6.conf.all.accept_dad")
	return !value(a.NoDAD) && l.Type != "loopback" && (l.Facts.IPv6.AcceptDAD > 0 || all != "" && all != "0")
}

// local6 makes what exists once an address is known to be no duplicate: its local route, and on a router the anycast
// address of its network (addrconf_join_anycast).
func (h *host) local6(l *schema.Link, a *schema.Address) {
	h.putNew(kernelRoute(schema.TableLocal, "local", l, netip.PrefixFrom(a.Prefix.Addr(), 128), 0))
	if l.Facts.IPv6.Forwarding != 0 {
		if r := anycast6(l, a); r != nil {
			h.putNew(r)
		}
	}
}

func anycast6(l *schema.Link, a *schema.Address) *schema.Route {
	first := a.Prefix.Masked().Addr()
	if a.Prefix.Bits() >= 127 || first.IsUnspecified() {
		return nil
	}
	return kernelRoute(schema.TableLocal, "anycast", l, netip.PrefixFrom(first, 128), 0)
}

// connect6 makes the connected route, and that of the far end.
func (h *host) connect6(l *schema.Link, a *schema.Address) {
	if !value(l.Up) || value(a.NoPrefixRoute) || a.Prefix.Addr().IsLoopback() {
		return
	}
	for _, dst := range connected6(a) {
		r := kernelRoute(schema.TableMain, "", l, dst, metricKernel6)
		r.Facts.LinkDown = !carrier(l)
		h.putNew(r)
	}
}

func connected6(a *schema.Address) []netip.Prefix {
	dsts := []netip.Prefix{a.Prefix.Masked()}
	if p := value(a.Peer); p.IsValid() {
		dsts = append(dsts, p.Masked())
	}
	return dsts
}

// multicast6 makes ff00::/8, which every link has that speaks IPv6 and is up.
func (h *host) multicast6(l *schema.Link) {
	if l.Type == "loopback" {
		return
	}
	r := kernelRoute(schema.TableLocal, "multicast", l, netip.MustParsePrefix("ff00::/8"), metricKernel6)
	r.Facts.LinkDown = !carrier(l)
	h.putNew(r)
}

func (h *host) putNew(o schema.Object) {
	if h.Stored(o.Ref()) == nil {
		h.put(o)
	}
}

// permanent6 brings the routes of addresses back that were given while the link was down (addrconf_permanent_addr). Those
// it had before it went down are gone for good, unless keep_addr_on_down is set, which sim does not model.
func (h *host) permanent6(link string) {
	l := h.Link(link)
	if !speaks6(l) {
		return
	}
	for _, a := range h.addresses(link, false) {
		h.connect6(l, a)
	}
	if carrier(l) {
		h.up6(link)
	}
}

// up6 makes a link ready for IPv6: it has a carrier now, or speaks IPv6 again (addrconf_dev_config).
func (h *host) up6(link string) {
	l := h.Link(link)
	if !speaks6(l) || !value(l.Up) || !carrier(l) {
		return
	}
	if l.Type == "loopback" {
		h.make6(l, netip.MustParsePrefix("::1/128"), protoKernelLo)
	} else {
		h.multicast6(l)
		if p, ok := linkLocal(l); ok && !h.kernelMade6(link) {
			h.make6(l, p, protoKernelLL)
		}
	}
	for _, a := range h.addresses(link, false) { // addrconf_dad_run
		if value(a.Facts).Tentative {
			c := schema.Clone(a).(*schema.Address)
			c.Facts.Tentative = false
			h.put(c)
		}
		h.local6(l, a)
	}
}

// kernelMade6 tells whether the link has its fe80:: address: a carrier that comes back does not make another, though the
// hardware address be another by now.
func (h *host) kernelMade6(link string) bool {
	for _, a := range h.addresses(link, false) {
		if value(a.Facts).KernelMade {
			return true
		}
	}
	return false
}

// make6 gives a link an address by itself.
func (h *host) make6(l *schema.Link, p netip.Prefix, proto uint8) {
	if h.Get(schema.AddressRef(l.Name, p)) != nil {
		return
	}
	a := filled(&schema.Address{Link: l.Name, Prefix: p, Proto: &proto})
	h.put(a)
	h.connect6(l, a)
}

// linkLocal is the address that addr_gen_mode eui64 makes of a hardware address (RFC 4291, appendix A). Other modes make
// one that cannot be foreseen, or none.
func linkLocal(l *schema.Link) (netip.Prefix, bool) {
	mac, err := net.ParseMAC(value(l.MAC))
	if err != nil || len(mac) != 6 || l.Facts.AddrGenMode != "eui64" {
		return netip.Prefix{}, false
	}
	ip := [16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]}
	return netip.PrefixFrom(netip.AddrFrom16(ip), 64), true
}

// delAddress6 takes the routes of an address, but leaves a connected route that another address is within
// (check_cleanup_prefix_route).
func (h *host) delAddress6(a *schema.Address) {
	l := h.Link(a.Link)
	h.del(a.Ref())
	rest := h.addresses(a.Link, false)
	h.del(kernelRoute(schema.TableLocal, "local", l, netip.PrefixFrom(a.Prefix.Addr(), 128), 0).Ref())
	h.leaveAnycast6(l, a, rest)
	if !value(a.NoPrefixRoute) {
		h.disconnect6(l, a)
	}
	h.loseSource6(a.Prefix.Addr())
}

// disconnect6 takes the connected routes of an address that no other address is within.
func (h *host) disconnect6(l *schema.Link, a *schema.Address) {
	for _, dst := range connected6(a) {
		kept := false
		for _, other := range h.addresses(a.Link, false) {
			kept = kept || other.Ref() != a.Ref() && dst.Contains(other.Prefix.Addr())
		}
		if !kept {
			h.del(kernelRoute(schema.TableMain, "", l, dst, metricKernel6).Ref())
		}
	}
}

// loseSource6 takes ip out of the routes that prefer it as their source, when it is no longer an address of the host.
func (h *host) loseSource6(ip netip.Addr) {
	refs := h.WithIP(ip)
	for _, r := range refs {
		if r.Kind == schema.KindAddress {
			return
		}
	}
	for _, r := range refs {
		c := schema.Clone(h.Get(r)).(*schema.Route)
		c.Source = netip.Addr{}
		h.put(c)
	}
}

// leaveAnycast6 takes a network's anycast address, unless one of the other addresses holds it, too.
func (h *host) leaveAnycast6(l *schema.Link, a *schema.Address, rest []*schema.Address) {
	r := anycast6(l, a)
	if r == nil {
		return
	}
	for _, other := range rest {
		if o := anycast6(l, other); o != nil && o.Ref() == r.Ref() {
			return
		}
	}
	h.del(r.Ref())
}

// down6 takes all addresses, routes and neighbours of IPv6 from a link (addrconf_ifdown, rt6_disable_ip).
func (h *host) down6(link string) {
	for _, a := range h.addresses(link, false) {
		h.delAddress6(a)
	}
	for _, ref := range h.Dependents(schema.LinkRef(link)) {
		if r, ok := h.Get(ref).(*schema.Route); ok && r.Dst.Addr().Is6() {
			h.dropLeg(ref, link, false)
		}
	}
	h.delNeighbours(link, func(n *schema.Neighbour) bool { return n.IP.Is6() })
}

// forward6 switches the anycast addresses of a link with its forwarding (dev_forward_change). A router forgets the default
// routes it learned, unless accept_ra is 2 (rt6_purge_dflt_routers).
func (h *host) forward6(link string) {
	l := h.Link(link)
	router := l.Facts.IPv6.Forwarding != 0
	for _, a := range h.addresses(link, false) {
		r := anycast6(l, a)
		switch {
		case r == nil || value(a.Facts).Tentative:
		case router:
			h.putNew(r)
		default:
			h.del(r.Ref())
		}
	}
	if !router || l.Facts.IPv6.AcceptRA == 2 {
		return
	}
	for _, ref := range h.Dependents(schema.LinkRef(link)) {
		if r, ok := h.Get(ref).(*schema.Route); ok && r.Dst.Addr().Is6() && r.Dst.Bits() == 0 && value(r.Facts).Expires > 0 {
			h.del(ref)
		}
	}
}
