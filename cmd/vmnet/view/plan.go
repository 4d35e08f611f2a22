package view

import (
	"cmp"
	"fmt"
	"slices"
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
	return "Not seen for lack of privileges: " + strings.Join(p.Observation.Blind, ", ") + "."
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
		schema.KindGrant: "grant",
	}
	var out []string
	for _, k := range schema.Kinds() {
		if n := p.Observation.Counts[k]; n > 0 && names[k] != "" {
			out = append(out, count(n, names[k]))
		}
	}
	return strings.Join(out, ", ")
}

func (pg *page) findings(p *plan.Plan) {
	found := folded(p)
	if len(found) == 0 {
		return
	}
	pg.blank()
	pg.heading("FINDINGS", severities(found))
	before := false
	for _, f := range found {
		body := f.Object != "" || f.Detail != "" || len(f.Evidence)+len(f.Fixes) > 0
		if body || before {
			pg.blank()
		}
		before = body
		pg.finding(f)
	}
}

// folded are the findings, where those that have one cause only, that something could not be read, are one: the
// expectations tell which they are.
func folded(p *plan.Plan) []plan.Finding {
	unread := func(f plan.Finding) bool {
		return !p.Observation.Complete && f.Code == "VN603" && strings.Contains(f.Detail, "could not be read")
	}
	n := 0
	for _, f := range p.Findings {
		if unread(f) {
			n++
		}
	}
	if n < 2 {
		return p.Findings
	}
	var out []plan.Finding
	for _, f := range p.Findings {
		switch {
		case !unread(f):
			out = append(out, f)
		case n > 0:
			out = append(out, plan.Finding{
				Code: f.Code, Severity: f.Severity, Title: fmt.Sprintf("%s cannot be decided: rules that could not be read (%s) may stop or let through their packets",
					count(n, "expectation"), strings.Join(p.Observation.Blind, ", ")),
			})
			n = 0
		}
	}
	return out
}

func severities(findings []plan.Finding) string {
	var out []string
	for _, s := range []string{"error", "warning", "info"} {
		n := 0
		for _, f := range findings {
			if f.Severity == s {
				n++
			}
		}
		switch {
		case n > 0 && s == "info":
			out = append(out, fmt.Sprintf("%d for information", n))
		case n > 0:
			out = append(out, count(n, s))
		}
	}
	return strings.Join(out, ", ")
}

const facetIndent = 8

func (pg *page) finding(f plan.Finding) {
	severity := map[string]style{"error": red, "warning": yellow}[f.Severity]
	title := f.Title
	if f.Address != "" {
		title = f.Address + ": " + title
	}
	pg.titled("  "+pg.paint(bold, f.Code)+" "+pg.paint(severity, f.Severity)+"  ", title, f.Origin.String())
	if !strings.Contains(f.Title, f.Object) {
		pg.para(facetIndent, plain, blamed(f.Object))
	}
	if f.Detail != f.Title {
		pg.para(facetIndent, plain, f.Detail)
	}
	pg.evidence(f.Evidence)
	pg.facet(facetIndent, "owner", owner(f.Owner))
	pg.facet(facetIndent, "breaks", pg.list(f.Breaks, 4))
	for _, fix := range f.Fixes {
		pg.fix(fix)
	}
}

// titled writes a title behind its mark, and its place in the file at the right edge, or below where the line is full.
func (pg *page) titled(mark, title, place string) {
	lines := wrap(clean(title), pg.o.width()-visible(mark))
	if len(lines) == 1 && visible(mark)+visible(title)+2+visible(place) <= pg.o.width() {
		pg.wide(mark+lines[0], pg.paint(faint, place))
		return
	}
	pg.raw(mark + lines[0])
	for _, l := range lines[1:] {
		pg.raw(strings.Repeat(" ", facetIndent) + l)
	}
	pg.para(facetIndent, faint, place)
}

// blamed is the object of a finding as people say it; it may be a Ref's text or a sentence already.
func blamed(object string) string {
	kind, name, ok := strings.Cut(object, "/")
	if ok && schema.New(schema.Kind(kind)) != nil {
		return objectName(schema.Ref{Kind: schema.Kind(kind), Name: name})
	}
	return object
}

func (pg *page) evidence(lines []string) {
	label := "evidence"
	for i, e := range lines {
		if i == 4 && !pg.o.Full && len(lines) > 5 {
			pg.facet(facetIndent, "", fmt.Sprintf("… %d more (--full)", len(lines)-i))
			return
		}
		pg.facet(facetIndent, label, e)
		label = ""
	}
}

func owner(o *plan.Owner) string {
	if o == nil {
		return ""
	}
	s := o.Name
	if o.Confidence != "" {
		s += " (" + o.Confidence + " confidence)"
	}
	if len(o.Evidence) > 0 {
		s += ": " + strings.Join(o.Evidence, "; ")
	}
	return s
}

