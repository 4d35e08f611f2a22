package config

import (
	"strconv"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/gocty"
)

// maxCount keeps a typing error in count from filling the memory.
const maxCount = 65536

// expand makes the instances of a block; false when for_each or count cannot be evaluated.
func (l *loader) expand(n *node) bool {
	attrs := n.block.Body.Attributes
	each, count := attrs["for_each"], attrs["count"]
	if !n.spec.label {
		each, count = nil, nil
	}
	switch {
	case each != nil && count != nil:
		l.fail(codeRepetition, where{rng: &count.NameRange, in: n.block}, "A block has for_each or count, not both. Remove one.")
		return false
	case each != nil:
		n.repeated = forEach
		return l.expandEach(n, each.Expr)
	case count != nil:
		n.repeated = counted
		return l.expandCount(n, count.Expr)
	}
	n.instances = []*instance{{node: n, address: n.id(), body: n.block.Body}}
	return true
}

func (l *loader) expandEach(n *node, x hclsyntax.Expression) bool {
	outer := &instance{node: n}
	at := outer.placeOf(x)
	v := l.eval(x, outer)
	t := v.Type()
	switch {
	case !v.IsKnown():
		return false
	case v.IsNull():
		l.fail(codeRepetition, at, "for_each is null. Use {} or toset([]) for no instance.")
		return false
	case t.IsTupleType() || t.IsListType():
		l.fail(codeRepetition, at, "for_each takes a map or a set of strings, for each instance needs a name that stays. Wrap the list: for_each = toset([\"a\", \"b\"]).")
		return false
	case t.IsSetType() && t.ElementType() != cty.String && v.LengthInt() > 0, !t.IsSetType() && !t.IsMapType() && !t.IsObjectType():
		l.fail(codeRepetition, at, "for_each takes a map or a set of strings, not %s.", article(t))
		return false
	}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		if t.IsSetType() {
			k = e
		}
		if !k.IsKnown() {
			return false
		}
		if k.IsNull() {
			l.fail(codeRepetition, at, "for_each has a null element. Every instance needs a name.")
			return false
		}
		n.instances = append(n.instances, &instance{
			node: n, address: n.id() + "[" + strconv.Quote(k.AsString()) + "]", suffix: "-" + k.AsString(), body: n.block.Body,
			vars: map[string]cty.Value{"each": cty.ObjectVal(map[string]cty.Value{"key": k, "value": e})},
		})
	}
	return true
}

func (l *loader) expandCount(n *node, x hclsyntax.Expression) bool {
	outer := &instance{node: n}
	v := l.eval(x, outer)
	if !v.IsKnown() {
		return false
	}
	var count int
	if err := gocty.FromCtyValue(v, &count); err != nil || v.IsNull() || count < 0 || count > maxCount {
		l.fail(codeRepetition, outer.placeOf(x), "count takes a whole number from 0 to %d.", maxCount)
		return false
	}
	for k := range count {
		n.instances = append(n.instances, &instance{
			node: n, address: n.id() + "[" + strconv.Itoa(k) + "]", suffix: "-" + strconv.Itoa(k), body: n.block.Body,
			vars: map[string]cty.Value{"count": cty.ObjectVal(map[string]cty.Value{"index": cty.NumberIntVal(int64(k))})},
		})
	}
	return true
}

// article prints a type with its article: "a string", "an object".
func article(t cty.Type) string {
	name := t.FriendlyName()
	switch name[0] {
	case 'a', 'e', 'i', 'o', 'u':
		return "an " + name
	}
	return "a " + name
}
