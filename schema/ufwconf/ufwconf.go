package ufwconf

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// Path is the file that holds the rules of a family, "ip" or "ip6".
func Path(family string) string {
	if family == "ip6" {
		return "/etc/ufw/user6.rules"
	}
	return "/etc/ufw/user.rules"
}

// Chain is the chain that holds the rules of a family for a hook: "forward", "input" or "output".
func Chain(family, hook string) string {
	if family == "ip6" {
		return "ufw6-user-" + hook
	}
	return "ufw-user-" + hook
}

// Rule is one rule (ufw 0.36, backend_iptables.py, _read_rules):
//
//	### tuple ### [route:]action[_log] proto dport dst sport src [dapp sapp] [direction] [comment=hex]
//
// where direction is "in", "out", "in_IF", "out_IF" or "in_IF!out_IF".
type Rule struct {
	Line    int    // of its tuple, counting from 1
	Text    string // the tuple
	Action  string // "allow", "deny", "reject" or "limit", perhaps with "_log" or "_log-all"
	Comment string
	// Flow is what it matches, with its place; Address is set when it bears our mark.
	Flow schema.Grant
	// Plain is true when Flow says all that the rule matches.
	Plain bool
	// Live are the rules that ufw puts into the kernel for it, as "-A CHAIN …".
	Live []string

	start, end int // in the text, with the empty line in front
}

// Grant is the rule as an object of ours; nil for every other.
func (r *Rule) Grant() *schema.Grant {
	if r.Flow.Address == "" || r.Action != "allow" || !r.Plain {
		return nil
	}
	g := r.Flow
	if Check(&g) != nil {
		return nil // somebody else's, for all that its comment says
	}
	return &g
}

// Same tells whether ufw would take g to be this very rule (common.py, UFWRule.match): it goes by what is matched, whatever
// the rule does and whoever it is for, and overwrites the one with the other.
func (r *Rule) Same(g *schema.Grant) bool {
	a, b := r.Flow, *g
	return r.Plain && a.Family == b.Family && a.Forward == b.Forward && a.In == b.In && a.Out == b.Out &&
		a.Src == b.Src && a.Dst == b.Dst && a.Proto == b.Proto && a.Ports == b.Ports
}

const tupleMark = "### tuple ###"

// Parse reads the rules of one family. Lines that ufw itself would pass over are passed over.
func Parse(content, family string) []Rule {
	var out []Rule
	places := map[string]int{} // rules so far, by chain
	at, number, open := 0, 0, false
	for line := range strings.Lines(content) {
		start := at
		at += len(line)
		number++
		words := strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(words, tupleMark); ok {
			var r Rule
			if r, open = parse(strings.TrimSpace(rest), family); open {
				r.Line, r.start, r.end = number, start, at
				if start > 0 && strings.HasSuffix(content[:start], "\n\n") {
					r.start--
				}
				r.Flow.Index, r.Flow.Place = len(out)+1, places[Chain(family, r.Flow.Hook())]
				out = append(out, r)
			}
			continue
		}
		f := strings.Fields(words)
		if len(f) < 2 || f[0] != "-A" {
			open = open && words != ""
			continue
		}
		places[f[1]]++
		if open {
			last := &out[len(out)-1]
			last.Live, last.end = append(last.Live, words), at
		}
	}
	return out
}

func parse(text, family string) (Rule, bool) {
	r := Rule{Text: text, Plain: true, Flow: schema.Grant{Manager: schema.ManagerUFW, Family: family}}
	body, comment, _ := strings.Cut(text, " comment=")
	f := strings.Fields(body)
	if len(f) < 6 || len(f) > 9 {
		return r, false
	}
	if action, ok := strings.CutPrefix(f[0], "route:"); ok {
		r.Flow.Forward, r.Action = true, action
	} else {
		r.Action = f[0]
	}
	if len(f) == 7 || len(f) == 9 {
		r.direction(f[len(f)-1])
	}
	if f[1] != "any" {
		r.Flow.Proto = f[1]
	}
	r.Flow.Ports, r.Flow.Dst, r.Flow.Src = r.ports(f[2]), r.prefix(f[3]), r.prefix(f[5])
	r.Plain = r.Plain && f[4] == "any" && len(f) < 8 // no source ports, no application
	if b, err := hex.DecodeString(strings.TrimSpace(comment)); err == nil {
		r.Comment = string(b)
		if address, ours := schema.Mark(r.Comment); ours {
			r.Flow.Address = address
		}
	}
	return r, true
}

func (r *Rule) direction(word string) {
	dir, name, hasName := strings.Cut(word, "_")
	switch {
	case dir == "out" && hasName:
		r.Flow.Out = name
	case dir == "in" && hasName:
		r.Flow.In, r.Flow.Out, _ = strings.Cut(name, "!out_")
	case dir != "in" && !r.Flow.Forward:
		r.Plain = false // from the host by any interface
	}
}

