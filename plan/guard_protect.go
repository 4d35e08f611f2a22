package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// protects watches what protect blocks name. The flows are the goals that the guard was made with.
func (g *guard) protects() {
	next := 0
	for _, p := range g.h.r.Protects {
		if p.Interface != "" {
			g.iface(p)
		}
		for range p.Flows {
			goal := &g.h.r.Goals[next]
			next++
			g.goal(Guarded{Kind: "flow", Name: goal.Name, Address: p.Address}, goal)
		}
	}
}

// goal watches every question that a wish puts on the live host: how it is asked does not change on the way.
func (g *guard) goal(what Guarded, goal *schema.Goal) {
	qs := g.h.queries(g.live, goal)
	if len(qs) == 0 {
		g.add(&watch{Guarded: what, ask: func(*stage) sight {
			return sight{verdict: trace.Depends, key: "nobody", why: "no device or address is known for " + g.h.vague(goal)}
		}})
		return
	}
	for _, q := range qs {
		q.Local = q.To == "" && q.From != "" && q.Via == nil
		open := q.From != "" && len(q.SrcSet) == 0 || q.To != "" && len(q.DstSet) == 0
		g.question(what, q, open)
		if open { // who is outside follows the routes; one who is there now must not be lost with them
			one := q
			if q.From != "" && q.Src.IsValid() {
				one.SrcSet = []netip.Prefix{netip.PrefixFrom(q.Src, q.Src.BitLen())}
			}
			if q.To != "" {
				one.DstSet = []netip.Prefix{netip.PrefixFrom(q.Dst, q.Dst.BitLen())}
			}
			g.question(what, one, false)
		}
	}
}

func (g *guard) question(what Guarded, q trace.Query, open bool) {
	ends := []netip.Addr{}
	for _, a := range []netip.Addr{q.Src, q.Dst} {
		if a.IsValid() {
			ends = append(ends, a)
		}
	}
	st := g.stage(g.live)
	from := []string{q.From}
	if q.From != "" {
		from = g.ports(q.From, append(g.hops(st, q.Dst, q.Src), q.Src))
	}
	if q.To != "" {
		if to := g.ports(q.To, append(g.hops(st, q.Src, q.Dst), q.Dst)); len(to) == 1 {
			q.To = to[0]
		}
	}
	r := reach{
		rules: true, from: slices.Clone(from), addrs: append(ends, append(g.hops(st, q.Dst, q.Src), g.hops(st, q.Src, q.Dst)...)...),
		prefixes: slices.Concat(q.SrcSet, q.DstSet), open: open,
	}
	if q.To != "" {
		r.from = append(r.from, q.To)
	} else {
		r.local = q.Dst
	}
	for _, n := range g.h.r.Networks {
		if n.Mode != "bridge" {
			r.inner = append(r.inner, n.Subnets...)
		}
	}
	g.add(&watch{Guarded: what, reach: r, ask: alive(from, func(link string) func(*stage) sight {
		a := &answered{q: q}
		a.q.From = link
		return a.sight
	})})
}

// iface watches a link that is to be left alone.
func (g *guard) iface(p schema.Protect) {
	name := p.Interface
	g.add(&watch{
		Guarded: Guarded{Kind: "interface", Name: name, Address: p.Address},
		ask: func(st *stage) sight {
			l := st.state.Link(name)
			switch {
			case l == nil:
				return sight{verdict: trace.Block, why: "there is no link " + name}
			case l.Up != nil && !*l.Up:
				return sight{verdict: trace.Block, why: name + " is down"}
			}
			return sight{verdict: trace.Pass}
		},
		touched: func(c schema.Change) string { return touches(c, name) },
	})
}

