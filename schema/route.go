package schema

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// Route is one entry of a routing table, as ip-route(8) shows it. Its identity is everything that tells two routes
// apart for the kernel: table, destination, TOS, metric, type, device and gateway (or next hops). So a route that
// changes its device is a new route and an old one, made before broken.
type Route struct {
	// Table is the number: 254 main, 255 local, 253 default (rtnetlink(7)).
	Table uint32       `json:"table"`
	Dst   netip.Prefix `json:"dst"` // masked; 0.0.0.0/0 or ::/0 for the default route
	TOS   uint8        `json:"tos,omitempty"`
	// Metric is the priority: 0 for IPv4 without one; the kernel gives IPv6 routes 1024 where none is asked.
	Metric uint32 `json:"metric,omitempty"`
	// Type is "unicast" (the empty string means it too), "local", "broadcast", "anycast", "multicast", "blackhole",
	// "unreachable", "prohibit", "throw".
	Type     string     `json:"type,omitempty"`
	Link     string     `json:"link,omitempty"`
	Gateway  netip.Addr `json:"gateway,omitzero"` // the invalid zero Addr for an on-link route
	NextHops []NextHop  `json:"nexthops,omitempty"`

	Source netip.Addr `json:"src,omitzero"`     // preferred source address
	Proto  *uint8     `json:"proto,omitempty"`  // rtm_protocol: 2 kernel, 3 boot, 4 static, 9 ra, 16 dhcp, ProtoVMNET ours
	Scope  *uint8     `json:"scope,omitempty"`  // 0 global, 253 link, 254 host
	MTU    *uint32    `json:"mtu,omitempty"`    // RTAX_MTU; nil or 0 none
	OnLink *bool      `json:"onlink,omitempty"` // RTNH_F_ONLINK
	// Other are the netlink attributes that vmnet keeps without understanding them (other metrics, encapsulation, the
	// number of a nexthop object …), so that a route is put back as it was.
	Other Bytes       `json:"other,omitempty"`
	Facts *RouteFacts `json:"facts,omitempty"` // nil in a desired route
}

// NextHop is one leg of a multipath route.
type NextHop struct {
	Link    string     `json:"link"`
	Gateway netip.Addr `json:"gateway,omitzero"`
	Weight  int        `json:"weight,omitempty"` // 1 to 256
	OnLink  bool       `json:"onlink,omitempty"`
}

// RouteFacts are never compared and never written.
type RouteFacts struct {
	// LinkDown and Dead are RTNH_F_LINKDOWN and RTNH_F_DEAD.
	LinkDown bool `json:"linkdown,omitempty"`
	Dead     bool `json:"dead,omitempty"`
	// Expires is the remaining seconds of a route learned by router advertisement; 0 for none.
	Expires uint32 `json:"expires,omitempty"`
	Pref    string `json:"pref,omitempty"`
	// Place is how many routes of the same table, destination, TOS and metric the kernel asks before this one.
	Place int `json:"place,omitempty"`
}

// PlaceLast is the Place of a route or a rule that was made last: among equals the kernel asks it last.
const PlaceLast = math.MaxInt32

// Numbers of the tables and protocols the code names (rtnetlink(7)).
const (
	TableMain  = 254
	TableLocal = 255

	ProtoKernel = 2
	ProtoBoot   = 3
	ProtoStatic = 4
	ProtoRA     = 9
	ProtoDHCP   = 16
)

// Ref implements Object: "main 0.0.0.0/0 via 192.0.2.1 dev eno1 metric 100".
func (r *Route) Ref() Ref { return Ref{KindRoute, r.name()} }

