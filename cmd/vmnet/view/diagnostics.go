package view

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/config"
)

// Diagnostics is what is wrong with a configuration as text: code and title, the source with a caret under the guilty
// part, the values that were in it, and in full sentences what is wrong and what to do.
func Diagnostics(diags hcl.Diagnostics, files map[string]*hcl.File, o Options) string {
	pg := &page{o: o}
	const most = 20 // more are not read, and the first ones are often the cause of the others
	shown := errorsFirst(diags)
	shown = shown[:min(len(shown), most)]
	for i, d := range diags {
		if len(diags) > most && !slices.Contains(shown, d) {
			continue
		}
		if i > 0 && pg.b.Len() > 0 {
			pg.blank()
		}
		pg.diagnostic(d, files)
	}
	if n := len(diags) - most; n > 0 {
		pg.blank()
		pg.raw(pg.paint(bold, fmt.Sprintf("%s not shown; vmnet validate -o json lists all of %d.", count(n, "more diagnostic"), len(diags))))
	}
	return pg.String()
}

// errorsFirst lets no warning take the place of an error.
func errorsFirst(diags hcl.Diagnostics) hcl.Diagnostics {
	out := slices.Clone(diags)
	slices.SortStableFunc(out, func(a, b *hcl.Diagnostic) int { return cmp.Compare(a.Severity, b.Severity) })
	return out
}

// Valid says that nothing is wrong, and what was found.
func Valid(d *schema.Desired) string {
	return fmt.Sprintf("Valid: %s, %s, %s, %s.\n", count(len(d.Networks), "network"), count(len(d.Guests), "guest"),
		count(len(d.Forwards), "forward"), count(len(d.Goals), "expectation"))
}

func (pg *page) diagnostic(d *hcl.Diagnostic, files map[string]*hcl.File) {
	severity, st := "error", red
	if d.Severity == hcl.DiagWarning {
		severity, st = "warning", yellow
	}
	if c := code(d); c != "" {
		severity += "[" + c + "]"
	}
	pg.raw(pg.paint(st, severity) + ": " + pg.paint(bold, d.Summary))
	if d.Subject != nil {
		pg.blank()
		pg.snippet(d, snippet(d, files), st)
	}
	if d.Detail != "" {
		pg.blank()
		pg.para(0, plain, d.Detail)
	}
}

// code is the finding's code that the language puts into every diagnostic.
func code(d *hcl.Diagnostic) string {
	c, ok := hcl.DiagnosticExtra[config.Code](d)
	if !ok {
		return ""
	}
	return string(c)
}

func (pg *page) snippet(d *hcl.Diagnostic, s *snippetJSON, st style) {
	where := fmt.Sprintf("  on %s line %d", d.Subject.Filename, d.Subject.Start.Line)
	if s == nil {
		pg.raw(clean(where) + " (source not available):")
		return
	}
	if s.Context != "" {
		where += ", in " + s.Context
	}
	pg.raw(clean(where) + ":")
	gutter := len(strconv.Itoa(s.StartLine + len(s.lines) - 1))
	for i, line := range s.lines {
		from, to := s.HighlightStart, max(min(s.HighlightEnd, len(line)), s.HighlightStart)
		if i > 0 {
			from, to = 0, 0
		}
		line, from, to = cutAround(line, from, to)
		pg.raw(fmt.Sprintf("  %*d │ %s", gutter, s.StartLine+i, clean(line)))
		if i == 0 {
			lead := strings.Repeat(" ", shown(line[:from]))
			marks := strings.Repeat("^", max(shown(line[from:to]), 1))
			pg.raw(fmt.Sprintf("  %*s │ %s%s", gutter, "", lead, pg.paint(st, marks)))
		}
	}
	for _, v := range s.Values {
		pg.raw(fmt.Sprintf("  %*s   %s", gutter, "", clean(v.Traversal+" "+v.Statement)))
	}
}

