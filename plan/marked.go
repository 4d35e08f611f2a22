package plan

import (
	"slices"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
)

// ruleDrafts compares the remedies found now with the marked rules that stand: what stands and is needed stays, what is
// missing is made, what no flow needs goes.
func (h *healer) ruleDrafts() []*draft {
	standing := slices.Clone(h.marked)
	var out []*draft
	for _, d := range h.remedies {
		f, ok := d.change.After.(*schema.ForeignRule)
		if !ok {
			if !h.grantStands(d) {
				out = append(out, d)
			}
			continue
		}
		if i := slices.IndexFunc(standing, func(s *schema.ForeignRule) bool { return sameRule(s, f) }); i >= 0 {
			s := standing[i]
			standing = slices.Delete(standing, i, i+1)
			if !h.behind(s, f) {
				continue
			}
			// Before the new one is made: a tool that deletes by what a rule does takes the first of two that are alike.
			out = append(out, unneeded(s, "it stands behind what it has to pass"))
		}
		out = append(out, d)
	}
	for _, s := range slices.Backward(standing) {
		out = append(out, unneeded(s, "no flow of the file needs it any more"))
	}
	return h.chained(append(out, h.grantDrafts(out)...))
}

// unneeded takes a rule of ours out.
func unneeded(s *schema.ForeignRule, because string) *draft {
	d := newDraft(s, nil)
	d.address, _ = schema.Mark(s.Rule.Comment)
	d.because, d.codes = because, []string{"VN403"}
	return d
}

// behind tells whether a rule that stands comes after rules of others that it would have to come before, as the one wanted
// does: it was made for something else that they did not stop then.
func (h *healer) behind(standing, wanted *schema.ForeignRule) bool {
	made := schema.Marked(h.state)
	i := slices.IndexFunc(made, func(f *schema.ForeignRule) bool { return sameRule(f, wanted) })
	return i >= 0 && othersBefore(h.r.live, standing) > othersBefore(h.state, made[i])
}

// othersBefore counts the rules before one of ours in its chain that are not.
func othersBefore(s *schema.State, f *schema.ForeignRule) (n int) {
	t, ok := s.Get(f.TableRef()).(*schema.Table)
	if !ok || t.Chain(f.Chain) == nil {
		return 0
	}
	rules := t.Chain(f.Chain).Rules
	for _, r := range rules[:min(f.Index, len(rules))] {
		if _, ours := schema.Mark(r.Comment); !ours {
			n++
		}
	}
	return n
}

// chained keeps the rules of one chain in the order in which they were found: each place was computed with those before it
// already made.
func (h *healer) chained(drafts []*draft) []*draft {
	last := map[string]*draft{}
	for _, d := range drafts {
		f, ok := object(d.change).(*schema.ForeignRule)
		if !ok {
			continue
		}
		place := f.TableRef().String() + " " + f.Chain
		if before := last[place]; before != nil {
			d.after = append(d.after, before)
		}
		last[place] = d
	}
	return drafts
}

// sameRule compares a rule that stands with one that is wanted: by place, mark and what they do.
func sameRule(a, b *schema.ForeignRule) bool {
	if a.Family != b.Family || a.Table != b.Table || a.Chain != b.Chain || a.Legacy != b.Legacy || a.Rule.Comment != b.Rule.Comment {
		return false
	}
	if a.Rule.Text == b.Rule.Text {
		return true
	}
	if a.ByTool && a.MarkChain() == "" {
		return iptspec.Equal("-A "+a.Chain+" "+a.Rule.Text, "-A "+b.Chain+" "+b.Rule.Text)
	}
	return schema.RulesEqual(&a.Rule, &b.Rule)
}
