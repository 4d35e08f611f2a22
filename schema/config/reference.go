package config

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// blockRoots are the first words of references to what the files declare.
func blockRoots() []string {
	return []string{"var", "local", "bridge", "nat", "host_only", "network", "guest", "adapter"}
}

func isBlockRoot(name string) bool { return slices.Contains(blockRoots(), name) }

// networkKinds are the blocks under the umbrella network.<name>.
func networkKinds() []string { return []string{"bridge", "nat", "host_only"} }

// secondName is the name in nat.lab and nat["lab"]; static is false where it is computed, as in nat[each.key].
func secondName(t hcl.Traversal) (name string, static bool) {
	if len(t) < 2 {
		return "", false
	}
	switch s := t[1].(type) {
	case hcl.TraverseAttr:
		return s.Name, true
	case hcl.TraverseIndex:
		if s.Key.Type() == cty.String && s.Key.IsKnown() && !s.Key.IsNull() {
			return s.Key.AsString(), true
		}
	}
	return "", false
}

// resolve finds what a reference begins with: its value, and the steps that are left.
func (l *loader) resolve(t hcl.Traversal, i *instance) (v cty.Value, rest hcl.Traversal, ok bool) {
	root := t.RootName()
	name, static := secondName(t)
	if !isBlockRoot(root) || !static {
		v, ok := l.root(t, i)
		return v, t[1:], ok
	}
	n := l.lookup(root, name)
	if n != nil && n.state == done {
		return l.valueOf(n), t[2:], true
	}
	at := where{rng: hcl.RangeBetween(t[0].SourceRange(), t[1].SourceRange()).Ptr(), inst: i}
	if n == nil {
		l.unknownReference(root, name, at)
		return cty.DynamicVal, nil, false
	}
	l.demand(n, at)
	return l.valueOf(n), t[2:], true
}

// lookup finds a node; nil when there is none, or when network.<name> could mean two.
func (l *loader) lookup(root, name string) *node {
	if root != "network" {
		return l.nodes[root][name]
	}
	var found *node
	for _, k := range networkKinds() {
		if n := l.nodes[k][name]; n != nil {
			if found != nil {
				return nil
			}
			found = n
		}
	}
	return found
}

func (l *loader) unknownReference(root, name string, at where) {
	var kinds, names []string
	for _, k := range blockRoots() {
		if l.nodes[k][name] != nil {
			kinds = append(kinds, k+"."+name)
		}
	}
	for _, k := range l.kindsUnder(root) {
		for n := range l.nodes[k] {
			names = append(names, n)
		}
	}
	switch {
	case root == "network" && len(kinds) > 1:
		l.fail(codeUnknownReference, at, "network.%s could mean %s. Say which.", name, listOf(kinds))
	case suggest(name, names) != "":
		l.fail(codeUnknownReference, at, "%s is not declared. Did you mean %s.%s?", root+"."+name, root, suggest(name, names))
	case len(kinds) > 0:
		l.fail(codeUnknownReference, at, "%s is not declared, but %s is. Did you mean that?", root+"."+name, listOf(kinds))
	default:
		l.fail(codeUnknownReference, at, "%s is not declared. %s", root+"."+name, declareCure(root, name))
	}
}

func (l *loader) kindsUnder(root string) []string {
	if root == "network" {
		return networkKinds()
	}
	return []string{root}
}

func declareCure(root, name string) string {
	switch root {
	case "var":
		return fmt.Sprintf("Declare it with variable %q { … }.", name)
	case "local":
		return fmt.Sprintf("Declare it with locals { %s = … }.", name)
	case "network":
		return fmt.Sprintf("Declare it with nat %q { … }, host_only or bridge.", name)
	}
	return fmt.Sprintf("Declare it with %s %q { … }.", root, name)
}

// words are the endpoints that are no blocks.
func words() []string { return []string{"host", "outside", "any"} }

// cachedRoot is the value of a whole root such as guest, for guest[each.key].
type cachedRoot struct{ value cty.Value }

// root is the value of a whole first word.
func (l *loader) root(t hcl.Traversal, i *instance) (cty.Value, bool) {
	name := t.RootName()
	at := where{rng: t[0].SourceRange().Ptr(), in: i.node.block, inst: i}
	if v, ok := i.vars[name]; ok {
		return v, true
	}
	switch {
	case slices.Contains(words(), name):
		return cty.StringVal(name), true
	case isBlockRoot(name):
		return l.wholeRoot(name, at), true
	case name == "each":
		l.fail(codeUnknownReference, at, "each exists only in a block with for_each.")
	case name == "count":
		l.fail(codeUnknownReference, at, "count exists only in a block with count.")
	default:
		l.unknownRoot(name, at)
	}
	return cty.DynamicVal, false
}

func (l *loader) unknownRoot(name string, at where) {
	for _, s := range specs() {
		if s.kind == name {
			l.fail(codeUnknownReference, at, "A %s block cannot be referred to. References begin with %s.", name, listOf(blockRoots()))
			return
		}
	}
	candidates := append(blockRoots(), words()...)
	l.fail(codeUnknownReference, at, "There is nothing called %q.%s A text stands in quotes; references begin with %s.",
		name, didYouMean(name, candidates), listOf(blockRoots()))
}

// wholeRoot is the object of all nodes under a word. Needed where the name is computed, so every node has to be known.
func (l *loader) wholeRoot(root string, at where) cty.Value {
	if c := l.roots[root]; c != nil {
		return c.value
	}
	vals := map[string]cty.Value{}
	complete := true
	for _, kind := range l.kindsUnder(root) {
		for _, n := range l.sortedNodes(kind) {
			if l.lookup(root, n.name) != n {
				continue
			}
			l.demand(n, at)
			complete = complete && n.state == done
			vals[n.name] = l.valueOf(n)
		}
	}
	v := cty.ObjectVal(vals)
	if complete {
		l.roots[root] = &cachedRoot{v}
	}
	return v
}

// valueOf is what a reference to the node gives. Unknown when the node could not be evaluated, or is just being.
func (l *loader) valueOf(n *node) cty.Value {
	if n.state != done {
		return cty.DynamicVal
	}
	if n.value != cty.NilVal {
		return n.value
	}
	switch n.repeated {
	case single:
		n.value = n.instances[0].val()
	case counted:
		vals := make([]cty.Value, len(n.instances))
		for k, i := range n.instances {
			vals[k] = i.val()
		}
		n.value = cty.TupleVal(vals)
	case forEach:
		vals := make(map[string]cty.Value, len(n.instances))
		for _, i := range n.instances {
			vals[i.vars["each"].GetAttr("key").AsString()] = i.val()
		}
		n.value = cty.ObjectVal(vals)
	}
	return n.value
}

func (i *instance) val() cty.Value {
	if i.thing == nil {
		return cty.DynamicVal
	}
	if i.value == cty.NilVal {
		i.value = i.thing.value()
	}
	return i.value
}
