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
				if owner := h.overtaken(s, f); owner != "" {
					h.inTheWay(s, owner)
				}
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

// overtaken is who owns a privacy or security control between a rule of ours and the place where it would be put today; "" for
// none.
func (h *healer) overtaken(stands, wanted *schema.ForeignRule) string {
	t, _ := h.r.live.Get(stands.TableRef()).(*schema.Table)
	if t == nil || t.Chain(stands.Chain) == nil {
		return ""
	}
	c := t.Chain(stands.Chain)
	behind := c.Rules[min(stands.Index+1, len(c.Rules)):]
	if wanted.Next != "" {
		behind = behind[:max(slices.IndexFunc(behind, func(r *schema.Rule) bool { return r.Text == wanted.Next }), 0)]
	}
	for _, r := range behind {
		if owner := h.controlledBy(t, c, r, 0); owner != "" {
			return owner
		}
	}
	return ""
}

// controlledBy is the owner of the privacy or security control that a rule is, or leads to; "" for none.
func (h *healer) controlledBy(t *schema.Table, c *schema.Chain, r *schema.Rule, depth int) string {
	to := t.Chain(jumpTarget(r))
	switch {
	case drops(r):
		if o, sig := ownerOf(h.r.live, t, c, r); sig.control {
			return o.Name
		}
	case to != nil && depth < maxJumps:
		for _, x := range to.Rules {
			if owner := h.controlledBy(t, to, x, depth+1); owner != "" {
				return owner
			}
		}
	}
	return ""
}

// maxJumps is NFT_JUMP_STACK_SIZE (include/net/netfilter/nf_tables.h).
const maxJumps = 16

// inTheWay says that a rule of an earlier apply keeps packets from a control that came to stand behind it. It stays: what holds is
// not broken by a plan, and whoever put the control there chose its place.
func (h *healer) inTheWay(f *schema.ForeignRule, owner string) {
	object := f.Ref().String()
	if slices.ContainsFunc(h.r.findings, func(x Finding) bool { return x.Code == "VN415" && x.Object == object }) {
		return
	}
	address, _ := schema.Mark(f.Rule.Comment)
	h.r.findings = append(h.r.findings, Finding{
		Code: "VN415", Severity: "warning", Title: "a control of " + owner + " stands behind a rule of ours and does not see its packets: " + f.String(),
		Address: address, Object: object, Origin: h.r.Blocks[address], Owner: &Owner{Name: "vmnet", Confidence: high, Evidence: []string{"comment " + f.Rule.Comment}},
		Detail: "The rule of ours was there first. Put the control in front of it, or delete the rule: the next plan finds a place behind the control, or says that there is none.",
	})
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
