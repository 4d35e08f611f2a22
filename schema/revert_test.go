package schema_test

import (
	"errors"
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
