package rtnl

import (
	"context"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// ntfSticky is NTF_STICKY of include/uapi/linux/neighbour.h (Linux 4.20), which x/sys lacks.
const ntfSticky = 0x40

func (p *Provider) readFDB(ctx context.Context, n *names) ([]schema.Object, error) {
	found, err := p.dumpFDB(ctx, 0, n)
	if err != nil {
		return nil, err
	}
	var all []schema.Object
	for _, e := range found {
		all = append(all, e)
	}
	return all, nil
}

// dumpFDB reads the entries of all links (0) or of one port.
func (p *Provider) dumpFDB(ctx context.Context, index int, n *names) ([]*schema.FDBEntry, error) {
	return dump(ctx, p.conn, unix.RTM_GETNEIGH, neighbourHeader(unix.AF_BRIDGE, index, 0, 0).b,
		func(b []byte) (*schema.FDBEntry, bool) { return decodeFDB(b, n) })
}

// decodeFDB reads RTM_NEWNEIGH of AF_BRIDGE (net/bridge/br_fdb.c, fdb_fill_info; net/core/rtnetlink.c,
// nlmsg_populate_fdb_fill for entries of a device itself).
func decodeFDB(b []byte, n *names) (*schema.FDBEntry, bool) {
	if len(b) < unix.SizeofNdMsg || b[0] != unix.AF_BRIDGE {
		return nil, false
	}
	e := &schema.FDBEntry{State: fdbState(u16(b[8:])), Sticky: b[10]&ntfSticky != 0}
	for t, v := range attrs(b[unix.SizeofNdMsg:]) {
		switch t {
		case unix.NDA_LLADDR:
			e.MAC = hardwareAddr(v)
		case unix.NDA_VLAN:
			e.VLAN = u16(v)
		case unix.NDA_MASTER:
			e.Master = n.name(int(u32(v)))
		case unix.NDA_DST:
			if a, ok := netip.AddrFromSlice(v); ok {
				e.Dst = a.String()
			}
		}
	}
	e.Link = n.name(int(u32(b[4:])))
	return e, e.Link != "" && e.MAC != ""
}

func fdbState(n uint16) string {
	switch {
	case n&unix.NUD_PERMANENT != 0:
		return "permanent"
	case n&unix.NUD_NOARP != 0:
		return "static"
	}
	return ""
}

// encodeFDB writes an entry of a bridge (NTF_MASTER) or of the device itself (NTF_SELF).
func encodeFDB(e *schema.FDBEntry, index int) (*message, error) {
	mac, err := net.ParseMAC(e.MAC)
	if err != nil {
		return nil, err
	}
	state := uint16(unix.NUD_REACHABLE)
	switch e.State {
	case "permanent":
		state = unix.NUD_PERMANENT
	case "static":
		state = unix.NUD_NOARP
	}
	flags := uint8(unix.NTF_MASTER)
	if e.Master == "" {
		flags = unix.NTF_SELF
	}
	if e.Sticky {
		flags |= ntfSticky
	}
	m := neighbourHeader(unix.AF_BRIDGE, index, state, flags)
	m.attr(unix.NDA_LLADDR, mac)
	if e.VLAN != 0 {
		m.u16(unix.NDA_VLAN, e.VLAN)
	}
	if e.Dst != "" {
		dst, err := netip.ParseAddr(e.Dst)
		if err != nil {
			return nil, err
		}
		m.attr(unix.NDA_DST, dst.AsSlice())
	}
	return m, nil
}

func (p *Provider) changeFDB(ctx context.Context, before, after *schema.FDBEntry) error {
	either := one(before, after)
	l, err := p.linkNamed(ctx, either.Link)
	if err != nil {
		return err
	}
	near := []*schema.Link{l}
	if *l.Master != "" {
		master, err := p.linkNamed(ctx, *l.Master)
		if err != nil {
			return err
		}
		near = append(near, master)
	}
	all, err := p.dumpFDB(ctx, l.Facts.Index, few(near...))
	if err != nil {
		return err
	}
	live := find(all, either.Ref())
	if before == nil && live != nil && live.State == "" {
		live = nil // what was learned gives way
	}
	if err := expect(object(live), object(before)); err != nil {
		return err
	}
	if after == nil {
		m, err := encodeFDB(live, l.Facts.Index)
		if err != nil {
			return err
		}
		return p.conn.do(ctx, unix.RTM_DELNEIGH, 0, m.b)
	}
	m, err := encodeFDB(after, l.Facts.Index)
	if err != nil {
		return err
	}
	return p.conn.do(ctx, unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, m.b)
}
