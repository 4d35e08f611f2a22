package xt

import (
	"encoding/hex"
	"fmt"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
)

// Lowered is what a match or a target means.
type Lowered struct {
	// Exprs do the same as nftables' bytecode; empty when it matches everything. Registers in use: 1 (16 bytes).
	Exprs []schema.Expr
	// Text is what iptables -S prints: "-m tcp --dport 22" for a match, "REJECT --reject-with tcp-reset" for a target.
	Text string
	// Comment is the text of a comment match, without its end.
	Comment string
}

// An Extension is a match or target as the kernel holds it.
type Extension struct {
	Family   string // "ip", "ip6", or another family of nftables
	Name     string
	Revision uint32
	Info     []byte // as read; may be shorter than the struct, never trusted
	// Sets tells of ipsets, which rules know by number. Nil: nothing.
	Sets *Sets
}

// result is what a decoder makes of a blob: options, and bytecode when it has any.
type result struct {
	text    string // the options, "--dport 22"
	comment string
	exprs   []schema.Expr
	lowered bool // false: text only, the blob stays opaque
	// alternatives are what the match is equal to where it has no equal in a row of expressions: one of them holds, or, with none, none.
	alternatives [][]schema.Expr
	none         bool
}

// decoder makes a result of a blob that is at least size bytes long.
type decoder struct {
	revisions []uint32 // those with this layout
	size      int
	decode    func(b blob) result
}

// Match decodes a match.
func Match(e Extension) Lowered {
	r, ok := run(e.matches()[e.Name], e)
	if !ok {
		return Lowered{Exprs: opaque("xtmatch", e, ""), Text: "-m " + e.Name + raw(e)}
	}
	l := Lowered{Exprs: r.exprs, Text: join("-m "+e.alias(), r.text), Comment: r.comment}
	if !r.lowered {
		l.Exprs = opaque("xtmatch", e, r.text)
		if l.Exprs[0].Any = r.alternatives; r.none {
			l.Exprs[0].Op = "neq"
		}
	}
	return l
}

// Target decodes a target. Those that end a rule without a word in bytecode are kept opaque.
func Target(e Extension) Lowered {
	r, ok := run(e.targets()[e.Name], e)
	if !ok {
		return Lowered{Exprs: opaque("xttarget", e, ""), Text: e.Name + raw(e)}
	}
	l := Lowered{Exprs: r.exprs, Text: join(e.targetAlias(), r.text)}
	if !r.lowered {
		l.Exprs = opaque("xttarget", e, r.text)
	}
	return l
}

// matches are those of the family: ebtables has its own beside those that it shares with iptables.
func (e Extension) matches() map[string][]decoder {
	if own := bridgeMatches(); e.Family == "bridge" && own[e.Name] != nil {
		return own
	}
	return matches()
}

func (e Extension) targets() map[string][]decoder {
	if own := bridgeTargets(); e.Family == "bridge" && own[e.Name] != nil {
		return own
	}
	return targets()
}

func run(decoders []decoder, e Extension) (result, bool) {
	for _, d := range decoders {
		for _, rev := range d.revisions {
			if rev == e.Revision && len(e.Info) >= d.size {
				return d.decode(blob{b: e.Info, ip6: e.Family == "ip6", rev: rev, sets: e.Sets}), true
			}
		}
	}
	return result{}, false
}

func opaque(name string, e Extension, text string) []schema.Expr {
	if text == "" {
		text = e.Name
	}
	return []schema.Expr{{Name: name, Key: e.Name, Code: e.Revision, Opaque: e.Info, Text: text}}
}

// raw stands for options that are not understood: no option of iptables, so nobody takes it for one.
func raw(e Extension) string {
	info := e.Info
	more := ""
	if len(info) > 32 {
		info, more = info[:32], "…"
	}
	return fmt.Sprintf(" [revision %d: %s%s]", e.Revision, hex.EncodeToString(info), more)
}

// alias is the name under which a match was asked for: since Linux 3.9 -m state is a conntrack match with a flag.
func (e Extension) alias() string {
	if e.Name == "conntrack" && len(e.Info) >= 148 && (blob{b: e.Info}).u16(146)&ctStateAlias != 0 {
		return "state"
	}
	return e.Name
}

// targetAlias is the same for -j NOTRACK, which is a CT target with a flag.
func (e Extension) targetAlias() string {
	if e.Name == "CT" && len(e.Info) >= 2 && (blob{b: e.Info}).u16(0)&ctNotrackAlias != 0 {
		return "NOTRACK"
	}
	return e.Name
}

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + " " + b
}

// words builds the options of an extension.
type words struct{ b []byte }

// opt adds an option with its value, which may be empty.
func (w *words) opt(not bool, name, format string, args ...any) {
	if len(w.b) > 0 {
		w.b = append(w.b, ' ')
	}
	if not {
		w.b = append(w.b, "! "...)
	}
	w.b = append(w.b, name...)
	if format != "" {
		w.b = append(w.b, ' ')
		w.b = fmt.Appendf(w.b, format, args...)
	}
}

// flag adds an option without value when on.
func (w *words) flag(on bool, name string) {
	if on {
		w.opt(false, name, "")
	}
}

// quoted adds an option with a free text.
func (w *words) quoted(name, value string) { w.opt(false, name, "%s", iptspec.Quote(value)) }

func (w *words) String() string { return string(w.b) }

// textOnly is the result of a match that stays opaque.
func (w *words) textOnly() result { return result{text: string(w.b)} }

// means is the result of a match that is lowered.
func (w *words) means(exprs ...schema.Expr) result {
	return result{text: string(w.b), exprs: exprs, lowered: true}
}

// any is the result of a match that holds when one of several alternatives does.
func (w *words) any(alternatives ...[]schema.Expr) result {
	return result{text: string(w.b), alternatives: alternatives}
}

// none is the result of a match that holds when none of several alternatives does: also for a packet that would break a rule.
func (w *words) none(alternatives ...[]schema.Expr) result {
	return result{text: string(w.b), alternatives: alternatives, none: true}
}
