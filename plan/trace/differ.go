package trace

import (
	"reflect"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// differ finds the rules in which two states differ. What both have is shared by pointer most of the time, so that
// looking at it costs nothing.
type differ struct {
	chains map[[2]*chain]bool // compared
	sets   map[[2]*schema.Set]bool
	routes bool // addresses or routes differ: what asks for them may answer otherwise
	rules  []changed
	nat    bool // the chains are those of NAT: only first packets come to them, and what counts is how they are translated
	// whole says that something differs that no rule holds: a policy, or which chains there are.
	whole bool
}

// changed is a rule that the other state has not, or not there.
type changed struct {
	c *chain
	i int
}

// bases compares the base chains of a hook, in the order in which they run.
func (d *differ) bases(before, after []*base) {
	same := slices.EqualFunc(before, after, func(a, b *base) bool {
		return a.id == b.id && a.c.c.Priority == b.c.c.Priority && a.drop == b.drop && a.nat == b.nat && a.route == b.route
	})
	if !same {
		d.unlike(before, after)
		return
	}
	for i := range before {
		d.chain(before[i].c, after[i].c)
	}
}

// unlike compares hooks that do not have the same base chains. One that is new and only stops packets opens nothing.
func (d *differ) unlike(before, after []*base) {
	if d.nat {
		d.translators(before, after)
		return
	}
	var known []*base
	for _, b := range after {
		if slices.ContainsFunc(before, func(a *base) bool { return a.id == b.id }) || b.c.writes {
			known = append(known, b)
		}
	}
	if len(known) == len(after) {
		d.whole = true
		return
	}
	d.bases(before, known)
}

// translators compares chains of NAT. Of one that only one side has, every rule is another.
func (d *differ) translators(before, after []*base) {
	for _, pair := range [][2][]*base{{before, after}, {after, before}} {
		for _, b := range pair[0] {
			i := slices.IndexFunc(pair[1], func(a *base) bool { return a.id == b.id && a.c.c.Priority == b.c.c.Priority && a.drop == b.drop })
			switch {
			case i >= 0:
				d.chain(b.c, pair[1][i].c)
			case b.drop:
				d.whole = true
			default:
				d.all(b.c)
			}
		}
	}
}

// all takes every rule of a chain, and of those it leads to, for changed.
func (d *differ) all(c *chain) {
	if d.chains[[2]*chain{c, nil}] {
		return
	}
	d.chains[[2]*chain{c, nil}] = true
	for i := range c.rules {
		d.rules = append(d.rules, changed{c, i})
	}
	for i := range c.ops {
		if o := &c.ops[i]; o.chain != nil {
			d.all(o.chain)
		} else if o.set != nil {
			for _, to := range o.set.targets {
				d.all(to)
			}
		}
	}
}

// chain compares two chains, and those that their rules lead to.
func (d *differ) chain(before, after *chain) {
	if before == after || d.chains[[2]*chain{before, after}] {
		return
	}
	d.chains[[2]*chain{before, after}] = true
	a, b := before.rules, after.rules
	head := 0
	for head < len(a) && head < len(b) && d.same(before, after, head, head) {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && d.same(before, after, len(a)-1-tail, len(b)-1-tail) {
		tail++
	}
	for i := head; i < len(a)-tail; i++ {
		d.rules = append(d.rules, changed{before, i})
	}
	for i := head; i < len(b)-tail; i++ {
		d.rules = append(d.rules, changed{after, i})
	}
}

// same tells whether two rules do the same, the chains they lead to apart, which are compared too.
func (d *differ) same(before, after *chain, i, k int) bool {
	a, b := &before.rules[i], &after.rules[k]
	if a.to-a.from != b.to-b.from || a.r != b.r && !reflect.DeepEqual(a.r.Exprs, b.r.Exprs) {
		return false
	}
	for n := range a.to - a.from {
		if !d.sameOp(&before.ops[a.from+n], &after.ops[b.from+n]) {
			return false
		}
	}
	return true
}

// sameOp compares what two expressions that say the same lead to: sets, chains, the routing tables.
func (d *differ) sameOp(x, y *op) bool {
	if x.code != y.code || d.routes && x.code == opFIB || (x.set == nil) != (y.set == nil) || (x.chain == nil) != (y.chain == nil) || len(x.any) != len(y.any) {
		return false
	}
	for i := range x.any {
		if !slices.EqualFunc(x.any[i], y.any[i], func(a, b op) bool { return d.sameOp(&a, &b) }) {
			return false
		}
	}
	if x.set != nil && !d.set(x.set, y.set) {
		return false
	}
	if x.chain != nil {
		d.chain(x.chain, y.chain)
	}
	return true
}

// set compares sets that a rule looks into, and the chains to which they lead.
func (d *differ) set(a, b *set) bool {
	k := [2]*schema.Set{a.s, b.s}
	same, known := d.sets[k]
	if !known {
		same = a.s == b.s || a.s.Flags == b.s.Flags && a.s.KeyLen == b.s.KeyLen && a.s.DataType == b.s.DataType &&
			slices.Equal(a.s.Fields, b.s.Fields) && slices.EqualFunc(a.s.Elements, b.s.Elements, sameElement)
		d.sets[k] = same
	}
	if same {
		for i := range a.elemChain {
			if x, y := a.elemChain[i], b.elemChain[i]; x != nil && y != nil {
				d.chain(x, y)
			} else if x != y {
				return false
			}
		}
	}
	return same
}

func sameElement(a, b schema.Element) bool {
	return slices.Equal(a.Key, b.Key) && slices.Equal(a.KeyEnd, b.KeyEnd) && a.CatchAll == b.CatchAll && slices.Equal(a.Data, b.Data) &&
		(a.Verdict == b.Verdict || a.Verdict != nil && b.Verdict != nil && *a.Verdict == *b.Verdict)
}

// routing tells whether addresses, routes or policy rules differ between two states.
func routing(before, after *schema.State) bool {
	return differs[*schema.Address](before, after) || differs[*schema.Route](before, after) || differs[*schema.PolicyRule](before, after)
}

func differs[T schema.Object](before, after *schema.State) bool {
	n := 0
	for a := range schema.Each[T](before) {
		b := after.Stored(a.Ref())
		if b == nil || schema.Object(a) != b && !schema.Equal(a, b) {
			return true
		}
		n++
	}
	for range schema.Each[T](after) {
		n--
	}
	return n != 0
}
