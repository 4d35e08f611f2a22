package plan

import (
	"fmt"
	"maps"
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
// whose packets the file governs is deleted, as its live twin would be; any other is named. All lines are looked at in one
// walk; those found are taken out and the others looked at again, for one line can hide behind another.
func (h *healer) saved() {
	families := map[string][]savedRule{}
	live := liveLines(h.r.live, strings.TrimSpace) // most lines are as iptables-save wrote them
	parsed := map[string]bool(nil)
	for _, f := range editable(h.r.live) {
		known, ok := iptablesFiles[f.Path]
		if !ok {
			continue // of nft: there is no reading its language without nft
		}
		for _, s := range savedDrops(f, known.family, live) {
			if parsed == nil {
				parsed = liveLines(h.r.live, canonical)
			}
			if !parsed[place(known.family, s.table, s.chain, canonical(s.text))] { // else looked at with the live rules
				families[known.family] = append(families[known.family], s)
			}
		}
	}
	for _, family := range []string{"ip", "ip6"} {
		for lines := families[family]; len(lines) > 0; {
			breaks := h.savedBreaks(family, lines)
			if len(breaks) == 0 {
				break
			}
			for _, i := range slices.Sorted(maps.Keys(breaks)) {
				h.savedFinding(family, lines[i], breaks[i])
			}
			left := slices.Collect(maps.Keys(breaks))
			lines = slices.DeleteFunc(slices.Clone(lines), func(s savedRule) bool {
				return slices.ContainsFunc(left, func(i int) bool { return lines[i].file == s.file && lines[i].line == s.line })
			})
		}
	}
}

func place(family, table, chain, text string) string {
	return family + " " + table + " " + chain + " " + text
}

// liveLines are the rules of iptables' live tables, by place and text in some form.
func liveLines(s *schema.State, form func(string) string) map[string]bool {
	out := map[string]bool{}
	for t := range schema.Each[*schema.Table](s) {
		if !t.Legacy && !t.Compat {
			continue
		}
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				out[place(t.Family, t.Name, c.Name, form(r.Text))] = true
			}
		}
	}
	return out
}

// canonical is the one form of a rule's text; the text itself when it cannot be parsed.
func canonical(text string) string {
	spec, err := iptspec.Parse(text)
	if err != nil {
		return strings.TrimSpace(text)
	}
	return spec.Canonical()
}

// savedDrops reads the dropping rules of the filter table's builtin chains, but for those that are live in the same words. Rules that match by more than savedMatch knows
// are passed over: what they do is for their own tool to say.
func savedDrops(f *schema.File, family string, live map[string]bool) []savedRule {
	var out []savedRule
	table := ""
	for i, l := range strings.Split(f.Content, "\n") {
		l = strings.TrimSpace(l)
		if name, ok := strings.CutPrefix(l, "*"); ok {
			table = name
		}
		if chain, text, ok := strings.Cut(strings.TrimPrefix(l, "-A "), " "); ok && live[place(family, table, chain, text)] {
			continue
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

// savedBreaks asks what the lines would do if they stood at the end of their chains today: the goals that each breaks, by
// its index.
func (h *healer) savedBreaks(family string, lines []savedRule) map[int][]string {
	t, at := savedTable(family, lines)
	state := h.state.Clone()
	state.Put(t)
	w := trace.New(state)
	out := map[int][]string{}
	for i := range h.r.Goals {
		g := &h.r.Goals[i]
		if !g.Allow {
			continue
		}
		for _, q := range h.queries(state, g) {
			for _, part := range w.Ask(q).Parts {
				if d := part.Witness.Decider; d != nil && d.Ref == t.Ref() && d.Rule >= 0 {
					n := at[d.Chain][d.Rule]
					out[n] = appendNew(out[n], g.Name)
				}
			}
		}
	}
	return out
}

// savedTable is a table of the lines' own, and where in lines each rule of each chain comes from.
func savedTable(family string, lines []savedRule) (*schema.Table, map[string][]int) {
	t := &schema.Table{Family: family, Name: "saved", Compat: true}
	at := map[string][]int{}
	for i := range lines {
		name := lines[i].chain
		c := t.Chain(name)
		if c == nil {
			c = &schema.Chain{Name: name, Type: "filter", Hook: strings.ToLower(name), Policy: "accept"}
			t.Chains = append(t.Chains, c)
		}
		c.Rules = append(c.Rules, &lines[i].rule)
		at[name] = append(at[name], i)
	}
	return t, at
}

func (h *healer) savedFinding(family string, s savedRule, breaks []string) {
	t, _ := savedTable(family, []savedRule{s})
	c := culprit{table: t, chain: t.Chains[0], base: t.Chains[0], rule: t.Chains[0].Rules[0]}
	f := &Finding{
		Code: "VN413", Severity: "warning", Object: fmt.Sprintf("%s:%d", s.file.Path, s.line+1), Breaks: breaks,
		Title:    fmt.Sprintf("a saved rule will block at the next boot: %s:%d: -A %s %s", s.file.Path, s.line+1, s.chain, s.text),
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
