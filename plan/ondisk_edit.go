package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/nftconf"
)

// fileDrafts makes one change of each saved ruleset that the remedies leave behind what is live: a rule that is deleted
// would come back at boot, and a rule with an exception without it.
func (h *healer) fileDrafts() []*draft {
	var out []*draft
	defs := definesOf(nftFiles(h.r.live))
	for _, f := range editable(h.r.live) {
		content := withoutMarkedLines(f)
		var from []*draft
		for _, d := range h.remedies {
			if edited := editSaved(f.Path, content, defs, d); edited != content {
				content, from = edited, append(from, d)
			}
		}
		drop := h.dropSaved(f.Path, defs, &content)
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
func (h *healer) dropSaved(path string, defs map[string]string, content *string) bool {
	dropped := false
	for _, s := range h.savedLines {
		if s.file.Path != path {
			continue
		}
		at := -1
		if r, ok := nftconf.Find(*content, defs, s.family, s.table, s.chain, s.text); s.nft && ok && r.Alone {
			at = r.Line
		} else if !s.nft {
			at = savedLine(*content, s.table, s.String())
		}
		if at >= 0 {
			*content = strings.Join(slices.Delete(strings.Split(*content, "\n"), at, at+1), "\n")
			dropped = true
		}
	}
	return dropped
}

// editSaved makes a remedy in the text of a file as well, where that has the same rule.
func editSaved(path, content string, defs map[string]string, d *draft) string {
	rule, ok := object(d.change).(*schema.ForeignRule)
	if !ok {
		return content
	}
	culprit := d.front
	if d.change.After == nil {
		culprit = rule.Rule.Text
	}
	known, iptables := iptablesFiles[path]
	switch {
	case culprit == "" || iptables && known.family != rule.Family:
		return content
	case iptables:
		return editIPTables(content, rule, culprit, d.change.After == nil)
	}
	return editNft(content, defs, rule, culprit, d.change.After == nil)
}

func editIPTables(content string, rule *schema.ForeignRule, culprit string, remove bool) string {
	i := savedLine(content, rule.Table, "-A "+rule.Chain+" "+culprit)
	if i < 0 {
		return content
	}
	lines := strings.Split(content, "\n")
	if remove {
		lines = slices.Delete(lines, i, i+1)
	} else {
		lines = slices.Insert(lines, i, "-A "+rule.Chain+" "+rule.Rule.Text)
	}
	return strings.Join(lines, "\n")
}

// editNft edits the text of a file of nft(8). A rule that shares its line with others, or fills several, is left alone: the
// finding names it.
func editNft(content string, defs map[string]string, rule *schema.ForeignRule, culprit string, remove bool) string {
	if rule.Legacy || rule.ByTool {
		return content
	}
	r, ok := nftconf.Find(content, defs, rule.Family, rule.Table, rule.Chain, culprit)
	if !ok || !r.Alone {
		return content
	}
	lines := strings.Split(content, "\n")
	if remove {
		return strings.Join(slices.Delete(lines, r.Line, r.Line+1), "\n")
	}
	at := r.Line
	if strings.HasPrefix(strings.TrimSpace(r.Lead), "insert") {
		at++ // what is inserted later stands in front
	}
	exception := r.Lead + rule.Rule.Text
	if !strings.Contains(exception, markComment) {
		exception += fmt.Sprintf(" comment %q", rule.Rule.Comment)
	}
	return strings.Join(slices.Insert(lines, at, exception), "\n")
}

// markComment begins the comment of a rule of ours in a file of nft(8).
const markComment = `comment "vmnet:`

// withoutMarkedLines is the text of a file without the lines that bear our mark.
func withoutMarkedLines(f *schema.File) string {
	if !strings.Contains(f.Content, "vmnet:") {
		return f.Content
	}
	_, iptables := iptablesFiles[f.Path]
	ours := map[int]bool{}
	if !iptables {
		for _, r := range nftconf.Rules(f.Content, nil) {
			ours[r.Line] = r.Alone && strings.Contains(r.Text, markComment)
		}
	}
	var b strings.Builder
	n := 0
	for l := range strings.Lines(f.Content) {
		if iptables {
			ours[n] = strings.HasPrefix(strings.TrimSpace(l), "-") && strings.Contains(l, "--comment") && strings.Contains(l, "vmnet:")
		}
		if !ours[n] {
			b.WriteString(l)
		}
		n++
	}
	return b.String()
}

// editable are the files that vmnet may edit: those an administrator writes by hand.
func editable(s *schema.State) []*schema.File {
	var out []*schema.File
	for _, p := range slices.Sorted(maps.Keys(iptablesFiles)) {
		if f := loadedFile(s, p); f != nil && !iptablesFiles[p].named {
			out = append(out, f)
		}
	}
	return append(out, nftFiles(s)...)
}
