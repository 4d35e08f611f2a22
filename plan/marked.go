package plan

import (
	"slices"
	"strings"

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
			if d.change.Ref.Kind != schema.KindFile {
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
	return h.chained(out)
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
	if a.ByTool {
		return iptspec.Equal("-A "+a.Chain+" "+a.Rule.Text, "-A "+b.Chain+" "+b.Rule.Text)
	}
	return schema.RulesEqual(&a.Rule, &b.Rule)
}

// fileDrafts makes one change of each file that the remedies leave different from what is on disk.
func (h *healer) fileDrafts() []*draft {
	var out []*draft
	for f := range schema.Each[*schema.File](h.r.live) {
		want, _ := h.state.Get(f.Ref()).(*schema.File)
		if want == nil || want.Content == f.Content {
			continue
		}
		d := newDraft(f, want)
		d.because = "the saved ruleset would bring back at boot what was repaired live; a copy of the file is kept beside it"
		d.undo = "write the former content back"
		for _, r := range h.remedies {
			if r.change.Ref == f.Ref() {
				d.address, d.codes = r.address, r.codes
			}
		}
		out = append(out, d)
	}
	return out
}

// withoutMarkedLines is the text without the lines that bear our mark.
func withoutMarkedLines(content string) (string, bool) {
	var b strings.Builder
	changed := false
	for l := range strings.Lines(content) {
		if strings.HasPrefix(strings.TrimSpace(l), "-") && strings.Contains(l, "--comment") && strings.Contains(l, "vmnet:") {
			changed = true
			continue
		}
		b.WriteString(l)
	}
	return b.String(), changed
}
