package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
)

// savedRule is a line of a saved ruleset that drops packets and has no live twin: it comes into force at the next boot.
type savedRule struct {
	file  *schema.File
	line  int // counting from 0
	table string
	chain string
	text  string // the line without "-A CHAIN "
	rule  schema.Rule
}

// saved looks for rules that are on disk only and would cut a flow of the file at the next boot. A line that nobody owns and
// whose packets the file governs is deleted, as its live twin would be; any other is named.
func (h *healer) saved() {
	for _, f := range editable(h.r.live) {
		known, ok := iptablesFiles[f.Path]
		if !ok {
			continue // of nft: there is no reading its language without nft
		}
		for _, s := range savedDrops(f, known.family) {
			h.savedDrop(known.family, s)
		}
	}
}

// savedDrops reads the dropping rules of the filter table's builtin chains. Rules that match by more than savedMatch knows
// are passed over: what they do is for their own tool to say.
func savedDrops(f *schema.File, family string) []savedRule {
	var out []savedRule
	table := ""
	for i, l := range strings.Split(f.Content, "\n") {
		l = strings.TrimSpace(l)
		if name, ok := strings.CutPrefix(l, "*"); ok {
			table = name
		}
		words, err := iptspec.Split(l)
		if err == nil && len(words) > 0 && strings.HasPrefix(words[0], "[") {
			words = words[1:] // iptables-save -c puts counters in front
		}
		if err != nil || table != "filter" || len(words) < 3 || words[0] != "-A" || !slices.Contains([]string{"INPUT", "FORWARD", "OUTPUT"}, words[1]) {
			continue
		}
		exprs, ok := savedMatch(words[2:], family)
		if !ok {
			continue
		}
		_, text, _ := strings.Cut(l, "-A "+words[1])
		rule := schema.Rule{Text: strings.TrimSpace(text), Exprs: append(exprs, schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: "drop"}})}
		out = append(out, savedRule{f, i, table, words[1], rule.Text, rule})
	}
	return out
}

func parsePrefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

func parsePorts(s string) (schema.PortRange, bool) {
	from, to, ranged := strings.Cut(s, ":")
	first, err := strconv.ParseUint(from, 10, 16)
	if err != nil || first == 0 {
		return schema.PortRange{}, false
	}
	last := first
	if ranged {
		if last, err = strconv.ParseUint(to, 10, 16); err != nil {
			return schema.PortRange{}, false
		}
	}
	return schema.PortRange{First: uint16(first), Last: uint16(last)}, true
}

// savedDrop asks what the line would do if it stood at the end of its chain today.
func (h *healer) savedDrop(family string, s savedRule) {
	line := "-A " + s.chain + " " + s.text
	for t := range schema.Each[*schema.Table](h.r.live) {
		if c := t.Chain(s.chain); t.Family == family && t.Name == s.table && c != nil &&
			slices.ContainsFunc(c.Rules, func(r *schema.Rule) bool { return iptspec.Equal("-A "+s.chain+" "+r.Text, line) }) {
			return // live: looked at with the live rules
		}
	}
	c, state := h.withSaved(family, s)
	w := trace.New(state)
	var breaks []string
	for i := range h.r.Goals {
		g := &h.r.Goals[i]
		if g.Allow && h.diesAt(w, state, g, c) {
			breaks = append(breaks, g.Name)
		}
	}
	if len(breaks) == 0 {
		return
	}
	f := &Finding{
		Code: "VN413", Severity: "warning", Title: fmt.Sprintf("a saved rule will block at the next boot: %s:%d: %s", s.file.Path, s.line+1, line),
		Object: fmt.Sprintf("%s:%d", s.file.Path, s.line+1), Breaks: breaks,
		Owner:    &Owner{loaderOf(s.file.Path), high, []string{s.file.Path}},
		Evidence: []string{"the line has no live twin: somebody deleted the rule and left the file"},
	}
	fix := Fix{Title: "take the line out of the file, with a copy kept"}
	switch why := h.notGoverned(c); {
	case h.r.Settings.Foreign == "report":
		fix.WhyNot = `foreign = "report" in the vmnet block: rules of others are only named`
	case why != "":
		fix.WhyNot = "it blocks more than the file asks for: " + why
	default:
		fix.Chosen = true
		h.savedLines = append(h.savedLines, s)
	}
	f.Fixes = []Fix{fix}
	h.r.findings = append(h.r.findings, *f)
}

// withSaved is the foreseen state with the line at the end of its chain.
func (h *healer) withSaved(family string, s savedRule) (culprit, *schema.State) {
	hook := strings.ToLower(s.chain)
	chain := &schema.Chain{Name: s.chain, Type: "filter", Hook: hook, Policy: "accept", Rules: []*schema.Rule{&s.rule}}
	t := &schema.Table{Family: family, Name: "saved", Compat: true, Chains: []*schema.Chain{chain}}
	state := h.state.Clone()
	state.Put(t)
	return culprit{table: t, chain: chain, base: chain, rule: &s.rule}, state
}

func (h *healer) diesAt(w *trace.Walker, state *schema.State, g *schema.Goal, c culprit) bool {
	for _, q := range h.queries(state, g) {
		for _, f := range w.Flows(q, maxFlows) {
			if d := w.Walk(f).Decider; d != nil && d.Ref == c.table.Ref() {
				return true
			}
		}
	}
	return false
}
