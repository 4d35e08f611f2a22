package sim

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// MTU limits (include/linux/if_ether.h ETH_MIN_MTU, ETH_MAX_MTU; drivers/net/tun.c MAX_TAP_MTU) and the least that IPv6
// works with (RFC 8200).
const (
	minMTU     = 68
	maxMTU     = 65535
	maxTapMTU  = 65521
	minIPv6MTU = 1280
	defaultMTU = 1500
)

// createLink makes a link with the kernel's defaults and then sets what differs, as the provider does: so address and MTU
// are there from the start, and the rest follows the rules of an update.
func (h *host) createLink(want *schema.Link) error {
	if err := checkName(want.Name); err != nil {
		return err
	}
	switch want.Type {
	case "bridge", "veth", "dummy", "tap", "tun":
	case "macvlan":
		if h.Link(want.Pair) == nil {
			return noLink(want.Pair)
		}
	default:
		return fmt.Errorf("links of type %q: %w", want.Type, ErrUnmodelled)
	}
	l := h.newLink(want.Name, want.Type)
	// A tun device takes its address and MTU only afterwards (drivers/net/tun.c).
	late := want.Type == "tap" || want.Type == "tun"
	if mac := value(want.MAC); mac != "" && !late {
		if err := checkMAC(mac); err != nil {
			return err
		}
		l.MAC = new(strings.ToLower(mac))
		if l.Type == "bridge" {
			l.MACPinned = new(true)
			l.Facts.NoCarrier = true // br_dev_newlink: no port forwards
		}
	}
	if mtu := value(want.MTU); mtu != 0 && !late {
		if err := checkMTU(l, mtu); err != nil {
			return err
		}
		l.MTU = &mtu
		l.Facts.MTUSet = l.Type == "bridge" // the provider sees to that
	}
	if err := h.plug(l, want.Pair); err != nil {
		return err
	}
	return h.updateLink(want)
}

// plug puts a new link into the state, for a veth with its other end.
func (h *host) plug(l *schema.Link, pair string) error {
	if *l.MTU < minIPv6MTU {
		l.Facts.IPv6, l.Facts.AddrGenMode = nil, ""
	}
	switch l.Type {
	case "veth":
		if pair == "" {
			return fmt.Errorf("a veth whose other end has no name: %w", ErrUnmodelled)
		}
		if err := checkName(pair); err != nil {
			return err
		}
		if h.Link(pair) != nil {
			return fmt.Errorf("its other end %s is there already: %w", pair, fs.ErrExist)
		}
		peer := h.newLink(pair, "veth")
		l.Facts.Index++ // the kernel makes the other end first
		l.Facts.ParentIndex, peer.Facts.ParentIndex = peer.Facts.Index, l.Facts.Index
		h.put(peer)
	case "macvlan":
		lower := h.Link(pair)
		l.Facts.ParentIndex = value(lower.Facts).Index
		l.MTU = new(value(lower.MTU))
	}
	h.put(l)
	return nil
}

// newLink is a fresh link with every default, down and not yet part of the state.
func (h *host) newLink(name, typ string) *schema.Link {
	l := &schema.Link{
		Name: name, Type: typ, Alias: new(""), MTU: new(uint32(defaultMTU)), MAC: new(generatedMAC(name)), Master: new(""),
		Up: new(false),
		Facts: &schema.LinkFacts{
			Index: h.NextIndex(), OperState: "down", AddrGenMode: "eui64", IPv4: h.defaultConf4(), IPv6: h.defaultConf6(),
		},
	}
	switch typ {
	case "bridge":
		l.Bridge = &schema.Bridge{
			STP: new(false), ForwardDelay: new(uint32(1500)), McastSnoop: new(true), VLANFilter: new(false),
			NfCallIP: new(false), NfCallIP6: new(false),
		}
		l.MACPinned = new(false)
	case "tun":
		l.MAC, l.Facts.AddrGenMode = new(""), "random"
		l.Facts.NoCarrier = true
	case "tap", "veth":
		l.Facts.NoCarrier = true
	}
	return l
}

// generatedMAC stands for the kernel's random address: locally administered, unicast, and the same for a name each time.
func generatedMAC(name string) string {
	f := fnv.New64a()
	f.Write([]byte(name))
	b := binary.BigEndian.AppendUint64(nil, f.Sum64())[:6]
	b[0] = b[0]&^1 | 2
	return net.HardwareAddr(b).String()
}

