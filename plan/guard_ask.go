package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// onLink stands for an answer that needs no gateway.
const onLink = "the receiver itself"

// seen puts the result of one packet's walk into a sight.
func seen(st *stage, res trace.Result) sight {
	st.g.rely(res)
	s := sight{verdict: res.Verdict}
	s.via, s.dev = nextHop(st.state, res)
	if d := res.Decider; d != nil {
		s.why, s.key = strings.Replace(why(res), "the established ", "the established packet ", 1), fmt.Sprint(d.Ref, d.Chain, d.Text, d.Code)
		s.dead = res.Verdict == trace.Block && d.Action == "reject" && strings.Contains(strings.ReplaceAll(d.Text, "-", " "), "tcp reset")
	}
	return s
}

// rely notes what a packet met of the live host. Neighbours and forwarding entries come and go by themselves.
func (g *guard) rely(res trace.Result) {
	for _, hop := range res.Hops {
		if k := hop.Ref.Kind; k != "" && k != schema.KindNeighbour && k != schema.KindFDB && g.live.Get(hop.Ref) != nil {
			g.relied[hop.Ref] = true
		}
	}
}

// nextHop is who the host hands the packets to that leave it (the answers, or what it sends itself), and by which
// link.
func nextHop(s *schema.State, res trace.Result) (via, dev string) {
	half := "reply"
	if res.Flow.From == "" {
		half = "request"
	}
	for _, h := range res.Hops {
		if h.Half != half || h.Stage != "route" {
			continue
		}
		rt, ok := s.Get(h.Ref).(*schema.Route)
		if !ok {
			continue
		}
		dev = rt.Link
		switch {
		case rt.Gateway.IsValid():
			via = rt.Gateway.String()
		case len(rt.NextHops) > 0:
			via = gateways(rt)
		default:
			via = onLink
		}
	}
	return via, dev
}

// gateways are those of a route with several legs, each once.
func gateways(rt *schema.Route) string {
	var all []string
	for _, n := range rt.NextHops {
		name := onLink
		if n.Gateway.IsValid() {
			name = n.Gateway.String()
		}
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " or ")
}

// answered is how all packets of a question fare, held against how they fared the first time.
type answered struct {
	q     trace.Query
	first trace.Answer
	w     *trace.Walker // of the first time
}

func (a *answered) sight(st *stage) sight {
	now := st.walker().Ask(a.q)
	if a.w == nil {
		a.first, a.w = now, st.walker()
		s := a.worst(st, now, func(trace.Part) bool { return true })
		s.before = now.Verdict
		if now.Verdict == trace.Partly || now.Verdict == trace.Depends && slices.ContainsFunc(now.Parts, passes) {
			s.verdict, s.why = trace.Pass, "" // only what gets less is told
		}
		return s
	}
	return a.worst(st, now, a.lost(now))
}

func passes(p trace.Part) bool { return p.Verdict == trace.Pass }

// lost gives the parts that fared better before. A part that is as large as before, or was told in the same words, is not
// among them, nor one whose witness did not get through before.
func (a *answered) lost(now trace.Answer) func(trace.Part) bool {
	more := share(now, trace.Block) > share(a.first, trace.Block)+1e-12
	return func(p trace.Part) bool {
		same := func(q trace.Part) bool { return q.Verdict == p.Verdict && q.Packets == p.Packets }
		if all := a.first.Verdict; all == trace.Pass || all == trace.Block && p.Verdict == trace.Block {
			return true
		}
		if slices.ContainsFunc(a.first.Parts, same) {
			return false
		}
		was := a.w.Walk(p.Witness.Flow).Verdict
		return more && p.Verdict == trace.Block || was == trace.Pass || was == trace.Depends && p.Verdict == trace.Block
	}
}

func share(a trace.Answer, v trace.Verdict) float64 {
	sum := 0.0
	for _, p := range a.Parts {
		if p.Verdict == v {
			sum += p.Share
		}
	}
	return sum
}

