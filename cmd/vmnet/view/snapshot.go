package view

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/providers/nft"
	"github.com/vmnet/vmnet/schema"
)

// Snapshot is an observed state as text: every object by kind, the rules of each table.
func Snapshot(s *schema.State, o Options) string {
	pg := &page{o: o}
	pg.raw(count(s.Len(), "object") + " observed")
	if len(s.Blind) > 0 {
		pg.para(0, yellow, "? "+schema.Unseen(s.Blind))
	}
	for _, k := range schema.Kinds() {
		refs := s.Refs(k)
		if len(refs) == 0 {
			continue
		}
		pg.blank()
		pg.heading(strings.ToUpper(string(k)), strconv.Itoa(len(refs)))
		for _, r := range refs {
			pg.raw("  " + clean(s.Get(r).String()))
			if t, ok := s.Get(r).(*schema.Table); ok {
				pg.table(t)
			}
		}
	}
	return pg.String()
}

func (pg *page) table(t *schema.Table) {
	for _, c := range t.Chains {
		head := "    " + c.Name
		if c.Hook != "" {
			head += fmt.Sprintf("  %s hook %s priority %d policy %s", c.Type, c.Hook, c.Priority, c.Policy)
		}
		pg.raw(clean(head))
		for _, r := range c.Rules {
			text := r.Text
			if text == "" {
				text = nft.RuleText(t, r)
			}
			if r.Comment != "" && !strings.Contains(text, r.Comment) {
				text += "  # " + r.Comment
			}
			pg.raw("      " + clean(text))
		}
	}
}

// SnapshotJSON is the document of snapshot, and what --live takes.
func SnapshotJSON(s *schema.State) ([]byte, error) { return encode(s) }
