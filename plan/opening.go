package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// opens says what a state lets through that the one at hand does not, and the file does not ask for; "" for nothing.
func (h *healer) opens(after *trace.Walker) string {
	opened, err := trace.Opened(h.over(), after, h.asked(), h.holders()...)
	switch {
	case err != nil:
		return "what it lets through cannot be told: " + err.Error()
	case len(opened) == 0:
		return ""
	}
	why := "it would let through more than the file asks for: " + opening(opened[0])
	if len(opened) > 1 {
		why += fmt.Sprintf(", and %s more", count(len(opened)-1, "set"))
	}
	return why + deniable(opened)
}

// deniable says which deny makes a road free. Packets that are told of at a hook that looks at them after, or before, the place
// where the road lets them through are those that our own table may stop there.
func deniable(opened []trace.Opening) string {
	ways := map[string]string{"input": "to the host", "output": "from the host", "forward": "through the host"}
	var out []string
	for _, o := range opened {
		if !o.Elsewhere || ways[o.Hook] == "" {
			return ""
		}
		out = appendNew(out, ways[o.Hook])
	}
	return "; a deny in a firewall block of the file against new connections of these packets " + strings.Join(out, " and ") + " makes this road free"
}

// opening is a set of packets with one of them.
func opening(o trace.Opening) string { return fmt.Sprintf("%s (such as %s)", o, o.Witness) }

// over is a walker over the state at hand.
func (h *healer) over() *trace.Walker {
	if h.walker == nil {
		h.walker = h.walk(h.state)
	}
	return h.walker
}

// walk makes a walker over a state like those before.
func (h *healer) walk(s *schema.State) *trace.Walker {
	h.walked = h.walked.With(s).Know(h.r.machines())
	return h.walked
}

// opened lists what the whole plan lets through beside what the file asks for, and what else of the host its networks
// reach.
func (h *healer) opened(ordered []*draft) (unrequested, reached []string) {
	if len(ordered) == 0 {
		return nil, nil
	}
	after, err := h.afterwards(ordered)
	if err != nil { // rehearsed: it cannot be
		return []string{"what the plan lets through cannot be told: " + err.Error()}, nil
	}
	reached = h.also(after)
	sets, err := trace.Opened(h.walk(h.r.live), h.walk(after), h.asked(), h.holders()...)
	if err != nil {
		return []string{"what the plan lets through cannot be told: " + err.Error()}, reached
	}
	for _, o := range sets {
		unrequested = append(unrequested, opening(o))
	}
	return unrequested, reached
}

// afterwards is the live state with every step made.
func (h *healer) afterwards(ordered []*draft) (*schema.State, error) {
	after := h.r.live.Clone()
	for _, d := range ordered {
		if err := sim.Do(after, d.change); err != nil {
			return nil, fmt.Errorf("foresee %s: %w", d.change, err)
		}
	}
	return after, nil
}

// ctAnswers are the states of packets that belong to a connection, as bits of "ct state": established and related.
const (
	ctRelated = 4
	ctAnswers = 2 | ctRelated
)

// asked lists what the file asks for, as packets at each hook: of every goal the requests, and the answers of the
// connections they open.
func (h *healer) asked() []trace.Asked {
	if h.askedFor == nil {
		for i := range h.r.Goals {
			if g := &h.r.Goals[i]; g.Allow {
				h.askedFor = append(append(h.askedFor, h.askedBy(g)...), h.neighbours(g)...)
			}
		}
		h.askedFor = append(h.askedFor, h.policies()...)
	}
	return h.askedFor
}

// policies are what the file's firewall blocks allow, as our own table has it: where a deny takes a part of it back, no goal
// says what is left. And neighbour discovery that passes the host, for what has passed a router nobody takes
// (RFC 4861, 7.1).
func (h *healer) policies() []trace.Asked {
	nd := schema.PortRange{First: 133 << 8, Last: 137<<8 | 255} // ICMPv6's type and code stand where others have their source port
	out := []trace.Asked{{Hook: "forward", Box: trace.Box{V6: true, Proto: "icmp", SPort: []schema.PortRange{nd}, Exact: true}}}
	for _, hook := range []string{"prerouting", "input", "forward", "output", "postrouting"} { // errors about connections belong to them
		out = append(out, trace.Asked{Hook: hook, Box: trace.Box{V4: true, V6: true, Proto: "icmp", CT: ctRelated, Exact: true}})
	}
	t, _ := h.r.want.Get(schema.TableRef("inet", "vmnet")).(*schema.Table)
	if t == nil {
		return out
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			if a, ok := schema.Mark(r.Comment); c.Type == "filter" && ok && strings.HasPrefix(a, "firewall.") && lets(r) {
				out = append(out, trace.Asked{Hook: c.Hook, Box: trace.BoxOf(t, r)})
			}
		}
	}
	return out
}

func lets(r *schema.Rule) bool {
	return slices.ContainsFunc(r.Exprs, func(e schema.Expr) bool { return e.Verdict != nil && e.Verdict.Kind == "accept" })
}