// cutAround cuts a long line of source to what stands around its guilty part, line[from:to], and gives its new place.
func cutAround(line string, from, to int) (string, int, int) {
	const most, before = 200, 60
	if len(line) <= most {
		return line, from, to
	}
	begin := runeStart(line, max(from-before, 0))
	end := runeStart(line, min(begin+most, len(line)))
	lead, tail := "", ""
	if begin > 0 {
		lead = "… "
	}
	if end < len(line) {
		tail = " …"
	}
	to = min(to, end)
	return lead + line[begin:end] + tail, from - begin + len(lead), to - begin + len(lead)
}

// runeStart is the place at or before i where a character begins.
func runeStart(s string, i int) int {
	for i > 0 && i < len(s) && !utf8.RuneStart(s[i]) {
		i--
	}
	return i
}

// shown is how many columns a piece of source takes after clean.
func shown(s string) int { return utf8.RuneCountInString(clean(s)) }

// The JSON form of diagnostics is that of "terraform validate -json", with our code.
type diagnosticsJSON struct {
	FormatVersion string           `json:"format_version"`
	Valid         bool             `json:"valid"`
	ErrorCount    int              `json:"error_count"`
	WarningCount  int              `json:"warning_count"`
	Diagnostics   []diagnosticJSON `json:"diagnostics"`
}

type diagnosticJSON struct {
	Code     string       `json:"code,omitempty"`
	Severity string       `json:"severity"`
	Summary  string       `json:"summary"`
	Detail   string       `json:"detail"`
	Range    *rangeJSON   `json:"range,omitempty"`
	Snippet  *snippetJSON `json:"snippet,omitempty"`
}

type rangeJSON struct {
	Filename string  `json:"filename"`
	Start    posJSON `json:"start"`
	End      posJSON `json:"end"`
}

type posJSON struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

type snippetJSON struct {
	Context        string      `json:"context,omitempty"` // `bridge "lan"`
	Code           string      `json:"code"`
	StartLine      int         `json:"start_line"`
	HighlightStart int         `json:"highlight_start_offset"` // bytes into Code
	HighlightEnd   int         `json:"highlight_end_offset"`
	Values         []valueJSON `json:"values"`

	lines []string
}

type valueJSON struct {
	Traversal string `json:"traversal"` // "var.uplink"
	Statement string `json:"statement"` // `is "eno2"`
}

// DiagnosticsJSON is the same as a document; valid means that there is no error.
func DiagnosticsJSON(diags hcl.Diagnostics, files map[string]*hcl.File) ([]byte, error) {
	out := diagnosticsJSON{FormatVersion: "1.0", Valid: !diags.HasErrors(), Diagnostics: []diagnosticJSON{}}
	for _, d := range diags {
		j := diagnosticJSON{Code: code(d), Severity: "error", Summary: d.Summary, Detail: d.Detail}
		if d.Severity == hcl.DiagWarning {
			j.Severity = "warning"
			out.WarningCount++
		} else {
			out.ErrorCount++
		}
		if d.Subject != nil {
			j.Range = &rangeJSON{d.Subject.Filename, position(d.Subject.Start), position(d.Subject.End)}
			j.Snippet = snippet(d, files).cut()
		}
		out.Diagnostics = append(out.Diagnostics, j)
	}
	return encode(out)
}

func position(p hcl.Pos) posJSON { return posJSON{p.Line, p.Column, p.Byte} }

// encode writes a document and a line break.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b.Bytes(), nil
}