// worst is the sight of the worst of the parts that count: those that are blocked come first.
func (a *answered) worst(st *stage, now trace.Answer, counts func(trace.Part) bool) sight {
	out := sight{verdict: trace.Pass}
	if len(now.Parts) == 0 {
		return sight{verdict: trace.Block, key: "nobody", why: "nobody is where it comes from or goes to"}
	}
	for _, p := range now.Parts {
		s := seen(st, p.Witness)
		if p.Verdict == trace.Pass {
			if out.via == "" {
				out.via, out.dev = s.via, s.dev
			}
			continue
		}
		if out.verdict == trace.Pass && counts(p) {
			via, dev := out.via, out.dev
			out = s
			out.verdict = p.Verdict
			if via != "" {
				out.via, out.dev = via, dev
			}
		}
	}
	return out
}

// entries are the links by which packets from a peer may come in: where the host's answers leave, and where the address is
// that they are sent to. Of bridges it is the port.
func (g *guard) entries(st *stage, peer, local netip.Addr) []string {
	if st.walker().Own(peer) {
		return []string{""}
	}
	var devs []string
	for _, rt := range g.ways(st, local, peer) {
		devs = append(devs, rt.Devices()...)
	}
	for _, ref := range g.live.WithIP(local) {
		a, ok := g.live.Get(ref).(*schema.Address)
		if !ok {
			continue
		}
		n := g.h.r.networks[a.Link]
		l := g.live.Link(a.Link)
		if l != nil && l.Type != "loopback" && l.Type != "dummy" && (n == nil || n.Mode == "bridge") {
			devs = append(devs, a.Link)
		}
	}
	var out []string
	for _, d := range devs {
		for _, p := range g.ports(d, append(g.hops(st, local, peer), peer)) {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	if len(out) == 0 {
		out = []string{"?"} // no route, no address: the walk says so
	}
	return out
}

// ways are the routes by which the host sends to an address.
func (g *guard) ways(st *stage, src, dst netip.Addr) []*schema.Route {
	res := st.withoutRules().Walk(trace.Flow{Src: src, Dst: dst, Proto: "icmp"})
	var out []*schema.Route
	for _, h := range res.Hops {
		if rt, ok := st.state.Get(h.Ref).(*schema.Route); ok && h.Half == "request" {
			out = append(out, rt)
		}
	}
	return out
}

// hops are the gateways on the way to an address.
func (g *guard) hops(st *stage, src, dst netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, rt := range g.ways(st, src, dst) {
		if rt.Gateway.IsValid() {
			out = append(out, rt.Gateway)
		}
		for _, n := range rt.NextHops {
			if n.Gateway.IsValid() {
				out = append(out, n.Gateway)
			}
		}
	}
	return out
}

// ports are the ports of a bridge behind which one of some addresses is: where the forwarding database has it; else every port
// that is no guest's. A link that is no bridge is its own port.
func (g *guard) ports(dev string, behind []netip.Addr) []string {
	l := g.live.Link(dev)
	if l == nil || l.Type != "bridge" {
		return []string{dev}
	}
	macs := map[string]bool{}
	for n := range schema.Each[*schema.Neighbour](g.live) {
		if n.Link == dev && n.MAC != nil && slices.Contains(behind, n.IP) {
			macs[*n.MAC] = true
		}
	}
	for f := range schema.Each[*schema.FDBEntry](g.live) {
		if f.Master == dev && macs[f.MAC] && f.Link != dev {
			return []string{f.Link}
		}
	}
	var out, all []string
	for _, p := range portsOf(g.live, dev) {
		all = append(all, p)
		if t := g.live.Link(p).Type; t != "tap" && !g.guestAt(p) {
			out = append(out, p)
		}
	}
	switch {
	case len(out) > 0:
		return out
	case len(all) > 0:
		return all
	}
	return []string{dev}
}

func (g *guard) guestAt(port string) bool {
	return slices.ContainsFunc(g.h.r.Guests, func(x schema.Guest) bool { return x.Device == port })
}
