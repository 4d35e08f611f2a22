package sim

import (
	"github.com/vmnet/vmnet/schema"
)

// carrier is IFF_LOWER_UP as it is recorded.
func carrier(l *schema.Link) bool { return l.Facts != nil && l.Facts.Carrier }

// setUp changes IFF_UP, and all that follows from it (__dev_notify_flags, dev_open, dev_close).
func (h *host) setUp(name string, up bool) {
	l := h.Link(name)
	if value(l.Up) == up {
		return
	}
	h.edit(name, func(l *schema.Link) { l.Up = &up })
	if !up {
		h.down4(name)
		h.down6(name)
		h.delNeighbours(name, func(*schema.Neighbour) bool { return true })
	}
	if l.Type == "bridge" { // br_stp_enable_bridge
		for _, p := range h.ports(name) {
			h.runPort(p.Name)
		}
	}
	if up {
		h.up4(name)
		h.permanent6(name)
	}
	h.recarrier(name)
	if p := h.peer(l); p != nil {
		h.recarrier(p.Name)
	}
}

// recarrier works out the carrier anew and lets everybody know who depends on it.
func (h *host) recarrier(name string) {
	l := h.Link(name)
	if l == nil || l.Facts == nil {
		return
	}
	is, cause := h.carrierOf(l)
	was := l.Facts.Carrier
	oper := operState(l, is)
	if is != was || oper != l.Facts.OperState || l.Facts.NoCarrier != cause {
		h.edit(name, func(l *schema.Link) {
			l.Facts.Carrier, l.Facts.OperState, l.Facts.NoCarrier = is, oper, cause
		})
	}
	if is == was {
		return
	}
	h.markRoutes(name, !is)
	if is {
		h.up6(name)
	}
	if l.Port != nil {
		h.runPort(name)
	}
	for _, u := range h.above(l) {
		h.recarrier(u.Name)
	}
}

// carrierOf tells IFF_LOWER_UP, and IFLA_CARRIER being 0.
func (h *host) carrierOf(l *schema.Link) (lowerUp, noCarrier bool) {
	up := value(l.Up)
	switch l.Type {
	case "bridge", "tap", "tun": // kept while the link is down
		return up && !l.Facts.NoCarrier, l.Facts.NoCarrier
	case "veth":
		p := h.peer(l)
		both := up && (p == nil || value(p.Up)) // of an end in another namespace the best is hoped
		return both, !both
	case "macvlan":
		lower := h.LinkByIndex(l.Facts.ParentIndex)
		ok := lower == nil || carrier(lower)
		return up && ok, !ok
	}
	return up, false // hardware that is set up is hoped to find its carrier
}

// operState is RFC 2863's state (rfc2863_policy, net/core/link_watch.c).
func operState(l *schema.Link, carrier bool) string {
	switch {
	case l.Type == "loopback" && carrier:
		return "unknown"
	case (l.Type == "veth" || l.Type == "macvlan") && value(l.Up) && !carrier:
		return "lowerlayerdown"
	case carrier:
		return "up"
	}
	return "down"
}

// markRoutes records RTNH_F_LINKDOWN of the routes over a link.
func (h *host) markRoutes(link string, linkDown bool) {
	for _, r := range h.Dependents(schema.LinkRef(link)) {
		route, ok := h.Get(r).(*schema.Route)
		if !ok || len(route.NextHops) > 0 || route.Type == "local" || route.Type == "anycast" || value(route.Facts).LinkDown == linkDown {
			continue
		}
		c := schema.Clone(route).(*schema.Route)
		c.Facts = new(value(route.Facts))
		c.Facts.LinkDown = linkDown
		h.put(c)
	}
}