func (r *Route) name() string {
	var b strings.Builder
	b.WriteString(TableName(r.Table) + " " + r.Dst.String())
	if r.Type != "" && r.Type != "unicast" {
		b.WriteString(" type " + r.Type)
	}
	if r.Gateway.IsValid() {
		b.WriteString(" via " + r.Gateway.String())
	}
	if r.Link != "" {
		b.WriteString(" dev " + r.Link)
	}
	for _, h := range r.NextHops {
		b.WriteString(" nexthop")
		if h.Gateway.IsValid() {
			b.WriteString(" via " + h.Gateway.String())
		}
		fmt.Fprintf(&b, " dev %s weight %d", h.Link, max(h.Weight, 1))
	}
	if r.TOS != 0 {
		fmt.Fprintf(&b, " tos 0x%02x", r.TOS)
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	return b.String()
}

// TableName gives "main", "local", "default" or the number.
func TableName(t uint32) string {
	switch t {
	case TableMain:
		return "main"
	case TableLocal:
		return "local"
	case 253:
		return "default"
	}
	return strconv.FormatUint(uint64(t), 10)
}

// Devices lists the links the route leaves by.
func (r *Route) Devices() []string {
	var devs []string
	if r.Link != "" {
		devs = append(devs, r.Link)
	}
	for _, h := range r.NextHops {
		devs = append(devs, h.Link)
	}
	return devs
}

// KernelMade tells whether the kernel adds and removes the route by itself, with an address or a link.
func (r *Route) KernelMade() bool { return r.Proto != nil && *r.Proto == ProtoKernel }

// Requires implements Object: the devices it leaves by, which covers connected routes; a gateway's own reachability is
// left to the order of steps.
func (r *Route) Requires() []Ref {
	var refs []Ref
	for _, d := range r.Devices() {
		refs = append(refs, LinkRef(d))
	}
	return refs
}

// String prints the route in the words of ip-route(8).
func (r *Route) String() string {
	s := strings.TrimPrefix(r.name(), "main ")
	if r.Dst.IsValid() && r.Dst.Bits() == 0 {
		s = strings.Replace(s, r.Dst.String(), "default", 1)
	}
	if r.Source.IsValid() {
		s += " src " + r.Source.String()
	}
	return s
}

func (*Route) object() {}

// PolicyRule is one entry of ip-rule(8). Everything in it but its place is identity.
type PolicyRule struct {
	Family   string       `json:"family"` // "ip" or "ip6"
	Priority uint32       `json:"priority"`
	Src      netip.Prefix `json:"src,omitzero"` // the invalid zero Prefix for "all"
	Dst      netip.Prefix `json:"dst,omitzero"`
	IIF      string       `json:"iif,omitempty"`
	OIF      string       `json:"oif,omitempty"`
	Mark     uint32       `json:"fwmark,omitempty"`
	Mask     uint32       `json:"fwmask,omitempty"`
	TOS      uint8        `json:"tos,omitempty"`
	Invert   bool         `json:"not,omitempty"`
	IPProto  uint8        `json:"ipproto,omitempty"`
	SPort    string       `json:"sport,omitempty"` // "80" or "80-90"
	DPort    string       `json:"dport,omitempty"`
	UIDRange string       `json:"uidrange,omitempty"` // "0-1000"
	L3MDev   bool         `json:"l3mdev,omitempty"`
	// Action is "lookup" (the empty string means it too), "blackhole", "unreachable", "prohibit", "goto", "nop".
	Action string `json:"action,omitempty"`
	Table  uint32 `json:"table,omitempty"`
	Goto   uint32 `json:"goto,omitempty"`
	// SuppressPrefixLen ignores answers with a prefix this short or shorter; nil for none.
	SuppressPrefixLen *int   `json:"suppress_prefixlength,omitempty"`
	SuppressIfGroup   *int   `json:"suppress_ifgroup,omitempty"`
	Proto             *uint8 `json:"proto,omitempty"`
	// Other are the netlink attributes of selectors that vmnet does not understand (FRA_DSCP, FRA_TUN_ID …): the rule
	// matches less than it seems to, and is put back as it was.
	Other Bytes `json:"other,omitempty"`
	// Place is a fact: how many rules of the same priority the kernel asks before this one.
	Place int `json:"place,omitempty"`
}

// Ref implements Object.
func (r *PolicyRule) Ref() Ref { return Ref{KindPolicyRule, r.Family + " " + r.String()} }

// Requires implements Object. Rules may name devices that do not exist.
func (r *PolicyRule) Requires() []Ref { return nil }

// String prints "5270: from 10.0.0.0/8 fwmark 0x1/0xff lookup 52".
func (r *PolicyRule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:", r.Priority)
	if r.Invert {
		b.WriteString(" not")
	}
	if r.Src.IsValid() {
		b.WriteString(" from " + r.Src.String())
	} else {
		b.WriteString(" from all")
	}
	if r.Dst.IsValid() {
		b.WriteString(" to " + r.Dst.String())
	}
	word := func(w, v string) {
		if v != "" {
			b.WriteString(" " + w + " " + v)
		}
	}
	if r.TOS != 0 {
		fmt.Fprintf(&b, " tos 0x%02x", r.TOS)
	}
	if r.Mark != 0 || r.Mask != 0 {
		fmt.Fprintf(&b, " fwmark 0x%x/0x%x", r.Mark, r.Mask)
	}
	word("iif", r.IIF)
	word("oif", r.OIF)
	if r.IPProto != 0 {
		fmt.Fprintf(&b, " ipproto %d", r.IPProto)
	}
	word("sport", r.SPort)
	word("dport", r.DPort)
	word("uidrange", r.UIDRange)
	switch r.Action {
	case "", "lookup":
		if r.L3MDev {
			b.WriteString(" lookup [l3mdev-table]")
		} else {
			b.WriteString(" lookup " + TableName(r.Table))
		}
	case "goto":
		fmt.Fprintf(&b, " goto %d", r.Goto)
	default:
		b.WriteString(" " + r.Action)
	}
	if r.SuppressPrefixLen != nil {
		fmt.Fprintf(&b, " suppress_prefixlength %d", *r.SuppressPrefixLen)
	}
	if r.SuppressIfGroup != nil {
		fmt.Fprintf(&b, " suppress_ifgroup %d", *r.SuppressIfGroup)
	}
	if len(r.Other) > 0 {
		fmt.Fprintf(&b, " other 0x%x", []byte(r.Other))
	}
	return b.String()
}

func (*PolicyRule) object() {}

// Neighbour is an ARP or ND entry, ip-neighbour(8).
type Neighbour struct {
	Link string     `json:"link"`
	IP   netip.Addr `json:"ip"`
	MAC  *string    `json:"mac,omitempty"` // "" while unresolved
	// Permanent is NUD_PERMANENT: set by somebody, lost when the link goes down. Others come and go.
	Permanent *bool `json:"permanent,omitempty"`
	// State is a fact: "reachable", "stale", "failed", "incomplete", "permanent", "noarp" …
	State string `json:"state,omitempty"`
	// Proxy is a fact: an entry of ip neighbour add proxy.
	Proxy bool `json:"proxy,omitempty"`
}

// Ref implements Object.
func (n *Neighbour) Ref() Ref { return Ref{KindNeighbour, n.Link + " " + n.IP.String()} }

// Requires implements Object.
func (n *Neighbour) Requires() []Ref { return []Ref{LinkRef(n.Link)} }

// String prints "10.0.0.5 dev br0 lladdr 52:54:00:00:00:01 permanent".
func (n *Neighbour) String() string {
	s := fmt.Sprintf("%s dev %s", n.IP, n.Link)
	if n.MAC != nil && *n.MAC != "" {
		s += " lladdr " + *n.MAC
	}
	if n.Permanent != nil && *n.Permanent {
		return s + " permanent"
	}
	return strings.TrimSpace(s + " " + n.State)
}

func (*Neighbour) object() {}

// FDBEntry is a line of a bridge's forwarding database, bridge(8). Read only: vmnet finds guests by it.
type FDBEntry struct {
	Link   string `json:"link"` // the port
	MAC    string `json:"mac"`
	VLAN   uint16 `json:"vlan,omitempty"`
	Master string `json:"master,omitempty"` // the bridge; "" for an entry of the device itself
	Dst    string `json:"dst,omitempty"`    // remote tunnel end of a VXLAN
	// State is "permanent" (the bridge's own or static addresses), "static" or "" (learned).
	State string `json:"state,omitempty"`
	// Sticky keeps the entry where it is when its machine speaks behind another port, which moves all others (bridge(8)).
	Sticky bool `json:"sticky,omitempty"`
}

// Ref implements Object.
func (f *FDBEntry) Ref() Ref {
	name := f.Link + " " + f.MAC
	if f.VLAN != 0 {
		name += fmt.Sprintf(" vlan %d", f.VLAN)
	}
	if f.Master == "" {
		name += " self"
	}
	if f.Dst != "" {
		name += " dst " + f.Dst
	}
	return Ref{KindFDB, name}
}

// Requires implements Object.
func (f *FDBEntry) Requires() []Ref { return []Ref{LinkRef(f.Link)} }

// String prints "52:54:00:00:00:01 dev vnet3 master br0".
func (f *FDBEntry) String() string {
	s := fmt.Sprintf("%s dev %s", f.MAC, f.Link)
	if f.Master != "" {
		s += " master " + f.Master
	}
	return strings.TrimSpace(s + " " + f.State)
}

func (*FDBEntry) object() {}
