package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// healer looks for remedies against foreign rules: it keeps the state as it will be once the steps found so far are made.
type healer struct {
	walker     *trace.Walker // over state; nil when that has changed
	walked     *trace.Walker // the last one made, over whatever state
	r          *resolved
	state      *schema.State // without rules of ours in foreign tables, but with every remedy found now
	remedies   []*draft
	findings   map[string]*Finding             // by culprit
	order      []string                        // culprits as found
	given      map[string]bool                 // culprits that no remedy may touch, for one goal and at all
	closed     map[string][]Fix                // by goal: the roads past what stops it still, none of which is taken
	disarmed   map[*schema.Table]*schema.Table // by table: the same with nothing but controls to stop packets
	marked     []*schema.ForeignRule           // rules of earlier remedies that stand
	grants     grants                          // the same, kept by managers
	elsewhere  []netip.Prefix                  // every address but the host's own, once asked for
	askedFor   []trace.Asked                   // what the file asks for, once somebody wants to know
	skipped    []string                        // devices behind which a goal's ends were not asked for
	relied     map[schema.Ref]bool             // objects that decided a goal
	layouts    map[*schema.State]*layout
	breaks     map[string][]string // goals by culprit, before any remedy
	healing    map[string][]*draft // remedies by culprit
	savedLines []savedRule         // lines of saved rulesets to take out
	possible   []*draft            // the steps that the kernel would not refuse, in order
}

// culprit is what blocks: a rule, or the policy of a base chain (rule nil).
type culprit struct {
	table *schema.Table
	chain *schema.Chain
	base  *schema.Chain
	index int
	rule  *schema.Rule
}

func (c culprit) String() string {
	what := "policy drop"
	if c.rule != nil {
		what = c.rule.Text
	}
	prefix := ""
	if c.table.Legacy {
		prefix = "legacy "
	}
	return fmt.Sprintf("%s%s %s %s: %s", prefix, c.table.Family, c.table.Name, c.chain.Name, what)
}

func (h *healer) culprit(hop *trace.Hop) (culprit, bool) {
	t, ok := h.state.Get(hop.Ref).(*schema.Table)
	if !ok || schema.OwnTable(t) {
		return culprit{}, false
	}
	c := culprit{table: t, chain: t.Chain(hop.Chain), base: t.Chain(hop.Base), index: hop.Rule}
	if c.chain == nil {
		return culprit{}, false
	}
	if c.base == nil {
		c.base = c.chain
	}
	if hop.Rule >= 0 && hop.Rule < len(c.chain.Rules) {
		c.rule = c.chain.Rules[hop.Rule]
	}
	return c, true
}

// heal finds a remedy for one flow of a goal that a foreign rule blocks. It reports whether the state changed, so that the
// flow is worth another look.
func (h *healer) heal(g *schema.Goal, res trace.Result) (bool, error) {
	if res.Decider == nil {
		return false, nil
	}
	if hop, c, ok := h.stray(res); ok {
		return h.healRule(g, res, c, ill{
			finding: func() *Finding { return h.strayFinding(c) },
			roads:   func() []road { return h.strayRoads(g, c, hop, res.Flow.Dst.Is6()) },
			fate:    fmt.Sprintf("%s is led astray there (%s)", hop.Packet, hop.Action), sure: true,
		})
	}
	if res.Decider.Code != "" {
		return h.healCause(g, res)
	}
	c, ok := h.culprit(res.Decider)
	if !ok {
		return false, nil
	}
	x := ill{
		finding: func() *Finding { return h.finding(c, res) },
		roads:   func() []road { return h.roads(g, res, c) },
		fate:    fmt.Sprintf("%s dies there (the %s)", res.Decider.Packet, res.Half), sure: stops(c, res),
	}
	if res.Verdict == trace.Depends && !res.Forgotten() {
		x.fate = fmt.Sprintf("%s may die there (the %s)", res.Decider.Packet, res.Half)
	}
	return h.healRule(g, res, c, x)
}

// stops tells whether a culprit certainly stops some of the packets asked about: it may go by what of them nobody asked about, such
// as their length, but by nothing that cannot be foreseen.
func stops(c culprit, res trace.Result) bool {
	return res.Verdict != trace.Depends || res.Forgotten() || c.rule != nil && foreseeable(c)
}

// foreseeable tells whether a rule looks at nothing but packets and what is known of their connections.
func foreseeable(c culprit) bool {
	return !slices.ContainsFunc(c.rule.Exprs, func(e schema.Expr) bool {
		switch e.Name {
		case "xtmatch":
			return e.Key != "comment"
		case "meta":
			return !slices.Contains(packetKeys, e.Key)
		case "lookup":
			set := c.table.SetNamed(e.Set)
			return set == nil || set.Flags&schema.SetEval != 0
		}
		return len(e.Opaque) > 0 || !slices.Contains(packetExprs, e.Name)
	})
}

