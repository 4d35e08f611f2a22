package schema_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestRevert(t *testing.T) {
	t.Parallel()
	link := func(mtu uint32, up bool, alias string) *schema.Link {
		return &schema.Link{Name: "br0", Type: "bridge", MTU: &mtu, Up: &up, Alias: &alias}
	}
	before, after := link(1500, false, ""), link(1400, true, "")
	update := schema.Change{Ref: schema.LinkRef("br0"), Before: before, After: after}
	for _, c := range []struct {
		name       string
		change     schema.Change
		live, want schema.Object
		conflict   bool
	}{
		{"as made", update, after, before, false},
		{"made halfway", update, link(1400, false, ""), before, false},
		{"not made", update, before, before, false},
		{"others changed something else", update, link(1400, true, "theirs"), link(1500, false, "theirs"), false},
		{"others changed the same", update, link(1300, true, ""), nil, true},
		{"gone", update, nil, nil, true},
		{"created, then changed by others", schema.Change{Ref: update.Ref, After: after}, link(1300, true, "theirs"), nil, false},
		{"created and gone", schema.Change{Ref: update.Ref, After: after}, nil, nil, false},
		{"deleted", schema.Change{Ref: update.Ref, Before: before}, nil, before, false},
		{"deleted and made anew", schema.Change{Ref: update.Ref, Before: before}, link(1300, true, ""), nil, true},
		{"not deleted yet", schema.Change{Ref: update.Ref, Before: before}, before, before, false},
	} {
		got, err := schema.Revert(c.live, c.change)
		if conflict := errors.As(err, new(*schema.ConflictError)); conflict != c.conflict || (err != nil) != c.conflict {
			t.Errorf("%s: error %v, want a conflict: %t", c.name, err, c.conflict)
			continue
		}
		if (got == nil) != (c.want == nil) || got != nil && !schema.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestRevertTable: what the kernel adds by itself, such as handles, is no change by somebody else.
func TestRevertTable(t *testing.T) {
	t.Parallel()
	chain := func(name string, handle uint64, marks ...string) *schema.Chain {
		c := &schema.Chain{Name: name, Handle: handle}
		for i, m := range marks {
			r := &schema.Rule{Comment: m, Exprs: []schema.Expr{{Name: "counter"}}}
			if handle > 0 {
				r.Handle, r.Packets, r.Text = handle+uint64(i), new(uint64(7)), "counter"
			}
			c.Rules = append(c.Rules, r)
		}
		return c
	}
	set := func(name string, handle uint64, keys ...byte) *schema.Set {
		s := &schema.Set{Name: name, Handle: handle, KeyLen: 1}
		for _, k := range keys {
			s.Elements = append(s.Elements, schema.Element{Key: []byte{k}})
		}
		return s
	}
	table := func(chains []*schema.Chain, sets ...*schema.Set) *schema.Table {
		return &schema.Table{Family: "inet", Name: "vmnet", Chains: chains, Sets: sets}
	}
	chains := func(c ...*schema.Chain) []*schema.Chain { return c }
	before := table(chains(chain("f", 3, "a", "b"), chain("old", 9, "x")), set("links", 5, 1, 2), set("stays", 6, 1))
	after := table(chains(chain("f", 0, "a"), chain("new", 0, "y")), set("links", 0, 1), set("stays", 0, 1))
	update := schema.Change{Ref: before.Ref(), Before: before, After: after}
	for _, c := range []struct {
		name           string
		live, want     *schema.Table
		conflictFields string
	}{
		{"as made", table(chains(chain("f", 30, "a"), chain("new", 31, "y")), set("links", 32, 1), set("stays", 6, 1)), before, ""},
		{"not made", before, before, ""},
		{
			"others made a chain and a set",
			table(chains(chain("f", 30, "a"), chain("new", 31, "y"), chain("theirs", 33, "z")), set("links", 32, 1), set("own", 7, 4), set("stays", 6, 1)),
			table(chains(chain("f", 3, "a", "b"), chain("old", 9, "x"), chain("theirs", 33, "z")), set("links", 5, 1, 2), set("own", 7, 4), set("stays", 6, 1)), "",
		},
		{
			"others changed what we left",
			table(chains(chain("f", 30, "a"), chain("new", 31, "y")), set("links", 32, 1), set("stays", 6, 1, 9)),
			table(chains(chain("f", 3, "a", "b"), chain("old", 9, "x")), set("links", 5, 1, 2), set("stays", 6, 1, 9)), "",
		},
		{
			"others changed what we changed",
			table(chains(chain("f", 30, "q"), chain("new", 31, "y")), set("links", 32, 1, 3), set("stays", 6, 1)), nil, "chain f, set links",
		},
		{"others took our chain out", table(chains(chain("f", 30, "a")), set("links", 32, 1), set("stays", 6, 1)), before, ""},
	} {
		got, err := schema.Revert(c.live, update)
		var conflict *schema.ConflictError
		if errors.As(err, &conflict) != (c.want == nil) || conflict != nil && strings.Join(conflict.Fields, ", ") != c.conflictFields {
			t.Errorf("%s: error %v, want a conflict about %q", c.name, err, c.conflictFields)
			continue
		}
		if c.want != nil && (err != nil || !schema.Equal(got, c.want)) {
			t.Errorf("%s: %v (%v), want %v: %v", c.name, got, err, c.want, schema.Compare(got, c.want))
		}
	}
}
