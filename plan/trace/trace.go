package trace

import (
	"net/netip"

	"github.com/vmnet/vmnet/schema"
)

// Flow is one connection attempt: where its first packet is made, and what it carries.
type Flow struct {
	// From is the link on which the packet enters the host, as the host sees it at layer 3 and below: the port of a
	// bridge for a guest ("vnet3"; the bridge itself where the port is not known), an uplink for the outside, "" for a
	// packet made by the host itself.
	From string `json:"from,omitempty"`
	// To, when not "", is the link by which the packet must leave to have arrived: a guest's port or its bridge. "" for a
	// packet to the host itself, or wherever routing leads.
	To      string     `json:"to,omitempty"`
	Src     netip.Addr `json:"src"`
	Dst     netip.Addr `json:"dst"`
	Proto   string     `json:"proto"` // "tcp", "udp", "icmp" (ICMPv6 echo in IPv6), or a number
	SrcPort uint16     `json:"src_port,omitempty"`
	DstPort uint16     `json:"dst_port,omitempty"`
	SrcMAC  string     `json:"src_mac,omitempty"`
	DstMAC  string     `json:"dst_mac,omitempty"`
	// WantDst, when valid, is where DNAT must have led the packet (a forward): arriving elsewhere is a block.
	WantDst netip.AddrPort `json:"want_dst,omitzero"`
	// Local says that the packet must arrive at the host itself: a destination that is not an address of the host is a
	// block (CodeNoAddress) instead of a packet to forward.
	Local bool `json:"local,omitempty"`
	// Anywhere asks where the packet gets to: once NAT has led it to another address, that is where it should go, and To
	// holds for it no more.
	Anywhere bool `json:"anywhere,omitempty"`
}

// Verdict is the answer for a flow.
type Verdict string

// The answers. Partly is for sets of packets; one packet never gets it.
const (
	Pass    Verdict = "pass"
	Block   Verdict = "block"
	Partly  Verdict = "partly"
	Depends Verdict = "depends"
)

// Result is what becomes of a flow. Request, reply and established request are walked in this order; the first that does
// not pass decides.
type Result struct {
	Flow    Flow    `json:"flow"`
	Verdict Verdict `json:"verdict"`
	// Half says which packet decided: "request", "reply" or "established"; "" for a pass.
	Half string `json:"half,omitempty"`
	// Decider is the hop that blocked, or on which it depends; nil for a pass.
	Decider *Hop `json:"decider,omitempty"`
	// Hops is the way of the request, then of the reply.
	Hops []Hop `json:"hops"`
}

// Hop is one station of a packet's way.
type Hop struct {
	Half string `json:"half"`
	// Stage is "link", "bridge", "route", "nat", a hook such as "forward", or "local".
	Stage string `json:"stage"`
	// Ref is the object that decides here: a table, a link, a route, a sysctl.
	Ref schema.Ref `json:"ref"`
	// Chain and Rule say where in a table: Rule counts from 0 in the chain that holds the deciding rule; -1 is the
	// policy of the base chain. Base is the base chain by which the packet came in.
	Chain string `json:"chain,omitempty"`
	Base  string `json:"base,omitempty"`
	Rule  int    `json:"rule"`
	// Text is the rule, the route or the setting in the words of its tool; "policy drop" for a policy.
	Text string `json:"text"`
	// Action is "accept", "drop", "reject", "depends", "dnat to …", "masquerade", "no route", "isolated", "down" …
	Action string `json:"action"`
	// Packet is the packet as it was here: "10.20.0.11:40000 > 203.0.113.10:443 tcp new in virbr-lab out eno1".
	Packet string `json:"packet"`
	// In and Out are the interfaces that rules see there; Talk is 1 for a question for a MAC address and 2 for its answer.
	In   string `json:"-"`
	Out  string `json:"-"`
	Talk byte   `json:"-"`
	// Code is set for a block that no rule makes: the finding's code, for example "VN301" for forwarding off.
	Code string `json:"code,omitempty"`
}

// The codes of blocks that no rule makes.
const (
	CodeNoLink       = "VN101" // the link is missing
	CodeLinkDown     = "VN102"
	CodeNoCarrier    = "VN103"
	CodeBridgeDown   = "VN201" // the bridge is missing or down
	CodeNoMaster     = "VN202" // the port is in no bridge, or in another one
	CodePortDown     = "VN203"
	CodeIsolated     = "VN204"
	CodePortState    = "VN205" // the port does not forward (STP, or hairpin off)
	CodeVLANIn       = "VN208" // the port does not take frames of that VLAN, or none without a tag
	CodeVLANOut      = "VN209" // the port, or the bridge itself, is not in the frame's VLAN
	CodeTagged       = "VN210" // the frame arrives with a tag that nobody there takes off
	CodeNoFlood      = "VN211" // the bridge does not know the receiver, and does not flood to its port
	CodeLocked       = "VN212" // the port takes frames from known senders only
	CodeElsewhere    = "VN213" // a static entry of the forwarding database leads to another port
	CodeNoForwarding = "VN301"
	CodeNoRoute      = "VN302" // no route, or the route leads elsewhere
	CodeRPFilter     = "VN303"
	CodeBadRoute     = "VN304" // blackhole, unreachable, prohibit
	CodeMartian      = "VN305" // an address that may not be on the wire, such as 127.0.0.1 without route_localnet
	CodeNoAddress    = "VN306" // the host does not have the address
	CodeNoIPv6       = "VN311" // disable_ipv6
	CodeARPSilent    = "VN312" // arp_ignore or arp_filter: the host does not answer
	CodeWrongMAC     = "VN313" // a permanent neighbour entry has another MAC address than the machine
	CodeNotLed       = "VN451" // NAT did not lead the packet where it should go
	CodeNotUndone    = "VN452" // the reply passes the host by, so that its NAT is not undone
)
