package plan

import (
	"github.com/vmnet/vmnet/schema"
)

// draft is a step in the making: a change with its reason, before it has a place in the order.
type draft struct {
	change  schema.Change
	action  string // as Step.Action; "" follows the change's verb
	address string
	because string
	codes   []string
	risk    Risk
	hurts   string
	undo    string
	lines   []string
	after   []*draft // steps that must come first, beside what the objects themselves require
	rank    int      // place among steps that nothing else orders
}

// The ranks: what closes comes before what opens, what makes before what breaks.
const (
	rankTable   = 10
	rankLink    = 20
	rankAddress = 30
	rankAttach  = 40
	rankRoute   = 50
	rankSysctl  = 60
	rankForeign = 70
	rankDelete  = 80
	rankReset   = 85
	rankFile    = 90
)

func rankOf(c schema.Change) int {
	if c.After == nil && c.Ref.Kind != schema.KindNftRule && c.Ref.Kind != schema.KindXRule {
		return rankDelete
	}
	switch c.Ref.Kind {
	case schema.KindTable:
		return rankTable
	case schema.KindLink:
		if c.Before != nil {
			return rankAttach
		}
		return rankLink
	case schema.KindAddress:
		return rankAddress
	case schema.KindRoute, schema.KindPolicyRule, schema.KindNeighbour:
		return rankRoute
	case schema.KindSysctl:
		return rankSysctl
	case schema.KindFile:
		return rankFile
	}
	return rankForeign
}

// newDraft makes a draft with the defaults that follow from the change itself.
func newDraft(before, after schema.Object) *draft {
	o := after
	if o == nil {
		o = before
	}
	c := schema.Change{Ref: o.Ref(), Before: before, After: after}
	return &draft{change: c, rank: rankOf(c)}
}