func (h *healer) askedBy(g *schema.Goal) []trace.Asked {
	req := trace.Box{IIF: h.names(g.From), OIF: h.names(g.To), Src: addresses(g.From), Dst: addresses(g.To), Proto: g.Service.Proto, DPort: g.Service.Ports, Exact: true}
	req.V4, req.V6 = speaks(g.From, g.To, false), speaks(g.From, g.To, true)
	if g.From.Kind == "network" && g.From.Address == g.To.Address { // a bridge carries whatever its guests speak
		req.V4, req.V6 = true, true
	}
	if g.Via == nil {
		return h.onWay(g, req)
	}
	// A forward serves whoever asks the host: other networks of the file too.
	req.IIF, req.Src = trace.Names{}, nil
	out := h.onWay(g, req)
	via := req // before its destination is translated
	via.Dst, via.Proto, via.DPort, via.OIF = nil, g.Via.Proto, []schema.PortRange{g.Via.Ports}, trace.Names{}
	for _, hook := range []string{"prerouting", "bridge prerouting", "bridge input", "output"} {
		out = append(out, trace.Asked{Hook: hook, Box: via})
	}
	if g.From.Kind == "host" {
		req.OIF = trace.Names{} // by the route to where the host sent it
		out = append(out, trace.Asked{Hook: "output", Box: req})
	}
	return out
}

// addresses are those of an end, nil for any: whoever is on the bridge of a network belongs to it, whatever he calls himself.
func addresses(e schema.Endpoint) []netip.Prefix {
	if e.Kind == "network" && e.Device != "" {
		return nil
	}
	return e.Prefixes
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
func (h *healer) onWay(g *schema.Goal, req trace.Box) []trace.Asked {
	from, to := g.From.Kind, g.To.Kind
	ans := trace.Box{
		V4: req.V4, V6: req.V6, IIF: req.OIF, OIF: req.IIF, Src: req.Dst, Dst: req.Src, Proto: req.Proto, SPort: req.DPort, DPort: req.SPort,
		CT: ctAnswers, Exact: true,
	}
	var out []trace.Asked
	add := func(hook string, b trace.Box, sender, receiver schema.Endpoint) {
		if hook == "prerouting" { // whom they are for is known by their destination only
			b.Dst = h.places(receiver, b.Dst)
		}
		bridged := b
		bridged.IIF, bridged.OIF = h.ports(sender), h.ports(receiver)
		if hook == "input" && receiver.Kind != "host" {
			bridged.Dst = h.places(receiver, b.Dst)
		}
		switch hook {
		case "prerouting", "input":
			b.OIF, bridged.OIF = trace.Names{}, trace.Names{}
		case "output", "postrouting":
			b.IIF, bridged.IIF = trace.Names{}, trace.Names{}
		}
		out = append(out, trace.Asked{Hook: hook, Box: b}, trace.Asked{Hook: "bridge " + hook, Box: bridged})
	}
	both := func(there, back string) {
		add(there, req, g.From, g.To)
		add(back, ans, g.To, g.From)
	}
	isHost := func(kind string) bool { return kind == "host" || kind == "any" }
	if isHost(to) {
		both("input", "output")
	}
	if isHost(from) {
		both("output", "input")
	}
	if from != "host" && to != "host" {
		both("forward", "forward")
	}
	both("prerouting", "prerouting")
	both("postrouting", "postrouting")
	if len(g.From.Prefixes) > 0 && from != "host" && to != "host" { // while they still have the address that NAT gave the asker
		b := ans
		b.Dst, b.OIF = nil, trace.Names{}
		out = append(out, trace.Asked{Hook: "prerouting", Box: b, Began: g.From.Prefixes})
	}
	return slices.Clip(out)
}

// ports are the ports of an end's bridge; any where it has none.
func (h *healer) ports(e schema.Endpoint) trace.Names {
	dev := l3Device(e, h.r)
	if e.Kind != "network" && e.Kind != "guest" || dev == "" {
		return trace.Names{}
	}
	names := []string{dev}
	for l := range schema.Each[*schema.Link](h.state) {
		if l.Master != nil && *l.Master == dev {
			names = append(names, l.Name)
		}
	}
	return trace.Names{List: names}
}

// mostHostAddresses bounds the addresses that are taken out of "everywhere else".
const mostHostAddresses = 64

// places are the addresses of an end that packets are for: of the outside, all but the host's own.
func (h *healer) places(e schema.Endpoint, have []netip.Prefix) []netip.Prefix {
	switch {
	case e.Kind == "network":
		out := e.Prefixes
		for a := range schema.Each[*schema.Address](h.state) {
			out = without(out, a.Prefix.Addr())
		}
		return out
	case e.Kind != "outside":
		if len(e.Prefixes) > 0 {
			return e.Prefixes
		}
		return have
	case len(h.elsewhere) > 0:
		return h.elsewhere
	}
	out := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	own := h.layout(h.r.live).host
	if len(own) > mostHostAddresses { // too many to tell apart: nothing is taken for asked for
		out = []netip.Prefix{netip.MustParsePrefix("255.255.255.255/32")}
	} else {
		for _, l := range []*schema.State{h.r.live, h.state} {
			for a := range schema.Each[*schema.Address](l) {
				out = without(out, a.Prefix.Addr())
			}
		}
	}
	h.elsewhere = out
	return out
}

// without takes an address out of prefixes.
func without(from []netip.Prefix, a netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range from {
		if !p.Contains(a) {
			out = append(out, p)
			continue
		}
		for bits := p.Bits() + 1; bits <= a.BitLen(); bits++ { // the other half, each time
			b := a.AsSlice()
			b[(bits-1)/8] ^= 0x80 >> ((bits - 1) % 8)
			other, _ := netip.AddrFromSlice(b)
			out = append(out, netip.PrefixFrom(other, bits).Masked())
		}
	}
	return out
}
