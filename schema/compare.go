package schema

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Difference is one managed attribute that is not as desired. Live is "" when the object lacks it.
type Difference struct {
	Field string `json:"field"` // the JSON name, "mtu" or "bridge.stp"
	Live  string `json:"live"`
	Want  string `json:"want"`
}

// String prints "mtu 1400 -> 1500".
func (d Difference) String() string {
	return fmt.Sprintf("%s %s -> %s", d.Field, orNone(d.Live), orNone(d.Want))
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// notCompared are the fields that the kernel fills, that run, or that are identity only.
var notCompared = map[string]bool{
	"Facts": true, "Valid": true, "Preferred": true, "Handle": true, "Nth": true, "Next": true, "Index": true, "Place": true,
	"Mode": true, "Pair": true, "Process": true,
}

// Compare lists the attributes of live that differ from what desired sets. A nil or zero field of desired is not managed.
// The two must be of one kind; a nil live object differs in nothing that can be named.
func Compare(live, desired Object) []Difference {
	if live == nil || desired == nil {
		return nil
	}
	switch want := desired.(type) {
	case *Machine, *Holder, *Lease: // facts, all of them
		return nil
	case *Table:
		return compareTables(live.(*Table), want)
	case *ForeignRule:
		have := live.(*ForeignRule)
		return diffStrings("rule", have.Rule.Text, want.Rule.Text)
	case *Dnsmasq:
		return compareDnsmasq(live.(*Dnsmasq), want)
	case *Neighbour:
		have := live.(*Neighbour)
		w := *want
		w.State, w.Proxy = have.State, have.Proxy
		return compareStructs("", reflect.ValueOf(*have), reflect.ValueOf(w))
	}
	return compareStructs("", reflect.ValueOf(live).Elem(), reflect.ValueOf(desired).Elem())
}

func diffStrings(field, live, want string) []Difference {
	if live == want {
		return nil
	}
	return []Difference{{field, live, want}}
}

func compareStructs(prefix string, live, want reflect.Value) []Difference {
	var diffs []Difference
	t := want.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		w, l := want.Field(i), live.Field(i)
		if notCompared[f.Name] || w.IsZero() {
			continue
		}
		name := prefix + jsonName(f)
		if f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Struct && f.Type.Elem().NumField() > 0 && f.Type.Elem().Field(0).IsExported() {
			if l.IsNil() {
				l = reflect.New(f.Type.Elem())
			}
			diffs = append(diffs, compareStructs(name+".", l.Elem(), w.Elem())...)
			continue
		}
		if ls, ws := text(l), text(w); ls != ws {
			diffs = append(diffs, Difference{name, ls, ws})
		}
	}
	return diffs
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "" {
		return f.Name
	}
	return name
}

func text(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	return fmt.Sprint(v.Interface())
}

// Merge is live with the managed fields of desired laid over it: the After of a Change. A nil live gives a copy of desired.
func Merge(live, desired Object) Object {
	if live == nil {
		return Clone(desired)
	}
	switch want := desired.(type) {
	case *Table, *ForeignRule, *Dnsmasq:
		return Clone(want)
	}
	out := Clone(live)
	mergeStructs(reflect.ValueOf(out).Elem(), reflect.ValueOf(Clone(desired)).Elem())
	if l, ok := out.(*Link); ok && l.Master != nil && *l.Master == "" {
		l.Port = nil // what is no port has no port's switches
	}
	return out
}

func mergeStructs(dst, src reflect.Value) {
	for i := range src.NumField() {
		s, d := src.Field(i), dst.Field(i)
		if s.IsZero() {
			continue
		}
		if s.Kind() == reflect.Pointer && s.Type().Elem().Kind() == reflect.Struct && s.Type().Elem().NumField() > 0 && s.Type().Elem().Field(0).IsExported() && !d.IsNil() {
			mergeStructs(d.Elem(), s.Elem())
			continue
		}
		d.Set(s)
	}
}

