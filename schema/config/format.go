package config

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Format returns the canonical form of a configuration: indentation, alignment and spaces, nothing else. Formatting
// twice changes nothing more. What cannot be parsed comes back as it is.
func Format(src []byte) []byte {
	if !parses(src) {
		return src
	}
	out := src
	// One pass is nearly always enough; a comment between tokens can need a second one.
	for range 8 {
		next := hclwrite.Format(out)
		if bytes.Equal(next, out) {
			break
		}
		out = next
	}
	if !bytes.Equal(hclwrite.Format(out), out) || !parses(out) {
		return src
	}
	return out
}

func parses(src []byte) bool {
	_, diags := hclsyntax.ParseConfig(src, "", hcl.InitialPos)
	return !diags.HasErrors()
}

// Diff compares two texts line by line as diff -u does, with three lines of context; "" when they are equal.
func Diff(name string, before, after []byte) string {
	if bytes.Equal(before, after) {
		return ""
	}
	edits := editScript(splitLines(before), splitLines(after))
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", name, name)
	for _, h := range hunks(edits) {
		h.write(&b)
	}
	return b.String()
}

// edit is one line of a diff: kept (' '), removed ('-') or added ('+'), with the lines before it on either side.
type edit struct {
	op         byte
	text       string
	oldN, newN int
}

func splitLines(b []byte) []string { return strings.SplitAfter(string(b), "\n") }

// editScript finds a shortest way from a to b after taking off what they share at both ends.
func editScript(a, b []string) []edit {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	var ops []byte
	for range head {
		ops = append(ops, ' ')
	}
	ops = append(ops, middle(a[head:len(a)-tail], b[head:len(b)-tail])...)
	for range tail {
		ops = append(ops, ' ')
	}
	edits := make([]edit, 0, len(ops))
	i, j := 0, 0
	for _, op := range ops {
		e := edit{op: op, oldN: i, newN: j}
		if op == '+' {
			e.text = b[j]
		} else {
			e.text = a[i]
		}
		if op != '+' {
			i++
		}
		if op != '-' {
			j++
		}
		edits = append(edits, e)
	}
	return slices.DeleteFunc(edits, func(e edit) bool { return e.text == "" })
}

// middle is the textbook longest common subsequence. Formatting changes few lines; beyond a few million cells
// everything is replaced instead, which is still a correct diff.
func middle(a, b []string) []byte {
	n, m := len(a), len(b)
	if n*m > 4_000_000 {
		return append(bytes.Repeat([]byte{'-'}, n), bytes.Repeat([]byte{'+'}, m)...)
	}
	lcs := make([][]int32, n+1)
	for i := range lcs {
		lcs[i] = make([]int32, m+1)
	}
	for i := n - 1; i >= 0; i-- {
		for j := m - 1; j >= 0; j-- {
			if a[i] == b[j] {
				lcs[i][j] = lcs[i+1][j+1] + 1
			} else {
				lcs[i][j] = max(lcs[i+1][j], lcs[i][j+1])
			}
		}
	}
	var ops []byte
	i, j := 0, 0
	for i < n || j < m {
		switch {
		case i < n && j < m && a[i] == b[j]:
			ops = append(ops, ' ')
			i++
			j++
		case i < n && (j == m || lcs[i+1][j] >= lcs[i][j+1]):
			ops = append(ops, '-')
			i++
		default:
			ops = append(ops, '+')
			j++
		}
	}
	return ops
}

type hunk []edit

// hunks cuts an edit script into groups of changes with three lines around them.
func hunks(edits []edit) []hunk {
	const context = 3
	var out []hunk
	last := -1 // the end of the latest hunk
	for i, e := range edits {
		if e.op == ' ' {
			continue
		}
		from, to := max(i-context, 0), min(i+context+1, len(edits))
		if last >= from {
			out[len(out)-1] = append(out[len(out)-1], edits[last:to]...)
		} else {
			out = append(out, slices.Clone(edits[from:to]))
		}
		last = to
	}
	return out
}

func (h hunk) write(b *strings.Builder) {
	var olds, news int
	for _, e := range h {
		if e.op != '+' {
			olds++
		}
		if e.op != '-' {
			news++
		}
	}
	fmt.Fprintf(b, "@@ -%s +%s @@\n", span(h[0].oldN, olds), span(h[0].newN, news))
	for _, e := range h {
		b.WriteByte(e.op)
		b.WriteString(strings.TrimSuffix(e.text, "\n") + "\n")
		if !strings.HasSuffix(e.text, "\n") {
			b.WriteString("\\ No newline at end of file\n")
		}
	}
}

// span prints the range of a hunk as diff -u does: "3,7", "3" for one line, "2,0" for none after line 2.
func span(before, n int) string {
	switch n {
	case 0:
		return fmt.Sprintf("%d,0", before)
	case 1:
		return strconv.Itoa(before + 1)
	}
	return fmt.Sprintf("%d,%d", before+1, n)
}
