package iptspec

import (
	"errors"
	"strings"
)

// errQuote is the only way in which words cannot be split.
var errQuote = errors.New("a quote is not closed")

// Split cuts a line into words as iptables-restore(8) does: white space separates, "…" and '…' hold together, a backslash
// inside double quotes or outside takes the next character as it is.
func Split(line string) ([]string, error) {
	words, err := split(line)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w.text
	}
	return out, nil
}

// word is one word of a line; a quoted one is never an option.
type word struct {
	text   string
	quoted bool
}

func split(line string) ([]word, error) {
	var words []word
	var b strings.Builder
	var quote byte
	inWord, quoted := false, false
	end := func() {
		if inWord {
			words = append(words, word{b.String(), quoted})
		}
		b.Reset()
		inWord, quoted = false, false
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
			inWord = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			b.WriteByte(c)
		case c == '"' || c == '\'':
			quote, inWord, quoted = c, true, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			end()
		default:
			b.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errQuote
	}
	end()
	return words, nil
}

// Quote writes a value as iptables-save(8) does (libxtables, xtables_save_string): bare when it is made of letters,
// digits, "-" and "_", else in double quotes with ", \ and ' escaped.
func Quote(s string) string {
	plain := s != ""
	for i := range len(s) {
		c := s[i]
		if c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	return inQuotes(s)
}

func inQuotes(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' || c == '\'' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}
