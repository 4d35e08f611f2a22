package rtnl

import (
	"net"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// rawLink is a decoded link whose master is still a number.
type rawLink struct {
	*schema.Link
	index, master int
}

// linkParts holds a link and all it points to, so that a link costs one allocation: hosts have ten thousand of them.
type linkParts struct {
	link   schema.Link
	facts  schema.LinkFacts
	ipv4   schema.LinkConf4
	ipv6   schema.LinkConf6
	alias  string
	mac    string
	master string
	mtu    uint32
	up     bool
}

// decodeLink reads RTM_NEWLINK: struct ifinfomsg and IFLA_* (rtnetlink(7), net/core/rtnetlink.c).
func decodeLink(b []byte) (rawLink, bool) {
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
		return rawLink{}, false
	}
	p := &linkParts{}
	l, f := &p.link, &p.facts
	l.Alias, l.MAC, l.Master, l.MTU, l.Up, l.Facts = &p.alias, &p.mac, &p.master, &p.mtu, &p.up, f
	flags := u32(b[8:])
	p.up = flags&unix.IFF_UP != 0
	f.Index = int(int32(u32(b[4:])))
	f.Carrier = flags&unix.IFF_LOWER_UP != 0
	f.NoARP = flags&unix.IFF_NOARP != 0
	l.Type = "device"
	if u16(b[2:]) == unix.ARPHRD_LOOPBACK {
		l.Type = "loopback"
	}
	raw := rawLink{Link: l, index: f.Index}
	promisc := false
	for t, v := range attrs(b[unix.SizeofIfInfomsg:]) {
		switch t {
		case unix.IFLA_IFNAME:
			l.Name = str(v)
		case unix.IFLA_MTU:
			p.mtu = u32(v)
		case unix.IFLA_ADDRESS:
			p.mac = hardwareAddr(v)
		case unix.IFLA_PERM_ADDRESS:
			f.PermMAC = hardwareAddr(v)
		case unix.IFLA_IFALIAS:
			p.alias = str(v)
		case unix.IFLA_MASTER:
			raw.master = int(u32(v))
		case unix.IFLA_LINK:
			f.ParentIndex = int(int32(u32(v)))
		case unix.IFLA_PROMISCUITY:
			promisc = u32(v) > 0
		case unix.IFLA_LINK_NETNSID:
			f.ParentElsewhere = true
		case unix.IFLA_GROUP:
			f.Group = u32(v)
		case unix.IFLA_CARRIER:
			f.NoCarrier = u8(v) == 0
		case unix.IFLA_OPERSTATE:
			f.OperState = operState(u8(v))
		case unix.IFLA_XDP:
			if hasXDP(v) {
				f.Programs = []string{"ingress: XDP"}
			}
		case unix.IFLA_LINKINFO:
			decodeLinkInfo(v, l)
		case unix.IFLA_AF_SPEC:
			decodeConf(v, p)
		}
	}
	if f.BridgeFacts != nil {
		f.BridgeFacts.Promisc = promisc
	}
	return raw, l.Name != ""
}

// hardwareAddr prints an address as ip-link(8) does, "" for none.
func hardwareAddr(v []byte) string { return net.HardwareAddr(v).String() }

// operState is RFC 2863's name (IF_OPER_*, include/uapi/linux/if.h), as ip-link(8) spells it in lower case.
func operState(n uint8) string {
	names := [...]string{"unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"}
	if int(n) < len(names) {
		return names[n]
	}
	return "unknown"
}

// decodeLinkInfo reads IFLA_LINKINFO: the kind, and the options of a bridge and of a bridge's port.
func decodeLinkInfo(b []byte, l *schema.Link) {
	var kind, slave string
	var data, slaveData []byte
	for t, v := range attrs(b) {
		switch t {
		case unix.IFLA_INFO_KIND:
			kind = linkKind(v)
		case unix.IFLA_INFO_DATA:
			data = v
		case unix.IFLA_INFO_SLAVE_KIND:
			slave = linkKind(v)
		case unix.IFLA_INFO_SLAVE_DATA:
			slaveData = v
		}
	}
	switch kind {
	case "":
	case "tun":
		l.Type = tunType(data)
	case "bridge":
		l.Type, l.Bridge = kind, decodeBridge(data)
		l.Facts.BridgeFacts = decodeBridgeFacts(data)
	case "vlan":
		l.Type, l.Facts.Tag = kind, decodeTag(data)
	case "macvlan", "macvtap":
		l.Type, l.Facts.MacvlanMode = kind, macvlanMode(data)
	default:
		l.Type = kind
	}
	if slave == "bridge" {
		l.Port, l.Facts.PortFacts = decodePort(slaveData)
	}
}

// macvlanMode names MACVLAN_MODE_* (include/uapi/linux/if_link.h) as ip-link(8) does; "" for one that is not known.
func macvlanMode(data []byte) string {
	for t, v := range attrs(data) {
		if t == unix.IFLA_MACVLAN_MODE {
			switch u32(v) {
			case 1:
				return "private"
			case 2:
				return "vepa"
			case 4:
				return "bridge"
			case 8:
				return "passthru"
			case 16:
				return "source"
			}
		}
	}
	return ""
}

