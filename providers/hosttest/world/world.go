package world

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Spec says what a world holds.
type Spec struct {
	// Guests are attached in this order; a guest without a Device gets vnet0, vnet1 ….
	Guests []Guest
	// Uplink is the host's NIC towards the LAN; "" is "eno1".
	Uplink string
	// UplinkMTU is the MTU of the host's end of the uplink, where larger packets are lost without a word; 0 leaves 1500. The
	// LAN's end keeps 1500.
	UplinkMTU int
	// NoHostAddress leaves the uplink without addresses and routes: for a host whose bridge bears them.
	NoHostAddress bool
}

// Guest is a virtual machine: a namespace with one interface eth0, whose other end is a device of the host.
type Guest struct {
	Name   string
	Device string // host side
	MAC    string // of the guest's interface; "" makes one up, the same in every world
	// Addrs are the guest's addresses with their prefix lengths, Gateways its default routes.
	Addrs    []netip.Prefix
	Gateways []netip.Addr
	// Bridge is the host's bridge that Device becomes a port of, which must exist; "" attaches it to none.
	Bridge string
}

// World is a host, a LAN and guests. All addresses are from the documentation ranges (RFC 5737, RFC 3849).
type World struct {
	Uplink string // the host's NIC

	Host4, Host6     netip.Prefix // on the uplink
	Router4, Router6 netip.Addr   // of the LAN
	Server4, Server6 netip.Addr   // on the internet

	host, lan *Node
	guests    map[string]*Node
	cables    []cable
	devices   []string // host side, to be removed
}

// cable is a veth pair between a device of the host and one of a node.
type cable struct {
	device string
	node   *Node
	peer   string
}

// New builds a world around the network namespace of the calling thread, which becomes the host. Close takes it down.
func New(s Spec) (*World, error) {
	w := &World{
		Uplink:  s.Uplink,
		Host4:   netip.MustParsePrefix("192.0.2.10/24"),
		Host6:   netip.MustParsePrefix("2001:db8:2::10/64"),
		Router4: netip.MustParseAddr("192.0.2.1"),
		Router6: netip.MustParseAddr("2001:db8:2::1"),
		Server4: netip.MustParseAddr("203.0.113.10"),
		Server6: netip.MustParseAddr("2001:db8:113::10"),
		guests:  map[string]*Node{},
	}
	if w.Uplink == "" {
		w.Uplink = "eno1"
	}
	if err := w.build(s); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) build(s Spec) error {
	ns, err := currentNamespace()
	if err != nil {
		return err
	}
	w.host = newNode("host", ns)
	if err := w.buildLAN(s); err != nil {
		return fmt.Errorf("build the LAN: %w", err)
	}
	guests := slices.Clone(s.Guests)
	for i := range guests {
		if guests[i].Device == "" {
			guests[i].Device = fmt.Sprintf("vnet%d", i)
		}
	}
	if err := w.AddGuests(guests...); err != nil {
		return err
	}
	return w.settle(0)
}

// Host is the host itself, LAN its router and the internet in one, Guest one of the guests; nil when there is no such.
func (w *World) Host() *Node { return w.host }

// LAN is the router of the LAN, which is the server on the internet as well.
func (w *World) LAN() *Node { return w.lan }

// Guest returns a guest by its name, or nil.
func (w *World) Guest(name string) *Node { return w.guests[name] }

func (w *World) buildLAN(s Spec) error {
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	w.lan = newNode("lan", ns)
	if err := quietIPv6(w.host); err != nil {
		return err
	}
	if err := w.connect(w.Uplink, w.lan, "lan0", "02:00:00:00:02:01", s.UplinkMTU); err != nil {
		return err
	}
	err = w.lan.Do(func() error {
		for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := sysctl(key, "1"); err != nil {
				return err
			}
		}
		return errors.Join(
			address("lan0", netip.PrefixFrom(w.Router4, 24)), address("lan0", netip.PrefixFrom(w.Router6, 64)),
			address("lo", netip.PrefixFrom(w.Server4, 32)), address("lo", netip.PrefixFrom(w.Server6, 128)),
		)
	})
	if err != nil || s.NoHostAddress {
		return err
	}
	return w.host.Do(func() error {
		return errors.Join(
			address(w.Uplink, w.Host4), address(w.Uplink, w.Host6),
			route(netip.PrefixFrom(netip.IPv4Unspecified(), 0), w.Router4),
			route(netip.PrefixFrom(netip.IPv6Unspecified(), 0), w.Router6),
		)
	})
}

// AddGuests attaches more guests, which must have a Device. It returns when all can send and receive.
func (w *World) AddGuests(guests ...Guest) error {
	before := len(w.cables)
	for _, g := range guests {
		if err := w.attach(g); err != nil {
			return fmt.Errorf("attach guest %s: %w", g.Name, err)
		}
	}
	return w.settle(before)
}

// AddGuest attaches one more guest and returns it.
func (w *World) AddGuest(g Guest) (*Node, error) {
	if err := w.AddGuests(g); err != nil {
		return nil, err
	}
	return w.Guest(g.Name), nil
}

