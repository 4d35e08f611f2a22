package view

import (
	"fmt"
	"strings"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

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
	for i, c := range f.Cure {
		pg.facet(facetIndent, map[bool]string{true: "by hand"}[i == 0], c)
	}
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
