package plan

import (
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// notGoverned says what a rule blocks that the file says nothing about; "" when everything it blocks is either asked for
// by the file or stopped by our own table all the same, so that deleting the rule opens nothing else.
func (h *healer) notGoverned(c culprit) string {
	box := trace.BoxOf(c.table, c.rule)
	if !box.Exact {
		return "it matches by more than addresses and ports"
	}
	switch c.base.Hook {
	case "forward":
		if h.inNetworks(box.Dst) || h.inNetworks(box.Src) {
			return ""
		}
	case "output":
		if h.inNetworks(box.Dst) {
			return ""
		}
	case "input":
		if h.inNetworks(box.Src) && h.askedOfHost(box) {
			return ""
		}
	}
	return "it matches " + box.String()
}

// inNetworks tells whether a set of prefixes lies within one network of the file. An empty set is every address.
func (h *healer) inNetworks(prefixes []netip.Prefix) bool {
	if len(prefixes) == 0 {
		return false
	}
	for _, p := range prefixes {
		if !slices.ContainsFunc(h.r.Networks, func(n schema.Network) bool {
			return slices.ContainsFunc(n.Subnets, func(s netip.Prefix) bool { return contains(s, p) })
		}) {
			return false
		}
	}
	return true
}

func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// askedOfHost tells whether packets to the host that a rule drops are all asked for: replies to what the host may ask of
// the network (the rule names source ports), or a service that a goal lets guests reach.
func (h *healer) askedOfHost(box trace.Box) bool {
	for _, g := range h.r.Goals {
		if !g.Allow || g.Via != nil {
			continue
		}
		switch {
		case g.From.Kind == "host" && len(box.SPort) > 0 && covers(g.To, box.Src) && (g.Service.Proto == "" || serviceCovers(g.Service, box.Proto, box.SPort)):
			return true
		case g.To.Kind == "host" && len(box.SPort) == 0 && covers(g.From, box.Src) && (g.Service.Proto == "" || serviceCovers(g.Service, box.Proto, box.DPort)):
			return true
		}
	}
	return false
}

func covers(e schema.Endpoint, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if !slices.ContainsFunc(e.Prefixes, func(o netip.Prefix) bool { return contains(o, p) }) {
			return false
		}
	}
	return len(prefixes) > 0
}
