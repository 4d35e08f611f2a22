package sim

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

func (h *host) createRoute(want *schema.Route) error {
	r := schema.Clone(want).(*schema.Route)
	if r.Type == "unicast" {
		r.Type = ""
	}
	if err := h.checkRoute(r); err != nil {
		return err
	}
	fillRoute(r)
	if len(r.NextHops) == 0 {
		r.Facts.LinkDown = r.Link != "" && r.Type != "local" && !carrier(h.Link(r.Link))
	}
	if twin := h.twin6(r); twin != nil {
		return h.joinLegs(twin, r)
	}
	h.put(r)
	return nil
}

// fillRoute fills open fields as the provider and the kernel do.
func fillRoute(r *schema.Route) {
	r.Dst = r.Dst.Masked()
	scope := uint8(unix.RT_SCOPE_UNIVERSE)
	switch {
	case r.Dst.Addr().Is6():
		r.Scope = nil
	case r.Type == "local" || r.Type == "nat":
		scope = unix.RT_SCOPE_HOST
	case r.Type == "broadcast" || r.Type == "multicast" || r.Type == "anycast":
		scope = unix.RT_SCOPE_LINK
	case r.Type == "" && !r.Gateway.IsValid() && len(r.NextHops) == 0:
		scope = unix.RT_SCOPE_LINK
	}
	r.Scope = or(r.Scope, scope)
	r.Proto = or(r.Proto, 0)
	r.MTU = or(r.MTU, 0)
	r.OnLink = or(r.OnLink, false)
	for i := range r.NextHops {
		r.NextHops[i].Weight = max(r.NextHops[i].Weight, 1)
	}
	r.Facts = &schema.RouteFacts{}
}

// checkRoute follows fib_create_info (net/ipv4/fib_semantics.c) and ip6_route_info_create (net/ipv6/route.c).
func (h *host) checkRoute(r *schema.Route) error {
	six := r.Dst.Addr().Is6()
	switch {
	case !r.Dst.IsValid():
		return fmt.Errorf("the route has no destination: %w", unix.EINVAL)
	case six && r.Metric == 0:
		return fmt.Errorf("an IPv6 route needs a metric: %w", unix.EINVAL)
	case r.Link == "" && len(r.NextHops) == 0 && (r.Type == "" || r.Gateway.IsValid()):
		return fmt.Errorf("a route without a link: %w", ErrUnmodelled)
	}
	for _, leg := range legs(r) {
		if h.Link(leg.Link) == nil {
			return noLink(leg.Link)
		}
	}
	if r.Source.IsValid() && !h.isLocal(r.Source) {
		return fmt.Errorf("preferred source %s is no address of the host: %w", r.Source, unix.EINVAL)
	}
	for _, leg := range legs(r) {
		if err := h.checkLeg(r, leg, six); err != nil {
			return err
		}
	}
	return nil
}

// legs lists the ways a route leaves; none for a blackhole.
func legs(r *schema.Route) []schema.NextHop {
	if len(r.NextHops) > 0 {
		return r.NextHops
	}
	if r.Link == "" {
		return nil
	}
	return []schema.NextHop{{Link: r.Link, Gateway: r.Gateway, Weight: 1, OnLink: value(r.OnLink)}}
}

func (h *host) checkLeg(r *schema.Route, leg schema.NextHop, six bool) error {
	l := h.Link(leg.Link)
	switch {
	case six && l.Facts != nil && l.Facts.IPv6 == nil:
		return fmt.Errorf("%s does not speak IPv6: %w", l.Name, unix.ENODEV)
	case six && !speaks6(l):
		return fmt.Errorf("IPv6 is disabled on %s: %w", l.Name, unix.EACCES)
	case !value(l.Up) && (r.Type != "local" || six):
		return fmt.Errorf("%s is not up: %w", l.Name, unix.ENETDOWN)
	case !leg.Gateway.IsValid():
		return nil
	case six && h.isLocal(leg.Gateway): // IPv4 takes it, and means the link
		return fmt.Errorf("gateway %s is an address of this host: %w", leg.Gateway, unix.EINVAL)
	case leg.OnLink || leg.Gateway.Is6() && leg.Gateway.IsLinkLocalUnicast():
		return nil
	}
	if h.onLink(r.Table, leg.Link, leg.Gateway) {
		return nil
	}
	if six {
		return fmt.Errorf("gateway %s is not reachable over %s: %w", leg.Gateway, leg.Link, unix.EHOSTUNREACH)
	}
	return fmt.Errorf("gateway %s is not reachable over %s: %w", leg.Gateway, leg.Link, unix.ENETUNREACH)
}

