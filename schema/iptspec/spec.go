package iptspec

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Spec is one rule, taken apart.
type Spec struct {
	// Chain is the chain of -A, -I, -D or -C; "" when the line names none.
	Chain string
	// Table is the table of -t; "" when the line names none.
	Table string
	// Comment is the text of -m comment, "" for none.
	Comment string

	head    []clause // -s -d -i -o -p -f
	matches []*extension
	target  *extension // -j
	gotoTo  string     // -g
}

// clause is an option with its values, perhaps negated.
type clause struct {
	not    bool
	name   string
	values []string
}

func (c clause) String() string {
	var b strings.Builder
	if c.not {
		b.WriteString("! ")
	}
	b.WriteString(c.name)
	for _, v := range c.values {
		b.WriteByte(' ')
		b.WriteString(c.quoted(v))
	}
	return b.String()
}

// quoted writes a value so that it is read as one again; free text always as iptables-save does.
func (c clause) quoted(v string) string {
	switch c.name {
	case "--comment", "--string", "--log-prefix", "--nflog-prefix":
		return Quote(v)
	}
	if v == "" || v == "!" || v[0] == '-' || strings.ContainsAny(v, " \t\r\n\"'\\") {
		return inQuotes(v)
	}
	return v
}

// extension is a match or a target with its options.
type extension struct {
	name    string
	clauses []clause
}

func (e extension) String() string {
	words := []string{e.name}
	for _, c := range e.clauses {
		words = append(words, c.String())
	}
	return strings.Join(words, " ")
}

// headOrder is the order in which iptables -S prints its own options.
var headOrder = []string{"-s", "-d", "-i", "-o", "-p", "-f"}

// Canonical is the rule in its one form, as near to "iptables -S" without "-A CHAIN" as can be. Matches and their options
// are sorted; what says nothing (an empty -m tcp, -s 0.0.0.0/0, the default of --limit-burst) is left out.
func (s Spec) Canonical() string {
	var words []string
	for _, c := range s.head {
		words = append(words, c.String())
	}
	var matches []string
	for _, m := range s.matches {
		matches = append(matches, "-m "+m.String())
	}
	slices.Sort(matches)
	words = append(words, matches...)
	if s.target != nil {
		words = append(words, "-j "+s.target.String())
	}
	if s.gotoTo != "" {
		words = append(words, "-g "+s.gotoTo)
	}
	return strings.Join(words, " ")
}

// Equal tells whether two lines are one rule: equal in canonical form, and of one chain when both name a chain. Lines that
// cannot be parsed are equal when they are the same text.
func Equal(a, b string) bool {
	x, errX := Parse(a)
	y, errY := Parse(b)
	if errX != nil || errY != nil {
		return strings.TrimSpace(a) == strings.TrimSpace(b)
	}
	if x.Chain != "" && y.Chain != "" && x.Chain != y.Chain {
		return false
	}
	if x.Table != "" && y.Table != "" && x.Table != y.Table {
		return false
	}
	return x.Canonical() == y.Canonical()
}

// Parse reads one rule: a line of iptables-save ("[0:0] -A FORWARD … -j DROP"), the arguments of an iptables command
// (with or without "iptables -t filter -I FORWARD 1"), or the text of a live rule without a chain.
func Parse(line string) (Spec, error) {
	words, err := split(line)
	if err != nil {
		return Spec{}, fmt.Errorf("parse rule %q: %w", line, err)
	}
	p := parser{words: words}
	if err := p.run(); err != nil {
		return Spec{}, fmt.Errorf("parse rule %q: %w", line, err)
	}
	return p.finish(), nil
}

type parser struct {
	words []word
	spec  Spec
	proto string // of -p, "" when negated
	last  *extension
	not   bool
}

func (p *parser) run() error {
	p.skipHead()
	for len(p.words) > 0 {
		w := p.words[0]
		p.words = p.words[1:]
		if w.text == "!" && !w.quoted {
			if p.not {
				return errors.New("two negations in a row")
			}
			p.not = true
			continue
		}
		if w.quoted || !isOption(w.text) {
			return fmt.Errorf("%q is not an option", w.text)
		}
		if err := p.option(w.text); err != nil {
			return err
		}
	}
	if p.not {
		return errors.New("a negation at the end")
	}
	return nil
}

// skipHead takes "[12:840]" and the name of the command off the front.
func (p *parser) skipHead() {
	if len(p.words) > 0 && strings.HasPrefix(p.words[0].text, "[") && strings.HasSuffix(p.words[0].text, "]") {
		p.words = p.words[1:]
	}
	if len(p.words) > 0 && !p.words[0].quoted {
		name := p.words[0].text[strings.LastIndexByte(p.words[0].text, '/')+1:]
		if strings.HasPrefix(name, "iptables") || strings.HasPrefix(name, "ip6tables") {
			p.words = p.words[1:]
		}
	}
}

func (p *parser) option(name string) error {
	not := p.not
	p.not = false
	name, inline := splitInline(name)
	if !isOption(name) || !isName(strings.TrimLeft(name, "-")) {
		return fmt.Errorf("%q is not an option", name)
	}
	if inline != "" {
		p.words = slices.Insert(p.words, 0, word{inline, true})
	}
	if short, ok := builtin[name]; ok {
		return p.builtin(short, not)
	}
	opt, known := options[name]
	if !known {
		opt = option{name: name, args: -1}
	}
	if !not && len(p.words) > 0 && p.words[0].text == "!" && !p.words[0].quoted && opt.args != 0 {
		not = true // the old place: "--dport ! 22"
		p.words = p.words[1:]
	}
	values, err := p.values(name, opt.args)
	if err != nil {
		return err
	}
	if opt.owner == "comment" && len(values) == 1 {
		p.spec.Comment = values[0]
	}
	e := p.extension(opt)
	if e == nil {
		return fmt.Errorf("option %s belongs to no match and no target", name)
	}
	e.clauses = append(e.clauses, normal(e.name, p.proto, clause{not, opt.name, values})...)
	return nil
}