// checkName follows dev_valid_name (net/core/dev.c) and IFNAMSIZ.
func checkName(name string) error {
	if name == "" || len(name) >= unix.IFNAMSIZ || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r") {
		return fmt.Errorf("%q is no name of a link: %w", name, unix.EINVAL)
	}
	return nil
}

func checkMAC(text string) error {
	mac, err := net.ParseMAC(text)
	if err != nil {
		return fmt.Errorf("%w: %w", err, unix.EINVAL)
	}
	if len(mac) != 6 || mac[0]&1 == 1 || strings.Trim(text, "0:") == "" { // is_valid_ether_addr
		return fmt.Errorf("%s is no address of a station: %w", text, unix.EADDRNOTAVAIL)
	}
	return nil
}

func checkMTU(l *schema.Link, mtu uint32) error {
	least, most := uint32(minMTU), uint32(maxMTU)
	switch l.Type {
	case "bridge", "veth", "macvlan":
	case "tap", "tun":
		most = maxTapMTU
	default: // dummy and loopback have no limits, hardware has its own, which rtnetlink tells and vmnet does not read
		return nil
	}
	if mtu < least || mtu > most {
		return fmt.Errorf("mtu %d is not within %d and %d: %w", mtu, least, most, unix.EINVAL)
	}
	return nil
}

func noLink(name string) error { return fmt.Errorf("there is no link %s: %w", name, fs.ErrNotExist) }

// deleteLink takes the link, the other end of a veth, and all that hangs on either.
func (h *host) deleteLink(before *schema.Link) error {
	l := h.Link(before.Name)
	switch {
	case l.Type == "loopback":
		return fmt.Errorf("the loopback link stays: %w", unix.EOPNOTSUPP)
	case l.Type == "device":
		return fmt.Errorf("hardware stays: %w", unix.EOPNOTSUPP)
	}
	ends := []*schema.Link{l}
	if peer := h.peer(l); peer != nil {
		ends = append(ends, peer)
	}
	ends = append(ends, h.above(l)...)
	for _, e := range ends {
		h.unplug(e.Name)
	}
	return nil
}

// unplug takes one link out: its ports lose their master, its own master forgets it.
func (h *host) unplug(name string) {
	l := h.Link(name)
	if l == nil {
		return
	}
	for _, p := range h.ports(name) {
		h.edit(p.Name, func(p *schema.Link) { p.Master, p.Port = new(""), nil })
		h.delFDB(p.Name, func(f *schema.FDBEntry) bool { return f.Master != "" })
	}
	h.setUp(name, false)
	h.leave(name)
	for _, a := range h.addresses(name, true) {
		h.del(a.Ref())
		if !value(a.Facts).Secondary { // fib_del_ifaddr looks in vain for the primary one, which is gone, and gives up
			h.loseSource4(a.Prefix.Addr())
		}
	}
	for _, r := range h.Dependents(schema.LinkRef(name)) {
		switch r.Kind {
		case schema.KindRoute:
			h.dropLeg(r, name, true)
		case schema.KindService:
			h.deafen(r)
		default:
			h.del(r)
		}
	}
	h.del(schema.LinkRef(name))
}

// peer is the other end of a veth, when it is in the same namespace.
func (h *host) peer(l *schema.Link) *schema.Link {
	if l.Type != "veth" || l.Facts == nil {
		return nil
	}
	p := h.LinkByIndex(l.Facts.ParentIndex)
	if p == nil || p.Type != "veth" || p.Facts.ParentIndex != l.Facts.Index {
		return nil
	}
	return p
}

// above lists the macvlans whose lower device is l.
func (h *host) above(l *schema.Link) []*schema.Link {
	if l.Facts == nil {
		return nil
	}
	var up []*schema.Link
	for _, r := range h.LinksOver(l.Facts.Index) {
		if u := h.Link(r.Name); u.Type == "macvlan" {
			up = append(up, u)
		}
	}
	return up
}

// changeLink is updateLink without what follows others by itself.
func (h *host) changeLink(c schema.Change, after *schema.Link) error {
	state, mac := followers(h.Link(after.Name), c.Before.(*schema.Link), after)
	a := schema.Clone(after).(*schema.Link)
	if state && a.Port != nil {
		a.Port.State = nil
	}
	if mac {
		a.MAC = nil
	}
	return h.updateLink(a)
}