func (w *World) attach(g Guest) error {
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	n := newNode(g.Name, ns)
	w.guests[g.Name] = n
	if g.MAC == "" {
		g.MAC = fmt.Sprintf("52:54:00:ff:00:%02x", len(w.guests))
	}
	if err := w.connect(g.Device, n, "eth0", g.MAC, 0); err != nil {
		return err
	}
	if g.Bridge != "" {
		if err := w.host.Do(func() error { return enslave(g.Device, g.Bridge) }); err != nil {
			return err
		}
	}
	return n.Do(func() error { return configure(g) })
}

// configure gives a guest its addresses and default routes.
func configure(g Guest) error {
	for _, a := range g.Addrs {
		if err := address("eth0", a); err != nil {
			return err
		}
	}
	for _, gw := range g.Gateways {
		all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if gw.Is6() {
			all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		if err := route(all, gw); err != nil {
			return err
		}
	}
	return nil
}

// Close takes the world down: servers, guests, the LAN and the host's ends of their cables.
func (w *World) Close() error {
	var errs []error
	if w.host != nil {
		errs = append(errs, w.host.Do(func() error { return removeLinks(w.devices) }))
	}
	for _, n := range w.guests {
		errs = append(errs, n.close())
	}
	for _, n := range []*Node{w.lan, w.host} {
		if n != nil {
			errs = append(errs, n.close())
		}
	}
	return errors.Join(errs...)
}

func removeLinks(names []string) error {
	var errs []error
	for _, name := range names {
		l, err := netlink.LinkByName(name)
		if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
			continue
		}
		if err == nil {
			err = netlink.LinkDel(l)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// connect connects a device of the host with one of a node by a veth pair, and brings both up. The host's end gets the MAC of
// the other with fe in front, as libvirt does: so a bridge never takes it for its own, and every world is the same.
func (w *World) connect(device string, n *Node, peer, mac string, mtu int) error {
	if err := quietIPv6(n); err != nil {
		return err
	}
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return fmt.Errorf("parse MAC: %w", err)
	}
	v := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: peer, PeerNamespace: netlink.NsFd(n.ns.fd()), PeerHardwareAddr: hw}
	v.Name = device
	v.HardwareAddr = append(net.HardwareAddr{0xfe}, hw[1:]...)
	if mtu != 0 {
		v.MTU, v.PeerMTU = mtu, 1500
	}
	err = w.host.Do(func() error {
		if err := netlink.LinkAdd(v); err != nil {
			return fmt.Errorf("create veth %s: %w", device, err)
		}
		return up(device)
	})
	if err != nil {
		return err
	}
	w.devices = append(w.devices, device)
	w.cables = append(w.cables, cable{device, n, peer})
	return n.Do(func() error { return up(peer) })
}

// quietIPv6 switches duplicate address detection off for links still to be made: it would hold up every test by a second.
func quietIPv6(n *Node) error {
	return n.Do(func() error { return sysctl("ipv6/conf/default/accept_dad", "0") })
}

func sysctl(key, value string) error {
	if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set sysctl: %w", err)
	}
	return nil
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

func enslave(name, bridge string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	b, err := netlink.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("find %s: %w", bridge, err)
	}
	if err := netlink.LinkSetMaster(l, b); err != nil {
		return fmt.Errorf("make %s a port of %s: %w", name, bridge, err)
	}
	return nil
}

func address(name string, p netip.Prefix) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(l, a); err != nil {
		return fmt.Errorf("add %s to %s: %w", p, name, err)
	}
	return nil
}

func route(to netip.Prefix, via netip.Addr) error {
	r := &netlink.Route{
		Dst: &net.IPNet{IP: to.Masked().Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())},
		Gw:  via.AsSlice(),
	}
	if err := netlink.RouteAdd(r); err != nil {
		return fmt.Errorf("add route to %s via %s: %w", to, via, err)
	}
	return nil
}

// Bridge makes a bridge on the host with the given addresses and ports, and brings all up: what vmnet would do, for tests
// of something else. It returns when the bridge's IPv6 addresses can be used.
func (w *World) Bridge(name string, addrs []netip.Prefix, ports ...string) error {
	err := w.host.Do(func() error {
		b := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
		b.Name = name
		if err := netlink.LinkAdd(b); err != nil {
			return fmt.Errorf("create bridge %s: %w", name, err)
		}
		for _, a := range addrs {
			if err := address(name, a); err != nil {
				return err
			}
		}
		for _, p := range ports {
			if err := enslave(p, name); err != nil {
				return err
			}
		}
		return up(name)
	})
	if err != nil {
		return err
	}
	w.devices = append(w.devices, name)
	if len(ports) == 0 {
		return nil
	}
	return w.Running(name)
}

// settle waits until the cables from the first on work.
func (w *World) settle(first int) error {
	for _, c := range w.cables[first:] {
		if err := errors.Join(w.host.running(c.device), c.node.running(c.peer)); err != nil {
			return err
		}
	}
	return nil
}

// Running waits until a device of the host can be used: operationally up (RFC 2863), and its IPv6 addresses reachable. A new
// link has a carrier at once, but the kernel acts on it up to a second later (net/core/link_watch.c): until then it drops
// what the link should send, and has no routes to the link's own IPv6 addresses.
func (w *World) Running(name string) error { return w.host.running(name) }

// DefaultTimeout is how long a Node waits for an answer unless it is told otherwise. An answer takes a millisecond or two,
// so what does not come in this time is taken for lost.
const DefaultTimeout = 400 * time.Millisecond
