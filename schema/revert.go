package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ConflictError names attributes that a change set and somebody else has set since, to something else again.
type ConflictError struct {
	Ref    Ref
	Fields []string // JSON paths: "mtu", "bridge.stp"
}

// Error says that they are left alone.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s: somebody else changed %s meanwhile", e.Ref, strings.Join(e.Fields, ", "))
}

// Revert is what live must become so that nothing is left of c, and everything that others did meanwhile stays: a merge of
// three. An attribute that c changed goes back to what it was before; one that is still (or again) as before stays, so that
// a change made halfway can be taken back too; one that c did not touch stays as it is. An attribute that c changed and
// that is now neither is a *ConflictError. What c created is to be gone, whatever was set on it since; what c deleted and
// somebody made anew is a conflict.
func Revert(live Object, c Change) (Object, error) {
	switch {
	case c.Before == nil, live == nil && c.After == nil:
		return Clone(c.Before), nil
	case live == nil || c.After == nil:
		if live != nil && len(Compare(live, c.Before)) == 0 {
			return live, nil
		}
		return nil, &ConflictError{c.Ref, []string{"whether it is there"}}
	}
	if t, ok := live.(*Table); ok {
		return revertTable(t, c)
	}
	l, err := fields(live)
	if err != nil {
		return nil, err
	}
	b, err := fields(c.Before)
	if err != nil {
		return nil, err
	}
	a, err := fields(c.After)
	if err != nil {
		return nil, err
	}
	var conflicts []string
	revertFields("", l, b, a, &conflicts)
	if len(conflicts) > 0 {
		slices.Sort(conflicts)
		return nil, &ConflictError{c.Ref, conflicts}
	}
	raw, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("revert %s: %w", c.Ref, err)
	}
	o, err := unmarshalObject(c.Ref.Kind, raw)
	if d, ok := o.(*Dnsmasq); ok { // one that is stopped halfway through a restart is to run
		d.State = c.Before.(*Dnsmasq).State
	}
	return o, err
}

// fields is an object as its JSON.
func fields(o Object) (map[string]any, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("revert %s: %w", o.Ref(), err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // 64 bits do not fit a float
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("revert %s: %w", o.Ref(), err)
	}
	return m, nil
}

func revertFields(prefix string, live, before, after map[string]any, conflicts *[]string) {
	keys := maps.Clone(before)
	maps.Copy(keys, after)
	for k := range keys {
		b, a, l := before[k], after[k], live[k]
		switch {
		case k == "facts" || same(a, b) || same(l, b):
		case same(l, a):
			if b == nil {
				delete(live, k)
			} else {
				live[k] = b
			}
		default:
			lm, ok1 := l.(map[string]any)
			bm, ok2 := b.(map[string]any)
			am, ok3 := a.(map[string]any)
			if !ok1 || !ok2 || !ok3 {
				*conflicts = append(*conflicts, prefix+k)
				continue
			}
			revertFields(prefix+k+".", lm, bm, am, conflicts)
		}
	}
}

// same compares two values of JSON.
func same(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}
