package rtnl

import (
	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// bridgeFlags ties the switches of schema.Bridge to their attributes of IFLA_INFO_DATA. Forward delay and STP stand
// apart: one is a number, and both depend on each other.
func bridgeFlags(b *schema.Bridge) [4]attrFlag {
	return [...]attrFlag{
		{unix.IFLA_BR_MCAST_SNOOPING, &b.McastSnoop},
		{unix.IFLA_BR_VLAN_FILTERING, &b.VLANFilter},
		{unix.IFLA_BR_NF_CALL_IPTABLES, &b.NfCallIP},
		{unix.IFLA_BR_NF_CALL_IP6TABLES, &b.NfCallIP6},
	}
}

// portFlags ties the switches of schema.Port to their attributes of IFLA_INFO_SLAVE_DATA.
func portFlags(p *schema.Port) [10]attrFlag {
	return [...]attrFlag{
		{unix.IFLA_BRPORT_ISOLATED, &p.Isolated},
		{unix.IFLA_BRPORT_MODE, &p.Hairpin},
		{unix.IFLA_BRPORT_LEARNING, &p.Learning},
		{unix.IFLA_BRPORT_UNICAST_FLOOD, &p.Flood},
		{unix.IFLA_BRPORT_MCAST_FLOOD, &p.McastFlood},
		{unix.IFLA_BRPORT_BCAST_FLOOD, &p.BcastFlood},
		{unix.IFLA_BRPORT_NEIGH_SUPPRESS, &p.NeighSuppr},
		{unix.IFLA_BRPORT_GUARD, &p.Guard},
		{unix.IFLA_BRPORT_PROTECT, &p.RootBlock},
		{unix.IFLA_BRPORT_PROXYARP_WIFI, &p.ProxyARPWiFi},
	}
}

// attrFlag is one on/off attribute and where it goes.
type attrFlag struct {
	attr  uint16
	field **bool
}

// decodeBridge reads IFLA_BR_* (net/bridge/br_netlink.c, br_fill_info). A switch that the kernel was built without is
// off.
func decodeBridge(data []byte) *schema.Bridge {
	b := &schema.Bridge{STP: new(false), ForwardDelay: new(uint32(0))}
	flags := bridgeFlags(b)
	for _, f := range flags {
		*f.field = new(false)
	}
	for t, v := range attrs(data) {
		switch t {
		case unix.IFLA_BR_STP_STATE:
			*b.STP = u32(v) != 0 // 1 the kernel's, 2 a daemon's
		case unix.IFLA_BR_FORWARD_DELAY:
			*b.ForwardDelay = u32(v)
		}
		for _, f := range flags {
			if f.attr == t {
				**f.field = u8(v) != 0
			}
		}
	}
	return b
}

// decodePort reads IFLA_BRPORT_* (net/bridge/br_netlink.c, br_port_fill_attrs).
func decodePort(data []byte) (*schema.Port, *schema.PortFacts) {
	p := &struct { // one allocation: hosts have thousands of ports
		port  schema.Port
		state string
		on    [10]bool
	}{}
	p.port.State = &p.state
	flags := portFlags(&p.port)
	for i, f := range flags {
		*f.field = &p.on[i]
	}
	var facts *schema.PortFacts
	for t, v := range attrs(data) {
		facts = portFact(facts, t, v)
		if t == unix.IFLA_BRPORT_STATE {
			p.state = portState(u8(v))
		}
		for i := range flags {
			if flags[i].attr == t {
				p.on[i] = u8(v) != 0
			}
		}
	}
	return &p.port, facts
}

// portStates are BR_STATE_* (include/uapi/linux/if_bridge.h), as bridge(8) spells them.
func portStates() [5]string {
	return [...]string{"disabled", "listening", "learning", "forwarding", "blocking"}
}

// portState names a state; "" for one that no kernel has.
func portState(n uint8) string {
	names := portStates()
	if int(n) < len(names) {
		return names[n]
	}
	return ""
}
