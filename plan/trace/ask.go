package trace

import (
	"net/netip"
	"slices"
)

// Answer is what becomes of all packets a Query is about.
type Answer struct {
	// Verdict is pass, block or depends where one holds for every packet, else partly.
	Verdict Verdict `json:"verdict"`
	// Parts are disjoint and cover the query: what is blocked first, then what depends, then what passes.
	Parts []Part `json:"parts"`
}

// Part is a set of packets with one fate.
type Part struct {
	Verdict Verdict `json:"verdict"` // pass, block or depends
	// Packets says which, in the words of a rule: "from 10.20.0.0/24 tcp dport 22".
	Packets string `json:"packets"`
	// Witness is one packet of the set, walked.
	Witness Result `json:"witness"`
	// Share is how much of the query the part is, from 0 to 1, every packet counting alike.
	Share float64 `json:"share"`
}

// Join makes one answer of several that are about different packets.
func Join(answers ...Answer) Answer {
	var out Answer
	seen := map[Verdict]bool{}
	for _, a := range answers {
		out.Parts = append(out.Parts, a.Parts...)
		seen[a.Verdict] = true
	}
	weight := map[Verdict]int{Block: 0, Depends: 1, Pass: 2}
	slices.SortStableFunc(out.Parts, func(a, b Part) int { return weight[a.Verdict] - weight[b.Verdict] })
	switch {
	case len(seen) == 1:
		for v := range seen {
			out.Verdict = v
		}
	case seen[Partly] || seen[Pass] && seen[Block]:
		out.Verdict = Partly
	default:
		out.Verdict = Depends
	}
	return out
}

// Asked is a set of packets at a hook that somebody asked for.
type Asked struct {
	// Hook is "input", "forward", "output", "prerouting" or "postrouting"; of the bridge family "bridge forward" and so on.
	Hook string
	// Box are the packets as they are at that hook.
	Box Box
	// Began narrows them to packets of connections that these addresses began, whatever NAT made of them; empty for any.
	Began []netip.Prefix
}
