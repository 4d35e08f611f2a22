package config

import (
	"fmt"
	"hash"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// envPrefix begins the names of environment variables that give values.
const envPrefix = "VMNET_VAR_"

// givenValue is a value for a variable from outside of the configuration.
type givenValue struct {
	// text is how -var and the environment give it; its meaning depends on the variable's type.
	text   string
	isText bool
	value  cty.Value
	from   string // "-var", "prod.vmvars.hcl:3": for messages
	at     where
}

// giveVariables collects the values for variables, the weakest source first: environment, *.auto.vmvars.hcl, -var-file,
// -var. As in Terraform, a name in the environment that nobody declares is nothing special.
func (l *loader) giveVariables() {
	l.given = map[string]givenValue{}
	for _, e := range l.opts.Environ {
		name, value, ok := strings.Cut(strings.TrimPrefix(e, envPrefix), "=")
		if ok && strings.HasPrefix(e, envPrefix) {
			l.given[name] = givenValue{text: value, isText: true, from: envPrefix + name}
		}
	}
	slices.Sort(l.autoFiles)
	for _, f := range slices.Concat(l.autoFiles, l.opts.VarFiles) {
		l.readVarFile(f)
	}
	for _, v := range l.opts.Vars {
		name, value, ok := strings.Cut(v, "=")
		name = strings.TrimSpace(name)
		switch {
		case !ok || name == "":
			l.fail(codeBadValue, where{}, "-var %q is not of the form name=value.", v)
		case l.nodes["var"][name] == nil:
			l.fail(codeUndeclared, where{}, "-var %s gives a value to a variable that no file declares.%s", name, didYouMean(name, l.variableNames()))
		default:
			l.given[name] = givenValue{text: value, isText: true, from: "-var " + name}
		}
	}
}

func (l *loader) variableNames() []string { return slices.Sorted(maps.Keys(l.nodes["var"])) }

// readVarFile reads name = value lines. Values are constants.
func (l *loader) readVarFile(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		l.fail(codeUnreadable, where{}, "Cannot read the file of variables %s: %v.", path, cause(err))
		return
	}
	f, diags := hclsyntax.ParseConfig(text, path, hcl.InitialPos)
	l.adopt(codeSyntax, where{}, diags)
	if f == nil {
		return
	}
	l.files[path] = f
	body, ok := f.Body.(*hclsyntax.Body)
	if !ok {
		return
	}
	for _, b := range body.Blocks {
		l.fail(codeUnknownBlock, where{rng: &b.TypeRange, in: b}, "A file of variables holds lines of the form name = value, and no blocks. Blocks stand in files named *%s.", Suffix)
	}
	for _, name := range attributeNames(body) {
		a := body.Attributes[name]
		if l.nodes["var"][name] == nil {
			l.warn(codeUndeclared, where{rng: &a.NameRange}, "%q is given a value, but no file declares the variable.%s", name, didYouMean(name, l.variableNames()))
			continue
		}
		v, diags := a.Expr.Value(nil)
		l.adopt(codeExpression, where{rng: a.Expr.Range().Ptr()}, diags)
		if diags.HasErrors() {
			v = cty.DynamicVal
		}
		at := where{rng: a.Expr.Range().Ptr()}
		l.given[name] = givenValue{value: v, from: at.place(), at: at}
	}
}

// evalVariable finds the value of a variable and brings it to the declared type.
func (l *loader) evalVariable(n *node) {
	attrs := n.block.Body.Attributes
	n.value = cty.DynamicVal
	i := &instance{node: n, body: n.block.Body}
	want, defaults, ok := l.variableType(n, attrs["type"])
	if !ok {
		n.state = failed
		return
	}
	if d := attrs["description"]; d != nil {
		l.text(i, "description")
	}
	fallback, hasDefault := l.variableDefault(i, attrs["default"], want, defaults)
	g, given := l.given[n.name]
	switch {
	case given:
		l.takeValue(n, g, want, defaults)
	case hasDefault:
		n.value = fallback
	default:
		l.fail(codeNoValue, n.where(), "The variable %q has no default, and nothing gives it a value. Use -var %s=…, -var-file, a *%s file or %s%s.",
			n.name, n.name, VarsSuffix, envPrefix, n.name)
	}
}

