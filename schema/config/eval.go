package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// node is something expressions can refer to: a variable, a local value, or a block with all its instances. Nodes are
// evaluated on demand, so blocks and values may stand in any order.
type node struct {
	kind, name string
	block      *hclsyntax.Block     // the block itself; for a local value the locals block around it
	spec       *blockSpec           // nil for local values
	expr       hclsyntax.Expression // of a local value
	rng        hcl.Range
	state      state
	damaged    bool // by a syntax error: neither evaluated nor complained about
	instances  []*instance
	repeated   repetition
	value      cty.Value // memo; the zero Value until asked for
}

type state int

const (
	untouched state = iota
	running
	done
	failed // its value is unknown; what went wrong has been said
)

type repetition int

const (
	single repetition = iota
	forEach
	counted
)

// id is how the node is written in expressions: "nat.lab".
func (n *node) id() string {
	if n.name == "" {
		return n.kind
	}
	return n.kind + "." + n.name
}

func (n *node) where() where { return where{rng: &n.rng, in: n.block} }

// instance is one block after for_each and count.
type instance struct {
	node    *node
	address string               // "nat.lab", `guest.vm["a"]`
	suffix  string               // "" or "-a": what tells default names of instances apart
	vars    map[string]cty.Value // each or count; nil for a single block
	thing   valuer               // what it was decoded to; nil for blocks that expressions cannot refer to
	value   cty.Value
	body    *hclsyntax.Body
}

// valuer is a decoded block that expressions can refer to.
type valuer interface{ value() cty.Value }

func (i *instance) block() *hclsyntax.Block { return i.node.block }

// inner gives access to the attributes of a nested block, which shares the instance's variables.
func (i *instance) inner(b *hclsyntax.Block) *instance {
	c := *i
	c.body = b.Body
	return &c
}

// at is the place of the instance's header.
func (i *instance) at() where { return where{rng: &i.node.rng, inst: i} }

// evaluate computes every variable, local value and block.
func (l *loader) evaluate() {
	l.funcs = functions(l.dir)
	l.roots = map[string]*cachedRoot{}
	l.giveVariables()
	for _, kind := range []string{"var", "local"} {
		for _, n := range l.sortedNodes(kind) {
			l.demand(n, n.where())
		}
	}
	for _, n := range l.order {
		l.demand(n, n.where())
	}
}

// sortedNodes are the nodes of a kind in the order of the files.
func (l *loader) sortedNodes(kind string) []*node {
	var out []*node
	for _, n := range l.nodes[kind] {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *node) int {
		if c := strings.Compare(a.rng.Filename, b.rng.Filename); c != 0 {
			return c
		}
		return a.rng.Start.Byte - b.rng.Start.Byte
	})
	return out
}

// demand evaluates a node that was not yet. at is the reference that asks for it.
func (l *loader) demand(n *node, at where) {
	switch n.state {
	case done, failed:
		return
	case running:
		l.reportCycle(n, at)
		return
	case untouched:
	}
	if n.damaged {
		n.state = failed
		return
	}
	n.state = running
	l.stack = append(l.stack, n)
	switch n.kind {
	case "var":
		l.evalVariable(n)
	case "local":
		n.value = l.eval(n.expr, &instance{node: n})
		n.state = done
	default:
		l.evalBlock(n)
	}
	l.stack = l.stack[:len(l.stack)-1]
	if n.state == running {
		n.state = done
	}
}

func (l *loader) reportCycle(n *node, at where) {
	chain := l.stack[slices.Index(l.stack, n):]
	if len(chain) == 1 {
		l.fail(codeCycle, at, "%s refers to itself. Write the value out instead.", n.id())
		return
	}
	ids := make([]string, 0, len(chain)+1)
	for _, m := range chain {
		ids = append(ids, m.id())
	}
	ids = append(ids, n.id())
	l.fail(codeCycle, at, "Each of these needs the next one first: %s. Replace one of the references by a value.", strings.Join(ids, " → "))
}

// evalBlock expands for_each and count, and decodes each instance.
func (l *loader) evalBlock(n *node) {
	if !l.expand(n) {
		n.state = failed
		return
	}
	l.checkLength(n)
	for _, i := range n.instances {
		n.spec.decode(l, i)
	}
}

// maxAddress bounds the length of a block's address: it marks links and rules, and nft(8) takes comments of at most 128
// bytes (NFTNL_UDATA_COMMENT_MAXLEN).
const maxAddress = 110

func (l *loader) checkLength(n *node) {
	for _, i := range n.instances {
		if len(i.address) > maxAddress {
			l.fail(codeLabels, n.where(), "The name %s… has %d bytes; it marks what belongs to the block in the kernel, where %d have room. Shorten the label or the key.",
				strings.ToValidUTF8(i.address[:30], ""), len(i.address), maxAddress)
			return
		}
	}
}

// eval computes an expression. What went wrong is reported, and the value is then unknown: whoever gets an unknown
// value stays silent, for there is nothing more to say.
func (l *loader) eval(x hclsyntax.Expression, i *instance) cty.Value {
	// Most attributes are plain literals or references: they need neither a context nor a walk.
	switch x := x.(type) {
	case *hclsyntax.LiteralValueExpr:
		return x.Val
	case *hclsyntax.TemplateExpr:
		if x.IsStringLiteral() {
			return x.Parts[0].(*hclsyntax.LiteralValueExpr).Val
		}
	case *hclsyntax.ScopeTraversalExpr:
		return l.evalReference(x, i)
	}
	ctx, ok := l.context(x, i)
	if !ok {
		return cty.DynamicVal
	}
	v, diags := x.Value(ctx)
	if diags.HasErrors() {
		l.adopt(codeExpression, i.placeOf(x), diags)
		return cty.DynamicVal
	}
	return v
}