// updateLink sets what differs, in the provider's order: down, out of the old master, properties, into the new master, up,
// and the state of a port last.
func (h *host) updateLink(after *schema.Link) error {
	live := h.Link(after.Name)
	if after.Type != "" && after.Type != live.Type {
		return fmt.Errorf("a link of type %s cannot become a %s: %w", live.Type, after.Type, ErrUnmodelled)
	}
	name, was := after.Name, live
	if differs(was.Up, after.Up) && !*after.Up {
		h.setUp(name, false)
	}
	moves := differs(was.Master, after.Master)
	if moves && value(was.Master) != "" {
		h.leave(name)
	}
	if err := h.setProperties(name, was, after); err != nil {
		return err
	}
	if moves && *after.Master != "" {
		if err := h.join(name, *after.Master); err != nil {
			return err
		}
	}
	if value(h.Link(name).Master) != "" { // what a whole object still says of the port it was does not count
		if err := h.setPort(name, after); err != nil {
			return err
		}
	}
	if differs(was.Up, after.Up) && *after.Up {
		h.setUp(name, true)
	}
	if !moves && !differs(was.Up, after.Up) {
		return h.setPortState(name, after)
	}
	return nil
}

func (h *host) setProperties(name string, was, after *schema.Link) error {
	if differs(was.MTU, after.MTU) {
		if err := checkMTU(was, *after.MTU); err != nil {
			return err
		}
		h.setMTU(name, *after.MTU, true)
	}
	pin := value(after.MACPinned) && was.MACPinned != nil && !*was.MACPinned
	if differs(was.MAC, after.MAC) || pin {
		mac := value(or(after.MAC, value(was.MAC)))
		if err := checkMAC(mac); err != nil {
			return err
		}
		h.setMAC(name, mac, true)
	}
	if differs(was.Alias, after.Alias) {
		if len(*after.Alias) >= 256 { // IFALIASZ
			return fmt.Errorf("the alias is longer than 255 bytes: %w", unix.EINVAL)
		}
		h.edit(name, func(l *schema.Link) { l.Alias = after.Alias })
	}
	return h.setBridge(name, was, after)
}

// setMTU changes the MTU; onPurpose is false when a bridge follows its ports. IPv6 leaves a link below 1280 bytes, and
// comes back, with the defaults, when there is room again (addrconf_notify, NETDEV_CHANGEMTU).
func (h *host) setMTU(name string, mtu uint32, onPurpose bool) {
	master := value(h.Link(name).Master)
	follows := master != "" && h.followsMTU(master)
	l := h.edit(name, func(l *schema.Link) {
		l.MTU = &mtu
		if l.Facts != nil && l.Type == "bridge" {
			l.Facts.MTUSet = onPurpose
		}
	})
	switch {
	case l.Facts == nil:
	case mtu < minIPv6MTU && l.Facts.IPv6 != nil:
		h.down6(name)
		h.edit(name, func(l *schema.Link) { l.Facts.IPv6, l.Facts.AddrGenMode = nil, "" })
	case mtu >= minIPv6MTU && l.Facts.IPv6 == nil:
		h.edit(name, func(l *schema.Link) { l.Facts.IPv6, l.Facts.AddrGenMode = h.defaultConf6(), "eui64" })
		h.up6(name)
	}
	if master != "" {
		h.followMTU(master, follows)
	}
}

// setMAC changes the hardware address. All neighbours go, permanent ones too, even when the address is set to what it is
// (neigh_changeaddr). An fe80:: address made from the old one stays.
func (h *host) setMAC(name, mac string, onPurpose bool) {
	was := h.Link(name)
	l := h.edit(name, func(l *schema.Link) {
		l.MAC = new(strings.ToLower(mac))
		if onPurpose && l.MACPinned != nil {
			l.MACPinned = new(true)
		}
	})
	h.delNeighbours(name, func(*schema.Neighbour) bool { return true })
	if l.Type == "bridge" && (value(was.MAC) != value(l.MAC)) { // br_stp_change_bridge_id
		h.selectPorts(name)
	}
	if m := value(l.Master); m != "" {
		h.followMAC(m)
	}
}

func (h *host) delNeighbours(link string, which func(*schema.Neighbour) bool) {
	for _, r := range h.Dependents(schema.LinkRef(link)) {
		if r.Kind == schema.KindNeighbour && which(h.Get(r).(*schema.Neighbour)) {
			h.del(r)
		}
	}
}
