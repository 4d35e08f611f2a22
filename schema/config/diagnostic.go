package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/vmnet/vmnet/schema"
)

// where is the place a diagnostic points at. Every attribute that is read has one, so it is small: what can be asked of
// the syntax tree is not copied.
type where struct {
	rng  *hcl.Range           // nil: that of expr
	in   *hclsyntax.Block     // what is shown around it; nil: the block of inst
	expr hclsyntax.Expression // whose values are shown; may be nil
	inst *instance            // gives each and count; may be nil
}

// span is the range itself; the zero Range when the place is in no file.
func (w where) span() hcl.Range {
	switch {
	case w.rng != nil:
		return *w.rng
	case w.expr != nil:
		return w.expr.Range()
	}
	return hcl.Range{}
}

// around is the block to show; nil for none.
func (w where) around() *hclsyntax.Block {
	if w.in == nil && w.inst != nil {
		return w.inst.node.block
	}
	return w.in
}

func (w where) origin() schema.Origin {
	r := w.span()
	return schema.Origin{File: r.Filename, Line: r.Start.Line, Column: r.Start.Column}
}

// place prints "lab.vmnet.hcl:12".
func (w where) place() string { return w.origin().String() }

// fail reports an error.
func (l *loader) fail(c Code, w where, format string, args ...any) {
	l.report(hcl.DiagError, c, w, fmt.Sprintf(format, args...))
}

// warn reports what does not keep the configuration from being used.
func (l *loader) warn(c Code, w where, format string, args ...any) {
	l.report(hcl.DiagWarning, c, w, fmt.Sprintf(format, args...))
}

func (l *loader) report(sev hcl.DiagnosticSeverity, c Code, w where, detail string) {
	if l.broken && followsFromSyntax(c) {
		return
	}
	d := &hcl.Diagnostic{Severity: sev, Summary: c.title(), Detail: detail, Extra: c}
	if span := w.span(); span.Filename != "" {
		d.Subject = &span
	}
	if b := w.around(); b != nil && d.Subject != nil {
		d.Context = hcl.RangeOver(b.Range(), *d.Subject).Ptr()
	}
	if w.expr != nil {
		d.Expression, d.EvalContext = w.expr, l.contextForText(w.expr, w.inst)
	}
	l.diags = append(l.diags, d)
}

// followsFromSyntax names the causes that a syntax error elsewhere in the file may make up: the parser drops what it
// could not read, so names seem to be missing.
func followsFromSyntax(c Code) bool {
	switch c {
	case codeMissing, codeUnknownReference, codeNoVersion, codeUndeclared, codeUnknownBlock, codeUnknownAttribute:
		return true
	}
	return false
}

// adopt takes over diagnostics of the HCL library under one of our codes.
func (l *loader) adopt(c Code, w where, diags hcl.Diagnostics) {
	for i, d := range diags {
		if d.Summary == "Invalid multi-line string" && i > 0 {
			continue // one quotation mark that is not closed gives one for each line after it
		}
		if f, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallUnknownDiagExtra](d); ok {
			// The library suggests by the order of a map.
			name := f.CalledFunctionName()
			d.Detail = fmt.Sprintf("There is no function %q.%s", name, didYouMean(name, slices.Collect(maps.Keys(l.funcs))))
		}
		if before, why, ok := strings.Cut(d.Detail, " parameter: "); ok && d.Summary == "Invalid function argument" {
			d.Detail = before + " parameter: " + lowerFirst(why)
		}
		d.Extra = c
		if d.Subject == nil || d.Subject.Filename == "" { // the library does not always know
			d.Subject, d.Context = nil, nil
			if span := w.span(); span.Filename != "" {
				d.Subject = &span
			}
		}
		switch b := w.around(); {
		case b != nil && d.Subject != nil && d.Subject.Filename == b.TypeRange.Filename:
			d.Context = hcl.RangeOver(b.Range(), *d.Subject).Ptr()
		case d.Subject != nil && d.Context != nil:
			d.Context = hcl.RangeOver(*d.Context, *d.Subject).Ptr()
		}
		l.diags = append(l.diags, d)
	}
}

// sorted gives diagnostics by place, without repetitions: instances of one block make the same mistake many times.
func sorted(diags hcl.Diagnostics) hcl.Diagnostics {
	pos := func(d *hcl.Diagnostic) hcl.Range {
		if d.Subject == nil {
			return hcl.Range{}
		}
		return *d.Subject
	}
	slices.SortStableFunc(diags, func(a, b *hcl.Diagnostic) int {
		p, q := pos(a), pos(b)
		return cmp.Or(cmp.Compare(p.Filename, q.Filename), cmp.Compare(p.Start.Byte, q.Start.Byte))
	})
	type key struct {
		rng             hcl.Range
		summary, detail string
	}
	seen := map[key]bool{}
	return slices.DeleteFunc(diags, func(d *hcl.Diagnostic) bool {
		k := key{pos(d), d.Summary, d.Detail}
		was := seen[k]
		seen[k] = true
		return was
	})
}

// suggest is the candidate nearest to a misspelt name, or "". Up to three letters may differ, and fewer in short names,
// where everything is near to everything.
func suggest(name string, candidates []string) string {
	best, dist := "", min(3, len(name)/2)+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if d := levenshtein.Distance(name, c, nil); d < dist && 2*d <= len(c) {
			best, dist = c, d
		}
	}
	return best
}

// didYouMean is " Did you mean x?", or "".
func didYouMean(name string, candidates []string) string {
	if s := suggest(name, candidates); s != "" {
		return fmt.Sprintf(" Did you mean %q?", s)
	}
	return ""
}

// lowerFirst lets a sentence go on behind a colon. Names and abbreviations keep their capitals.
func lowerFirst(s string) string {
	if len(s) > 1 && 'A' <= s[0] && s[0] <= 'Z' && 'a' <= s[1] && s[1] <= 'z' {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

// quoted gives the words sorted and in quotes.
func quoted(words []string) []string {
	out := make([]string, len(words))
	for i, w := range slices.Sorted(slices.Values(words)) {
		out[i] = strconv.Quote(w)
	}
	return out
}

// listOf prints "a", "a and b", "a, b and c".
func listOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
