package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

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
		undo = "CANNOT be undone wholly: " + undo
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