var (
	packetExprs = []string{"payload", "exthdr", "ct", "fib", "cmp", "range", "in", "bitwise", "byteorder", "immediate", "reject", "counter", "log"}
	packetKeys  = []string{
		"iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup", "iifkind", "oifkind", "iiftype", "oiftype", "ibrname", "obrname",
		"protocol", "nfproto", "l4proto", "len", "length", "mark", "pkttype", "priority",
	}
)

// ill is what a foreign rule does to a goal.
type ill struct {
	finding func() *Finding
	roads   func() []road
	fate    string // of a packet
	sure    bool   // whether anything is to be done about it
}

// healRule finds a remedy for what a rule does to a goal.
func (h *healer) healRule(g *schema.Goal, res trace.Result, c culprit, x ill) (bool, error) {
	key := c.String()
	f := h.findings[key]
	if f == nil {
		f = x.finding()
		h.findings[key] = f
		h.order = append(h.order, key)
	}
	if !slices.Contains(f.Breaks, g.Name) {
		f.Breaks = append(f.Breaks, g.Name)
	}
	if len(f.Evidence) < 6 {
		f.Evidence = appendNew(f.Evidence, g.Address+": "+x.fate)
	}
	goal := key + " for " + g.Address + " " + g.Name
	if !x.sure || h.given[goal] {
		return false, nil
	}
	drafts, fix, err := h.choose(x.roads(), res)
	if err != nil {
		return false, err
	}
	f.Fixes = mergeFixes(f.Fixes, fix)
	if len(drafts) == 0 {
		h.given[key], h.given[goal] = true, true
		h.closed[goalKey(g)] = fix
		return false, nil
	}
	if f.Address == "" {
		f.Address, f.Origin = g.Address, h.r.Blocks[g.Address]
	}
	if ok, err := h.relocate(drafts); !ok || err != nil {
		h.given[key], h.given[goal] = true, true // it stands in front already and does not help: never try the same twice
		return false, err
	}
	h.walker = nil // the state changes
	for _, d := range drafts {
		d.codes = []string{f.Code}
		if err := sim.Do(h.state, d.change); err != nil {
			return false, fmt.Errorf("foresee %s: %w", d.change, err)
		}
		h.remedies = append(h.remedies, d)
		h.healing[key] = append(h.healing[key], d)
	}
	return true, nil
}

// goalKey tells a goal from all others of a file.
func goalKey(g *schema.Goal) string { return g.Address + " " + g.Name }

// relocate makes room for rules that an earlier remedy has put further down in the same chain: they go to the front, where
// they serve both. It reports false when one of them stands in front already.
func (h *healer) relocate(drafts []*draft) (bool, error) {
	for _, d := range drafts {
		standing := h.state.Get(d.change.Ref)
		if d.change.After == nil || standing == nil {
			continue
		}
		i := slices.IndexFunc(h.remedies, func(r *draft) bool { return r.change.Before == nil && r.change.Ref == d.change.Ref })
		if i < 0 || depth(standing) <= depth(d.change.After) {
			return false, nil
		}
		if err := sim.Do(h.state, schema.Change{Ref: d.change.Ref, Before: standing}); err != nil {
			return false, fmt.Errorf("foresee %s elsewhere: %w", standing, err)
		}
		h.remedies = slices.Delete(h.remedies, i, i+1)
	}
	return true, nil
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// mergeFixes keeps one entry per road; a road once chosen stays so.
func mergeFixes(have, more []Fix) []Fix {
	for _, f := range more {
		i := slices.IndexFunc(have, func(x Fix) bool { return x.Title == f.Title })
		switch {
		case i < 0:
			have = append(have, f)
		case f.Chosen:
			have[i].Chosen, have[i].WhyNot = true, ""
		}
	}
	return have
}

func (h *healer) finding(c culprit, res trace.Result) *Finding {
	owner, _ := ownerOf(h.state, c.table, c.chain, c.rule)
	f := &Finding{Code: "VN410", Severity: "error", Object: c.String(), Owner: &owner, Title: "a foreign rule blocks: " + c.String()}
	switch {
	case !stops(c, res):
		f.Code, f.Severity = "VN412", "warning"
		f.Title = "it depends on a rule that cannot be decided: " + c.String()
	case c.rule == nil:
		f.Code, f.Title = "VN411", "a foreign policy blocks: "+c.String()
	}
	if c.rule != nil && c.rule.Packets != nil && *c.rule.Packets > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("the rule has counted %d packets", *c.rule.Packets))
	}
	if c.rule != nil {
		if path, line := persisted(h.state, c.table, c.chain, c.rule); path != "" {
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s:%d has the same rule: it comes back at boot", path, line))
		}
	}
	return f
}
