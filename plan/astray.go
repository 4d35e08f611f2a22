package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// stray is the rule of somebody else that led a request elsewhere, by DNAT or redirect, before it died: wherever it
// then died, that rule is to blame.
func (h *healer) stray(res trace.Result) (*trace.Hop, culprit, bool) {
	if res.Half != "request" || res.Decider == nil {
		return nil, culprit{}, false
	}
	for i := range res.Hops {
		hop := &res.Hops[i]
		if hop.Half != res.Half || !leads(hop.Action) {
			continue
		}
		c, ok := h.culprit(hop)
		if !ok || c.rule == nil || c.base.Type != "nat" {
			continue
		}
		if _, ours := schema.Mark(c.rule.Comment); ours || wanted(res.Flow, hop.Action) {
			return nil, culprit{}, false
		}
		return hop, c, true
	}
	return nil, culprit{}, false
}

// leads tells whether a hop translated a destination.
func leads(action string) bool {
	return slices.ContainsFunc([]string{"dnat ", "redirect ", "netmap "}, func(s string) bool { return strings.HasPrefix(action, s) })
}

// wanted tells whether a translation leads to where a forward leads too.
func wanted(f trace.Flow, action string) bool {
	_, to, _ := strings.Cut(action, " to ")
	return f.WantDst.IsValid() && to == f.WantDst.String()
}

// strayFinding names the rule that leads packets elsewhere.
func (h *healer) strayFinding(c culprit) *Finding {
	owner, _ := ownerOf(h.state, c.table, c.chain, c.rule)
	return &Finding{
		Code: trace.CodeNotLed, Severity: "error", Object: c.String(), Owner: &owner,
		Title: "a foreign rule leads packets elsewhere: " + c.String(),
	}
}

// strayRoads are the ways past a rule that leads packets elsewhere. One that nobody owns gives way to a forward of the file:
// an accept in front of it ends its base chain for the forward's packets, and the next one translates them.
func (h *healer) strayRoads(g *schema.Goal, c culprit, hop *trace.Hop, v6 bool) []road {
	owner, sig := ownerOf(h.state, c.table, c.chain, c.rule)
	report := func(why string) []road {
		return []road{{title: "change it at its owner " + owner.Name, closed: why}}
	}
	switch {
	case h.r.Settings.Foreign == "report":
		return report(`foreign = "report" in the vmnet block: rules of others are only named`)
	case sig.control:
		return report(fmt.Sprintf("%s is a privacy or security control: it is named, never opened; its own way is %s", owner.Name, sig.hint))
	case sig.owner != "":
		return report(fmt.Sprintf("%s leads these packets to what it serves (%s), and would write the rule again: of the two, one needs another port", owner.Name, hop.Action))
	case g.Via == nil:
		return report("whoever wrote it wants these packets elsewhere (" + hop.Action + "); what they ask for would no longer get them")
	}
	acc := h.beforeNAT(g, v6)
	del := road{title: "delete the rule by its full specification", drafts: h.deletion(g, c)}
	if why := h.strays(g, c); why != "" {
		del.closed = "it leads more than the file's forward: " + why
	}
	return []road{del, {title: "an exception in front of it for exactly this forward", drafts: h.exceptions(c, acc, c.index, g)}}
}

// strays says what a rule leads elsewhere beside the packets of a forward; "" for nothing.
func (h *healer) strays(g *schema.Goal, c culprit) string {
	box := trace.BoxOf(c.table, c.rule)
	switch {
	case !box.Exact:
		return "it matches by more than addresses and ports"
	case len(box.Dst) == 0 || slices.ContainsFunc(box.Dst, func(p netip.Prefix) bool { return !p.IsSingleIP() || !h.isHost(p.Addr()) }):
		return "it matches " + box.String()
	case len(box.DPort) == 0 || !serviceCovers(schema.Service{Proto: g.Via.Proto, Ports: []schema.PortRange{g.Via.Ports}}, box.Proto, box.DPort):
		return "it matches " + box.String()
	}
	return ""
}

// beforeNAT are a forward's packets as they come to the host: to its ports at any address of the host.
func (h *healer) beforeNAT(g *schema.Goal, v6 bool) []accept {
	var out []accept
	for _, src := range prefixesOf(g.From, v6) {
		a := accept{address: g.Address, v6: v6, src: src, proto: g.Via.Proto, dport: g.Via.Ports, place: toHost}
		out = append(out, a)
	}
	return out
}