// splitInline cuts "--dport=22" and "-ptcp" in two.
func splitInline(name string) (opt, value string) {
	if strings.HasPrefix(name, "--") {
		opt, value, _ = strings.Cut(name, "=")
		return opt, value
	}
	if len(name) > 2 && strings.ContainsRune("sdiopjgmtAIDC", rune(name[1])) {
		return name[:2], name[2:]
	}
	return name, ""
}

// values takes n values; with n < 0 all up to the next option.
func (p *parser) values(name string, n int) ([]string, error) {
	var out []string
	for len(p.words) > 0 && len(out) != n {
		w := p.words[0]
		if n < 0 && !w.quoted && (w.text == "!" || isOption(w.text)) {
			break
		}
		out = append(out, w.text)
		p.words = p.words[1:]
	}
	if n > 0 && len(out) < n {
		return nil, fmt.Errorf("option %s needs %d values", name, n)
	}
	return out, nil
}

// extension finds whose the option is: the target or match it is known to belong to, the match that -p implies, or the
// extension that was named last.
func (p *parser) extension(o option) *extension {
	if o.owner == "" && (o.name == "--sport" || o.name == "--dport") {
		if p.last == nil || !portProtocols(p.last.name) {
			return p.match(cmp.Or(impliedMatch(p.proto), "tcp"))
		}
		return p.last
	}
	if o.owner != "" {
		return p.owner(o.owner)
	}
	if p.last == nil && impliedMatch(p.proto) != "" {
		return p.match(impliedMatch(p.proto))
	}
	return p.last
}

// owner returns the extension of that name; a target (in capitals) must have been named before.
func (p *parser) owner(name string) *extension {
	if name == strings.ToLower(name) {
		return p.match(name)
	}
	if p.spec.target != nil && p.spec.target.name == name {
		return p.spec.target
	}
	return nil
}

// match returns the match of that name, loading it when it is not there.
func (p *parser) match(name string) *extension {
	for _, m := range p.spec.matches {
		if m.name == name {
			return m
		}
	}
	m := &extension{name: name}
	p.spec.matches = append(p.spec.matches, m)
	return m
}

func (p *parser) builtin(short string, not bool) error {
	switch short {
	case "-f", "-4", "-6":
		if short == "-f" {
			p.spec.head = append(p.spec.head, clause{not: not, name: short})
		}
		return nil
	case "-w", "-W":
		_, err := p.values(short, -1)
		return err
	}
	if !not && len(p.words) > 0 && p.words[0].text == "!" && !p.words[0].quoted {
		not = true // the old place: "-s ! 10.0.0.1"
		p.words = p.words[1:]
	}
	n := 1
	if short == "-c" {
		n = 2
	}
	values, err := p.values(short, n)
	if err != nil {
		return err
	}
	if !isName(values[0]) && (short == "-m" || short == "-j" || short == "-g") {
		return fmt.Errorf("%q is not a name", values[0])
	}
	p.setBuiltin(short, not, values[0])
	return nil
}

// isOption tells whether a word can be an option: "-x" or "--x"; "-1" is a number.
func isOption(s string) bool {
	if strings.HasPrefix(s, "--") {
		return len(s) > 2
	}
	return len(s) > 1 && s[0] == '-' && (s[1] < '0' || s[1] > '9')
}

// isName tells whether s can be the name of a match, a target or a chain.
func isName(s string) bool {
	if s == "" || s[0] == '-' || s[0] == '!' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '"' || c == '\'' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}

func (p *parser) setBuiltin(short string, not bool, value string) {
	switch short {
	case "-t":
		p.spec.Table = value
	case "-A", "-I", "-D", "-C":
		p.spec.Chain = value
		if len(p.words) > 0 && isNumber(p.words[0].text) {
			p.words = p.words[1:] // the position of -I
		}
	case "-m":
		p.last = &extension{name: matchName(value)}
		p.spec.matches = append(p.spec.matches, p.last)
	case "-j":
		p.spec.target = &extension{name: value}
		p.last = p.spec.target
	case "-g":
		p.spec.gotoTo = value
	case "-p":
		value = protocol(value)
		if !not {
			p.proto = value
		}
		p.head(not, short, value, value == "all")
	case "-s", "-d":
		value = addresses(value)
		p.head(not, short, value, value == "0.0.0.0/0" || value == "::/0")
	case "-i", "-o":
		p.head(not, short, value, value == "+" || value == "")
	}
}

// head adds one of iptables' own options, unless it says nothing.
func (p *parser) head(not bool, name, value string, everything bool) {
	if everything && !not {
		return
	}
	p.spec.head = append(p.spec.head, clause{not, name, []string{value}})
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// finish sorts what has no order, and leaves out what says nothing.
func (p *parser) finish() Spec {
	s := p.spec
	slices.SortStableFunc(s.head, func(a, b clause) int {
		return cmp.Compare(slices.Index(headOrder, a.name), slices.Index(headOrder, b.name))
	})
	byText := func(a, b clause) int { return cmp.Compare(a.String(), b.String()) }
	s.matches = slices.DeleteFunc(s.matches, func(m *extension) bool {
		return len(m.clauses) == 0 && (m.name == "icmp6" || impliedMatch(m.name) != "" || m.name == "comment")
	})
	for _, m := range s.matches {
		slices.SortStableFunc(m.clauses, byText)
	}
	if s.target != nil {
		slices.SortStableFunc(s.target.clauses, byText)
	}
	return s
}
