package rtnl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// neighbourHeader is struct ndmsg (rtnetlink(7)).
func neighbourHeader(family uint8, index int, state uint16, flags uint8) *message {
	b := native.AppendUint32([]byte{family, 0, 0, 0}, uint32(index))
	return &message{append(native.AppendUint16(b, state), flags, 0)}
}

// readNeighbours reads the proxy entries first: an ordinary entry of the same address is what decides.
func (p *Provider) readNeighbours(ctx context.Context, n *names) ([]schema.Object, error) {
	var all []schema.Object
	for _, flags := range []uint8{unix.NTF_PROXY, 0} {
		found, err := dump(ctx, p.conn, unix.RTM_GETNEIGH, neighbourHeader(unix.AF_UNSPEC, 0, 0, flags).b,
			func(b []byte) (*schema.Neighbour, bool) { return decodeNeighbour(b, n) })
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			all = append(all, e)
		}
	}
	return all, nil
}

// decodeNeighbour reads RTM_NEWNEIGH: struct ndmsg and NDA_* (rtnetlink(7)).
func decodeNeighbour(b []byte, n *names) (*schema.Neighbour, bool) {
	if len(b) < unix.SizeofNdMsg || (b[0] != unix.AF_INET && b[0] != unix.AF_INET6) {
		return nil, false
	}
	state := u16(b[8:])
	e := &schema.Neighbour{
		MAC:       new(""),
		Permanent: new(state&unix.NUD_PERMANENT != 0),
		State:     neighbourState(state),
		Proxy:     b[10]&unix.NTF_PROXY != 0,
	}
	for t, v := range attrs(b[unix.SizeofNdMsg:]) {
		switch t {
		case unix.NDA_DST:
			e.IP, _ = netip.AddrFromSlice(v)
		case unix.NDA_LLADDR:
			*e.MAC = hardwareAddr(v)
		}
	}
	if !e.IP.IsValid() {
		return nil, false
	}
	if u32(b[4:]) == 0 {
		return nil, false // a proxy entry for all links, which ip-neighbour(8) cannot make
	}
	e.Link = n.name(int(u32(b[4:])))
	return e, e.Link != ""
}

// neighbourState names NUD_* (include/uapi/linux/neighbour.h) as ip-neighbour(8) does.
func neighbourState(n uint16) string {
	switch {
	case n&unix.NUD_PERMANENT != 0:
		return "permanent"
	case n&unix.NUD_NOARP != 0:
		return "noarp"
	case n&unix.NUD_REACHABLE != 0:
		return "reachable"
	case n&unix.NUD_STALE != 0:
		return "stale"
	case n&unix.NUD_DELAY != 0:
		return "delay"
	case n&unix.NUD_PROBE != 0:
		return "probe"
	case n&unix.NUD_FAILED != 0:
		return "failed"
	case n&unix.NUD_INCOMPLETE != 0:
		return "incomplete"
	}
	return "none"
}

// encodeNeighbour writes an entry. Only permanent and proxy entries can be made: others are learned.
func encodeNeighbour(e *schema.Neighbour, index int) (*message, error) {
	if e.Proxy {
		m := neighbourHeader(family(e.IP), index, 0, unix.NTF_PROXY)
		m.attr(unix.NDA_DST, e.IP.AsSlice())
		return m, nil
	}
	mac, err := net.ParseMAC(value(e.MAC))
	if err != nil {
		return nil, err
	}
	state := uint16(unix.NUD_PERMANENT)
	if e.Permanent != nil && !*e.Permanent {
		state = unix.NUD_STALE // as ip-neighbour(8) for an entry that may age
	}
	m := neighbourHeader(family(e.IP), index, state, 0)
	m.attr(unix.NDA_DST, e.IP.AsSlice())
	m.attr(unix.NDA_LLADDR, mac)
	return m, nil
}

// neighbour reads one entry back; nil when there is none.
func (p *Provider) neighbour(ctx context.Context, want *schema.Neighbour, l *schema.Link) (*schema.Neighbour, error) {
	flags := uint8(0)
	if want.Proxy {
		flags = unix.NTF_PROXY
	}
	m := neighbourHeader(family(want.IP), l.Facts.Index, 0, flags)
	m.attr(unix.NDA_DST, want.IP.AsSlice())
	var found *schema.Neighbour
	err := p.conn.get(ctx, unix.RTM_GETNEIGH, m.b, func(b []byte) { found, _ = decodeNeighbour(b, few(l)) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return found, err
}

func (p *Provider) changeNeighbour(ctx context.Context, before, after *schema.Neighbour) error {
	either := one(before, after)
	l, err := p.linkNamed(ctx, either.Link)
	if err != nil {
		return err
	}
	live, err := p.neighbour(ctx, either, l)
	if err != nil {
		return err
	}
	if before == nil && live != nil && !*live.Permanent && !live.Proxy {
		live = nil // what was learned gives way
	}
	if err := expect(object(live), object(before)); err != nil {
		return err
	}
	if after == nil {
		flags := uint8(0)
		if live.Proxy {
			flags = unix.NTF_PROXY
		}
		m := neighbourHeader(family(live.IP), l.Facts.Index, 0, flags)
		m.attr(unix.NDA_DST, live.IP.AsSlice())
		return p.conn.do(ctx, unix.RTM_DELNEIGH, 0, m.b)
	}
	m, err := encodeNeighbour(after, l.Facts.Index)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return p.conn.do(ctx, unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, m.b)
}