func (r *Rule) prefix(word string) netip.Prefix {
	p, err := netip.ParsePrefix(word)
	if a, addrErr := netip.ParseAddr(word); addrErr == nil {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil {
		r.Plain = false
		return netip.Prefix{}
	}
	if p.Bits() == 0 {
		return netip.Prefix{}
	}
	return p.Masked()
}

func (r *Rule) ports(word string) schema.PortRange {
	if word == "any" {
		return schema.PortRange{}
	}
	from, to, isRange := strings.Cut(word, ":")
	if !isRange {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	if err1 != nil || err2 != nil {
		r.Plain = false // a list
	}
	return schema.PortRange{First: uint16(first), Last: uint16(last)}
}

// Insert is the text, of which rules were parsed, with g at its Index: 0, or beyond the last rule, is the end. It sets the
// Index and Place of g, and moves those of the rules behind it.
func Insert(content string, rules []Rule, g *schema.Grant) string {
	at := strings.Index(content, "\n### END RULES ###")
	if g.Index > 0 && g.Index <= len(rules) {
		at = rules[g.Index-1].start
	} else {
		g.Index = len(rules) + 1
	}
	if at < 0 {
		return content
	}
	g.Place = 0
	chain := "-A " + Chain(g.Family, g.Hook()) + " "
	for i := range rules[:g.Index-1] {
		g.Place += rules[i].in(chain)
	}
	move(rules[g.Index-1:], chain, 1)
	return content[:at] + "\n" + tupleMark + " " + tuple(g) + "\n" + Line(g) + "\n" + content[at:]
}

// in counts the rules that ufw has for r in a chain.
func (r *Rule) in(chain string) int {
	n := 0
	for _, l := range r.Live {
		if strings.HasPrefix(l, chain) {
			n++
		}
	}
	return n
}

func move(rules []Rule, chain string, n int) {
	for i := range rules {
		rules[i].Flow.Index += n
		if strings.HasPrefix(chain, "-A "+Chain(rules[i].Flow.Family, rules[i].Flow.Hook())+" ") {
			rules[i].Flow.Place += n
		}
	}
}

// Remove is the text, of which rules were parsed, without g. It sets the Index and Place of g, and moves those of the rules
// behind it.
func Remove(content string, rules []Rule, g *schema.Grant) string {
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.Flow.Address == g.Address && r.Action == "allow" && r.Same(g) })
	if i < 0 {
		return content
	}
	g.Index, g.Place = rules[i].Flow.Index, rules[i].Flow.Place
	move(rules[i+1:], "-A "+Chain(g.Family, g.Hook())+" ", -1)
	return content[:rules[i].start] + content[rules[i].end:]
}

func tuple(g *schema.Grant) string {
	action := "allow"
	if g.Forward {
		action = "route:allow"
	}
	dir := "in"
	switch {
	case g.In != "" && g.Out != "":
		dir = "in_" + g.In + "!out_" + g.Out
	case g.Out != "":
		dir = "out_" + g.Out
	case g.In != "":
		dir = "in_" + g.In
	}
	return fmt.Sprintf("%s %s %s %s any %s %s comment=%s",
		action, orAny(g.Proto), orAny(ports(g)), end(g, g.Dst), end(g, g.Src), dir, hex.EncodeToString([]byte(g.Mark())))
}

// Line is the rule as ufw hands it to iptables (common.py, format_rule).
func Line(g *schema.Grant) string {
	w := []string{"-A", Chain(g.Family, g.Hook())}
	add := func(flag, v string) {
		if v != "" {
			w = append(w, flag, v)
		}
	}
	one := ports(g)
	add("-i", g.In)
	add("-o", g.Out)
	add("-p", g.Proto)
	if strings.Contains(one, ":") {
		w, one = append(w, "-m", "multiport", "--dports", one), ""
	}
	if g.Dst.IsValid() {
		add("-d", end(g, g.Dst))
	}
	add("--dport", one)
	if g.Src.IsValid() {
		add("-s", end(g, g.Src))
	}
	return strings.Join(append(w, "-j ACCEPT"), " ")
}

func ports(g *schema.Grant) string {
	if g.Ports == (schema.PortRange{}) {
		return ""
	}
	return strings.ReplaceAll(g.Ports.String(), "-", ":")
}

func orAny(s string) string {
	if s == "" {
		return "any"
	}
	return s
}

func end(g *schema.Grant, p netip.Prefix) string {
	switch {
	case !p.IsValid() && g.Family == "ip6":
		return "::/0"
	case !p.IsValid():
		return "0.0.0.0/0"
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.String()
}
