package rtnl

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// bridgeQuerier6Port is of IFLA_BR_MCAST_QUERIER_STATE (Linux 5.14): who asks for listeners, nested as
// BRIDGE_QUERIER_* (include/uapi/linux/if_bridge.h).
const bridgeQuerier6Port = 6 // BRIDGE_QUERIER_IPV6_PORT: behind which another machine asks

// otherQuerier6 tells whether another machine than the bridge was heard asking for listeners in IPv6.
func otherQuerier6(b []byte) bool {
	for t, v := range attrs(b) {
		if t&^unix.NLA_F_NESTED == bridgeQuerier6Port && u32(v) != 0 {
			return true
		}
	}
	return false
}

// Attributes of RTM_GETMDB (include/uapi/linux/if_bridge.h).
const (
	mdbaMDB          = 1 // MDBA_MDB
	mdbaMDBEntry     = 1 // MDBA_MDB_ENTRY
	mdbaMDBEntryInfo = 1 // MDBA_MDB_ENTRY_INFO: struct br_mdb_entry
)

// readGroups reads the multicast groups behind ports, of bridges that keep multicast from ports that did not ask for it: those
// that snoop while somebody asks. Others need no look.
func (p *Provider) readGroups(ctx context.Context, links map[int]*schema.Link) error {
	asked := false
	for _, l := range links {
		asked = asked || snoops(l)
	}
	if !asked {
		return nil
	}
	type group struct {
		bridge, port int
		addr         netip.Addr
	}
	req := make([]byte, 8) // struct br_port_msg
	req[0] = unix.AF_BRIDGE
	found, err := dump(ctx, p.conn, unix.RTM_GETMDB, req, func(b []byte) ([]group, bool) {
		if len(b) < 8 {
			return nil, false
		}
		bridge := int(u32(b[4:]))
		var out []group
		for t, mdb := range attrs(b[8:]) {
			if t&^unix.NLA_F_NESTED != mdbaMDB {
				continue
			}
			for _, entry := range attrs(mdb) {
				for t, info := range attrs(entry) {
					if port, addr, ok := decodeGroup(info); t == mdbaMDBEntryInfo && ok {
						out = append(out, group{bridge, port, addr})
					}
				}
			}
		}
		return out, true
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil // a kernel without snooping
	}
	if err != nil {
		return err
	}
	for _, l := range links {
		if snoops(l) {
			l.Facts.BridgeFacts.Groups = []string{}
		}
	}
	for _, groups := range found {
		for _, g := range groups {
			b, port := links[g.bridge], links[g.port]
			if b != nil && port != nil && snoops(b) {
				b.Facts.BridgeFacts.Groups = append(b.Facts.BridgeFacts.Groups, port.Name+" "+g.addr.String())
			}
		}
	}
	for _, l := range links {
		if snoops(l) {
			slices.Sort(l.Facts.BridgeFacts.Groups)
		}
	}
	return nil
}

func snoops(l *schema.Link) bool {
	return l.Bridge != nil && l.Bridge.McastSnoop != nil && *l.Bridge.McastSnoop && l.Facts.BridgeFacts != nil &&
		(l.Facts.BridgeFacts.Querier || l.Facts.BridgeFacts.OtherQuerier6)
}

// decodeGroup reads struct br_mdb_entry: the port's index, state, flags, VLAN, the address and its EtherType.
func decodeGroup(b []byte) (port int, addr netip.Addr, ok bool) {
	const at, proto = 8, 24 // offsets of addr.u and addr.proto
	if len(b) < proto+2 {
		return 0, netip.Addr{}, false
	}
	switch be16(b[proto:]) {
	case unix.ETH_P_IP:
		addr, _ = netip.AddrFromSlice(b[at : at+4])
	case unix.ETH_P_IPV6:
		addr, _ = netip.AddrFromSlice(b[at : at+16])
	}
	return int(u32(b)), addr, addr.IsValid()
}
