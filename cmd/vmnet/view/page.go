package view

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Options say how to render. The zero value is plain text, 100 columns wide, the usual parts.
type Options struct {
	Width int  // columns; 0 means 100
	Color bool // ANSI colours; they never carry meaning alone
	Full  bool // everything: commands, all lines, all expectations
	// Saved is the file a plan was saved in, "" for none: the text ends with what to do next.
	Saved string
	// Path is the configuration as the user named it, for the commands to type next.
	Path string
}

func (o Options) width() int {
	if o.Width <= 0 {
		return 100
	}
	return max(o.Width, 40)
}

// style is an ANSI graphic rendition (ECMA-48, SGR); the empty one changes nothing.
type style string

const (
	plain  style = ""
	bold   style = "1"
	faint  style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// page collects text. What is given to it is cleaned and, where colours are on, styled.
type page struct {
	b strings.Builder
	o Options
}

func (pg *page) String() string { return pg.b.String() }

func (pg *page) paint(s style, text string) string {
	text = clean(text)
	if !pg.o.Color || s == plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

func (pg *page) blank() { pg.b.WriteByte('\n') }

// raw writes a line that is clean and styled already.
func (pg *page) raw(line string) {
	pg.b.WriteString(strings.TrimRight(line, " "))
	pg.b.WriteByte('\n')
}

// heading writes "TITLE  text": a part of the document begins.
func (pg *page) heading(title, text string) { pg.raw(pg.paint(bold, title) + "  " + clean(text)) }

// wide writes left, and right flush with the right edge where there is room, else after two spaces.
func (pg *page) wide(left, right string) {
	if right == "" {
		pg.raw(left)
		return
	}
	gap := max(pg.o.width()-visible(left)-visible(right), 2)
	pg.raw(left + strings.Repeat(" ", gap) + right)
}

// para writes text wrapped, each line indented; nothing for an empty text.
func (pg *page) para(indent int, s style, text string) {
	if text == "" {
		return
	}
	for _, line := range wrap(clean(text), pg.o.width()-indent) {
		pg.raw(strings.Repeat(" ", indent) + pg.paint(s, line))
	}
}

// facet writes "label    text", wrapped, the lines after the first under the text.
func (pg *page) facet(indent int, label, text string) {
	const column = 12
	if text == "" {
		return
	}
	left := strings.Repeat(" ", indent) + pg.paint(faint, label) + strings.Repeat(" ", max(column-len(label), 1))
	hang := strings.Repeat(" ", indent+max(column, len(label)+1))
	for _, line := range wrap(clean(text), pg.o.width()-len(hang)) {
		pg.raw(left + line)
		left = hang
	}
}

// wrap breaks text into lines of at most width runes, at spaces; a longer word stands alone. Line breaks are kept.
func wrap(text string, width int) []string {
	var lines []string
	for part := range strings.SplitSeq(text, "\n") {
		line := ""
		for word := range strings.FieldsSeq(part) {
			switch {
			case line == "":
				line = word
			case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
				line += " " + word
			default:
				lines = append(lines, line)
				line = word
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// visible counts the runes of a line that take room: all but colour sequences.
func visible(s string) int {
	n, escape := 0, false
	for _, r := range s {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			n++
		}
	}
	return n
}

// pad fills a styled string up to n columns.
func pad(s string, n int) string { return s + strings.Repeat(" ", max(n-visible(s), 0)) }

// clean makes a foreign string harmless on a terminal: control characters (escape sequences begin with one) and the
// Unicode characters that turn the direction of writing are shown as escapes. Line breaks stay.
func clean(s string) string {
	bad := func(r rune) bool {
		return r != '\n' && (unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r))
	}
	if !strings.ContainsFunc(s, bad) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\t':
			b.WriteString("    ")
		case bad(r):
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// count writes "1 error", "2 errors".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "s") {
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
