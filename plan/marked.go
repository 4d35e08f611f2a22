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
			standing = slices.Delete(standing, i, i+1)
			continue
		}
		out = append(out, d)
	}
	for _, s := range slices.Backward(standing) {
		d := newDraft(s, nil)
		d.address, _ = schema.Mark(s.Rule.Comment)
		d.because, d.codes = "no flow of the file needs it any more", []string{"VN403"}
		out = append(out, d)
	}
	return h.chained(append(out, h.grantDrafts(out)...))
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