// touches says what a step does to a link; "" for nothing, and for what only marks it as ours.
func touches(c schema.Change, link string) string {
	what := ""
	switch o := object(c).(type) {
	case *schema.Link:
		before, _ := c.Before.(*schema.Link)
		after, _ := c.After.(*schema.Link)
		switch {
		case o.Name != link:
		case before == nil || after == nil:
			what = link
		default:
			for _, d := range slices.Concat(schema.Compare(before, after), schema.Compare(after, before)) {
				if d.Field != "alias" && d.Field != "mac_pinned" {
					what = fmt.Sprintf("the %s of %s", d.Field, link)
				}
			}
		}
	case *schema.Address:
		if o.Link == link {
			what = "address " + o.String()
		}
	case *schema.Route:
		if slices.Contains(o.Devices(), link) {
			what = "route " + o.String()
		}
	case *schema.Neighbour:
		if o.Link == link {
			what = "a neighbour of " + link
		}
	case *schema.FDBEntry:
		if o.Link == link || o.Master == link {
			what = "the forwarding database of " + link
		}
	case *schema.Sysctl:
		if _, l, _, ok := schema.SplitLinkSysctl(o.Key); ok && l == link {
			what = o.Key
		}
	}
	if what == "" {
		return ""
	}
	return map[string]string{"create": "adds ", "delete": "removes ", "update": "changes "}[c.Verb()] + what
}

// gateways watches every default route: that it is there, and that its gateway is reached. Rules have no part in it, for hosts
// resolve a gateway without them.
func (g *guard) gateways() {
	seen := map[string]bool{}
	for rt := range schema.Each[*schema.Route](g.live) {
		if rt.Dst.Bits() != 0 || rt.Type != "" && rt.Type != "unicast" || rt.Table == schema.TableLocal {
			continue
		}
		legs := rt.NextHops
		if rt.Link != "" {
			legs = []schema.NextHop{{Link: rt.Link, Gateway: rt.Gateway}}
		}
		for _, leg := range legs {
			name := "default route to " + leg.Gateway.String()
			if !leg.Gateway.IsValid() {
				name = "default route by " + leg.Link
			}
			if rt.Table != schema.TableMain {
				name += " of table " + schema.TableName(rt.Table)
			}
			if rt.Dst.Addr().Is6() {
				name += " (IPv6)"
			}
			if !seen[name] {
				seen[name] = true
				g.gateway(name, rt, leg)
			}
		}
	}
}

func (g *guard) gateway(name string, rt *schema.Route, leg schema.NextHop) {
	ports := g.ports(leg.Link, []netip.Addr{leg.Gateway})
	r := reach{from: append([]string{leg.Link}, ports...), prefixes: []netip.Prefix{rt.Dst}}
	// Only default routes matter, and what leads to the gateway.
	r.prefixes = nil
	if leg.Gateway.IsValid() {
		r.addrs = []netip.Addr{leg.Gateway}
	}
	g.add(&watch{Guarded: Guarded{Kind: "gateway", Name: name}, reach: r, ask: func(st *stage) sight {
		dev := defaultBy(st.state, rt, leg, ports)
		if dev == "" {
			return sight{verdict: trace.Block, key: "route", why: "no default route leads to it any more"}
		}
		if !leg.Gateway.IsValid() {
			return sight{verdict: trace.Pass}
		}
		return alive(ports, func(port string) func(*stage) sight {
			return func(st *stage) sight {
				res := st.withoutRules().Walk(trace.Flow{To: port, Dst: leg.Gateway, Proto: "icmp"})
				if res.Half == "established" || res.Half == "reply" && res.Verdict == trace.Depends {
					res.Verdict = trace.Pass
				}
				return seen(st, res)
			}
		})(st)
	}})
}

// defaultBy finds the device of a default route of the same table by the same gateway, out of the same port.
func defaultBy(s *schema.State, was *schema.Route, leg schema.NextHop, ports []string) string {
	for rt := range schema.Each[*schema.Route](s) {
		if rt.Table != was.Table || rt.Dst != was.Dst || rt.Type != "" && rt.Type != "unicast" {
			continue
		}
		legs := rt.NextHops
		if rt.Link != "" {
			legs = []schema.NextHop{{Link: rt.Link, Gateway: rt.Gateway}}
		}
		for _, l := range legs {
			if l.Gateway == leg.Gateway && (leg.Gateway.IsValid() || l.Link == leg.Link || slices.ContainsFunc(ports, func(p string) bool {
				port := s.Link(p)
				return port != nil && port.Master != nil && *port.Master == l.Link
			})) {
				return l.Link
			}
		}
	}
	return ""
}
