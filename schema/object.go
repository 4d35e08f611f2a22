package schema

import (
	"fmt"
	"strings"
)

// Kind says what an Object is. Each kind belongs to exactly one provider.
type Kind string

// The kinds of object a host's network is made of.
const (
	KindLink       Kind = "link"      // ip-link(8)
	KindAddress    Kind = "address"   // ip-address(8)
	KindRoute      Kind = "route"     // ip-route(8)
	KindPolicyRule Kind = "rule"      // ip-rule(8)
	KindNeighbour  Kind = "neighbour" // ip-neighbour(8)
	KindFDB        Kind = "fdb"       // bridge(8), fdb
	KindSysctl     Kind = "sysctl"    // sysctl(8)
	KindTable      Kind = "table"     // a whole nftables table, nft(8)
	KindXTable     Kind = "xtable"    // a whole iptables-legacy table, iptables(8)
	KindNftRule    Kind = "nftrule"   // one rule in somebody else's nftables table, by netlink
	KindXRule      Kind = "xrule"     // one rule in an iptables-owned chain, by the iptables of its backend
	KindFile       Kind = "file"      // a file on disk that holds rules or settings
	KindListener   Kind = "listener"  // a listening socket of the host
	KindGrant      Kind = "grant"     // a permission kept by a firewall manager: ufw(8), firewall-cmd(1)
	KindService    Kind = "service"   // the DHCP and DNS server of a network: dnsmasq(8)
	KindHolder     Kind = "holder"    // a process that holds a tap
	KindLease      Kind = "lease"     // an address that a DHCP server of the host gave away
	KindMachine    Kind = "machine"   // the kernel and its limits
)

// Kinds lists every kind, in the order in which an engineer would look.
func Kinds() []Kind {
	return []Kind{
		KindLink, KindAddress, KindRoute, KindPolicyRule, KindNeighbour, KindFDB, KindSysctl,
		KindTable, KindXTable, KindNftRule, KindXRule, KindGrant, KindFile, KindListener,
		KindService,
		KindHolder, KindLease, KindMachine,
	}
}

// Ref names an object on one host. It is stable across runs and usable as a map key.
// Its text form is "kind/name", for example "link/br0".
type Ref struct {
	Kind Kind
	Name string
}

// String returns the text form, "link/br0".
func (r Ref) String() string { return string(r.Kind) + "/" + r.Name }

// MarshalText implements encoding.TextMarshaler, so that a Ref can key a JSON object. The zero Ref is the empty text.
func (r Ref) MarshalText() ([]byte, error) {
	if r == (Ref{}) {
		return []byte{}, nil
	}
	return []byte(r.String()), nil
}

// UnmarshalText reads the text form.
func (r *Ref) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*r = Ref{}
		return nil
	}
	kind, name, ok := strings.Cut(string(b), "/")
	if !ok || kind == "" || name == "" {
		return fmt.Errorf("parse ref %q: want kind/name", b)
	}
	*r = Ref{Kind(kind), name}
	return nil
}

// Object is one thing the kernel (or the disk) changes atomically. The set of objects is closed.
// In a desired state a nil field means "not managed"; a live object has every field filled.
//
//sumtype:decl
type Object interface {
	// Ref is the identity: two objects with the same Ref are the same object.
	Ref() Ref
	// Requires lists what must exist before this object can.
	Requires() []Ref
	// String is the object as the field's tools would print it, for logs, tests and diffs.
	String() string

	object()
}

// New returns an empty object of a kind, ready to be decoded into; nil for an unknown kind.
func New(k Kind) Object {
	switch k {
	case KindLink:
		return &Link{}
	case KindAddress:
		return &Address{}
	case KindRoute:
		return &Route{}
	case KindPolicyRule:
		return &PolicyRule{}
	case KindNeighbour:
		return &Neighbour{}
	case KindFDB:
		return &FDBEntry{}
	case KindSysctl:
		return &Sysctl{}
	case KindTable, KindXTable:
		return &Table{}
	case KindNftRule, KindXRule:
		return &ForeignRule{}
	case KindGrant:
		return &Grant{}
	case KindFile:
		return &File{}
	case KindListener:
		return &Listener{}
	case KindService:
		return &Dnsmasq{}
	case KindHolder:
		return &Holder{}
	case KindLease:
		return &Lease{}
	case KindMachine:
		return &Machine{}
	}
	return nil
}
