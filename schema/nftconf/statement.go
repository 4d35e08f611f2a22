package nftconf

import "strings"

// statement is one statement of a file, with the block it stands in.
type statement struct {
	text        string // on one line, without comments
	first, last int    // lines, counting from 0
	alone       bool   // its lines hold nothing else
	lead        string // the white space in front of it
	where       []string
}

// reader cuts a file into statements.
type reader struct {
	text   string
	at     int
	line   int
	found  []statement
	blocks []string // the heads of the open blocks: "table inet filter", "chain forward"

	b     strings.Builder
	first int // the line on which the statement began
	inner int // open braces inside the statement: "{ 22, 80 }"
	begun int // offset of its first character
	lead  int // offset of the line on which it began
	start int // offset of the line that is being read
}

// statements cuts the text of a file. What is not closed at the end is left out.
func statements(text string) []statement {
	r := &reader{text: text}
	for r.at < len(r.text) {
		r.step()
	}
	r.end(r.at)
	return r.found
}

// step takes one character, or a whole comment or string.
func (r *reader) step() {
	c := r.text[r.at]
	switch {
	case c == '#':
		for r.at < len(r.text) && r.text[r.at] != '\n' {
			r.at++
		}
		return
	case c == '"':
		r.quoted()
		return
	case c == '\\' && strings.HasPrefix(r.text[r.at:], "\\\n"):
		r.put(' ')
		r.line++
		r.at += 2
		r.start = r.at
		return
	case c == '\n':
		if r.inner > 0 {
			r.put(' ')
		} else {
			r.end(r.at)
		}
		r.line++
		r.start = r.at + 1
	case c == ';' && r.inner == 0:
		r.end(r.at)
	case c == '{' && r.inner == 0 && opensBlock(r.b.String(), len(r.blocks)):
		r.blocks = append(r.blocks, strings.Join(strings.Fields(r.b.String()), " "))
		r.b.Reset()
	case c == '{':
		r.inner++
		r.put(c)
	case c == '}' && r.inner > 0:
		r.inner--
		r.put(c)
	case c == '}':
		r.end(r.at)
		if len(r.blocks) > 0 {
			r.blocks = r.blocks[:len(r.blocks)-1]
		}
	default:
		r.put(c)
	}
	r.at++
}

func (r *reader) quoted() {
	end := strings.IndexByte(r.text[r.at+1:], '"')
	if end < 0 {
		end = len(r.text) - r.at - 2
	}
	for range end + 2 {
		r.put(r.text[r.at])
		if r.text[r.at] == '\n' {
			r.line++
			r.start = r.at + 1
		}
		r.at++
	}
}

func (r *reader) put(c byte) {
	if r.b.Len() == 0 {
		if c == ' ' || c == '\t' || c == '\r' {
			return
		}
		r.first, r.begun, r.lead = r.line, r.at, r.start
	}
	r.b.WriteByte(c)
}

// opensBlock tells whether a brace after these words opens a block: a table anywhere at the top, and everything that a
// table holds. Inside a chain a brace belongs to a rule.
func opensBlock(words string, depth int) bool {
	f := strings.Fields(words)
	if len(f) > 0 && (f[0] == "add" || f[0] == "create") {
		f = f[1:]
	}
	switch {
	case len(f) == 0:
		return false
	case depth == 0:
		return f[0] == "table" || f[0] == "chain" || f[0] == "set" || f[0] == "map"
	}
	return depth == 1
}

// end closes the statement in front of offset end.
func (r *reader) end(end int) {
	text := strings.TrimSpace(r.b.String())
	r.b.Reset()
	r.inner = 0
	if text == "" {
		return
	}
	for end < len(r.text) && strings.IndexByte(" \t\r;", r.text[end]) >= 0 {
		end++
	}
	lead := r.text[r.lead:r.begun]
	r.found = append(r.found, statement{
		text: text, first: r.first, last: r.line, lead: lead, where: append([]string(nil), r.blocks...),
		alone: strings.TrimSpace(lead) == "" && (end >= len(r.text) || r.text[end] == '\n' || r.text[end] == '#'),
	})
}