func (l *loader) variableType(n *node, a *hclsyntax.Attribute) (cty.Type, *typeexpr.Defaults, bool) {
	if a == nil {
		return cty.DynamicPseudoType, nil, true
	}
	t, defaults, diags := typeexpr.TypeConstraintWithDefaults(a.Expr)
	if diags.HasErrors() {
		for _, d := range diags {
			d.Detail += " Types are string, number, bool, any, list(string), set(string), map(string), tuple([string, number]) and object({ name = string }), with any type inside."
		}
		l.adopt(codeWrongType, where{rng: a.Expr.Range().Ptr(), in: n.block}, diags)
		return t, nil, false
	}
	return t, defaults, true
}

func (l *loader) variableDefault(i *instance, a *hclsyntax.Attribute, want cty.Type, defaults *typeexpr.Defaults) (cty.Value, bool) {
	if a == nil {
		return cty.DynamicVal, false
	}
	v, diags := a.Expr.Value(nil) // a constant: what a variable is must not depend on what is computed from it
	if diags.HasErrors() {
		l.adopt(codeExpression, where{rng: a.Expr.Range().Ptr(), in: i.block()}, diags)
		return cty.DynamicVal, true
	}
	v, err := toType(v, want, defaults)
	if err != nil {
		l.fail(codeBadValue, where{rng: a.Expr.Range().Ptr(), in: i.block()}, "The default is not of the type %s: %s.", typeexpr.TypeString(want), err)
		return cty.DynamicVal, true
	}
	return v, true
}

func toType(v cty.Value, want cty.Type, defaults *typeexpr.Defaults) (cty.Value, error) {
	if defaults != nil && !v.IsNull() && v.IsKnown() {
		v = defaults.Apply(v)
	}
	return convert.Convert(v, want)
}

// takeValue gives a variable its value from outside.
func (l *loader) takeValue(n *node, g givenValue, want cty.Type, defaults *typeexpr.Defaults) {
	v, at := g.value, g.at
	if g.isText {
		var ok bool
		if v, at, ok = l.parseGiven(g, want); !ok {
			return
		}
	}
	v, err := toType(v, want, defaults)
	if err != nil {
		l.fail(codeBadValue, at, "The value for the variable %q (%s) is not of the type %s, as %s declares it: %s.",
			n.name, g.from, typeexpr.TypeString(want), n.where().place(), err)
		return
	}
	n.value = v
}

// parseGiven reads the text of -var or the environment: as it stands for a string, number or bool, else as an
// expression. It becomes a file of its own, so that diagnostics can show it.
func (l *loader) parseGiven(g givenValue, want cty.Type) (v cty.Value, at where, ok bool) {
	name := fmt.Sprintf("<value of %s>", g.from)
	l.files[name] = &hcl.File{Bytes: []byte(g.text)}
	end := hcl.Pos{Line: 1, Column: len(g.text) + 1, Byte: len(g.text)}
	at = where{rng: &hcl.Range{Filename: name, Start: hcl.InitialPos, End: end}}
	if want.IsPrimitiveType() || want == cty.DynamicPseudoType {
		return cty.StringVal(g.text), at, true
	}
	x, diags := hclsyntax.ParseExpression([]byte(g.text), name, hcl.InitialPos)
	if diags.HasErrors() {
		l.adopt(codeSyntax, at, diags)
		return cty.DynamicVal, at, false
	}
	v, diags = x.Value(nil)
	if diags.HasErrors() {
		l.adopt(codeBadValue, at, diags)
		return cty.DynamicVal, at, false
	}
	return v, at, true
}

// hashVariables adds the values of the variables to a digest.
func (l *loader) hashVariables(h hash.Hash) {
	for _, n := range l.sortedNodes("var") {
		b, err := ctyjson.Marshal(n.value, cty.DynamicPseudoType)
		if err != nil {
			b = []byte(err.Error()) // a value that has no JSON: its kind is all there is to tell
		}
		hashText(h, n.name)
		hashText(h, string(b))
	}
}
