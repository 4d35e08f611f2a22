package rtnl

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// routeEncoder writes routes; index finds the links they leave by.
type routeEncoder struct{ index map[string]int }

// encode writes what decodeRoute reads. A route by a nexthop object names that and nothing else of where it leaves.
func (e routeEncoder) encode(r *schema.Route) (*message, error) {
	types := routeTypes()
	typ := slices.Index(types[:], shortType(r.Type))
	if typ < 0 || !r.Dst.IsValid() {
		return nil, fmt.Errorf("a route of type %q to %v is none", r.Type, r.Dst)
	}
	m := &message{make([]byte, unix.SizeofRtMsg, 256)}
	m.b[0], m.b[1], m.b[3] = family(r.Dst.Addr()), uint8(r.Dst.Bits()), r.TOS
	m.b[4] = unix.RT_TABLE_COMPAT
	if r.Table < unix.RT_TABLE_COMPAT || r.Table > unix.RT_TABLE_COMPAT && r.Table <= unix.RT_TABLE_LOCAL {
		m.b[4] = uint8(r.Table)
	}
	m.b[5], m.b[6], m.b[7] = value(r.Proto), scopeOf(r), uint8(typ)
	m.u32(unix.RTA_TABLE, r.Table)
	if r.Dst.Bits() > 0 {
		m.attr(unix.RTA_DST, r.Dst.Masked().Addr().AsSlice())
	}
	if r.Metric != 0 {
		m.u32(unix.RTA_PRIORITY, r.Metric)
	}
	if r.Source.IsValid() {
		m.attr(unix.RTA_PREFSRC, r.Source.AsSlice())
	}
	byObject := m.other(r)
	if !byObject {
		return m, e.wayOut(m, r)
	}
	return m, nil
}

func shortType(t string) string {
	if t == "unicast" {
		return ""
	}
	return t
}

// scopeOf is the scope asked for, or what ip-route(8) takes where none is. IPv6 has none.
func scopeOf(r *schema.Route) uint8 {
	switch {
	case r.Dst.Addr().Is6():
		return unix.RT_SCOPE_UNIVERSE
	case r.Scope != nil:
		return *r.Scope
	}
	switch r.Type {
	case "local", "nat":
		return unix.RT_SCOPE_HOST
	case "broadcast", "multicast", "anycast":
		return unix.RT_SCOPE_LINK
	case "", "unicast":
		if !r.Gateway.IsValid() && len(r.NextHops) == 0 {
			return unix.RT_SCOPE_LINK
		}
	}
	return unix.RT_SCOPE_UNIVERSE
}

// other writes the metrics and what vmnet keeps without understanding; it tells whether that names a nexthop object.
func (m *message) other(r *schema.Route) (byObject bool) {
	metrics := &message{}
	if value(r.MTU) != 0 {
		metrics.u32(unix.RTAX_MTU, *r.MTU)
	}
	for t, v := range attrs(r.Other) {
		switch t {
		case unix.RTA_METRICS:
			metrics.b = append(metrics.b, v...)
			metrics.pad()
		case unix.RTA_SRC: // as decodeRoute keeps it: the address, then the length of the prefix
			if n := len(v) - 1; n > 0 {
				m.b[2] = v[n]
				m.attr(t, v[:n])
			}
		default:
			byObject = byObject || t == rtaNHID
			m.attr(t, v)
		}
	}
	if len(metrics.b) > 0 {
		m.attr(unix.RTA_METRICS|unix.NLA_F_NESTED, metrics.b)
	}
	return byObject
}

// wayOut writes device and gateway, or the legs of a multipath route.
func (e routeEncoder) wayOut(m *message, r *schema.Route) error {
	if value(r.OnLink) {
		native.PutUint32(m.b[8:], unix.RTNH_F_ONLINK)
	}
	if len(r.NextHops) > 0 {
		var err error
		m.nest(unix.RTA_MULTIPATH, func() { err = e.legs(m, r) })
		return err
	}
	if r.Link != "" {
		i, ok := e.index[r.Link]
		if !ok {
			return fmt.Errorf("there is no link %s", r.Link)
		}
		m.u32(unix.RTA_OIF, uint32(i))
	}
	if r.Gateway.IsValid() {
		m.gateway(r, r.Gateway.AsSlice())
	}
	return nil
}

func (e routeEncoder) legs(m *message, r *schema.Route) error {
	for _, h := range r.NextHops {
		i, ok := e.index[h.Link]
		if !ok {
			return fmt.Errorf("there is no link %s", h.Link)
		}
		start := len(m.b)
		m.b = append(m.b, 0, 0, bit(h.OnLink)*unix.RTNH_F_ONLINK, uint8(max(h.Weight, 1)-1))
		m.b = native.AppendUint32(m.b, uint32(i))
		if h.Gateway.IsValid() {
			m.gateway(r, h.Gateway.AsSlice())
		}
		native.PutUint16(m.b[start:], uint16(len(m.b)-start))
	}
	return nil
}

// gateway writes RTA_GATEWAY, or RTA_VIA for an IPv6 router of an IPv4 route (RFC 5549).
func (m *message) gateway(r *schema.Route, gw []byte) {
	if r.Dst.Addr().Is4() && len(gw) == 16 {
		m.attr(unix.RTA_VIA, append(native.AppendUint16(nil, unix.AF_INET6), gw...))
		return
	}
	m.attr(unix.RTA_GATEWAY, gw)
}

// routeScene is what a change of a route has to know: the links involved and the routes with the same destination.
type routeScene struct {
	encoder routeEncoder
	// twins are the live routes read that share table, destination, TOS and metric with the one to change, in the
	// kernel's order; they include it.
	twins []*schema.Route
	live  *schema.Route
}