// onLink tells whether a route without a gateway leads to ip over the link, in the main table or in the one the new route
// is for (fib_check_nh_v4_gw, ip6_route_check_nh).
func (h *host) onLink(table uint32, link string, ip netip.Addr) bool {
	for _, ref := range h.Dependents(schema.LinkRef(link)) {
		r, ok := h.Get(ref).(*schema.Route)
		if ok && (r.Table == schema.TableMain || r.Table == table) && r.Type == "" && !r.Gateway.IsValid() && len(r.NextHops) == 0 && r.Dst.Contains(ip) {
			return true
		}
	}
	return false
}

// isLocal tells whether ip is an address of the host.
func (h *host) isLocal(ip netip.Addr) bool {
	return slices.ContainsFunc(h.WithIP(ip), func(r schema.Ref) bool { return r.Kind == schema.KindAddress })
}

func (h *host) deleteRoute(before *schema.Route) error {
	if h.Get(before.Ref()) != nil {
		h.del(before.Ref())
		return nil
	}
	leg, whole := h.leg(before)
	if leg == nil {
		return fs.ErrNotExist
	}
	h.dropHops(whole, func(n schema.NextHop) bool { return n.Link == before.Link && n.Gateway == before.Gateway })
	return nil
}

func (h *host) updateRoute(after *schema.Route) error {
	live, ok := h.Get(after.Ref()).(*schema.Route)
	if !ok {
		return fmt.Errorf("a leg of a route with several: %w", ErrUnmodelled)
	}
	merged := schema.Merge(live, after).(*schema.Route)
	merged.Source = after.Source // After is the whole object: no source means none
	if merged.Source.IsValid() && merged.Source != live.Source && !h.isLocal(merged.Source) {
		return fmt.Errorf("preferred source %s is no address of the host: %w", merged.Source, unix.EINVAL)
	}
	merged.Facts = live.Facts
	h.put(merged)
	return nil
}

// twin6 finds the IPv6 route that a new one by another router becomes a leg of: same table, destination and metric, and
// both with a gateway (rt6_qualify_for_ecmp).
func (h *host) twin6(r *schema.Route) *schema.Route {
	if !r.Dst.Addr().Is6() || !r.Gateway.IsValid() {
		return nil
	}
	for _, ref := range h.Refs(schema.KindRoute) {
		if t := h.Get(ref).(*schema.Route); t.Table == r.Table && t.Dst == r.Dst && t.Metric == r.Metric &&
			t.Type == "" && (t.Gateway.IsValid() || len(t.NextHops) > 0) && value(t.Facts).Expires == 0 {
			return t
		}
	}
	return nil
}

// joinLegs makes one multipath route of two.
func (h *host) joinLegs(twin, r *schema.Route) error {
	all := append(slices.Clone(legs(twin)), legs(r)...)
	whole := schema.Clone(twin).(*schema.Route)
	whole.Link, whole.Gateway, whole.OnLink, whole.NextHops = "", netip.Addr{}, new(false), all
	h.del(twin.Ref())
	h.put(whole)
	return nil
}

// leg finds the leg of an IPv6 multipath route that r names, as a route of its own, and the whole.
func (h *host) leg(r *schema.Route) (leg, whole *schema.Route) {
	if !r.Dst.Addr().Is6() || !r.Gateway.IsValid() || r.Link == "" {
		return nil, nil
	}
	for _, ref := range h.Dependents(schema.LinkRef(r.Link)) {
		w, ok := h.Get(ref).(*schema.Route)
		if !ok || w.Table != r.Table || w.Dst != r.Dst.Masked() || w.Metric != r.Metric {
			continue
		}
		for _, n := range w.NextHops {
			if n.Link == r.Link && n.Gateway == r.Gateway {
				leg := schema.Clone(w).(*schema.Route)
				leg.NextHops, leg.Link, leg.Gateway, leg.OnLink = nil, n.Link, n.Gateway, new(n.OnLink)
				return leg, w
			}
		}
	}
	return nil, nil
}

