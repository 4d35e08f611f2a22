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

// savedRule is a rule of a file that comes into force at the next boot.
type savedRule struct {
	file   *schema.File
	line   int // counting from 0
	family string
	table  string
	chain  string
	hook   string
	text   string // as in the file, without "-A CHAIN "
	nft    bool   // in the words of nft(8)
	alone  bool   // its line can be taken out
	drops  bool
	rule   schema.Rule
}

// saved looks for rules that are on disk only and would cut a flow of the file at the next boot. A line that nobody owns and
// whose packets the file governs is deleted, as its live twin would be; any other is named. All lines are looked at in one
// walk; those found are taken out and the others looked at again, for one line can hide behind another.
func (h *healer) saved() {
	families := map[string][]savedRule{}
	for _, s := range h.savedRules() {
		families[s.family] = append(families[s.family], s)
	}
	for _, family := range []string{"ip", "ip6", "inet"} {
		for lines := families[family]; slices.ContainsFunc(lines, func(s savedRule) bool { return s.drops }); {
			breaks := h.savedBreaks(family, lines)
			if len(breaks) == 0 {
				break
			}
			var left []savedRule
			for i, s := range lines {
				if breaks[i] == nil {
					left = append(left, s)
				} else {
					h.savedFinding(family, s, breaks[i])
				}
			}
			lines = left
		}
	}
}

// savedRules reads the files: of those that drop, the ones that are not live.
func (h *healer) savedRules() []savedRule {
	out := savedNft(h.r.live)
	live := liveLines(h.r.live, strings.TrimSpace) // most lines are as iptables-save wrote them
	var parsed map[string]bool
	for _, f := range editable(h.r.live) {
		known, ok := iptablesFiles[f.Path]
		if !ok {
			continue
		}
		for _, s := range savedLines(f, known.family, live) {
			if s.drops && parsed == nil {
				parsed = liveLines(h.r.live, canonical)
			}
			if !s.drops || !parsed[place(s.family, s.table, s.chain, canonical(s.text))] {
				out = append(out, s)
			}
		}
	}
	return out
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

// savedBreaks asks what the lines would do if they were loaded today: the goals that each breaks, by its index.
func (h *healer) savedBreaks(family string, lines []savedRule) map[int][]string {
	t, at := savedTable(family, lines)
	state := h.state.Clone()
	state.Put(t)
	w := trace.New(state).Know(h.r.machines())
	out := map[int][]string{}
	for i := range h.r.Goals {
		g := &h.r.Goals[i]
		if !g.Allow {
			continue
		}
		for _, q := range h.queries(state, g) {
			for _, part := range w.Judge(q).Parts {
				d := part.Witness.Decider
				if part.Verdict == trace.Block && d != nil && d.Ref == t.Ref() && d.Rule >= 0 {
					n := at[d.Chain][d.Rule]
					out[n] = appendNew(out[n], g.Name)
				}
			}
		}
	}
	return out
}

// savedTable is a table of the lines' own, a chain for each chain of each file, and where in lines its rules come from.
func savedTable(family string, lines []savedRule) (*schema.Table, map[string][]int) {
	t := &schema.Table{Family: family, Name: "saved", Compat: family != "inet"}
	at := map[string][]int{}
	for i := range lines {
		s := &lines[i]
		name := s.file.Path + " " + s.table + " " + s.chain
		if s.nft {
			name = s.table + " " + s.chain // several files may fill it
		}
		c := t.Chain(name)
		if c == nil {
			c = &schema.Chain{Name: name, Type: "filter", Hook: s.hook, Policy: "accept"}
			t.Chains = append(t.Chains, c)
		}
		c.Rules = append(c.Rules, &s.rule)
		at[name] = append(at[name], i)
	}
	return t, at
}

// String is the rule as its file has it.
func (s savedRule) String() string {
	if s.nft {
		return s.text
	}
	return "-A " + s.chain + " " + s.text
}

func (h *healer) savedFinding(family string, s savedRule, breaks []string) {
	t, _ := savedTable(family, []savedRule{s})
	c := culprit{table: t, chain: t.Chains[0], base: t.Chains[0], rule: t.Chains[0].Rules[0]}
	f := &Finding{
		Code: "VN413", Severity: "warning", Object: fmt.Sprintf("%s:%d", s.file.Path, s.line+1), Breaks: breaks,
		Owner:    &Owner{loaderOf(s.file.Path), high, []string{s.file.Path}},
		Evidence: []string{"the line has no live twin: somebody deleted the rule and left the file"},
	}
	when, boot := "will block at the next boot", atBoot(h.r.live, s.file.Path)
	if boot == "" {
		when, boot = "would block when it is loaded", "no enabled service was seen that loads the file"
	}
	f.Title = fmt.Sprintf("a saved rule %s: %s: %s", when, f.Object, s)
	f.Evidence = append(f.Evidence, boot)
	fix := Fix{Title: "take the line out of the file, with a copy kept"}
	switch why := h.notGoverned(c); {
	case h.r.Settings.Foreign == "report":
		fix.WhyNot = `foreign = "report" in the vmnet block: rules of others are only named`
	case why != "":
		fix.WhyNot = "it blocks more than the file asks for: " + why
	case !s.alone:
		fix.WhyNot = "it shares its line with others, or fills several"
	default:
		fix.Chosen = true
		h.savedLines = append(h.savedLines, s)
	}
	f.Fixes = []Fix{fix}
	h.r.findings = append(h.r.findings, *f)
}
