package schema

import (
	"fmt"
	"strings"
)

// Link is a network device, as ip-link(8) shows it.
type Link struct {
	// Name is at most 15 bytes (IFNAMSIZ-1) and is the identity.
	Name string `json:"name"`
	// Type is the IFLA_INFO_KIND of ip-link(8): "bridge", "veth", "macvlan", "vxlan", "tun" …;
	// "tap" for a tun device in tap mode, "loopback" for lo, "device" for hardware without a kind.
	// vmnet creates "bridge" only (tests also "veth" and "tap").
	Type string `json:"type"`
	// Alias is IFLA_IFALIAS; it carries our mark "vmnet:<address>". Empty for none.
	Alias *string `json:"alias,omitempty"`
	// MTU is the largest packet the link carries, in bytes, without the link-layer header.
	MTU *uint32 `json:"mtu,omitempty"`
	// MAC is the hardware address, lower case with colons; "" where the link has none.
	MAC *string `json:"mac,omitempty"`
	// MACPinned is true when the address was set on purpose (addr_assign_type NET_ADDR_SET), so that a bridge keeps
	// it when its ports come and go. The kernel cannot take a pin back: it is left out when states are compared
	// for equality, and clearing it is a no-op.
	MACPinned *bool `json:"mac_pinned,omitempty"`
	// Master is the bridge (or bond, VRF) the link is a port of; "" for none.
	Master *string `json:"master,omitempty"`
	// Up is the administrative state (IFF_UP), not the carrier.
	Up *bool `json:"up,omitempty"`
	// Bridge holds the options of a link of type "bridge", else nil.
	Bridge *Bridge `json:"bridge,omitempty"`
	// Port holds the options of a bridge's port, else nil.
	Port *Port `json:"port,omitempty"`
	// Pair is the name of the other end of a veth in the same namespace, or the lower device of a macvlan; used only
	// when a test creates one. Empty elsewhere.
	Pair string `json:"pair,omitempty"`
	// Facts are what the kernel says of the link and nobody can set. Nil in a desired link.
	Facts *LinkFacts `json:"facts,omitempty"`
}

// Bridge is the part of a link that only bridges have. Nil fields are not managed.
type Bridge struct {
	STP          *bool   `json:"stp,omitempty"`
	ForwardDelay *uint32 `json:"forward_delay,omitempty"` // centiseconds, as the kernel counts (USER_HZ); 0 while STP is off
	McastSnoop   *bool   `json:"mcast_snooping,omitempty"`
	VLANFilter   *bool   `json:"vlan_filtering,omitempty"`
	NfCallIP     *bool   `json:"nf_call_iptables,omitempty"`
	NfCallIP6    *bool   `json:"nf_call_ip6tables,omitempty"`
}

// Port is the part of a link that only a bridge's port has (IFLA_BRPORT_*). Nil fields are not managed.
type Port struct {
	State        *string `json:"state,omitempty"` // "disabled", "listening", "learning", "forwarding", "blocking"
	Isolated     *bool   `json:"isolated,omitempty"`
	Hairpin      *bool   `json:"hairpin,omitempty"`
	Learning     *bool   `json:"learning,omitempty"`
	Flood        *bool   `json:"flood,omitempty"` // unknown unicast
	McastFlood   *bool   `json:"mcast_flood,omitempty"`
	BcastFlood   *bool   `json:"bcast_flood,omitempty"`
	NeighSuppr   *bool   `json:"neigh_suppress,omitempty"`
	Guard        *bool   `json:"guard,omitempty"` // BPDU guard
	RootBlock    *bool   `json:"root_block,omitempty"`
	ProxyARPWiFi *bool   `json:"proxy_arp_wifi,omitempty"`
}

// LinkFacts are never compared and never written.
type LinkFacts struct {
	Index int `json:"index"`
	// Carrier is IFF_LOWER_UP.
	Carrier bool `json:"carrier"`
	// NoCarrier is IFLA_CARRIER being 0: unlike Carrier it is known of a link that is down, too. A bridge keeps it (no
	// port forwards), and a tap that nobody holds open; hardware finds its carrier again when it is set up.
	NoCarrier bool   `json:"no_carrier,omitempty"`
	OperState string `json:"operstate,omitempty"` // RFC 2863: "up", "down", "lowerlayerdown", "unknown" …
	PermMAC   string `json:"perm_mac,omitempty"`
	// ParentIndex is IFLA_LINK: the veth's peer, the macvlan's or VLAN's lower device; 0 for none.
	ParentIndex int `json:"parent_index,omitempty"`
	// ParentElsewhere says that ParentIndex counts in another network namespace.
	ParentElsewhere bool `json:"parent_elsewhere,omitempty"`
	// TxTimeouts sums queues/tx-*/tx_timeout: how often the kernel's watchdog saw a queue make no progress.
	TxTimeouts uint64 `json:"tx_timeouts,omitempty"`
	// TxQueueStopped is true when a transmit queue holds bytes that do not leave (byte queue limits report in-flight
	// data that did not shrink between two looks while carrier is up).
	TxQueueStopped bool `json:"tx_queue_stopped,omitempty"`
	// Programs are what else decides on the link's packets, beside netfilter, and cannot be read: "ingress: XDP",
	// "ingress: tc bpf", "egress: tcx". Each begins with the hook it is like.
	Programs []string   `json:"programs,omitempty"`
	IPv4     *LinkConf4 `json:"ipv4,omitempty"`
	IPv6     *LinkConf6 `json:"ipv6,omitempty"`
	Group    uint32     `json:"group,omitempty"`
	// NoARP is IFF_NOARP: the host neither asks for MAC addresses there nor answers those who do (ip link set arp off).
	NoARP       bool   `json:"noarp,omitempty"`
	AddrGenMode string `json:"addr_gen_mode,omitempty"`
	// MTUSet is true when the MTU of a bridge was set on purpose, so that it no longer follows its ports'. The kernel
	// does not tell: it is false in what was read, and true where a Change set it (plan/sim).
	MTUSet bool `json:"mtu_set,omitempty"`
	// Qdisc is the kind of the root queueing discipline where it is not one that hosts have by themselves: "tbf", "netem",
	// "htb" …; "" else.
	Qdisc string `json:"qdisc,omitempty"`
	// Wireless says that the link is a Wi-Fi station or access point (it has a phy80211).
	Wireless bool `json:"wireless,omitempty"`
	// MacvlanMode is of a macvlan or macvtap: "private", "vepa", "bridge", "passthru", "source"; "" else.
	MacvlanMode string `json:"macvlan_mode,omitempty"`
	// Tag is of a link of type "vlan", else nil.
	Tag *VLANTag `json:"tag,omitempty"`
	// BridgeFacts are of a bridge, PortFacts of a bridge's port; else nil.
	BridgeFacts *BridgeFacts `json:"bridge,omitempty"`
	PortFacts   *PortFacts   `json:"port,omitempty"`
	// VLANs are of a bridge with vlan_filtering and of its ports. Nil: the bridge does not filter, or they could not be
	// read (Linux before 5.6).
	VLANs *VLANs `json:"vlans,omitempty"`
}