// dropHops takes legs out of a multipath route; one that is left alone becomes an ordinary route.
func (h *host) dropHops(whole *schema.Route, which func(schema.NextHop) bool) {
	c := schema.Clone(whole).(*schema.Route)
	c.NextHops = slices.DeleteFunc(c.NextHops, which)
	h.del(whole.Ref())
	switch len(c.NextHops) {
	case 0:
		return
	case 1:
		n := c.NextHops[0]
		c.Link, c.Gateway, c.OnLink, c.NextHops = n.Link, n.Gateway, new(n.OnLink), nil
	}
	h.put(c)
}

// dropLeg takes a route that leaves by a link which goes down, or away. A multipath route stays while one of its legs
// lives (fib_sync_down_dev, fib6_ifdown); when the link goes away IPv4 gives the whole route up, IPv6 the leg.
func (h *host) dropLeg(ref schema.Ref, link string, gone bool) {
	r := h.Get(ref).(*schema.Route)
	alive := slices.ContainsFunc(r.NextHops, func(n schema.NextHop) bool {
		l := h.Link(n.Link)
		return n.Link != link && l != nil && value(l.Up)
	})
	switch {
	case !alive, gone && r.Dst.Addr().Is4():
		h.del(ref)
	case gone:
		h.dropHops(r, func(n schema.NextHop) bool { return n.Link == link })
	}
}

func (h *host) createPolicyRule(r *schema.PolicyRule) error {
	c := schema.Clone(r).(*schema.PolicyRule)
	c.Proto = or(c.Proto, 0)
	c.Place = schema.PlaceLast
	h.put(c)
	return nil
}

func (h *host) deletePolicyRule(r *schema.PolicyRule) error {
	h.del(r.Ref())
	return nil
}

func (h *host) createNeighbour(n *schema.Neighbour) error {
	l := h.Link(n.Link)
	switch {
	case l == nil:
		return noLink(n.Link)
	case n.IP.Is6() && !speaks6(l):
		return fmt.Errorf("IPv6 is disabled on %s: %w", n.Link, unix.EINVAL)
	}
	return h.putNeighbour(schema.Clone(n).(*schema.Neighbour))
}

func (h *host) updateNeighbour(n *schema.Neighbour) error {
	return h.putNeighbour(schema.Merge(h.Get(n.Ref()), n).(*schema.Neighbour))
}

func (h *host) putNeighbour(n *schema.Neighbour) error {
	if n.Proxy {
		n.MAC, n.Permanent = or(n.MAC, ""), or(n.Permanent, false)
		h.put(n)
		return nil
	}
	if err := checkStation(value(n.MAC)); err != nil {
		return err
	}
	n.Permanent, n.State = or(n.Permanent, true), "permanent"
	if !*n.Permanent {
		n.State = "stale"
	}
	h.put(n)
	return nil
}

// checkStation refuses what is no hardware address at all; a neighbour's may be anything else.
func checkStation(text string) error {
	if len(text) != len("00:00:00:00:00:00") {
		return fmt.Errorf("%q is no hardware address: %w", text, unix.EINVAL)
	}
	return nil
}

func (h *host) deleteNeighbour(n *schema.Neighbour) error {
	h.del(n.Ref())
	return nil
}

func (h *host) putFDB(f *schema.FDBEntry) error {
	l := h.Link(f.Link)
	switch {
	case l == nil:
		return noLink(f.Link)
	case f.Master != "" && value(l.Master) != f.Master && l.Type != "bridge":
		return fmt.Errorf("%s is no port of %s: %w", f.Link, f.Master, unix.EINVAL)
	}
	h.put(schema.Clone(f))
	return nil
}

func (h *host) deleteFDB(f *schema.FDBEntry) error {
	h.del(f.Ref())
	return nil
}
