package view

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// Plan is a plan as text: findings, actions in their order, expectations before and after, summary, what to do next.
// Nothing to do is one line.
func Plan(p *plan.Plan, o Options) string {
	pg := &page{o: o}
	if p.Empty() && len(p.Findings) == 0 && failing(p) == 0 {
		pg.nothing(p)
		return pg.String()
	}
	pg.context(p)
	pg.findings(p)
	pg.actions(p)
	pg.expectations(p)
	pg.guarded(p)
	pg.summary(p)
	pg.next(p)
	return pg.String()
}

// symbols and their words, in the order of the legend.
var actions = []struct {
	action, symbol, word string
	style                style
}{
	{"create", "+", "create", green},
	{"update", "~", "change", yellow},
	{"move", ">", "move", cyan},
	{"reset", "!", "reset", yellow},
	{"adopt", "=", "adopt", plain},
	{"delete", "-", "remove", red},
}

func symbol(action string) (string, style) {
	for _, a := range actions {
		if a.action == action {
			return a.symbol, a.style
		}
	}
	return "?", plain
}

func (pg *page) nothing(p *plan.Plan) {
	if !p.Observation.Complete {
		pg.raw("Nothing to do in what could be seen. " + clean(blind(p)))
		return
	}
	line := "No changes. The host is as " + sayer(p) + " says"
	if n := len(p.Checks); n > 0 {
		line += fmt.Sprintf("; %d of %d expectations hold", p.Summary.ChecksOKBefore, n)
	}
	if n := statusCount(p.Checks, "depends") + statusCount(p.Checks, "unknown"); n > 0 {
		line += fmt.Sprintf(" (%d cannot be decided)", n)
	}
	pg.raw(pg.paint(green, line+"."))
}

func blind(p *plan.Plan) string {
	return schema.Unseen(p.Observation.Blind)
}

func configName(p *plan.Plan) string {
	if p.Configuration.Path != "" {
		return p.Configuration.Path
	}
	return "the configuration"
}

func failing(p *plan.Plan) int {
	n := 0
	for _, c := range p.Checks {
		if c.Before.Status == "fail" || c.After.Status == "fail" {
			n++
		}
	}
	return n
}

func statusCount(checks []plan.Check, status string) int {
	n := 0
	for _, c := range checks {
		if c.After.Status == status {
			n++
		}
	}
	return n
}

// context is the first line: which host, which configuration, how much was seen.
func (pg *page) context(p *plan.Plan) {
	parts := []string{cmp.Or(p.Host.Name, "this host"), "config " + configName(p)}
	if p.Host.Kernel != "" {
		parts = append(parts, "kernel "+p.Host.Kernel)
	}
	seen := "observed"
	if ms := p.Observation.Millis; ms > 0 {
		seen += " in " + elapsed(time.Duration(ms)*time.Millisecond)
	}
	seen += ": " + count(p.Observation.Objects, "object")
	if kinds := kindCounts(p); kinds != "" {
		seen += " (" + kinds + ")"
	}
	pg.para(0, plain, strings.Join(append(parts, seen), " · "))
	if !p.Observation.Complete {
		pg.para(0, yellow, "? "+blind(p)+" The plan below is not the whole truth.")
	}
}

func kindCounts(p *plan.Plan) string {
	names := map[schema.Kind]string{
		schema.KindLink: "link", schema.KindAddress: "address", schema.KindRoute: "route", schema.KindPolicyRule: "policy rule",
		schema.KindSysctl: "sysctl", schema.KindTable: "nft table", schema.KindXTable: "legacy table", schema.KindFile: "file",
		schema.KindGrant: "grant", schema.KindService: "service",
	}
	var out []string
	for _, k := range schema.Kinds() {
		if n := p.Observation.Counts[k]; n > 0 && names[k] != "" {
			out = append(out, count(n, names[k]))
		}
	}
	return strings.Join(out, ", ")
}

// summary counts, and says again which steps remove something or hurt somebody.
func (pg *page) summary(p *plan.Plan) {
	pg.blank()
	s := p.Summary
	numbers := map[string]int{"create": s.Create, "update": s.Update, "move": s.Move, "reset": s.Reset, "adopt": s.Adopt, "delete": s.Delete}
	var parts []string
	for _, a := range actions {
		n := numbers[a.action]
		if n == 0 && a.action != "create" && a.action != "update" && a.action != "delete" {
			continue
		}
		part := fmt.Sprintf("%d to %s", n, a.word)
		if n > 0 && (a.action == "delete" || a.action == "reset") {
			part += " (" + steps(stepIDs(p, func(st plan.Step) bool { return st.Action == a.action })) + ")"
		}
		parts = append(parts, part)
	}
	line := "Plan: " + strings.Join(parts, ", ") + ". Worst risk: " + s.WorstRisk.String()
	if s.WorstRisk > plan.RiskNone {
		line += " (" + steps(stepIDs(p, func(st plan.Step) bool { return st.Risk == s.WorstRisk })) + ")"
	}
	pg.para(0, bold, line+".")
}

func stepIDs(p *plan.Plan, want func(plan.Step) bool) []int {
	var ids []int
	for _, s := range p.Steps {
		if want(s) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// steps writes "step 6", "steps 2, 4-6".
func steps(ids []int) string {
	var runs []string
	for i := 0; i < len(ids); {
		j := i
		for j+1 < len(ids) && ids[j+1] == ids[j]+1 {
			j++
		}
		if j == i {
			runs = append(runs, strconv.Itoa(ids[i]))
		} else {
			runs = append(runs, fmt.Sprintf("%d-%d", ids[i], ids[j]))
		}
		i = j + 1
	}
	if len(ids) == 1 {
		return "step " + runs[0]
	}
	return "steps " + strings.Join(runs, ", ")
}

func (pg *page) next(p *plan.Plan) {
	if pg.o.Saved != "" {
		pg.blank()
		pg.para(0, plain, fmt.Sprintf("Saved %s, valid while the %s it relies on hold, until %s.", pg.o.Saved,
			count(len(p.Basis), "fact"), p.Expires.UTC().Format("2006-01-02 15:04 MST")))
	}
	refused := apply.Permitted(p, apply.Permission{})
	if refused != nil && !p.Empty() {
		pg.para(0, yellow, "apply will refuse this plan: "+refused.Error()+".")
	}
	var cmds []string
	if pg.o.Saved != "" {
		cmds = []string{"vmnet show " + pg.o.Saved + " --full"}
	}
	switch {
	case refused != nil: // no command that only fails
	case pg.o.Saved != "":
		cmds = append(cmds, "vmnet apply "+pg.o.Saved)
	case !p.Empty() && pg.o.Path != "":
		cmds = append(cmds, "vmnet apply "+pg.o.Path)
	}
	if len(cmds) > 0 && len(p.Findings) > 0 {
		cmds = append(cmds, "vmnet explain "+p.Findings[0].Code)
	}
	if len(cmds) > 0 {
		pg.raw(pg.paint(faint, "Next: ") + clean(strings.Join(cmds, "  |  ")))
	}
}

// elapsed writes a duration as people say it: "2 ms", "1.1 s", "2 min 5 s".
func elapsed(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
}

// sayer is configName where a directory would read oddly.
func sayer(p *plan.Plan) string {
	if n := configName(p); n != "." {
		return n
	}
	return "the configuration here"
}
