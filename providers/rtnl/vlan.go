package rtnl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// Attributes of RTM_NEWVLAN and flags of struct bridge_vlan_info (include/uapi/linux/if_bridge.h), which x/sys lacks.
const (
	sizeofVLANMsg    = 8 // struct br_vlan_msg
	vlanEntry        = 1 // BRIDGE_VLANDB_ENTRY
	vlanEntryInfo    = 1 // BRIDGE_VLANDB_ENTRY_INFO
	vlanEntryRange   = 2 // BRIDGE_VLANDB_ENTRY_RANGE
	vlanEntryState   = 3 // BRIDGE_VLANDB_ENTRY_STATE
	vlanInfoPVID     = 1 << 1
	vlanInfoUntagged = 1 << 2

	bridgeOptMST = 1 << 2 // BR_BOOLOPT_MST_ENABLE
)

// portVLANs is one answer: the VLANs of a link, or of a bridge some of them.
type portVLANs struct {
	index  int
	ranges []schema.VLANRange
}

// readVLANs fills Facts.VLANs of the bridges that filter by VLAN and of their ports; it asks the kernel only where there is
// such a bridge. Linux before 5.6 does not answer: they stay nil.
func (p *Provider) readVLANs(ctx context.Context, links []rawLink, byIndex map[int]*schema.Link) error {
	aware := map[int]bool{}
	for _, l := range links {
		if l.Bridge != nil && value(l.Bridge.VLANFilter) {
			aware[l.index] = true
		}
	}
	if len(aware) == 0 {
		return nil
	}
	ask := make([]byte, sizeofVLANMsg)
	ask[0] = unix.AF_BRIDGE
	all, err := dump(ctx, p.conn, unix.RTM_GETVLAN, ask, decodeVLANs)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil
	case err != nil:
		return err
	}
	found := map[int][]schema.VLANRange{}
	for _, v := range all {
		if byIndex[v.index] == nil {
			return errInterrupted // it appeared after the links were read
		}
		found[v.index] = append(found[v.index], v.ranges...)
	}
	for _, l := range links {
		if aware[l.index] || aware[l.master] {
			l.Facts.VLANs = schema.NewVLANs(found[l.index]...)
		}
	}
	return nil
}

// decodeVLANs reads RTM_NEWVLAN (net/bridge/br_vlan.c, br_vlan_dump_dev).
func decodeVLANs(b []byte) (portVLANs, bool) {
	if len(b) < sizeofVLANMsg || b[0] != unix.AF_BRIDGE {
		return portVLANs{}, false
	}
	v := portVLANs{index: int(int32(u32(b[4:])))}
	for t, entry := range attrs(b[sizeofVLANMsg:]) {
		if t != vlanEntry {
			continue
		}
		r := schema.VLANRange{}
		state := portState(3)
		for t, a := range attrs(entry) {
			switch t {
			case vlanEntryInfo: // struct bridge_vlan_info: flags, number
				if len(a) >= 4 {
					flags := u16(a)
					r.PVID, r.Untagged = flags&vlanInfoPVID != 0, flags&vlanInfoUntagged != 0
					r.First = u16(a[2:])
				}
			case vlanEntryRange:
				r.Last = u16(a)
			case vlanEntryState:
				state = portState(u8(a))
			}
		}
		r.Last = max(r.First, r.Last)
		if state != portState(3) {
			r.State = state
		}
		v.ranges = append(v.ranges, r)
	}
	return v, true
}

// decodeTag reads IFLA_INFO_DATA of a link of type "vlan" (net/8021q/vlan_netlink.c, vlan_fill_info).
func decodeTag(data []byte) *schema.VLANTag {
	const looseBinding = 0x4 // VLAN_FLAG_LOOSE_BINDING, include/uapi/linux/if_vlan.h
	tag := &schema.VLANTag{Proto: vlanProto(unix.ETH_P_8021Q)}
	for t, v := range attrs(data) {
		switch t {
		case unix.IFLA_VLAN_ID:
			tag.ID = u16(v)
		case unix.IFLA_VLAN_PROTOCOL:
			tag.Proto = vlanProto(be16(v))
		case unix.IFLA_VLAN_FLAGS:
			tag.LooseBinding = u32(v)&looseBinding != 0
		}
	}
	return tag
}

// vlanProto names an EtherType of tags as ip-link(8) does.
func vlanProto(n uint16) string {
	if n == unix.ETH_P_8021AD {
		return "802.1ad"
	}
	return "802.1Q"
}

func be16(v []byte) uint16 {
	if len(v) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(v)
}

