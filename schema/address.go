package schema

import (
	"fmt"
	"net/netip"
)

// Address is an IP address on a link.
type Address struct {
	Link   string       `json:"link"`
	Prefix netip.Prefix `json:"prefix"` // the address with the length of its network; host bits are kept
	// Peer is the far end of a point-to-point address (IFA_ADDRESS differing from IFA_LOCAL); the zero Prefix for none.
	Peer *netip.Prefix `json:"peer,omitempty"`
	// Broadcast is IFA_BROADCAST (IPv4); nil for none. It is carried along when an address moves.
	Broadcast *netip.Addr `json:"broadcast,omitempty"`
	Scope     *string     `json:"scope,omitempty"` // "global", "link", "host", "site" or a number
	Label     *string     `json:"label,omitempty"` // IPv4 only; the link's name when not set
	// Proto is IFA_PROTO (Linux 5.18): who made the address. 0 where unset. Our mark is ProtoVMNET.
	Proto *uint8 `json:"proto,omitempty"`
	// NoPrefixRoute keeps the kernel from adding the connected route (IFA_F_NOPREFIXROUTE).
	NoPrefixRoute *bool `json:"noprefixroute,omitempty"`
	// NoDAD skips duplicate address detection (IFA_F_NODAD, IPv6).
	NoDAD *bool `json:"nodad,omitempty"`
	// Valid and Preferred are lifetimes in seconds; nil is "forever". A lifetime marks a lease: it is carried along when
	// an address moves, and is not compared, for it runs. A Preferred of 0 is a deprecated address.
	Valid     *uint32 `json:"valid_lft,omitempty"`
	Preferred *uint32 `json:"preferred_lft,omitempty"`
	// Facts are the kernel's. Nil in a desired address.
	Facts *AddressFacts `json:"facts,omitempty"`
}

// AddressFacts are never compared and never written.
type AddressFacts struct {
	// Secondary is IFA_F_SECONDARY: a second IPv4 address of the same network, deleted with its primary unless
	// promote_secondaries is set.
	Secondary bool `json:"secondary,omitempty"`
	Tentative bool `json:"tentative,omitempty"`
	DADFailed bool `json:"dadfailed,omitempty"`
	// KernelMade is true for ::1, 127.0.0.1, fe80:: and SLAAC addresses: not "permanent" by anybody's will.
	KernelMade bool `json:"kernel_made,omitempty"`
}

// ProtoVMNET is the protocol number that marks our routes (rtnetlink(7), rtm_protocol) and addresses (IFA_PROTO).
// Free in /etc/iproute2/rt_protos and in the kernel's rtnetlink.h.
const ProtoVMNET = 118

// AddressRef names an address: "br0 192.0.2.10/24".
func AddressRef(link string, p netip.Prefix) Ref {
	return Ref{KindAddress, link + " " + p.String()}
}

// Ref implements Object.
func (a *Address) Ref() Ref { return AddressRef(a.Link, a.Prefix) }

// Requires implements Object.
func (a *Address) Requires() []Ref { return []Ref{LinkRef(a.Link)} }

// String prints "192.0.2.10/24 dev br0".
func (a *Address) String() string {
	s := fmt.Sprintf("%s dev %s", a.Prefix, a.Link)
	if a.Scope != nil && *a.Scope != "global" {
		s += " scope " + *a.Scope
	}
	return s
}

func (*Address) object() {}
