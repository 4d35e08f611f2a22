package nft

import (
	"fmt"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// printer writes the rules of one table as the tool of their owner prints them: iptables -S for tables of iptables-nft,
// ebtables-save and arptables-save for those of ebtables-nft and arptables-nft, nft(8) elsewhere (nft -s: without the values of
// counters). What it cannot print in these terms it prints as bytecode, which is never wrong.
type printer struct {
	table   *schema.Table
	lowered map[*schema.Rule][]part
	// link names a network interface by its index; nil or "" when it is not known.
	link func(index uint32) string
	// scratch is used again for every rule; nil for a new one each time.
	scratch *ruleText
}

func (p *printer) text(r *schema.Rule) string {
	if text, ok := p.spec(r); ok {
		return text
	}
	if text, ok := p.nft(r); ok {
		return text
	}
	return p.bytecode(r)
}

// spec is a rule as the tool that manages its table prints it.
func (p *printer) spec(r *schema.Rule) (text string, ok bool) {
	switch {
	case !p.table.Compat:
		return "", false
	case p.table.Family == "ip", p.table.Family == "ip6":
		return p.iptables(r)
	case p.table.Family == "bridge":
		return p.ebtables(r)
	case p.table.Family == "arp":
		return p.arptables(r)
	}
	return "", false
}

// bytecode is the rule in the manner of nft --debug=netlink, matches and targets of iptables in their own words.
func (p *printer) bytecode(r *schema.Rule) string {
	var words []string
	parts := p.lowered[r]
	for i := 0; i <= len(r.Exprs); i++ {
		for len(parts) > 0 && parts[0].at == i {
			kind := "match"
			if parts[0].target {
				kind = "target"
			}
			words = append(words, fmt.Sprintf("[ %s %s ]", kind, parts[0].text))
			if n := parts[0].n; n > 0 {
				i += n - 1
				parts = parts[1:]
				goto next
			}
			parts = parts[1:]
		}
		if i < len(r.Exprs) {
			words = append(words, "[ "+exprText(&r.Exprs[i])+" ]")
		}
	next:
	}
	if r.Comment != "" && len(p.lowered[r]) == 0 {
		words = append(words, fmt.Sprintf("comment %q", r.Comment))
	}
	return strings.Join(words, " ")
}

// exprText writes one expression with everything that tells it from others.
func exprText(e *schema.Expr) string {
	var w []string
	add := func(format string, args ...any) { w = append(w, fmt.Sprintf(format, args...)) }
	add("%s", e.Name)
	for _, s := range []string{e.Op, e.Dir, e.Family, e.Key} {
		if s != "" {
			add("%s", s)
		}
	}
	switch {
	case e.Base != "":
		add("%db @ %s header + %d", e.Len, e.Base, e.Offset)
	case e.Len != 0 || e.Offset != 0:
		add("len %d offset %d", e.Len, e.Offset)
	}
	for _, r := range []uint32{e.SReg, e.SReg2, e.SReg3, e.SReg4} {
		if r != 0 {
			add("reg %d", r)
		}
	}
	for _, d := range []schema.Bytes{e.Data, e.Data2} {
		if len(d) > 0 {
			add("0x%x", []byte(d))
		}
	}
	if e.Set != "" {
		add("set %s", e.Set)
	}
	for _, n := range []struct {
		name  string
		value uint32
	}{{"type", e.Type}, {"code", e.Code}, {"size", e.Size}, {"flags", e.Flags}} {
		if n.value != 0 {
			add("%s 0x%x", n.name, n.value)
		}
	}
	if e.Verdict != nil {
		add("%s", verdictText(e.Verdict))
	}
	switch {
	case e.Text != "" && e.Text != e.Name:
		add("%s", e.Text)
	case len(e.Opaque) > 0:
		add("0x%x", []byte(e.Opaque))
	}
	if e.DReg != 0 {
		add("=> reg %d", e.DReg)
	}
	return strings.Join(w, " ")
}

// verdictText is "accept" or "jump other".
func verdictText(v *schema.Verdict) string {
	if v.Chain != "" {
		return v.Kind + " " + v.Chain
	}
	return v.Kind
}

// RuleText writes a rule of a table in the syntax of nft(8), or as bytecode where there are no words for it. The reader
// does the same for the rules of others; our own have no Text before they are in the kernel.
func RuleText(t *schema.Table, r *schema.Rule) string {
	p := printer{table: t}
	return p.text(r)
}