// decodeBridgeFacts reads what of IFLA_BR_* is read only here.
func decodeBridgeFacts(data []byte) *schema.BridgeFacts {
	f := &schema.BridgeFacts{VLANProto: vlanProto(unix.ETH_P_8021Q)}
	for t, v := range attrs(data) {
		switch t {
		case unix.IFLA_BR_MCAST_QUERIER:
			f.Querier, f.Settings = u8(v) != 0, and(f.Settings, bridgeSetting(t, v))
		case unix.IFLA_BR_MCAST_QUERIER_STATE:
			f.OtherQuerier6 = otherQuerier6(v)
		case unix.IFLA_BR_VLAN_PROTOCOL:
			f.VLANProto = vlanProto(be16(v))
		case unix.IFLA_BR_VLAN_DEFAULT_PVID:
			f.DefaultPVID = u16(v)
		case unix.IFLA_BR_MULTI_BOOLOPT: // struct br_boolopt_multi: values, mask
			f.MST = u32(v)&bridgeOptMST != 0
		default:
			f.Settings = and(f.Settings, bridgeSetting(t, v))
		}
	}
	return f
}

// bridgeSetting names a setting of a bridge that is not written here where it is not as br_dev_setup and br_multicast_init
// make it; "" for any other attribute.
func bridgeSetting(attr uint16, v []byte) string {
	switch attr {
	case unix.IFLA_BR_HELLO_TIME:
		return unusual("hello_time", v, 200)
	case unix.IFLA_BR_MAX_AGE:
		return unusual("max_age", v, 2000)
	case unix.IFLA_BR_AGEING_TIME:
		return unusual("ageing_time", v, 30000)
	case unix.IFLA_BR_PRIORITY:
		return unusual("priority", v, 0x8000)
	case unix.IFLA_BR_GROUP_FWD_MASK:
		return unusual("group_fwd_mask", v, 0)
	case unix.IFLA_BR_MCAST_ROUTER:
		return unusual("mcast_router", v, 1)
	case unix.IFLA_BR_MCAST_QUERY_USE_IFADDR:
		return unusual("mcast_query_use_ifaddr", v, 0)
	case unix.IFLA_BR_MCAST_QUERIER:
		return unusual("mcast_querier", v, 0)
	case unix.IFLA_BR_NF_CALL_ARPTABLES:
		return unusual("nf_call_arptables", v, 0)
	}
	return ""
}

// portSetting is the same for a port (new_nbp in net/bridge/br_if.c).
func portSetting(attr uint16, v []byte) string {
	switch attr {
	case unix.IFLA_BRPORT_PRIORITY:
		return unusual("priority", v, 32)
	case unix.IFLA_BRPORT_FAST_LEAVE:
		return unusual("fastleave", v, 0)
	case unix.IFLA_BRPORT_MULTICAST_ROUTER:
		return unusual("multicast_router", v, 1)
	case unix.IFLA_BRPORT_MCAST_TO_UCAST:
		return unusual("mcast_to_unicast", v, 0)
	case unix.IFLA_BRPORT_GROUP_FWD_MASK:
		return unusual("group_fwd_mask", v, 0)
	}
	return ""
}

func unusual(name string, v []byte, usual uint32) string {
	var n uint32
	switch len(v) {
	case 1:
		n = uint32(v[0])
	case 2:
		n = uint32(u16(v))
	case 4:
		n = u32(v)
	}
	if n == usual {
		return ""
	}
	return fmt.Sprintf("%s %d", name, n)
}

// and joins settings.
func and(settings, more string) string {
	if settings == "" || more == "" {
		return settings + more
	}
	return settings + ", " + more
}

// portFact marks the attributes of IFLA_INFO_SLAVE_DATA that are facts; nil where none of them is on, as on nearly all ports.
func portFact(f *schema.PortFacts, t uint16, v []byte) *schema.PortFacts {
	var on schema.PortFacts
	on.Settings = portSetting(t, v)
	switch {
	case on.Settings != "":
	case t == unix.IFLA_BRPORT_BACKUP_PORT && u32(v) != 0, t == unix.IFLA_BRPORT_BACKUP_NHID && u32(v) != 0:
		on.Backup = true
	case u8(v) == 0:
		return f
	case t == unix.IFLA_BRPORT_LOCKED:
		on.Locked = true
	case t == unix.IFLA_BRPORT_PROXYARP:
		on.ProxyARP = true
	case t == unix.IFLA_BRPORT_VLAN_TUNNEL:
		on.VLANTunnel = true
	default:
		return f
	}
	if f == nil {
		return &on
	}
	f.Locked, f.ProxyARP = f.Locked || on.Locked, f.ProxyARP || on.ProxyARP
	f.VLANTunnel, f.Backup = f.VLANTunnel || on.VLANTunnel, f.Backup || on.Backup
	f.Settings = and(f.Settings, on.Settings)
	return f
}