// snippet cuts the lines of the subject out of its file, at most five; nil where the source is not at hand.
func snippet(d *hcl.Diagnostic, files map[string]*hcl.File) *snippetJSON {
	f := files[d.Subject.Filename]
	if f == nil || f.Bytes == nil {
		return nil
	}
	const most = 5
	s := &snippetJSON{StartLine: d.Subject.Start.Line, Values: values(d)}
	if s.StartLine < 1 {
		return nil
	}
	scan := bufio.NewScanner(bytes.NewReader(f.Bytes))
	scan.Buffer(nil, len(f.Bytes)+1)
	begin, offset := 0, 0
	for n := 1; scan.Scan() && n < s.StartLine+most; n++ {
		if n == s.StartLine {
			begin = offset
		}
		if n >= s.StartLine && n <= max(d.Subject.End.Line, s.StartLine) {
			s.lines = append(s.lines, scan.Text())
		}
		offset += len(scan.Bytes()) + 1
	}
	if len(s.lines) > 1 && d.Subject.End.Column == 1 { // the range ends with the line break
		s.lines = s.lines[:len(s.lines)-1]
	}
	if len(s.lines) == 0 { // the end of the file
		s.lines = []string{""}
		begin = d.Subject.Start.Byte
	}
	s.Code = strings.Join(s.lines, "\n")
	s.HighlightStart = min(max(d.Subject.Start.Byte-begin, 0), len(s.lines[0]))
	s.HighlightEnd = min(max(d.Subject.End.Byte-begin, s.HighlightStart), len(s.Code))
	s.Context = contextOf(f, d.Subject)
	return s
}

// cut shortens long lines to what stands around the guilty part, as the text does: a line may be a whole file of JSON.
func (s *snippetJSON) cut() *snippetJSON {
	if s == nil {
		return nil
	}
	first := len(s.lines[0])
	beyond := s.HighlightEnd > first
	var from, to int
	for i, line := range s.lines {
		if i > 0 {
			s.lines[i], _, _ = cutAround(line, 0, 0)
			continue
		}
		s.lines[0], from, to = cutAround(line, s.HighlightStart, min(s.HighlightEnd, first))
	}
	s.Code = strings.Join(s.lines, "\n")
	s.HighlightStart, s.HighlightEnd = from, max(to, from)
	if beyond {
		s.HighlightEnd = len(s.Code)
	}
	return s
}

// contextOf names the outermost block around a range: `bridge "lan"`.
func contextOf(f *hcl.File, r *hcl.Range) string {
	body, ok := f.Body.(*hclsyntax.Body)
	if !ok {
		return ""
	}
	for _, b := range body.Blocks {
		if rng := b.Range(); !rng.ContainsPos(r.Start) {
			continue
		}
		if len(b.Labels) == 0 {
			return b.Type
		}
		return b.Type + ` "` + strings.Join(b.Labels, `" "`) + `"`
	}
	return ""
}

// values tells what the names in the failing expression stood for: most needed where for_each or variables are.
func values(d *hcl.Diagnostic) []valueJSON {
	out := []valueJSON{}
	if d.Expression == nil || d.EvalContext == nil {
		return out
	}
	seen := map[string]bool{}
	for _, t := range d.Expression.Variables() {
		name := traversal(t)
		if seen[name] {
			continue
		}
		seen[name] = true
		v, diags := t.TraverseAbs(d.EvalContext)
		if diags.HasErrors() {
			continue
		}
		if s := statement(v); s != "" {
			out = append(out, valueJSON{name, s})
		}
	}
	slices.SortFunc(out, func(a, b valueJSON) int { return cmp.Compare(a.Traversal, b.Traversal) })
	return out
}

func traversal(t hcl.Traversal) string {
	var b strings.Builder
	for _, step := range t {
		switch s := step.(type) {
		case hcl.TraverseRoot:
			b.WriteString(s.Name)
		case hcl.TraverseAttr:
			b.WriteString("." + s.Name)
		case hcl.TraverseIndex:
			b.WriteString("[" + strings.TrimPrefix(statement(s.Key), "is ") + "]")
		}
	}
	return b.String()
}

func statement(v cty.Value) string {
	v, _ = v.UnmarkDeep()
	switch {
	case !v.IsKnown():
		return ""
	case v.IsNull():
		return "is null"
	case v.Type() == cty.String:
		return fmt.Sprintf("is %q", v.AsString())
	case v.Type() == cty.Number:
		return "is " + v.AsBigFloat().Text('f', -1)
	case v.Type() == cty.Bool:
		return fmt.Sprintf("is %t", v.True())
	case v.Type().IsObjectType(): // a block: how many attributes it has helps nobody
		return ""
	case v.CanIterateElements():
		return fmt.Sprintf("is %s of %d", v.Type().FriendlyName(), v.LengthInt())
	}
	return "is " + v.Type().FriendlyName()
}
