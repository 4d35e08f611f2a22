package plan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// mostNarrowed bounds how many rules one exception may become: the elements of a large set are not said again one by one.
const mostNarrowed = 16

// narrowest are the accepts to try in front of a culprit: first those for what it stops only, then those for the whole flow.
// An accept ends its chain: whatever it is about besides is led past the rules behind it.
func narrowest(c culprit, widths [][]accept, v6 bool) [][]accept {
	if c.rule == nil {
		return widths
	}
	box := trace.BoxOf(c.table, c.rule)
	var out [][]accept
	for _, wide := range widths {
		var narrow []accept
		for _, a := range wide {
			narrow = append(narrow, a.within(box, v6)...)
		}
		if len(narrow) > 0 && len(narrow) <= max(mostNarrowed, len(wide)) {
			out = append(out, narrow)
		}
	}
	for _, wide := range widths {
		if !slices.ContainsFunc(out, func(o []accept) bool { return slices.Equal(o, wide) }) {
			out = append(out, wide)
		}
	}
	return out
}

// within is what of an accept lies in a box, as far as an accept can say it, or more: nothing where they do not meet.
func (a accept) within(box trace.Box, v6 bool) []accept {
	if a.talk != 0 {
		return []accept{a}
	}
	a.in, a.out = oneName(a.in, box.IIF), oneName(a.out, box.OIF)
	if a.proto == "" && slices.Contains([]string{"tcp", "udp", "icmp"}, box.Proto) {
		a.proto, a.v6 = box.Proto, v6
	}
	if a.proto != box.Proto || a.proto != "tcp" && a.proto != "udp" {
		box.SPort, box.DPort = nil, nil
	}
	var out []accept
	for _, src := range commonPrefixes(a.src, box.Src) {
		for _, dst := range commonPrefixes(a.dst, box.Dst) {
			for _, sport := range commonPorts(a.sport, box.SPort) {
				for _, dport := range commonPorts(a.dport, box.DPort) {
					one := a
					one.src, one.dst, one.sport, one.dport = src, dst, sport, dport
					out = append(out, one)
				}
			}
		}
	}
	return out
}

// oneName is an interface, or where any will do the only one in a set, if it is one.
func oneName(name string, set trace.Names) string {
	if name != "" || set.Not || len(set.List) != 1 || strings.HasSuffix(set.List[0], "*") {
		return name
	}
	return set.List[0]
}

// commonPrefixes are the parts of a prefix, invalid for everything, in a list of them, empty for everything.
func commonPrefixes(p netip.Prefix, list []netip.Prefix) []netip.Prefix {
	if len(list) == 0 {
		return []netip.Prefix{p}
	}
	var out []netip.Prefix
	for _, o := range list {
		switch {
		case !p.IsValid() || contains(p, o):
			out = append(out, o)
		case contains(o, p):
			out = append(out, p)
		}
	}
	return out
}

// commonPorts are the parts of a range, zero for all ports, in a list of them, empty for all.
func commonPorts(r schema.PortRange, list []schema.PortRange) []schema.PortRange {
	if len(list) == 0 {
		return []schema.PortRange{r}
	}
	if r == (schema.PortRange{}) {
		r.Last = 65535
	}
	var out []schema.PortRange
	for _, o := range list {
		o.First, o.Last = max(o.First, r.First), min(o.Last, r.Last)
		if o.First <= o.Last && o.Last != 0 { // port 0 cannot be said
			out = append(out, o)
		}
	}
	return out
}
