package trace

import "github.com/vmnet/vmnet/schema"

// base is a base chain.
type base struct {
	c     *chain
	id    string // "ip filter FORWARD", for the order of equals
	stage string
	drop  bool // its policy
	nat   bool
	route bool // re-routes when marks or addresses change (nft type route, iptables' mangle)
}

// step is what a rule does to the way through the chains.
type step uint8

const (
	stepNext step = iota
	stepAccept
	stepDrop
	stepReject
	stepReturn
	stepJump
	stepGoto
)

// place is where a rule stands.
type place struct {
	b *base
	c *chain
	i int
}

func verdictStep(kind string) step {
	switch kind {
	case "accept":
		return stepAccept
	case "drop":
		return stepDrop
	case "return":
		return stepReturn
	case "jump":
		return stepJump
	case "goto":
		return stepGoto
	}
	return stepNext
}

// distinct keeps one element of each verdict.
func (s *set) distinct(elems []int) []int {
	seen := map[schema.Verdict]bool{}
	var out []int
	for _, i := range elems {
		v := s.s.Elements[i].Verdict
		if v == nil || seen[*v] {
			continue
		}
		seen[*v] = true
		out = append(out, i)
	}
	return out
}
