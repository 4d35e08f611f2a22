package sim

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// minForwardDelay and maxForwardDelay bound the delay while STP is on, in centiseconds (BR_MIN_FORWARD_DELAY,
// net/bridge/br_private.h).
const (
	minForwardDelay = 200
	maxForwardDelay = 3000
)

// ports lists the links whose master that link is.
func (h *host) ports(master string) []*schema.Link {
	var ports []*schema.Link
	for _, r := range h.Dependents(schema.LinkRef(master)) {
		if r.Kind != schema.KindLink {
			continue
		}
		if p := h.Link(r.Name); value(p.Master) == master {
			ports = append(ports, p)
		}
	}
	return ports
}

// join makes a link a port (br_add_if): the bridge may take its address and its MTU, and its carrier.
func (h *host) join(name, master string) error {
	m, l := h.Link(master), h.Link(name)
	switch {
	case m == nil:
		return noLink(master)
	case m.Type == "device" || m.Type == "veth" || m.Type == "tap" || m.Type == "dummy" || m.Type == "loopback":
		return fmt.Errorf("%s is a %s and takes no ports: %w", master, m.Type, unix.EOPNOTSUPP)
	case m.Type != "bridge":
		return fmt.Errorf("ports of a %s: %w", m.Type, ErrUnmodelled)
	case l.Type == "bridge":
		return fmt.Errorf("a bridge cannot be a port of a bridge: %w", unix.ELOOP)
	case l.Type == "loopback" || checkMAC(value(l.MAC)) != nil:
		return fmt.Errorf("a %s cannot be a port of a bridge: %w", l.Type, unix.EINVAL)
	}
	follows := h.followsMTU(master)
	h.edit(name, func(l *schema.Link) {
		l.Master = &master
		l.Port = &schema.Port{
			State: new("disabled"), Isolated: new(false), Hairpin: new(false), Learning: new(true), Flood: new(true),
			McastFlood: new(true), BcastFlood: new(true), NeighSuppr: new(false), Guard: new(false), RootBlock: new(false),
			ProxyARPWiFi: new(false),
		}
		if l.Facts != nil {
			l.Facts.VLANs = firstVLAN(m)
		}
	})
	h.followMAC(master)
	h.runPort(name)
	h.followMTU(master, follows)
	return nil
}

// firstVLAN is what a port gets from a bridge that filters by VLAN (nbp_vlan_init): its default PVID.
func firstVLAN(bridge *schema.Link) *schema.VLANs {
	f := value(bridge.Facts).BridgeFacts
	switch {
	case f == nil || bridge.Bridge == nil || !value(bridge.Bridge.VLANFilter):
		return nil
	case f.DefaultPVID == 0:
		return schema.NewVLANs()
	}
	return schema.NewVLANs(schema.VLANRange{First: f.DefaultPVID, Last: f.DefaultPVID, PVID: true, Untagged: true})
}

// leave takes a port out of its bridge (br_del_if).
func (h *host) leave(name string) {
	master := value(h.Link(name).Master)
	if master == "" {
		return
	}
	follows := h.followsMTU(master)
	h.edit(name, func(l *schema.Link) {
		l.Master, l.Port = new(""), nil
		if l.Facts != nil {
			l.Facts.PortFacts, l.Facts.VLANs = nil, nil
		}
	})
	h.delFDB(name, func(f *schema.FDBEntry) bool { return f.Master != "" })
	if m := h.Link(master); m == nil || m.Type != "bridge" {
		return
	}
	h.selectPorts(master) // del_nbp
	h.followMAC(master)
	h.followMTU(master, follows)
}

// selectPorts gives a bridge a carrier while a port forwards (br_port_state_selection). It runs when the state of a port or
// the address of the bridge changes, so that a bridge which never had a port keeps the carrier it was made with.
func (h *host) selectPorts(bridge string) {
	b := h.Link(bridge)
	if b.Type != "bridge" || b.Facts == nil {
		return
	}
	none := true
	for _, p := range h.ports(bridge) {
		none = none && (p.Port == nil || value(p.Port.State) != "forwarding")
	}
	if none != b.Facts.NoCarrier {
		h.edit(bridge, func(b *schema.Link) { b.Facts.NoCarrier = none })
	}
	h.recarrier(bridge)
}

func (h *host) delFDB(link string, which func(*schema.FDBEntry) bool) {
	for _, r := range h.Dependents(schema.LinkRef(link)) {
		if r.Kind == schema.KindFDB && which(h.Get(r).(*schema.FDBEntry)) {
			h.del(r)
		}
	}
}

// followMAC gives a bridge the lowest address of its ports, unless it was set on purpose; with the last port it has none
// (br_stp_recalculate_bridge_id). A bridge that never had a port keeps the address it was made with.
func (h *host) followMAC(bridge string) {
	b := h.Link(bridge)
	if value(b.MACPinned) {
		return
	}
	lowest := "00:00:00:00:00:00"
	for i, p := range h.ports(bridge) {
		if i == 0 || value(p.MAC) < lowest {
			lowest = value(p.MAC)
		}
	}
	if lowest != value(b.MAC) {
		h.setMAC(bridge, lowest, false)
	}
}