// LinkConf4 are the per-link sysctls net.ipv4.conf.<link>.*, as IFLA_INET_CONF carries them with every link.
// State.Get answers for them under Ref{KindSysctl, "net.ipv4.conf.<link>.<name>"}.
type LinkConf4 struct {
	Forwarding    int `json:"forwarding"`
	RPFilter      int `json:"rp_filter"`
	RouteLocalnet int `json:"route_localnet"`
	ARPIgnore     int `json:"arp_ignore"`
	ARPAnnounce   int `json:"arp_announce"`
	ARPFilter     int `json:"arp_filter"`
	ProxyARP      int `json:"proxy_arp"`
	AcceptLocal   int `json:"accept_local"`
	LogMartians   int `json:"log_martians"`
	SrcValidMark  int `json:"src_valid_mark"`
	// PromoteSecondaries makes the next address of a network primary when its primary one goes, instead of deleting all.
	// systemd switches it on for every link.
	PromoteSecondaries int `json:"promote_secondaries"`
	// IgnoreLinkdown leaves routes by the link out while it has no carrier, BCForwarding leads broadcasts for the networks of
	// other links on.
	IgnoreLinkdown int `json:"ignore_routes_with_linkdown,omitempty"`
	BCForwarding   int `json:"bc_forwarding,omitempty"`
}

// LinkConf6 are the per-link sysctls net.ipv6.conf.<link>.*, as IFLA_INET6_CONF carries them.
type LinkConf6 struct {
	Disable    int `json:"disable_ipv6"`
	Forwarding int `json:"forwarding"`
	AcceptRA   int `json:"accept_ra"`
	ProxyNDP   int `json:"proxy_ndp"`
	Autoconf   int `json:"autoconf"`
	AcceptDAD  int `json:"accept_dad"`
	// IgnoreLinkdown is as in LinkConf4. ForceForwarding (Linux 6.17) forwards what the link receives though
	// net.ipv6.conf.all.forwarding is 0.
	IgnoreLinkdown  int `json:"ignore_routes_with_linkdown,omitempty"`
	ForceForwarding int `json:"force_forwarding,omitempty"`
}

// LinkRef names a link.
func LinkRef(name string) Ref { return Ref{KindLink, name} }

// Ref implements Object.
func (l *Link) Ref() Ref { return LinkRef(l.Name) }

// Requires implements Object: a port requires its master, a macvlan its lower device.
func (l *Link) Requires() []Ref {
	var refs []Ref
	if l.Master != nil && *l.Master != "" {
		refs = append(refs, LinkRef(*l.Master))
	}
	if l.Pair != "" && l.Type == "macvlan" {
		refs = append(refs, LinkRef(l.Pair))
	}
	return refs
}

// String prints the link in the words of ip-link(8): "br0 type bridge mtu 1500 up".
func (l *Link) String() string {
	var b strings.Builder
	b.WriteString(l.Name)
	if l.Type != "" {
		b.WriteString(" type " + l.Type)
	}
	add := func(word string, v *string) {
		if v != nil && *v != "" {
			fmt.Fprintf(&b, " %s %s", word, *v)
		}
	}
	if l.MTU != nil {
		fmt.Fprintf(&b, " mtu %d", *l.MTU)
	}
	add("address", l.MAC)
	add("master", l.Master)
	add("alias", l.Alias)
	if l.Bridge != nil && l.Bridge.STP != nil {
		fmt.Fprintf(&b, " stp %s", onOff(*l.Bridge.STP))
	}
	if l.Port != nil && l.Port.Isolated != nil && *l.Port.Isolated {
		b.WriteString(" isolated on")
	}
	if l.Up != nil {
		b.WriteString(map[bool]string{true: " up", false: " down"}[*l.Up])
	}
	return b.String()
}

func (*Link) object() {}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
