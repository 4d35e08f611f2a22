package nftconf

import (
	"slices"
	"strings"
)

// Rule is a rule in a file.
type Rule struct {
	// Line is where it stands, counting from 0; Last its last line.
	Line, Last int
	// Family, Table and Chain say where it is added. Family is "ip" when the file names none.
	Family, Table, Chain string
	// Text is the rule as written, on one line, with the file's defines in place.
	Text string
	// Lead is what stands in front of the rule on its line: white space, or a command such as "add rule inet filter forward ".
	Lead string
	// Alone tells whether the rule is on one line that holds nothing else, so that the line can be taken out.
	Alone bool
}

// Base is what a file says of a base chain.
type Base struct {
	// Line is where its type or policy stands, counting from 0.
	Line                 int
	Family, Table, Chain string
	// Type is "filter", "nat" or "route"; Hook "input", "forward" and so on.
	Type, Hook string
	// Policy is "drop" or "accept"; "" when the file names none, which means accept.
	Policy string
}

// families are nft's words for address families (nft(8), ADDRESS FAMILIES).
var families = []string{"ip", "ip6", "inet", "arp", "bridge", "netdev"}

// Includes lists the patterns of a file's include statements, as written (nft(8), INCLUDE FILES). nft looks for those that
// do not begin with / or ./ in /etc.
func Includes(content string) []string {
	var out []string
	for _, s := range statements(content) {
		if pattern, ok := strings.CutPrefix(s.text, "include "); ok && len(s.where) == 0 {
			out = append(out, strings.Trim(strings.TrimSpace(pattern), `"`))
		}
	}
	return out
}

// Rules lists the rules of a file, in order. defs are the Defines of all files that are loaded together.
func Rules(content string, defs map[string]string) []Rule {
	var out []Rule
	for _, s := range statements(content) {
		r := Rule{Line: s.first, Last: s.last, Lead: s.lead, Alone: s.alone && s.first == s.last}
		switch {
		case len(s.where) == 0:
			command, text, ok := cutRule(s.text, &r)
			if !ok {
				continue
			}
			r.Lead += command
			r.Text = text
		case len(s.where) == 2 && inChain(s.where, &r) && !describes(s.text):
			r.Text = s.text
		default:
			continue
		}
		r.Text = expand(r.Text, defs)
		out = append(out, r)
	}
	return out
}

// Bases lists the base chains of a file.
func Bases(content string) []Base {
	var out []Base
	for _, s := range statements(content) {
		var r Rule
		if len(s.where) != 2 || !inChain(s.where, &r) {
			continue
		}
		f := strings.Fields(s.text)
		switch {
		case len(f) > 3 && f[0] == "type" && f[2] == "hook":
			out = append(out, Base{Line: s.first, Family: r.Family, Table: r.Table, Chain: r.Chain, Type: f[1], Hook: f[3]})
		case len(f) == 2 && f[0] == "policy" && len(out) > 0:
			b := &out[len(out)-1]
			b.Line, b.Policy = s.first, f[1]
		}
	}
	return out
}

// Find looks for a live rule, in the words in which nft(8) lists it.
func Find(content string, defs map[string]string, family, table, chain, text string) (Rule, bool) {
	want := Normal(family, text)
	for _, r := range Rules(content, defs) {
		if r.Family == family && r.Table == table && r.Chain == chain && Normal(family, r.Text) == want {
			return r, true
		}
	}
	return Rule{}, false
}

// cutRule takes "add rule inet filter forward tcp dport 22 drop" apart.
func cutRule(text string, r *Rule) (command, rule string, ok bool) {
	f := strings.Fields(text)
	n := 2
	if len(f) < 5 || (f[0] != "add" && f[0] != "insert") || f[1] != "rule" {
		return "", "", false
	}
	r.Family = "ip"
	if slices.Contains(families, f[n]) {
		r.Family = f[n]
		n++
	}
	if len(f) < n+3 {
		return "", "", false
	}
	r.Table, r.Chain = f[n], f[n+1]
	n += 2
	for len(f) > n+2 && slices.Contains([]string{"handle", "position", "index"}, f[n]) {
		return "", "", false // where it stands depends on others
	}
	rest := text
	for range n {
		rest = strings.TrimSpace(rest)
		_, rest, _ = strings.Cut(rest, " ")
	}
	rest = strings.TrimSpace(rest)
	return text[:len(text)-len(rest)], rest, true
}

// inChain reads the heads of the blocks around a statement: a chain of a table.
func inChain(where []string, r *Rule) bool {
	t, c := strings.Fields(where[0]), strings.Fields(where[1])
	if len(t) > 0 && (t[0] == "add" || t[0] == "create") {
		t = t[1:]
	}
	if len(t) < 2 || t[0] != "table" || len(c) != 2 || c[0] != "chain" {
		return false
	}
	r.Family, r.Table, r.Chain = "ip", t[len(t)-1], c[1]
	if len(t) == 3 {
		r.Family = t[1]
	}
	return true
}

// describes tells whether a statement of a chain's block is about the chain itself.
func describes(text string) bool {
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "type":
		return strings.Contains(rest, "hook ")
	case "policy", "comment", "devices", "device":
		return true
	}
	return false
}
