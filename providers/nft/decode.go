package nft

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/xt"
	"github.com/vmnet/vmnet/schema"
)

// ruleDecoder reads the rules of one chain.
type ruleDecoder struct {
	family  string
	own     bool // our own table: no raw bytes, so that live and desired are equal
	lowered map[*schema.Rule][]part
	expr    exprDecoder
	sets    *xt.Sets
	// Rules, expressions and counters are cut off larger pieces: a host has thousands.
	rules    []schema.Rule
	exprs    []schema.Expr
	counters []uint64
}

// slab is how many rules, expressions or counters are made at a time.
const slab = 256

// newRule is &schema.Rule{}.
func (d *ruleDecoder) newRule() *schema.Rule {
	if len(d.rules) == 0 {
		d.rules = make([]schema.Rule, slab)
	}
	r := &d.rules[0]
	d.rules = d.rules[1:]
	return r
}

// room is an empty slice with space for some expressions, the beginning of what is left of a larger piece.
func (d *ruleDecoder) room() []schema.Expr {
	const usual = 24 // more than most rules have; the others grow
	if len(d.exprs) < usual {
		d.exprs = make([]schema.Expr, slab)
	}
	return d.exprs[:0]
}

// keep closes a slice that room gave.
func (d *ruleDecoder) keep(exprs []schema.Expr) []schema.Expr {
	n := len(exprs)
	switch {
	case n == 0:
		return nil
	case &exprs[0] == &d.exprs[0]:
		d.exprs = d.exprs[n:]
	default: // it grew out of the piece, whose rest is written over
		d.exprs = nil
	}
	return exprs[:n:n]
}

// newCounter is new(n).
func (d *ruleDecoder) newCounter(n uint64) *uint64 {
	if len(d.counters) == 0 {
		d.counters = make([]uint64, slab)
	}
	c := &d.counters[0]
	*c = n
	d.counters = d.counters[1:]
	return c
}

// part is a match or target of iptables within a rule: the n expressions from at on, and iptables' text.
type part struct {
	at, n  int
	target bool
	text   string
}

func (d *ruleDecoder) decode(b []byte) (rule *schema.Rule, chain string, err error) {
	rule = d.newRule()
	var list, userdata []byte
	a := attrs{b: b}
	for a.next() {
		switch a.typ {
		case unix.NFTA_RULE_CHAIN:
			chain = a.str()
		case unix.NFTA_RULE_HANDLE:
			rule.Handle = a.u64()
		case unix.NFTA_RULE_EXPRESSIONS:
			list = a.val
		case unix.NFTA_RULE_COMPAT:
			if !d.own {
				rule.Compat = a.val
			}
		case unix.NFTA_RULE_USERDATA:
			userdata = a.val
		}
	}
	if a.err != nil {
		return nil, "", a.err
	}
	rule.Comment = udataText(userdata, udataComment)
	if !d.own {
		rule.Raw, rule.UserData = list, userdata
	}
	return rule, chain, d.expressions(rule, list)
}

// expressions decodes NFTA_RULE_EXPRESSIONS into rule.
func (d *ruleDecoder) expressions(rule *schema.Rule, list []byte) error {
	rule.Exprs = d.room()
	var parts []part
	a := attrs{b: list}
	for a.next() {
		name, data, err := splitExpression(a.val)
		if err != nil {
			return err
		}
		switch string(name) {
		case "match", "target":
			low, err := d.lower(string(name), data)
			if err != nil {
				return err
			}
			parts = append(parts, part{len(rule.Exprs), len(low.Exprs), string(name) == "target", low.Text})
			rule.Exprs = append(rule.Exprs, low.Exprs...)
			if low.Comment != "" {
				rule.Comment = low.Comment
			}
			continue
		case "counter":
			rule.Packets = d.newCounter(counterPackets(data))
		}
		if n := len(rule.Exprs); n < cap(rule.Exprs) {
			rule.Exprs = rule.Exprs[:n+1] // zero as it was made
		} else {
			rule.Exprs = append(rule.Exprs, schema.Expr{})
		}
		if err := d.expr.decode(&rule.Exprs[len(rule.Exprs)-1], name, data); err != nil {
			return err
		}
	}
	rule.Exprs = d.keep(rule.Exprs)
	if rule.Comment == "" && !d.own && (d.family == "bridge" || d.family == "arp") {
		rule.Comment = chainMark(rule.Exprs)
	}
	if parts != nil && d.lowered != nil {
		d.lowered[rule] = parts
	}
	return a.err
}

// chainMark is the mark of ours that a rule bears as the name of the chain it jumps to, "" for none (schema.ChainMark).
func chainMark(exprs []schema.Expr) string {
	for i := range exprs {
		if v := exprs[i].Verdict; v != nil && v.Kind == "jump" {
			if _, ours := schema.Mark(v.Chain); ours {
				return v.Chain
			}
		}
	}
	return ""
}

func splitExpression(b []byte) (name, data []byte, err error) {
	a := attrs{b: b}
	for a.next() {
		switch a.typ {
		case unix.NFTA_EXPR_NAME:
			name = a.val
			for len(name) > 0 && name[len(name)-1] == 0 {
				name = name[:len(name)-1]
			}
		case unix.NFTA_EXPR_DATA:
			data = a.val
		}
	}
	return name, data, a.err
}

// lower hands a match or target of iptables to package xt.
func (d *ruleDecoder) lower(kind string, data []byte) (xt.Lowered, error) {
	e := xt.Extension{Family: d.family, Sets: d.sets}
	a := attrs{b: data}
	for a.next() {
		switch a.typ { // NFTA_TARGET_* and NFTA_MATCH_* have the same numbers
		case unix.NFTA_MATCH_NAME:
			e.Name = a.str()
		case unix.NFTA_MATCH_REV:
			e.Revision = a.u32()
		case unix.NFTA_MATCH_INFO:
			e.Info = a.val
		}
	}
	if kind == "target" {
		return xt.Target(e), a.err
	}
	return xt.Match(e), a.err
}

