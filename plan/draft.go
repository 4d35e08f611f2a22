package plan

import (
	"reflect"

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
	front   string   // of an exception: the rule it is made in front of
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
	rankService = 65
	rankForeign = 70
	rankDelete  = 80
	rankReset   = 85
	rankFile    = 90
)

func rankOf(c schema.Change) int {
	foreign := c.Ref.Kind == schema.KindNftRule || c.Ref.Kind == schema.KindXRule || c.Ref.Kind == schema.KindGrant
	if c.After == nil && !foreign {
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
	case schema.KindService:
		return rankService
	default:
		return rankForeign
	}
}

// newDraft makes a draft with the defaults that follow from the change itself.
func newDraft(before, after schema.Object) *draft {
	o := after
	if o == nil {
		o = before
	}
	before, after = narrow(before, after)
	c := schema.Change{Ref: o.Ref(), Before: before, After: after}
	return &draft{change: c, rank: rankOf(c)}
}

// narrow keeps of a link's update only what changes: the step then neither depends on nor takes back what others do to the
// rest of the link meanwhile. A port's settings vanish with its master, so they stay in Before, to come back with it.
// A port's state is the bridge's own doing and never part of a change.
func narrow(before, after schema.Object) (schema.Object, schema.Object) {
	b, ok := before.(*schema.Link)
	a, both := after.(*schema.Link)
	switch {
	case !ok && !both:
		return before, after
	case !both:
		return withoutPortState(b), after
	case !ok:
		return before, withoutPortState(a)
	}
	nb, na := &schema.Link{Name: b.Name, Type: b.Type}, &schema.Link{Name: a.Name, Type: a.Type}
	nb.Alias, na.Alias = changed(b.Alias, a.Alias)
	nb.MTU, na.MTU = changed(b.MTU, a.MTU)
	nb.MAC, na.MAC = changed(b.MAC, a.MAC)
	nb.MACPinned, na.MACPinned = changed(b.MACPinned, a.MACPinned)
	nb.Master, na.Master = changed(b.Master, a.Master)
	nb.Up, na.Up = changed(b.Up, a.Up)
	if !reflect.DeepEqual(b.Bridge, a.Bridge) {
		nb.Bridge, na.Bridge = b.Bridge, a.Bridge
	}
	if nb.Master != nil || !reflect.DeepEqual(b.Port, a.Port) {
		nb.Port, na.Port = b.Port, a.Port
		if nb.Master != nil && *na.Master == "" {
			na.Port = nil
		}
	}
	return withoutPortState(nb), withoutPortState(na)
}

func changed[T comparable](before, after *T) (*T, *T) {
	if before == nil || after == nil {
		return nil, after
	}
	if *before == *after {
		return nil, nil
	}
	return before, after
}

func withoutPortState(l *schema.Link) *schema.Link {
	if l.Port == nil || l.Port.State == nil {
		return l
	}
	c := schema.Clone(l).(*schema.Link)
	c.Port.State = nil
	return c
}
