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
	if a.ByTool {
		return iptspec.Equal("-A "+a.Chain+" "+a.Rule.Text, "-A "+b.Chain+" "+b.Rule.Text)
	}
	return schema.RulesEqual(&a.Rule, &b.Rule)
}

// fileDrafts makes one change of each saved ruleset that the remedies leave behind what is live: a rule that is deleted
// would come back at boot, and a rule with an exception without it.
func (h *healer) fileDrafts() []*draft {
	var out []*draft
	for f := range schema.Each[*schema.File](h.r.live) {
		content, _ := withoutMarkedLines(f.Content)
		var from []*draft
		for _, d := range h.remedies {
			if edited := editSaved(f.Path, content, d); edited != content {
				content, from = edited, append(from, d)
			}
		}
		drop := h.dropSaved(f.Path, &content)
		if content == f.Content {
			continue
		}
		after := *f
		after.Content = content
		d := newDraft(f, &after)
		d.because = "the saved ruleset would bring back at boot what is put right here; a copy of the file is kept beside it"
		d.codes = []string{"VN403"}
		if drop {
			d.codes = []string{"VN413"}
		}
		for _, r := range from {
			d.address, d.codes = r.address, r.codes
			h.alsoHeals(r, d)
		}
		out = append(out, d)
	}
	return out
}

// alsoHeals notes that a step belongs to what another heals.
func (h *healer) alsoHeals(known, more *draft) {
	for key, ds := range h.healing {
		if slices.Contains(ds, known) && !slices.Contains(ds, more) {
			h.healing[key] = append(ds, more)
		}
	}
}

// dropSaved takes lines that are on disk only out of the text.
func (h *healer) dropSaved(path string, content *string) bool {
	dropped := false
	for _, s := range h.savedLines {
		if s.file.Path != path {
			continue
		}
		if i := savedLine(*content, s.table, "-A "+s.chain+" "+s.text); i >= 0 {
			*content = strings.Join(slices.Delete(strings.Split(*content, "\n"), i, i+1), "\n")
			dropped = true
		}
	}
	return dropped
}

// editSaved makes a remedy in the text of iptables-save as well, where that has the same rule.
func editSaved(path, content string, d *draft) string {
	rule, ok := object(d.change).(*schema.ForeignRule)
	if !ok || persistedFiles[rule.Family] != path {
		return content
	}
	culprit := d.front
	if d.change.After == nil {
		culprit = rule.Rule.Text
	}
	if culprit == "" {
		return content
	}
	i := savedLine(content, rule.Table, "-A "+rule.Chain+" "+culprit)
	if i < 0 {
		return content
	}
	lines := strings.Split(content, "\n")
	if d.change.After == nil {
		lines = slices.Delete(lines, i, i+1)
	} else {
		lines = slices.Insert(lines, i, "-A "+rule.Chain+" "+rule.Rule.Text)
	}
	return strings.Join(lines, "\n")
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