func (pg *page) fix(f plan.Fix) {
	if !f.Chosen {
		pg.facet(facetIndent, "not chosen", f.Title+because(f.WhyNot))
		return
	}
	text := f.Title
	if len(f.Steps) > 0 {
		text += " (" + steps(f.Steps) + ")"
	}
	pg.facet(facetIndent, "remedy", text)
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// list joins names, and folds those after the first max unless everything is wanted.
func (pg *page) list(names []string, most int) string {
	if pg.o.Full || len(names) <= most+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s, … %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func (pg *page) actions(p *plan.Plan) {
	pg.blank()
	if p.Empty() {
		pg.heading("ACTIONS", noActions(p))
		return
	}
	pg.heading("ACTIONS", fmt.Sprintf("%d, in this order      %s", len(p.Steps), legend(p.Steps)))
	for _, s := range p.Steps {
		pg.blank()
		pg.step(s)
	}
	pg.foreign(p.Foreign)
}

// noActions says why nothing is done though something is wrong.
func noActions(p *plan.Plan) string {
	if n := len(apply.OnlyReported(p)); n > 0 {
		return fmt.Sprintf(`none: foreign = "report" forbids to change %s of others`, count(n, "rule"))
	}
	return "none: vmnet has no remedy for what it found"
}

// legend explains the symbols that occur.
func legend(ss []plan.Step) string {
	var out []string
	for _, a := range actions {
		if slices.ContainsFunc(ss, func(s plan.Step) bool { return s.Action == a.action }) {
			out = append(out, a.symbol+" "+a.word)
		}
	}
	return strings.Join(out, "  ")
}

const stepIndent = 6

func (pg *page) step(s plan.Step) {
	sym, st := symbol(s.Action)
	left := fmt.Sprintf("%3d  %s %s", s.ID, pg.paint(st, sym), pg.paint(bold, stepTitle(s)))
	pg.wide(left, "risk "+pg.risk(s.Risk))
	pg.diff(s.Lines)
	if pg.o.Full {
		pg.ruleset(s.Change)
	}
	reason := s.Because
	if codes := strings.Join(s.Codes, ", "); codes != "" && !strings.HasPrefix(reason, codes) {
		reason = strings.TrimSuffix(codes+": "+reason, ": ")
	}
	if o := s.Origin.String(); o != "" {
		reason += "  (" + o + ")"
	}
	pg.facet(stepIndent, "because", reason)
	pg.facet(stepIndent, "hurts", s.Hurts)
	undo := s.Undo
	if s.Irreversible {
		undo = "cannot be undone"
	}
	pg.facet(stepIndent, "undo", undo)
	if !pg.o.Full {
		return
	}
	label := "same as"
	for _, c := range s.Commands {
		pg.facet(stepIndent, label, c)
		label = ""
	}
}

// stepTitle names the block and the object: "nat.lab  link virbr-lab".
func stepTitle(s plan.Step) string {
	object := objectName(s.Change.Ref)
	if s.Address == "" {
		return object
	}
	return s.Address + "  " + object
}

// objectName is a Ref as people say it. A rule is named by its place: its text follows in the lines.
func objectName(r schema.Ref) string {
	switch r.Kind {
	case schema.KindNftRule, schema.KindXRule:
		place := strings.SplitN(strings.TrimPrefix(r.Name, "legacy "), " ", 4)
		if len(place) < 4 {
			return "rule " + r.Name
		}
		s := "rule in " + strings.Join(place[:3], " ")
		if strings.HasPrefix(r.Name, "legacy ") {
			s += " (legacy)"
		}
		return s
	case schema.KindGrant:
		manager, _, _ := strings.Cut(r.Name, " ")
		return "rule of " + manager
	case schema.KindXTable:
		return "legacy table " + r.Name
	default:
		return string(r.Kind) + " " + r.Name
	}
}

func (pg *page) risk(r plan.Risk) string {
	return pg.paint(map[plan.Risk]style{plan.RiskBlip: yellow, plan.RiskDrop: red, plan.RiskCut: red}[r], r.String())
}

// diff writes a step's lines as they are: rules and files are not wrapped, for they are read and copied.
func (pg *page) diff(lines []string) {
	const shown = 12
	for i, l := range lines {
		if i == shown && !pg.o.Full && len(lines) > shown+1 {
			pg.para(stepIndent, faint, fmt.Sprintf("… %d more lines (--full)", len(lines)-shown))
			return
		}
		st := plain
		for _, a := range actions {
			if strings.HasPrefix(l, a.symbol+" ") {
				st = a.style
			}
		}
		for j, part := range strings.Split(l, "\n") {
			if j > 0 {
				part = "  " + part
			}
			pg.raw(strings.Repeat(" ", stepIndent) + pg.paint(st, part))
		}
	}
}

func (pg *page) foreign(fs []plan.Foreign) {
	if len(fs) == 0 {
		return
	}
	pg.blank()
	if pg.o.Full {
		for _, f := range fs {
			pg.para(stepIndent-2, faint, fmt.Sprintf("# %s   owner %s, %s", f.Object, cmp.Or(f.Owner, "unknown"), f.Policy))
		}
		return
	}
	owners := map[string]int{}
	for _, f := range fs {
		owners[cmp.Or(f.Owner, "unknown")]++
	}
	var names []string
	for o, n := range owners {
		names = append(names, fmt.Sprintf("%s %d", o, n))
	}
	slices.Sort(names)
	pg.para(stepIndent-2, faint, fmt.Sprintf("# %s seen on these paths and left alone (%s); --full lists them",
		count(len(fs), "foreign object"), strings.Join(names, ", ")))
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
	refused := apply.Permitted(p)
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