// routeScene reads routes: all of the table when the twins matter, else those of the route's link.
func (p *Provider) routeScene(ctx context.Context, r *schema.Route, twins bool) (*routeScene, error) {
	s := &routeScene{encoder: routeEncoder{index: map[string]int{}}}
	var links []*schema.Link
	for _, dev := range r.Devices() {
		l, err := p.linkNamed(ctx, dev)
		if err != nil {
			return nil, err
		}
		links = append(links, l)
		s.encoder.index[l.Name] = l.Facts.Index
	}
	f := routeFilter{family: family(r.Dst.Addr()), table: r.Table}
	if r.Link != "" && !twins {
		f.index = s.encoder.index[r.Link]
	}
	all, err := p.dumpRoutes(ctx, f, few(links...))
	if err != nil {
		return nil, err
	}
	for _, o := range all {
		if o.Dst == r.Dst.Masked() && o.TOS == r.TOS && o.Metric == r.Metric {
			s.twins = append(s.twins, o)
		}
	}
	s.live = findRoute(s.twins, r)
	return s, nil
}

// findRoute finds the route, or the leg of an IPv6 route with several: two IPv6 routes by different routers to one
// destination at one metric are one multipath route to the kernel, and a leg is added and deleted by itself.
func findRoute(routes []*schema.Route, want *schema.Route) *schema.Route {
	if r := find(routes, want.Ref()); r != nil || !want.Dst.Addr().Is6() || !want.Gateway.IsValid() {
		return r
	}
	for _, r := range routes {
		for _, h := range r.NextHops {
			if h.Link == want.Link && h.Gateway == want.Gateway {
				leg := schema.Clone(r).(*schema.Route)
				leg.NextHops, leg.Link, leg.Gateway, leg.OnLink = nil, h.Link, h.Gateway, new(h.OnLink)
				return leg
			}
		}
	}
	return nil
}

func (p *Provider) changeRoute(ctx context.Context, before, after *schema.Route) error {
	either := one(before, after)
	if !either.Dst.IsValid() {
		return errors.New("the route has no destination")
	}
	s, err := p.routeScene(ctx, either, before != nil && after != nil)
	if err != nil {
		return err
	}
	if before != nil {
		before = schema.Clone(before).(*schema.Route)
		before.Type = shortType(before.Type)
	}
	if err := expect(object(s.live), object(before)); err != nil {
		return err
	}
	if before != nil && (s.live.Source != before.Source || !slices.Equal(s.live.Other, before.Other)) {
		return fmt.Errorf("it changed meanwhile: src is %v, other 0x%x", s.live.Source, []byte(s.live.Other))
	}
	switch {
	case before == nil:
		return p.addRoute(ctx, s, after, 0)
	case after == nil:
		return p.deleteRoute(ctx, s, s.live)
	}
	return p.updateRoute(ctx, s, after)
}

// addRoute adds in front of routes with the same destination and metric: neither exclusive, nor replacing, nor appended
// (net/ipv4/fib_trie.c, fib_table_insert). So a route is made before the one it follows is broken.
func (p *Provider) addRoute(ctx context.Context, s *routeScene, r *schema.Route, flags uint16) error {
	if r.Dst.Addr().Is6() && r.Metric == 0 {
		return errors.New("an IPv6 route needs a metric: the kernel takes 1024 for none")
	}
	m, err := s.encoder.encode(r)
	if err != nil {
		return err
	}
	return p.conn.do(ctx, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|flags, m.b)
}

// deleteRoute names everything the route has, so that none of its twins goes instead.
func (p *Provider) deleteRoute(ctx context.Context, s *routeScene, r *schema.Route) error {
	m, err := s.encoder.encode(r)
	if err != nil {
		return err
	}
	return p.conn.do(ctx, unix.RTM_DELROUTE, 0, m.b)
}

// updateRoute changes what is not identity: source, protocol, scope, MTU. A route without twins is replaced, which is
// atomic. NLM_F_REPLACE replaces the first twin, though, so with twins the new route is put behind the old one, which
// then is the one a deletion finds. IPv6 has no two routes that differ in nothing but that: there it is deleted first.
func (p *Provider) updateRoute(ctx context.Context, s *routeScene, after *schema.Route) error {
	whole := wholeRoute(s.live, after)
	if len(s.twins) == 1 && len(s.live.NextHops) == len(s.twins[0].NextHops) {
		return p.addRoute(ctx, s, whole, unix.NLM_F_REPLACE)
	}
	if whole.Dst.Addr().Is4() {
		if err := p.addRoute(ctx, s, whole, unix.NLM_F_APPEND); err != nil {
			return err
		}
		return p.deleteRoute(ctx, s, s.live)
	}
	if err := p.deleteRoute(ctx, s, s.live); err != nil {
		return err
	}
	err := p.addRoute(ctx, s, whole, 0)
	if err == nil {
		return nil
	}
	return errors.Join(err, p.addRoute(context.WithoutCancel(ctx), s, s.live, 0))
}

// wholeRoute is after with what it leaves open (nil) as it is live.
func wholeRoute(live, after *schema.Route) *schema.Route {
	r := schema.Clone(after).(*schema.Route)
	fill(&r.Proto, live.Proto)
	fill(&r.Scope, live.Scope)
	fill(&r.MTU, live.MTU)
	fill(&r.OnLink, live.OnLink)
	return r
}

func fill[T any](p **T, from *T) {
	if *p == nil {
		*p = from
	}
}
