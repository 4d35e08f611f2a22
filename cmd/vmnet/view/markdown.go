package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan"
)

// Markdown is a plan for a pull request: what hurts first, the expectations, and the whole text folded.
func Markdown(p *plan.Plan, o Options) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("### vmnet plan: %s, %s, worst risk **%s**", md(cmp.Or(p.Host.Name, "this host")), count(len(p.Steps), "action"), p.Summary.WorstRisk)
	line("")
	if !p.Observation.Complete {
		line("> **%s** The plan is not the whole truth.\n", md(blind(p)))
	}
	mdFindings(&b, p)
	mdSteps(&b, p)
	mdChecks(&b, p)
	mdGuarded(&b, p)
	o.Color, o.Full = false, true
	line("<details><summary>Full plan</summary>\n")
	text := Plan(p, o)
	fence := strings.Repeat("`", max(3, longestTicks(text)+1))
	line("%stext\n%s%s\n\n</details>", fence, text, fence)
	return b.String()
}

func mdFindings(b *strings.Builder, p *plan.Plan) {
	found := folded(p)
	if len(found) == 0 {
		return
	}
	b.WriteString("| code | severity | where | what | owner |\n|---|---|---|---|---|\n")
	for _, f := range found {
		owner := ""
		if f.Owner != nil {
			owner = f.Owner.Name
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", f.Code, f.Severity, mdCode(f.Address), md(f.Title)+mdObject(f.Object), md(owner))
	}
	b.WriteByte('\n')
}

func mdObject(s string) string {
	if s == "" {
		return ""
	}
	return "<br>" + mdCode(s)
}

// mdSteps lists the steps, most harmful first.
func mdSteps(b *strings.Builder, p *plan.Plan) {
	if p.Empty() {
		if len(p.Findings) == 0 && failing(p) == 0 {
			b.WriteString("No actions.\n\n")
		} else {
			b.WriteString("No actions: " + md(strings.TrimPrefix(noActions(p), "none: ")) + ".\n\n")
		}
		return
	}
	b.WriteString("| | step | object | because | risk | hurts |\n|---|---|---|---|---|---|\n")
	byHarm := slices.SortedStableFunc(slices.Values(p.Steps), func(x, y plan.Step) int { return cmp.Compare(y.Risk, x.Risk) })
	for _, s := range byHarm {
		sym, _ := symbol(s.Action)
		fmt.Fprintf(b, "| %s | %d | %s | %s | %s | %s |\n", mdCode(sym), s.ID, mdCode(stepTitle(s)), md(s.Because), s.Risk, md(s.Hurts))
	}
	b.WriteByte('\n')
}

func mdChecks(b *strings.Builder, p *plan.Plan) {
	opened := opened(p)
	if len(p.Unrequested) > 0 {
		opened = "**" + md(strings.Join(p.Unrequested, ", ")) + "**"
	}
	fmt.Fprintf(b, "**Expectations %d -> %d of %d hold.** Newly reachable and not asked for: %s.\n\n",
		p.Summary.ChecksOKBefore, p.Summary.ChecksOKAfter, len(p.Checks), opened)
	for _, r := range p.Reached {
		fmt.Fprintf(b, "- %s\n", md(r))
	}
	if len(p.Reached) > 0 {
		b.WriteByte('\n')
	}
	var bad []plan.Check
	for _, c := range p.Checks {
		if c.After.Status != "ok" {
			bad = append(bad, c)
		}
	}
	for _, c := range bad {
		fmt.Fprintf(b, "- %s: %s%s\n", md(goal(c)), c.After.Status, md(because(c.After.Why)))
	}
	if len(bad) > 0 {
		b.WriteByte('\n')
	}
}

// md makes text harmless inside a table cell or a sentence of Markdown.
func md(s string) string {
	s = strings.ReplaceAll(clean(s), "\n", " ")
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", "&lt;", ">", "&gt;", "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "@", "@\u200b").Replace(s)
}

// mdCode is a code span that survives backquotes and table cells.
func mdCode(s string) string {
	s = strings.ReplaceAll(clean(s), "\n", " ")
	if s == "" {
		return ""
	}
	fence := strings.Repeat("`", longestTicks(s)+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + strings.ReplaceAll(s, "|", `\|`) + fence
}

func longestTicks(s string) int {
	longest, run := 0, 0
	for _, r := range s {
		if r != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// PlanJSON is the document of plan, show and a saved plan; it carries its own format_version.
func PlanJSON(p *plan.Plan) ([]byte, error) { return encode(p) }