// followsMTU tells whether the MTU of a bridge is what its ports make of it (br_mtu_auto_adjust). The kernel does not say
// whether it was set on purpose: one that is not as its ports would have it was.
func (h *host) followsMTU(bridge string) bool {
	b := h.Link(bridge)
	return b != nil && b.Type == "bridge" && (b.Facts == nil || !b.Facts.MTUSet) && value(b.MTU) == h.leastMTU(bridge)
}

// leastMTU is what a bridge takes from its ports.
func (h *host) leastMTU(bridge string) uint32 {
	least := uint32(0)
	for _, p := range h.ports(bridge) {
		if mtu := value(p.MTU); least == 0 || mtu < least {
			least = mtu
		}
	}
	if least == 0 {
		return defaultMTU
	}
	return least
}

// followMTU gives a bridge that follows its ports, as it did before they changed, their least MTU.
func (h *host) followMTU(bridge string, follows bool) {
	if least := h.leastMTU(bridge); follows && least != value(h.Link(bridge).MTU) {
		h.setMTU(bridge, least, false)
	}
}

// runPort lets a port forward when bridge, link and carrier are up, else disables it (br_port_carrier_check). The seconds
// of listening and learning under STP are not modelled: the port is shown as it settles.
func (h *host) runPort(name string) {
	l := h.Link(name)
	b := h.Link(value(l.Master))
	if l.Port == nil || b == nil {
		return
	}
	state := "disabled"
	if value(b.Up) && value(l.Up) && carrier(l) {
		state = "forwarding"
		if old := value(l.Port.State); old != "disabled" {
			state = old
		}
	}
	if state == "disabled" {
		h.delFDB(name, func(f *schema.FDBEntry) bool { return f.Master != "" && f.State == "" })
	}
	if state != value(l.Port.State) {
		h.edit(name, func(l *schema.Link) { l.Port.State = &state })
		h.selectPorts(b.Name)
	}
}

// setPort changes the switches of a port.
func (h *host) setPort(name string, after *schema.Link) error {
	l := h.Link(name)
	if after.Port == nil {
		return nil
	}
	want := *after.Port
	want.State = nil
	if want == (schema.Port{}) {
		return nil
	}
	if l.Port == nil {
		return fmt.Errorf("it is no port of a bridge: %w", unix.EINVAL)
	}
	state := l.Port.State
	merged := schema.Merge(l, &schema.Link{Name: name, Port: &want}).(*schema.Link)
	merged.Port.State = state
	h.put(merged)
	return nil
}

// setPortState changes the state of a port that stays where it is (br_set_port_state).
func (h *host) setPortState(name string, after *schema.Link) error {
	l := h.Link(name)
	if l.Port == nil || after.Port == nil || !differs(l.Port.State, after.Port.State) {
		return nil
	}
	want := *after.Port.State
	b := h.Link(value(l.Master))
	switch {
	case !slices.Contains([]string{"disabled", "listening", "learning", "forwarding", "blocking"}, want):
		return fmt.Errorf("a port has no state %q: %w", want, unix.EINVAL)
	case b != nil && b.Bridge != nil && value(b.Bridge.STP):
		return fmt.Errorf("the spanning tree sets the state of %s: %w", name, unix.EBUSY)
	case !value(l.Up) || !carrier(l) && want != "disabled":
		return fmt.Errorf("%s does not run: %w", name, unix.ENETDOWN)
	}
	if want == "blocking" && b != nil && value(b.Up) {
		want = "forwarding" // br_port_state_selection: without STP nothing stays blocked
	}
	h.edit(name, func(l *schema.Link) { l.Port.State = &want })
	h.selectPorts(value(l.Master))
	return nil
}

// setBridge changes the options of a bridge, STP last unless it is switched off.
func (h *host) setBridge(name string, was, after *schema.Link) error {
	have, want := was.Bridge, after.Bridge
	if want == nil {
		return nil
	}
	if have == nil {
		return fmt.Errorf("it is no bridge: %w", unix.EOPNOTSUPP)
	}
	stpAfter := value(or(want.STP, value(have.STP)))
	delay := value(or(want.ForwardDelay, value(have.ForwardDelay)))
	inRange := delay >= minForwardDelay && delay <= maxForwardDelay
	if differs(have.ForwardDelay, want.ForwardDelay) && value(have.STP) && stpAfter && !inRange {
		return fmt.Errorf("forward delay %d is not within %d and %d: %w", delay, minForwardDelay, maxForwardDelay, unix.ERANGE)
	}
	if differs(have.STP, want.STP) && stpAfter { // br_stp_start
		delay = min(max(delay, minForwardDelay), maxForwardDelay)
		if differs(have.ForwardDelay, want.ForwardDelay) && delay != *want.ForwardDelay {
			return fmt.Errorf("with STP the kernel makes of forward delay %d %d: %w", *want.ForwardDelay, delay, unix.ERANGE)
		}
	}
	merged := schema.Merge(h.Link(name), &schema.Link{Name: name, Bridge: want}).(*schema.Link)
	merged.Bridge.ForwardDelay = &delay
	h.put(merged)
	if differs(have.STP, want.STP) && stpAfter {
		h.selectPorts(name)
	}
	return nil
}