func counterPackets(data []byte) uint64 {
	a := attrs{b: data}
	for a.next() {
		if a.typ == unix.NFTA_COUNTER_PACKETS {
			return a.u64()
		}
	}
	return 0
}

// decodeData reads a value or a verdict.
func decodeData(b []byte) (schema.Bytes, *schema.Verdict) {
	a := attrs{b: b}
	for a.next() {
		switch a.typ {
		case unix.NFTA_DATA_VALUE:
			if len(a.val) > 0 {
				return a.val, nil
			}
		case unix.NFTA_DATA_VERDICT:
			return nil, decodeVerdict(a.val)
		}
	}
	return nil, nil
}

func decodeVerdict(b []byte) *schema.Verdict {
	v := &schema.Verdict{}
	a := attrs{b: b}
	for a.next() {
		switch a.typ {
		case unix.NFTA_VERDICT_CODE:
			v.Kind = verdictKind(int32(a.u32()))
		case unix.NFTA_VERDICT_CHAIN:
			v.Chain = a.str()
		}
	}
	return v
}

// verdicts are the kinds that have a number of their own; a queue's number is in the upper half.
var verdicts = []struct {
	kind string
	code int32
}{
	{"drop", 0},
	{"accept", 1},
	{"queue", 3},
	{"continue", unix.NFT_CONTINUE},
	{"break", unix.NFT_BREAK},
	{"jump", unix.NFT_JUMP},
	{"goto", unix.NFT_GOTO},
	{"return", unix.NFT_RETURN},
}

func verdictKind(code int32) string {
	if code > 0 {
		code &= 0xff // NF_VERDICT_MASK
	}
	for _, v := range verdicts {
		if v.code == code {
			return v.kind
		}
	}
	return fmt.Sprintf("verdict %d", code)
}

func verdictCode(kind string) (int32, bool) {
	for _, v := range verdicts {
		if v.kind == kind {
			return v.code, true
		}
	}
	return 0, false
}

// decodeExpr decodes one expression. One that has an attribute, or a number, that this version does not know keeps its
// bytes in Opaque, beside what is understood of it.
func decodeExpr(name, data []byte) (schema.Expr, error) {
	var e schema.Expr
	err := new(exprDecoder).decode(&e, name, data)
	return e, err
}

// decode decodes into e, which is zero. The decoder may be used again.
func (d *exprDecoder) decode(e *schema.Expr, name, data []byte) error {
	*d = exprDecoder{attrs: attrs{b: data}, e: e}
	take := d.begin(name)
	if take == nil {
		e.Name, e.Text, e.Opaque = string(name), string(name), orNilBytes(data)
		return nil
	}
	for d.next() {
		take(d)
	}
	if d.odd {
		e.Opaque = orNilBytes(data)
		if e.Text == "" {
			e.Text = e.Name
		}
	}
	if d.err != nil {
		return fmt.Errorf("expression %s: %w", name, d.err)
	}
	return nil
}

func orNilBytes(b []byte) schema.Bytes {
	if len(b) == 0 {
		return nil
	}
	return b
}

// exprDecoder fills an expression, attribute by attribute.
type exprDecoder struct {
	attrs
	e   *schema.Expr
	odd bool // something is not understood
	// What the texts of a limit and a quota are made of.
	limits limitExpr
	quotas quotaExpr
}

// pick sets a word by number.
func (d *exprDecoder) pick(field *string, list []string, n uint32) {
	var ok bool
	if *field, ok = word(list, n); !ok {
		d.odd = true
	}
}

func (d *exprDecoder) data(field *schema.Bytes) {
	*field, _ = decodeData(d.val)
}

// begin returns the function that takes one attribute of the expression of that name, nil for one that is not known.
func (d *exprDecoder) begin(name []byte) func(*exprDecoder) {
	switch string(name) {
	case "payload":
		d.e.Name = "payload"
		return (*exprDecoder).payload
	case "meta":
		d.e.Name = "meta"
		return (*exprDecoder).meta
	case "cmp":
		d.e.Name, d.e.Op = "cmp", "eq"
		return (*exprDecoder).cmp
	case "immediate":
		d.e.Name = "immediate"
		return (*exprDecoder).immediate
	case "lookup":
		d.e.Name = "lookup"
		return (*exprDecoder).lookup
	case "bitwise":
		d.e.Name, d.e.Op = "bitwise", "bool"
		return (*exprDecoder).bitwise
	case "ct":
		d.e.Name = "ct"
		return (*exprDecoder).ct
	case "counter":
		d.e.Name = "counter"
		return (*exprDecoder).ignore
	case "range":
		d.e.Name = "range"
		return (*exprDecoder).rangeExpr
	case "byteorder":
		d.e.Name = "byteorder"
		return (*exprDecoder).byteorder
	case "nat":
		d.e.Name = "nat"
		return (*exprDecoder).nat
	case "masq":
		d.e.Name = "masq"
		return (*exprDecoder).masq
	case "redir":
		d.e.Name = "redir"
		return (*exprDecoder).redir
	case "reject":
		d.e.Name = "reject"
		return (*exprDecoder).reject
	case "fib":
		d.e.Name = "fib"
		return (*exprDecoder).fib
	}
	return d.beginRare(string(name))
}

// ignore takes what is a fact, or nothing.
func (d *exprDecoder) ignore() {}
