package schema

import (
	"cmp"
	"slices"
)

// revertTable is Revert for a table: part by part, a part being a chain or a set. Handles and the like are facts of the kernel
// and no part of what was changed.
func revertTable(live *Table, c Change) (Object, error) {
	before, after := c.Before.(*Table), c.After.(*Table)
	t := Clone(live).(*Table)
	var conflicts []string
	switch {
	case before.Dormant == after.Dormant, live.Dormant == before.Dormant:
	default: // it is one of two
		t.Dormant, t.Flags, t.Comment = before.Dormant, before.Flags, before.Comment
	}
	t.Chains = revertParts("chain ", t.Chains, before.Chains, after.Chains, func(c *Chain) string { return c.Name }, chainsEqual, &conflicts)
	t.Sets = revertParts("set ", t.Sets, before.Sets, after.Sets, func(s *Set) string { return s.Name }, setsEqual, &conflicts)
	if a, b, l := opaqueNames(after), opaqueNames(before), opaqueNames(live); a != b && l != b {
		if l != a {
			conflicts = append(conflicts, "objects")
		}
		t.Opaque = before.Opaque
	}
	if len(conflicts) > 0 {
		slices.Sort(conflicts)
		return nil, &ConflictError{c.Ref, conflicts}
	}
	return Clone(t), nil
}

// revertParts merges three lists by name: a part that a change made, took out or altered goes back to what it was before.
func revertParts[P any](word string, live, before, after []*P, name func(*P) string, equal func(a, b *P) bool, conflicts *[]string) []*P {
	find := func(list []*P, n string) *P {
		for _, p := range list {
			if name(p) == n {
				return p
			}
		}
		return nil
	}
	alike := func(a, b *P) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return equal(a, b)
	}
	out := slices.Clone(live)
	seen := map[string]bool{}
	for _, p := range slices.Concat(before, after) {
		n := name(p)
		b, a, l := find(before, n), find(after, n), find(live, n)
		switch {
		case seen[n], alike(a, b), alike(l, b):
		case !alike(l, a):
			*conflicts = append(*conflicts, word+n)
		default:
			out = slices.DeleteFunc(out, func(p *P) bool { return p == l })
			if b != nil {
				out = append(out, b)
			}
		}
		seen[n] = true
	}
	slices.SortFunc(out, func(x, y *P) int { return cmp.Compare(name(x), name(y)) })
	return out
}

func chainsEqual(a, b *Chain) bool {
	return a.head() == b.head() && slices.EqualFunc(a.Rules, b.Rules, RulesEqual)
}
