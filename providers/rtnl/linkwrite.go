package rtnl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// linkHeader is struct ifinfomsg: flags to set and which of them to touch.
func linkHeader(index int, flags, mask uint32) *message {
	b := make([]byte, 4, 256)
	b = native.AppendUint32(b, uint32(index))
	b = native.AppendUint32(b, flags)
	return &message{native.AppendUint32(b, mask)}
}

// link reads one link by name; nil when there is none.
func (p *Provider) link(ctx context.Context, name string) (*schema.Link, error) {
	m := linkHeader(0, 0, 0)
	m.str(unix.IFLA_IFNAME, name)
	l, master, err := p.getLink(ctx, m)
	if l == nil || err != nil {
		return nil, err
	}
	if master != 0 {
		m, _, err := p.getLink(ctx, linkHeader(master, 0, 0))
		if err != nil {
			return nil, err
		}
		if m != nil {
			l.Master = &m.Name
		}
	}
	p.sys.pinned(l)
	return l, nil
}

func (p *Provider) getLink(ctx context.Context, m *message) (l *schema.Link, master int, err error) {
	var raw rawLink
	var ok bool
	err = p.conn.get(ctx, unix.RTM_GETLINK, m.b, func(b []byte) { raw, ok = decodeLink(b) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	case !ok:
		return nil, 0, errors.New("malformed answer")
	}
	return raw.Link, raw.master, nil
}

// linkNamed reads a link that an object needs.
func (p *Provider) linkNamed(ctx context.Context, name string) (*schema.Link, error) {
	l, err := p.link(ctx, name)
	if err == nil && l == nil {
		err = fmt.Errorf("there is no link %s: %w", name, fs.ErrNotExist)
	}
	return l, err
}

func (p *Provider) changeLink(ctx context.Context, before, after *schema.Link) error {
	live, err := p.link(ctx, one(before, after).Name)
	if err != nil {
		return err
	}
	if err := expect(object(live), linkBasis(live, before, after)); err != nil {
		return err
	}
	switch {
	case before == nil:
		return p.createLink(ctx, after)
	case after == nil:
		return p.conn.do(ctx, unix.RTM_DELLINK, 0, linkHeader(live.Facts.Index, 0, 0).b)
	}
	return p.updateLink(ctx, live, rebase(live, before, after))
}

// linkBasis is the part of before that has to hold: not whether the address is pinned, which nobody can take back; and
// not what follows others by itself and is not to change now (followers).
func linkBasis(live, before, after *schema.Link) schema.Object {
	if before == nil {
		return nil
	}
	b := schema.Clone(before).(*schema.Link)
	b.MACPinned = nil
	state, mac := followers(live, before, after)
	if state && b.Port != nil {
		b.Port.State = nil
	}
	if mac {
		b.MAC = nil
	}
	if b.Type == "bridge" && after == nil { // its MTU follows its ports, which leave before it goes
		b.MTU = nil
	}
	return b
}

// followers tells which of two properties are none of the change's business: the state of a port, which follows carrier
// and spanning tree, and the address of a bridge that is not pinned, which follows its ports.
func followers(live, before, after *schema.Link) (state, mac bool) {
	state = after == nil || after.Port == nil || before.Port == nil || !differs(before.Port.State, after.Port.State)
	mac = live != nil && live.Type == "bridge" && !value(live.MACPinned) && (after == nil || !differs(before.MAC, after.MAC))
	return state, mac
}

// rebase is after with the followers as they are now.
func rebase(live, before, after *schema.Link) *schema.Link {
	a := schema.Clone(after).(*schema.Link)
	state, mac := followers(live, before, after)
	if state && a.Port != nil {
		a.Port.State = nil
	}
	if mac {
		a.MAC = nil
	}
	return a
}

func same[T comparable](a, b *T) bool { return a != nil && b != nil && *a == *b }

// differs tells whether want asks for something that have is not.
func differs[T comparable](have, want *T) bool { return want != nil && !same(have, want) }

// createLink makes the link and then all that its creating message could not hold; a link that could not be finished
// is deleted again.
func (p *Provider) createLink(ctx context.Context, l *schema.Link) error {
	if err := p.makeLink(ctx, l); err != nil {
		return err
	}
	err := p.finishLink(ctx, l)
	if err == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	if live, e := p.link(ctx, l.Name); e != nil || live == nil {
		return errors.Join(err, e)
	} else if e := p.conn.do(ctx, unix.RTM_DELLINK, 0, linkHeader(live.Facts.Index, 0, 0).b); e != nil {
		return errors.Join(err, fmt.Errorf("delete the unfinished link: %w", e))
	}
	return err
}

func (p *Provider) finishLink(ctx context.Context, l *schema.Link) error {
	live, err := p.linkNamed(ctx, l.Name)
	if err != nil {
		return err
	}
	return p.updateLink(ctx, live, l)
}

func (p *Provider) makeLink(ctx context.Context, l *schema.Link) error {
	if l.Type == "tap" || l.Type == "tun" {
		return makeTun(l.Name, l.Type)
	}
	m := linkHeader(0, 0, 0)
	m.str(unix.IFLA_IFNAME, l.Name)
	if l.MTU != nil {
		m.u32(unix.IFLA_MTU, firstMTU(l))
	}
	if l.MAC != nil && *l.MAC != "" {
		mac, err := net.ParseMAC(*l.MAC)
		if err != nil {
			return err
		}
		m.attr(unix.IFLA_ADDRESS, mac)
	}
	if err := p.linkInfo(ctx, m, l); err != nil {
		return err
	}
	return p.conn.do(ctx, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, m.b)
}

// firstMTU is what a link is made with. A bridge takes over the smallest MTU of its ports unless its own was changed by
// somebody (net/bridge/br_if.c, br_mtu_auto_adjust); being made with one does not count. So a bridge is made with
// another, and gets the right one by a change.
func firstMTU(l *schema.Link) uint32 {
	if l.Type == "bridge" && *l.MTU > minMTU {
		return *l.MTU - 1
	}
	return *l.MTU
}

// minMTU is the least MTU of Ethernet links (ETH_MIN_MTU, include/uapi/linux/if_ether.h).
const minMTU = 68

// macvlanModeBridge is MACVLAN_MODE_BRIDGE, and vethInfoPeer VETH_INFO_PEER (include/uapi/linux/if_link.h and veth.h).
const (
	macvlanModeBridge = 4
	vethInfoPeer      = 1
)

// linkInfo writes the kind and its options.
func (p *Provider) linkInfo(ctx context.Context, m *message, l *schema.Link) error {
	var data func()
	switch l.Type {
	case "bridge":
		data = func() { encodeBridge(m, l.Bridge) }
	case "dummy":
	case "veth":
		// One queue each: creating a veth with a queue for every CPU costs twice as much.
		m.u32(unix.IFLA_NUM_TX_QUEUES, 1)
		m.u32(unix.IFLA_NUM_RX_QUEUES, 1)
		data = func() { m.nest(vethInfoPeer, func() { encodePeer(m, l.Pair) }) }
	case "macvlan":
		lower, err := p.linkNamed(ctx, l.Pair)
		if err != nil {
			return err
		}
		m.u32(unix.IFLA_LINK, uint32(lower.Facts.Index))
		data = func() { m.u32(unix.IFLA_MACVLAN_MODE, macvlanModeBridge) }
	default:
		return unsupported("vmnet does not make links of type %q", l.Type)
	}
	m.nest(unix.IFLA_LINKINFO, func() {
		m.str(unix.IFLA_INFO_KIND, l.Type)
		if data != nil {
			m.nest(unix.IFLA_INFO_DATA, data)
		}
	})
	return nil
}

func encodePeer(m *message, name string) {
	m.b = append(m.b, make([]byte, unix.SizeofIfInfomsg)...)
	if name != "" {
		m.str(unix.IFLA_IFNAME, name)
	}
	m.u32(unix.IFLA_NUM_TX_QUEUES, 1)
	m.u32(unix.IFLA_NUM_RX_QUEUES, 1)
}

// encodeBridge writes forward delay and STP. The kernel takes the forward delay first, whatever the order here: right for a
// new bridge. The switches follow by an update, which asks only for what is not so already: a kernel built without VLAN
// filtering refuses to be told that it is off.
func encodeBridge(m *message, b *schema.Bridge) {
	if b == nil {
		return
	}
	if b.ForwardDelay != nil {
		m.u32(unix.IFLA_BR_FORWARD_DELAY, *b.ForwardDelay)
	}
	if b.STP != nil {
		m.u32(unix.IFLA_BR_STP_STATE, uint32(bit(*b.STP)))
	}
}
