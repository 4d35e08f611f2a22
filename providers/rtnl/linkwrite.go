package rtnl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"

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
	name := ""
	if before != nil {
		name = before.Name
	} else {
		name = after.Name
	}
	live, err := p.link(ctx, name)
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

// linkStep is one request of an update, and the request that takes it back; nil for none.
type linkStep struct {
	what     string
	do, undo *message
	// port says that the requests are about the bridge's side of a port.
	port bool
}

func (p *Provider) request(ctx context.Context, s linkStep, m *message) error {
	if s.port {
		return p.conn.do(ctx, unix.RTM_SETLINK, 0, m.b)
	}
	return p.conn.do(ctx, unix.RTM_NEWLINK, 0, m.b)
}

// updateLink changes only what differs. When a request fails, those before it are taken back.
func (p *Provider) updateLink(ctx context.Context, live, after *schema.Link) error {
	if after.Type != "" && after.Type != live.Type {
		return unsupported("a link of type %s cannot become a %s", live.Type, after.Type)
	}
	after = schema.Clone(after).(*schema.Link)
	fill(&after.Master, live.Master)
	if *after.Master == "" {
		after.Port = nil // whatever a whole object still says of the port it was
	}
	steps, err := p.linkSteps(ctx, live, after)
	if err != nil {
		return err
	}
	for i, s := range steps {
		if s.do == nil {
			continue
		}
		if err := p.request(ctx, s, s.do); err != nil {
			return errors.Join(fmt.Errorf("set %s: %w", s.what, err), p.undoSteps(ctx, steps[:i]))
		}
	}
	if err := p.verifyLink(ctx, live, after); err != nil {
		return errors.Join(err, p.undoSteps(ctx, steps))
	}
	return nil
}

func (p *Provider) undoSteps(ctx context.Context, steps []linkStep) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for _, s := range slices.Backward(steps) {
		if s.undo == nil {
			continue
		}
		if err := p.request(ctx, s, s.undo); err != nil {
			errs = append(errs, fmt.Errorf("put %s back: %w", s.what, err))
		}
	}
	return errors.Join(errs...)
}

// verifyLink reads back what was changed: a kernel built without an option takes it silently and does nothing.
func (p *Provider) verifyLink(ctx context.Context, live, after *schema.Link) error {
	now, err := p.linkNamed(ctx, after.Name)
	if err != nil {
		return err
	}
	var asked []string
	for _, d := range schema.Compare(live, after) {
		asked = append(asked, d.Field)
	}
	var left []schema.Difference
	for _, d := range schema.Compare(now, after) {
		if d.Field != "port.state" && d.Field != "mac_pinned" && slices.Contains(asked, d.Field) {
			left = append(left, d)
		}
	}
	return differing("the kernel did not take the change", left)
}

// linkSteps orders the requests: down, out of the old master, properties, into the new master with its port's switches,
// up, and a port's state last, which only a running port has.
func (p *Provider) linkSteps(ctx context.Context, live, after *schema.Link) ([]linkStep, error) {
	s := &stepper{live: live, after: after, index: live.Facts.Index}
	s.updown(false)
	leave, join, err := p.masterSteps(ctx, s)
	if err != nil {
		return nil, err
	}
	s.steps = append(s.steps, leave...)
	if differs(live.MTU, after.MTU) {
		s.add("mtu", func(m *message, l *schema.Link) { m.u32(unix.IFLA_MTU, *l.MTU) })
	}
	if err := s.mac(); err != nil {
		return nil, err
	}
	if differs(live.Alias, after.Alias) {
		s.add("alias", func(m *message, l *schema.Link) { m.attr(unix.IFLA_IFALIAS, []byte(*l.Alias)) })
	}
	s.bridge()
	s.steps = append(s.steps, join...)
	s.port()
	s.updown(true)
	return s.steps, s.state()
}

// stepper collects the steps of one update.
type stepper struct {
	live, after *schema.Link
	index       int
	steps       []linkStep
}

// add appends a step that writes a property of after, undone by the same of live.
func (s *stepper) add(what string, write func(*message, *schema.Link)) {
	do, undo := linkHeader(s.index, 0, 0), linkHeader(s.index, 0, 0)
	write(do, s.after)
	write(undo, s.live)
	s.steps = append(s.steps, linkStep{what: what, do: do, undo: undo})
}

func (s *stepper) updown(up bool) {
	if !differs(s.live.Up, s.after.Up) || *s.after.Up != up {
		return
	}
	flags := func(up bool) *message { return linkHeader(s.index, uint32(bit(up))*unix.IFF_UP, unix.IFF_UP) }
	s.steps = append(s.steps, linkStep{what: map[bool]string{true: "up", false: "down"}[up], do: flags(up), undo: flags(!up)})
}

// masterSteps are the requests to leave the old master and to join the new one.
func (p *Provider) masterSteps(ctx context.Context, s *stepper) (leave, join []linkStep, err error) {
	if !differs(s.live.Master, s.after.Master) {
		return nil, nil, nil
	}
	set := func(index int) *message {
		m := linkHeader(s.index, 0, 0)
		m.u32(unix.IFLA_MASTER, uint32(index))
		return m
	}
	if *s.live.Master != "" {
		old, err := p.linkNamed(ctx, *s.live.Master)
		if err != nil {
			return nil, nil, err
		}
		// Its port's switches come back to the kernel's defaults with it: put them back, too.
		leave = append(leave,
			linkStep{what: "port", undo: s.portMessage(s.live.Port), port: true},
			linkStep{what: "nomaster", do: set(0), undo: set(old.Facts.Index)})
	}
	if *s.after.Master != "" {
		to, err := p.linkNamed(ctx, *s.after.Master)
		if err != nil {
			return nil, nil, err
		}
		join = append(join, linkStep{what: "master " + to.Name, do: set(to.Facts.Index), undo: set(0)})
	}
	return leave, join, nil
}

