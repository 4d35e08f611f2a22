package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// mostAlso bounds the pairs of networks that are looked at.
const mostAlso = 64

// also lists other networks of the host that the plan lets networks of the file reach: to the file they are outside, so
// they are asked for, but who wrote "outside" may have thought of the world only.
func (h *healer) also(after *schema.State) []string {
	others := h.strangers(after)
	if len(others) == 0 {
		return nil
	}
	was, is := h.walk(h.r.live), h.walk(after)
	var out []string
	asked := 0
	for i := range h.r.Goals {
		g := &h.r.Goals[i]
		if !g.Allow || g.Via != nil || g.To.Kind != "outside" || g.From.Kind != "network" {
			continue
		}
		for _, o := range others {
			if asked++; asked > mostAlso {
				return out
			}
			there := *g
			there.To = schema.Endpoint{Kind: "prefix", Device: o.link, Prefixes: o.prefixes}
			if h.reaches(is, after, &there) && !h.reaches(was, h.r.live, &there) {
				out = appendNew(out, fmt.Sprintf("%s reaches also %s (%s), which is outside by definition; a deny in a firewall block keeps it apart", g.From.Address, o.link, o.words()))
			}
		}
	}
	return out
}

// stranger is a network of the host that is none of the file's.
type stranger struct {
	link     string
	prefixes []netip.Prefix
}

func (o stranger) words() string {
	var w []string
	for _, p := range o.prefixes {
		w = append(w, p.String())
	}
	return strings.Join(w, ", ")
}

// strangers are the bridges with addresses that neither belong to the file nor lead to the world.
func (h *healer) strangers(s *schema.State) []stranger {
	l := h.layout(s)
	var out []stranger
	for b := range schema.Each[*schema.Link](s) {
		uplink := slices.ContainsFunc(l.routes, func(r *schema.Route) bool { return r.Link == b.Name && r.Dst.Bits() == 0 })
		if b.Type != "bridge" || uplink || slices.ContainsFunc(h.r.Networks, func(n schema.Network) bool { return n.Device == b.Name }) {
			continue
		}
		o := stranger{link: b.Name}
		for _, r := range l.routes {
			if r.Link == b.Name && !r.Gateway.IsValid() && !r.Dst.Addr().IsLinkLocalUnicast() && !r.Dst.Addr().IsMulticast() {
				o.prefixes = append(o.prefixes, r.Dst)
			}
		}
		if len(o.prefixes) > 0 {
			out = append(out, o)
		}
	}
	return out
}

// reaches tells whether some packet of a goal gets through, or would if anybody were there.
func (h *healer) reaches(w *trace.Walker, s *schema.State, g *schema.Goal) bool {
	for _, q := range h.queries(s, g) {
		for _, part := range w.Ask(q).Parts {
			d := part.Witness.Decider
			if part.Verdict == trace.Pass || d != nil && d.Code == trace.CodeNoCarrier {
				return true
			}
		}
	}
	return false
}