// Equal tells whether two objects are the same in all that is compared, in both directions.
func Equal(a, b Object) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	if la, ok := a.(*Link); ok {
		// A pin cannot be taken back: see Link.MACPinned.
		x, y := *la, *b.(*Link)
		x.MACPinned, y.MACPinned = nil, nil
		a, b = &x, &y
	}
	return a.Ref() == b.Ref() && len(Compare(a, b)) == 0 && len(Compare(b, a)) == 0
}

// compareTables names what differs between two tables, at the level of chains and sets.
func compareTables(live, want *Table) []Difference {
	var diffs []Difference
	add := func(field, l, w string) { diffs = append(diffs, Difference{field, l, w}) }
	if live.Dormant != want.Dormant {
		add("dormant", strconv.FormatBool(live.Dormant), strconv.FormatBool(want.Dormant))
	}
	for _, w := range want.Chains {
		l := live.Chain(w.Name)
		if l == nil {
			add("chain "+w.Name, "", fmt.Sprintf("%d rules", len(w.Rules)))
			continue
		}
		if a, b := l.head(), w.head(); a != b {
			add("chain "+w.Name, a, b)
		}
		if !slices.EqualFunc(l.Rules, w.Rules, RulesEqual) {
			add("rules of chain "+w.Name, rulesCount(l, w), fmt.Sprintf("%d rules", len(w.Rules)))
		}
	}
	for _, l := range live.Chains {
		if want.Chain(l.Name) == nil {
			add("chain "+l.Name, fmt.Sprintf("%d rules", len(l.Rules)), "")
		}
	}
	for _, w := range want.Sets {
		l := live.SetNamed(w.Name)
		switch {
		case l == nil:
			add("set "+w.Name, "", fmt.Sprintf("%d elements", len(w.Elements)))
		case !setsEqual(l, w):
			add("set "+w.Name, fmt.Sprintf("%d elements", len(l.Elements)), fmt.Sprintf("%d elements", len(w.Elements)))
		}
	}
	for _, l := range live.Sets {
		if want.SetNamed(l.Name) == nil {
			add("set "+l.Name, fmt.Sprintf("%d elements", len(l.Elements)), "")
		}
	}
	if a, b := opaqueNames(live), opaqueNames(want); a != b {
		add("objects", a, b)
	}
	return diffs
}

func (c *Chain) head() string {
	if c.Hook == "" {
		return "chain"
	}
	return fmt.Sprintf("type %s hook %s priority %d policy %s %s", c.Type, c.Hook, c.Priority, c.Policy, strings.Join(c.Devices, ","))
}

func rulesCount(live, want *Chain) string {
	if len(live.Rules) == len(want.Rules) {
		for i := range want.Rules {
			if !RulesEqual(live.Rules[i], want.Rules[i]) {
				return fmt.Sprintf("rule %d differs", i+1)
			}
		}
	}
	return fmt.Sprintf("%d rules", len(live.Rules))
}

func opaqueNames(t *Table) string {
	var names []string
	for _, o := range t.Opaque {
		names = append(names, o.Type+" "+o.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// RulesEqual tells whether two rules do the same: by their expressions, or by raw bytes where one is opaque.
func RulesEqual(a, b *Rule) bool {
	if a.Comment != b.Comment || len(a.Exprs) != len(b.Exprs) {
		return false
	}
	for i := range a.Exprs {
		if !exprsEqual(&a.Exprs[i], &b.Exprs[i]) {
			return false
		}
	}
	return true
}

func exprsEqual(a, b *Expr) bool {
	if a.Name != b.Name {
		return false
	}
	return reflect.DeepEqual(a, b)
}

func setsEqual(a, b *Set) bool {
	if a.Flags != b.Flags || a.KeyLen != b.KeyLen || a.DataLen != b.DataLen || !slices.Equal(a.Fields, b.Fields) {
		return false
	}
	if a.Flags&(SetEval|SetTimeout) != 0 { // their elements come and go
		return true
	}
	return slices.EqualFunc(a.Elements, b.Elements, func(x, y Element) bool {
		return bytes.Equal(x.Key, y.Key) && bytes.Equal(x.KeyEnd, y.KeyEnd) && bytes.Equal(x.Data, y.Data) &&
			x.CatchAll == y.CatchAll && reflect.DeepEqual(x.Verdict, y.Verdict)
	})
}
