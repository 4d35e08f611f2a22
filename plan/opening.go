package plan

import (
	"slices"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// opens says what a road lets through beside what the file asks for; "" for nothing. after is over the state it leads to.
func (*healer) opens(road, *trace.Walker) (string, error) { return "", nil }

// ctAnswers are the states of packets that belong to a connection, as bits of "ct state": established and related.
const ctAnswers = 2 | 4

// asked lists what the file asks for, as packets at each hook: of every goal the requests, and the answers of the
// connections they open.
func (h *healer) asked() []trace.Asked {
	var out []trace.Asked
	for i := range h.r.Goals {
		if g := &h.r.Goals[i]; g.Allow {
			out = append(out, h.askedBy(g)...)
		}
	}
	return out
}

func (h *healer) askedBy(g *schema.Goal) []trace.Asked {
	req := trace.Box{IIF: h.names(g.From), OIF: h.names(g.To), Src: g.From.Prefixes, Dst: g.To.Prefixes, Proto: g.Service.Proto, DPort: g.Service.Ports, Exact: true}
	req.V4, req.V6 = speaks(g.From, g.To, false), speaks(g.From, g.To, true)
	out := onWay(g.From.Kind, g.To.Kind, req)
	if g.Via != nil { // before its destination is translated
		via := req
		via.Dst, via.Proto, via.DPort, via.OIF = nil, g.Via.Proto, []schema.PortRange{g.Via.Ports}, trace.Names{}
		out = append(out, onWay(g.From.Kind, g.To.Kind, via)...)
	}
	return out
}

// speaks tells whether both ends of a goal have a family.
func speaks(from, to schema.Endpoint, v6 bool) bool {
	for _, e := range []schema.Endpoint{from, to} {
		if len(e.Prefixes) > 0 && len(prefixesOf(e, v6)) == 0 {
			return false
		}
	}
	return true
}

// names are the interfaces of an end, as layer 3 sees them. The outside is behind any that is no closed network of the file.
func (h *healer) names(e schema.Endpoint) trace.Names {
	switch e.Kind {
	case "network", "guest":
		if dev := l3Device(e, h.r); dev != "" {
			return trace.Names{List: []string{dev}}
		}
	case "outside":
		var closed []string
		for _, n := range h.r.Networks {
			if n.Mode != "bridge" {
				closed = append(closed, n.Device)
			}
		}
		return trace.Names{List: closed, Not: true}
	}
	return trace.Names{}
}

// onWay gives the hooks that a goal's packets pass, with the packets as they are there, and those of their answers.
func onWay(from, to string, req trace.Box) []trace.Asked {
	ans := trace.Box{
		V4: req.V4, V6: req.V6, IIF: req.OIF, OIF: req.IIF, Src: req.Dst, Dst: req.Src, Proto: req.Proto, SPort: req.DPort, DPort: req.SPort,
		CT: ctAnswers, Exact: true,
	}
	var out []trace.Asked
	add := func(hook string, b trace.Box) {
		switch hook {
		case "prerouting", "input":
			b.OIF = trace.Names{}
		case "output", "postrouting":
			b.IIF = trace.Names{}
		}
		bridged := b
		bridged.IIF, bridged.OIF = trace.Names{}, trace.Names{} // ports, not bridges
		out = append(out, trace.Asked{Hook: hook, Box: b}, trace.Asked{Hook: "bridge " + hook, Box: bridged})
	}
	isHost := func(kind string) bool { return kind == "host" || kind == "any" }
	if isHost(to) {
		add("input", req)
		add("output", ans)
	}
	if isHost(from) {
		add("output", req)
		add("input", ans)
	}
	if from != "host" && to != "host" {
		add("forward", req)
		add("forward", ans)
	}
	for _, hook := range []string{"prerouting", "postrouting"} {
		add(hook, req)
		add(hook, ans)
	}
	return slices.Clip(out)
}