// linkKind is str without an allocation for the kinds of which there are thousands.
func linkKind(v []byte) string {
	for len(v) > 0 && v[len(v)-1] == 0 {
		v = v[:len(v)-1]
	}
	switch string(v) {
	case "bridge":
		return "bridge"
	case "tun":
		return "tun"
	case "veth":
		return "veth"
	case "macvlan":
		return "macvlan"
	}
	return str(v)
}

// tunType tells tap from tun by IFLA_TUN_TYPE (Linux 4.20).
func tunType(b []byte) string {
	for t, v := range attrs(b) {
		if t == unix.IFLA_TUN_TYPE && u8(v) == unix.IFF_TAP {
			return "tap"
		}
	}
	return "tun"
}

// Indexes into the arrays of IFLA_INET_CONF (enum IPV4_DEVCONF_*, include/uapi/linux/ip.h, less one) and
// IFLA_INET6_CONF (enum DEVCONF_*, include/uapi/linux/ipv6.h). They never change: the arrays only grow.
const (
	conf4Forwarding    = 0 // 1 - 1
	conf4ProxyARP      = 3 - 1
	conf4RPFilter      = 8 - 1
	conf4LogMartians   = 11 - 1
	conf4ARPFilter     = 13 - 1
	conf4ARPAnnounce   = 18 - 1
	conf4ARPIgnore     = 19 - 1
	conf4Promote       = 20 - 1 // IPV4_DEVCONF_PROMOTE_SECONDARIES
	conf4AcceptLocal   = 23 - 1
	conf4SrcValidMark  = 24 - 1
	conf4RouteLocalnet = 26 - 1
	conf4Linkdown      = 29 - 1 // IPV4_DEVCONF_IGNORE_ROUTES_WITH_LINKDOWN
	conf4BCForwarding  = 32 - 1

	conf6Forwarding = 0
	conf6AcceptRA   = 3
	conf6Autoconf   = 5
	conf6ProxyNDP   = 22
	conf6Disable    = 26
	conf6AcceptDAD  = 27
	conf6Linkdown   = 39 // DEVCONF_IGNORE_ROUTES_WITH_LINKDOWN
	conf6Force      = 59 // DEVCONF_FORCE_FORWARDING
)

// decodeConf reads IFLA_AF_SPEC: the per-link settings of IPv4 and IPv6.
func decodeConf(b []byte, p *linkParts) {
	for family, spec := range attrs(b) {
		for t, v := range attrs(spec) {
			switch {
			case family == unix.AF_INET && t == unix.IFLA_INET_CONF:
				p.ipv4, p.facts.IPv4 = conf4(v), &p.ipv4
			case family == unix.AF_INET6 && t == unix.IFLA_INET6_CONF:
				p.ipv6, p.facts.IPv6 = conf6(v), &p.ipv6
			case family == unix.AF_INET6 && t == unix.IFLA_INET6_ADDR_GEN_MODE:
				p.facts.AddrGenMode = addrGenMode(u8(v))
			}
		}
	}
}

// setting reads one element of an array of 32-bit settings; an older kernel's array may end before it.
func setting(v []byte, i int) int {
	if len(v) < 4*(i+1) {
		return 0
	}
	return int(int32(u32(v[4*i:])))
}

func conf4(v []byte) schema.LinkConf4 {
	return schema.LinkConf4{
		Forwarding:    setting(v, conf4Forwarding),
		RPFilter:      setting(v, conf4RPFilter),
		RouteLocalnet: setting(v, conf4RouteLocalnet),
		ARPIgnore:     setting(v, conf4ARPIgnore),
		ARPAnnounce:   setting(v, conf4ARPAnnounce),
		ARPFilter:     setting(v, conf4ARPFilter),
		ProxyARP:      setting(v, conf4ProxyARP),
		AcceptLocal:   setting(v, conf4AcceptLocal),
		LogMartians:   setting(v, conf4LogMartians),
		SrcValidMark:  setting(v, conf4SrcValidMark),

		PromoteSecondaries: setting(v, conf4Promote),
		IgnoreLinkdown:     setting(v, conf4Linkdown),
		BCForwarding:       setting(v, conf4BCForwarding),
	}
}

func conf6(v []byte) schema.LinkConf6 {
	return schema.LinkConf6{
		Disable:    setting(v, conf6Disable),
		Forwarding: setting(v, conf6Forwarding),
		AcceptRA:   setting(v, conf6AcceptRA),
		ProxyNDP:   setting(v, conf6ProxyNDP),
		Autoconf:   setting(v, conf6Autoconf),
		AcceptDAD:  setting(v, conf6AcceptDAD),

		IgnoreLinkdown:  setting(v, conf6Linkdown),
		ForceForwarding: setting(v, conf6Force),
	}
}

// addrGenMode names enum in6_addr_gen_mode (include/uapi/linux/if_link.h) as ip-link(8) does.
func addrGenMode(n uint8) string {
	names := [...]string{"eui64", "none", "stable_secret", "random"}
	if int(n) < len(names) {
		return names[n]
	}
	return ""
}
