package rtnl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

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
			return nil, errors.New("set address: the link has none")
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
