package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// asker puts one question, and keeps what it had to assume.
type asker struct {
	*healer
	Question
	assumed []string
}

// questions are those that the question puts in one family: from every place where the senders may be.
func (q *asker) questions(v6 bool) []trace.Query {
	from, to := q.froms(v6), q.tos(v6)
	var out []trace.Query
	for _, f := range from {
		for _, t := range to {
			switch {
			case f.host && t.host:
				out = append(out, q.loop(f, t, v6)...)
			case !f.specific && !t.specific && !f.host && !t.host: // outside to outside
			default:
				out = append(out, q.between(f, t)...)
			}
		}
	}
	return out
}

// froms are the places where the senders are.
func (q *asker) froms(v6 bool) []side {
	e := q.From
	own := prefixesOf(e, v6)
	switch {
	case e.Kind == "prefix" && len(own) == 0:
		return nil
	case q.isOwn(e, own):
		return []side{{host: true, specific: true, ends: []end{{addr: own[0].Addr(), set: own}}}}
	case q.In != "" && e.Kind != "host":
		return q.told(e, own, v6)
	}
	out := q.senders(q.state, &q.Goal, v6)
	switch e.Kind {
	case "prefix":
		return q.behind(out, own, v6)
	case "guest":
		q.portless(out)
	case "outside":
		out = slices.DeleteFunc(out, func(sd side) bool { return sd.dev == "" })
		for _, sd := range out {
			q.assume("the outside is behind %s, as the default route leads there; --iif names another link", sd.dev)
		}
	}
	return out
}

// isOwn tells whether an end is one address of the host itself.
func (q *asker) isOwn(e schema.Endpoint, own []netip.Prefix) bool {
	if e.Kind != "prefix" || len(own) != 1 || !own[0].IsSingleIP() {
		return false
	}
	a := own[0].Addr()
	return a.IsLoopback() || q.layout(q.state).host[a]
}

// told are the senders behind the link that the question names.
func (q *asker) told(e schema.Endpoint, own []netip.Prefix, v6 bool) []side {
	sd := side{dev: q.In, specific: len(own) > 0}
	if l := q.state.Link(q.In); l != nil && l.Master != nil && bridgeName(q.state, *l.Master) != "" {
		sd.dev = *l.Master
	}
	sd.bridge = bridgeName(q.state, sd.dev)
	if e.Kind == "outside" {
		o, ok := q.outside(q.state, bearing{v6: v6})
		if !ok {
			return nil
		}
		sd.ends = []end{{addr: o.ends[0].addr, port: q.In}}
		return []side{sd}
	}
	if len(own) == 0 {
		return nil
	}
	sd.ends = []end{{addr: firstHost(own[0]), port: q.In, set: own}}
	return []side{sd}
}

// behind says of senders that are known by address only where they are taken to be, and finds their ports.
func (q *asker) behind(sides []side, own []netip.Prefix, v6 bool) []side {
	var out []side
	for _, sd := range sides {
		who := schema.Endpoint{Kind: "prefix", Prefixes: own}.String()
		if sd.dev == "" {
			q.assume("no way leads back to %s: name the link it is behind (--iif)", who)
			continue
		}
		e := &sd.ends[0]
		way := ""
		for _, w := range q.layout(q.state).ways(netip.PrefixFrom(e.addr, e.addr.BitLen()), q.bearing(q.state, q.To, v6)) {
			if w.Link == sd.dev {
				way = w.Text
			}
		}
		if a := q.layout(q.state).silenced(e.set[0], q.bearing(q.state, q.To, v6)); a != nil && a.Link == sd.dev {
			q.assume("%s is behind %s, which is down and has the address %s; --iif names another link", who, sd.dev, a.Prefix)
			out = append(out, sd)
			continue
		}
		if len(sides) > 1 {
			who = "a part of " + who
		}
		q.assume("%s is behind %s, as the way back leads there (%s); --iif names another link", who, sd.dev, way)
		if len(e.set) == 1 && e.set[0].IsSingleIP() {
			if port := q.layout(q.state).where.Port(sd.dev, e.addr); port != "" {
				e.port = port
			}
			q.portless([]side{sd})
		}
		out = append(out, sd)
	}
	return out
}

// portless says of machines behind a bridge when nobody knows by which port.
func (q *asker) portless(sides []side) {
	for _, sd := range sides {
		for _, e := range sd.ends {
			if len(e.set) == 1 && e.set[0].IsSingleIP() && bridgeName(q.state, e.port) != "" && q.layout(q.state).where.Port(e.port, e.addr) == "" {
				q.assume("behind which port of %s %s is, is not known: the answer holds for every port", e.port, e.addr)
			}
		}
	}
}

func (q *asker) assume(format string, args ...any) {
	q.assumed = appendNew(q.assumed, fmt.Sprintf(format, args...))
}

// tos are the places where packets should get to: addresses without a name are wherever they are led.
func (q *asker) tos(v6 bool) []side {
	e := q.To
	own := prefixesOf(e, v6)
	switch {
	case q.isOwn(e, own):
		return []side{{host: true, specific: true, ends: []end{{addr: own[0].Addr(), set: own}}}}
	case e.Kind == "prefix" && len(own) == 0:
		return nil
	case e.Kind == "prefix" && e.Device == "":
		there := end{addr: firstHost(own[0]), port: q.Out, set: own}
		if a := q.layout(q.state).silenced(own[0], q.bearing(q.state, q.From, v6)); a != nil && q.Out == "" {
			there.port = a.Link
			q.assume("%s is behind %s, which is down and has the address %s; --oif names another link", e, a.Link, a.Prefix)
			return []side{{dev: a.Link, specific: true, ends: []end{there}}}
		}
		for _, w := range q.layout(q.state).ways(own[0], q.bearing(q.state, q.From, v6)) {
			q.portless([]side{{ends: []end{{addr: there.addr, port: w.Link, set: own}}}})
		}
		return []side{{dev: q.Out, specific: true, ends: []end{there}}}
	}
	out := q.sides(q.state, e, q.bearing(q.state, q.From, v6))
	if e.Kind == "guest" {
		q.portless(out)
	}
	if q.Out != "" {
		for i := range out {
			for k := range out[i].ends {
				out[i].ends[k].port = q.Out
			}
		}
	}
	return out
}

// between are the questions between two sides that are not both the host.
func (q *asker) between(from, to side) []trace.Query {
	goal := q.Goal
	if goal.From.Kind == "prefix" || goal.To.Kind == "prefix" {
		goal.From.Address, goal.To.Address = "from", "to" // not members of one network, who are asked in both directions
	}
	out := q.pair(q.state, &goal, from, to)
	for i := range out {
		x := &out[i]
		if x.Anywhere = true; to.host {
			x.DstSet = nil
		}
	}
	return out
}

// loop are the questions of the host to itself: by every address of its own that is not named.
func (q *asker) loop(from, to side, v6 bool) []trace.Query {
	dst := []netip.Addr{to.ends[0].addr}
	if !dst[0].IsValid() {
		dst = nil
		for a := range q.layout(q.state).host {
			if a.Is6() == v6 && !a.IsLinkLocalUnicast() {
				dst = append(dst, a)
			}
		}
		slices.SortFunc(dst, netip.Addr.Compare)
	}
	var out []trace.Query
	for _, a := range dst {
		if a.Is6() == v6 {
			out = append(out, trace.Query{Service: q.Service, Src: from.ends[0].addr, Dst: a, Anywhere: true})
		}
	}
	return out
}