// mac sets the address; setting it, even to what it is, pins that of a bridge.
func (s *stepper) mac() error {
	pin := s.after.MACPinned != nil && *s.after.MACPinned && s.live.MACPinned != nil && !*s.live.MACPinned
	if !differs(s.live.MAC, s.after.MAC) && !pin {
		return nil
	}
	write := func(l *schema.Link) (*message, error) {
		mac := s.live.MAC
		if l.MAC != nil {
			mac = l.MAC
		}
		if *mac == "" {
			return nil, fmt.Errorf("set address: the link has none")
		}
		hw, err := net.ParseMAC(*mac)
		if err != nil {
			return nil, fmt.Errorf("set address: %w", err)
		}
		m := linkHeader(s.index, 0, 0)
		m.attr(unix.IFLA_ADDRESS, hw)
		return m, nil
	}
	do, err := write(s.after)
	if err != nil {
		return err
	}
	undo, err := write(s.live)
	if err != nil {
		return err
	}
	s.steps = append(s.steps, linkStep{what: "address", do: do, undo: undo})
	return nil
}

// bridge changes the options of a bridge. With STP on, the kernel refuses a forward delay below two seconds: so the
// delay comes before STP is switched on, and after it is switched off.
func (s *stepper) bridge() {
	have, want := s.live.Bridge, s.after.Bridge
	if have == nil || want == nil {
		return
	}
	option := func(write func(*message, *schema.Bridge)) func(*message, *schema.Link) {
		return func(m *message, l *schema.Link) {
			m.nest(unix.IFLA_LINKINFO, func() {
				m.str(unix.IFLA_INFO_KIND, "bridge")
				m.nest(unix.IFLA_INFO_DATA, func() { write(m, l.Bridge) })
			})
		}
	}
	stp := func() {
		if differs(have.STP, want.STP) {
			s.add("stp", option(func(m *message, b *schema.Bridge) { m.u32(unix.IFLA_BR_STP_STATE, uint32(bit(*b.STP))) }))
		}
	}
	off := want.STP != nil && !*want.STP
	if off {
		stp()
	}
	if differs(have.ForwardDelay, want.ForwardDelay) {
		s.add("forward delay", option(func(m *message, b *schema.Bridge) { m.u32(unix.IFLA_BR_FORWARD_DELAY, *b.ForwardDelay) }))
	}
	if !off {
		stp()
	}
	wanted := bridgeFlags(want)
	for i, f := range bridgeFlags(have) {
		if differs(*f.field, *wanted[i].field) {
			s.add("bridge option", option(func(m *message, b *schema.Bridge) { m.flag(f.attr, **bridgeFlags(b)[i].field) }))
		}
	}
}

// port sets the switches of a bridge's port in one request: all of them after joining a bridge, else what differs.
func (s *stepper) port() {
	if s.after.Port == nil {
		return
	}
	moved := differs(s.live.Master, s.after.Master)
	var have, want schema.Port
	for i, f := range portFlags(s.after.Port) {
		var old *bool
		if s.live.Port != nil && !moved {
			old = *portFlags(s.live.Port)[i].field
		}
		if *f.field != nil && !same(old, *f.field) {
			*portFlags(&want)[i].field = *f.field
			*portFlags(&have)[i].field = old
		}
	}
	if want == (schema.Port{}) {
		return
	}
	step := linkStep{what: "port", do: s.portMessage(&want), port: true}
	if !moved {
		step.undo = s.portMessage(&have)
	}
	s.steps = append(s.steps, step)
}

// portMessage sets those switches of the port that are not nil.
func (s *stepper) portMessage(port *schema.Port) *message {
	if port == nil {
		return nil
	}
	return s.slave(func(m *message) {
		for _, f := range portFlags(port) {
			if *f.field != nil {
				m.flag(f.attr, **f.field)
			}
		}
	})
}

// slave is what bridge-link(8) sends. The way of ip-link(8) (IFLA_INFO_SLAVE_DATA) makes the kernel look at the carrier
// again afterwards, and so revives a port that is disabled (net/core/rtnetlink.c, DO_SETLINK_NOTIFY).
func (s *stepper) slave(write func(*message)) *message {
	m := linkHeader(s.index, 0, 0)
	m.b[0] = unix.AF_BRIDGE
	m.nest(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, func() { write(m) })
	return m
}

// state sets the state of a port that stays where it is and stays up: otherwise the kernel gives it one by itself.
func (s *stepper) state() error {
	have, want := s.live.Port, s.after.Port
	if have == nil || want == nil || !differs(have.State, want.State) ||
		differs(s.live.Master, s.after.Master) || differs(s.live.Up, s.after.Up) {
		return nil
	}
	names := portStates()
	set := func(name string) *message {
		i := slices.Index(names[:], name)
		if i < 0 {
			return nil
		}
		return s.slave(func(m *message) { m.u8(unix.IFLA_BRPORT_STATE, uint8(i)) })
	}
	step := linkStep{what: "port state", do: set(*want.State), undo: set(*have.State), port: true}
	if step.do == nil {
		return fmt.Errorf("set port state: unknown state %q", *want.State)
	}
	s.steps = append(s.steps, step)
	return nil
}