func (i *instance) placeOf(x hclsyntax.Expression) where {
	return where{expr: x, inst: i}
}

// evalReference is the fast way for a bare reference such as nat.lab or each.value.net.
func (l *loader) evalReference(x *hclsyntax.ScopeTraversalExpr, i *instance) cty.Value {
	v, rest, ok := l.resolve(x.Traversal, i)
	if !ok {
		return cty.DynamicVal
	}
	for n, step := range rest {
		if attr, ok := step.(hcl.TraverseAttr); ok && v.Type().IsObjectType() && !v.Type().HasAttribute(attr.Name) {
			l.unknownAttributeOf(x, len(x.Traversal)-len(rest)+n, v, i)
			return cty.DynamicVal
		}
		if index, ok := step.(hcl.TraverseIndex); ok && l.noSuchInstance(x, len(x.Traversal)-len(rest)+n, index, v, i) {
			return cty.DynamicVal
		}
		next, diags := step.TraversalStep(v)
		if diags.HasErrors() {
			l.adopt(codeUnknownReference, i.placeOf(x), diags)
			return cty.DynamicVal
		}
		v = next
	}
	return v
}

func (l *loader) unknownAttributeOf(x *hclsyntax.ScopeTraversalExpr, n int, v cty.Value, i *instance) {
	var names []string
	for name := range v.Type().AttributeTypes() {
		names = append(names, name)
	}
	slices.Sort(names)
	step := x.Traversal[n].(hcl.TraverseAttr)
	has := fmt.Sprintf("It has %s.", listOf(names))
	if len(names) > 20 {
		has = ""
	}
	l.fail(codeUnknownReference, where{rng: &step.SrcRange, in: i.node.block, inst: i}, "%s has no attribute %q.%s %s",
		textOf(x.Traversal[:n]), step.Name, didYouMean(step.Name, names), has)
}

// noSuchInstance complains about guest.vm["x"] where guest.vm has no such instance.
func (l *loader) noSuchInstance(x *hclsyntax.ScopeTraversalExpr, n int, step hcl.TraverseIndex, v cty.Value, i *instance) bool {
	t := v.Type()
	if !t.IsObjectType() || step.Key.Type() != cty.String || !step.Key.IsKnown() || step.Key.IsNull() || t.HasAttribute(step.Key.AsString()) {
		return false
	}
	var keys []string
	for k := range t.AttributeTypes() {
		keys = append(keys, k)
	}
	has := fmt.Sprintf("It has %d others.", len(keys)) // a list of thousands helps nobody
	if len(keys) <= 20 {
		has = fmt.Sprintf("It has %s.", listOf(quoted(keys)))
	}
	key := step.Key.AsString()
	l.fail(codeUnknownReference, where{rng: &step.SrcRange, in: i.node.block, inst: i}, "%s has nothing under %q.%s %s",
		textOf(x.Traversal[:n]), key, didYouMean(key, keys), has)
	return true
}

// textOf prints a reference as it was written.
func textOf(t hcl.Traversal) string {
	var b strings.Builder
	for _, step := range t {
		switch s := step.(type) {
		case hcl.TraverseRoot:
			b.WriteString(s.Name)
		case hcl.TraverseAttr:
			b.WriteString("." + s.Name)
		case hcl.TraverseIndex:
			b.WriteString("[" + keyText(s.Key) + "]")
		}
	}
	return b.String()
}

func keyText(v cty.Value) string {
	switch {
	case !v.IsKnown() || v.IsNull():
		return "…"
	case v.Type() == cty.String:
		return strconv.Quote(v.AsString())
	case v.Type() == cty.Number:
		return v.AsBigFloat().Text('f', -1)
	}
	return "…"
}

// context is what an expression can see: the things it names and no others. ok is false when one is not there.
func (l *loader) context(x hclsyntax.Expression, i *instance) (*hcl.EvalContext, bool) {
	parts := map[string]map[string]cty.Value{}
	vars := map[string]cty.Value{}
	ok := true
	for _, t := range x.Variables() {
		root := t.RootName()
		name, static := secondName(t)
		if isBlockRoot(root) && static {
			v, _, found := l.resolve(t, i)
			ok = ok && found
			if parts[root] == nil {
				parts[root] = map[string]cty.Value{}
			}
			parts[root][name] = v
			continue
		}
		v, found := l.root(t, i)
		ok = ok && found
		vars[root] = v
	}
	for root, names := range parts {
		if _, whole := vars[root]; !whole {
			vars[root] = cty.ObjectVal(names)
		}
	}
	return &hcl.EvalContext{Variables: vars, Functions: l.funcs}, ok
}

// contextForText gives a diagnostic the values to show. It evaluates nothing that was not evaluated before.
func (l *loader) contextForText(x hclsyntax.Expression, i *instance) *hcl.EvalContext {
	if i == nil || len(x.Variables()) == 0 {
		return nil
	}
	for _, t := range x.Variables() {
		name, static := secondName(t)
		if !isBlockRoot(t.RootName()) {
			continue
		}
		if n := l.lookup(t.RootName(), name); !static || n == nil || n.state != done {
			return nil
		}
	}
	ctx, ok := l.context(x, i)
	if !ok {
		return nil
	}
	return ctx
}
