package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// VLANs are the VLANs that a port of a VLAN-aware bridge is in, or the bridge itself ("self"), as "bridge vlan show" of
// bridge(8) lists them. They are facts: read, never compared, never written.
type VLANs struct {
	// Ranges are in ascending order and do not overlap. None: the port is in no VLAN, and carries nothing.
	Ranges []VLANRange `json:"ranges,omitempty"`
}

// VLANRange are neighbouring VLANs of which all else is the same.
type VLANRange struct {
	First uint16 `json:"first"` // 1 to 4094
	Last  uint16 `json:"last"`
	// PVID is the VLAN that frames get which arrive without a tag, or with VLAN 0. At most one VLAN of a port has it.
	PVID bool `json:"pvid,omitempty"`
	// Untagged says that frames leave without a tag.
	Untagged bool `json:"untagged,omitempty"`
	// State is the spanning tree's state of the VLAN on this port, spelled as Port.State; "" for forwarding (Linux 5.6).
	State string `json:"state,omitempty"`
}

// Find returns the range that a VLAN is in.
func (v *VLANs) Find(id uint16) (VLANRange, bool) {
	i, ok := slices.BinarySearchFunc(v.Ranges, id, func(r VLANRange, id uint16) int {
		switch {
		case r.Last < id:
			return -1
		case r.First > id:
			return 1
		}
		return 0
	})
	if !ok {
		return VLANRange{}, false
	}
	return v.Ranges[i], true
}

// PVID is the VLAN of frames without a tag; 0 when they are not taken.
func (v *VLANs) PVID() uint16 {
	for _, r := range v.Ranges {
		if r.PVID {
			return r.First
		}
	}
	return 0
}

// NewVLANs sorts ranges and joins those that touch and are alike.
func NewVLANs(ranges ...VLANRange) *VLANs {
	ranges = slices.SortedFunc(slices.Values(ranges), func(a, b VLANRange) int { return cmp.Compare(a.First, b.First) })
	v := &VLANs{}
	for _, r := range ranges {
		if n := len(v.Ranges); n > 0 {
			last := &v.Ranges[n-1]
			next := *last
			next.First, next.Last = r.First, r.Last
			if next == r && last.Last+1 == r.First {
				last.Last = r.Last
				continue
			}
		}
		v.Ranges = append(v.Ranges, r)
	}
	return v
}

// String prints "1 PVID Egress Untagged, 10-20", in the words of bridge(8); "none" where there are none.
func (v *VLANs) String() string {
	if v == nil {
		return "unknown"
	}
	words := make([]string, 0, len(v.Ranges))
	for _, r := range v.Ranges {
		words = append(words, r.String())
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// String prints "10-20", "1 PVID Egress Untagged".
func (r VLANRange) String() string {
	s := strconv.Itoa(int(r.First))
	if r.Last != r.First {
		s += fmt.Sprintf("-%d", r.Last)
	}
	if r.PVID {
		s += " PVID"
	}
	if r.Untagged {
		s += " Egress Untagged"
	}
	if r.State != "" {
		s += " state " + r.State
	}
	return s
}

// VLANTag is what an 802.1q link (type "vlan", such as eno1.10) puts on the frames of its lower device, LinkFacts.ParentIndex.
type VLANTag struct {
	ID uint16 `json:"id"`
	// Proto is "802.1Q", or "802.1ad" for a service tag.
	Proto string `json:"proto"`
	// LooseBinding keeps the link's carrier up whatever the lower device's is (VLAN_FLAG_LOOSE_BINDING).
	LooseBinding bool `json:"loose_binding,omitempty"`
}

// BridgeFacts are of a bridge, read only.
type BridgeFacts struct {
	// VLANProto is the kind of tag that a VLAN-aware bridge looks at: "802.1Q" or "802.1ad".
	VLANProto string `json:"vlan_protocol"`
	// DefaultPVID is the VLAN that new ports get, as PVID and untagged; 0 for none.
	DefaultPVID uint16 `json:"default_pvid"`
	// MST says that each group of VLANs has a spanning tree, and so port states, of its own (Linux 5.18).
	MST bool `json:"mst,omitempty"`
	// Promisc says that somebody listens to all frames (IFLA_PROMISCUITY): the bridge then hands up to the host what is
	// in a VLAN that it is not in itself.
	Promisc bool `json:"promisc,omitempty"`
	// Querier says that the bridge itself asks who listens to multicast (mcast_querier).
	Querier bool `json:"querier,omitempty"`
	// OtherQuerier6 says that another machine behind a port was heard asking so in IPv6 (IFLA_BR_MCAST_QUERIER_STATE, Linux
	// 5.14): with snooping the bridge then keeps from a port what nobody behind it asked for.
	OtherQuerier6 bool `json:"other_querier6,omitempty"`
	// Groups are the multicast groups that are listened to behind ports, "port group", sorted. Read only where snooping is on
	// and somebody asks; nil else.
	Groups []string `json:"groups,omitempty"`
	// Settings are those that vmnet does not write and that are not as on a new bridge: "ageing_time 60000, priority 8",
	// spelled and counted as ip-link(8) does with -details and -json; "" for none.
	Settings string `json:"settings,omitempty"`
}

// PortFacts are of a bridge's port, read only.
type PortFacts struct {
	// Locked takes frames only from senders that the forwarding database knows behind this very port (Linux 5.18).
	Locked bool `json:"locked,omitempty"`
	// ProxyARP answers ARP from the host's neighbour table and floods nothing to the port (Linux 3.19).
	ProxyARP bool `json:"proxy_arp,omitempty"`
	// VLANTunnel maps VLANs to tunnel keys (vlan_tunnel of bridge(8)).
	VLANTunnel bool `json:"vlan_tunnel,omitempty"`
	// Backup says that another port takes over while this one has no carrier (backup_port).
	Backup bool `json:"backup,omitempty"`
	// Settings are others that vmnet does not write and that are not as on a new port: "priority 8". The cost is none of
	// them: what a new port gets depends on its speed.
	Settings string `json:"settings,omitempty"`
}
