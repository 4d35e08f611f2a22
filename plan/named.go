package plan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// namedElsewhere finds foreign rules and policy rules that name a link which becomes a bridge's port: from then on packets
// come and go by the bridge, and these rules match nothing. What they let in dies, what they stop gets in. Enslaving the
// port is then a step that may cut the operator off.
func (r *resolved) namedElsewhere(m move, attach *draft) {
	names := rulesNaming(r.live, m.from)
	if len(names) == 0 {
		return
	}
	attach.risk = RiskCut
	attach.hurts = fmt.Sprintf("%s by name of %s, which will not match %s: what they accept is dropped, what they drop gets in", count(len(names), "rule"), m.from, m.to)
	r.findings = append(r.findings, Finding{
		Code: "VN903", Severity: "error", Title: fmt.Sprintf("%s by name of %s, which becomes a port of %s", count(len(names), "rule"), m.from, m.to),
		Address: m.address, Object: schema.LinkRef(m.from).String(), Origin: r.Blocks[m.address],
		Detail: fmt.Sprintf("After the move packets come in and go out by %s: these rules match nothing any more. "+
			"Name %s in them as well, then plan again; or set risk_limit = \"cut\" in the vmnet block if you know that none of them matters.", m.to, m.to),
		Evidence: names[:min(len(names), 10)],
	})
	r.unrequested = append(r.unrequested, fmt.Sprintf("whatever rules by name of %s stop today", m.from))
}

// rulesNaming lists the rules that match a link by name or index, and do not name its bridge.
func rulesNaming(s *schema.State, link string) []string {
	var out []string
	l := s.Link(link)
	for t := range schema.Each[*schema.Table](s) {
		if schema.OwnTable(t) {
			continue
		}
		for _, c := range t.Chains {
			for _, rule := range c.Rules {
				if ruleNames(t, rule, l) {
					out = append(out, culprit{table: t, chain: c, rule: rule}.String())
				}
			}
		}
	}
	for p := range schema.Each[*schema.PolicyRule](s) {
		if p.IIF == link || p.OIF == link {
			out = append(out, "ip rule "+p.String())
		}
	}
	return out
}

// ruleNames tells whether a rule compares the input or output interface with a link.
func ruleNames(t *schema.Table, rule *schema.Rule, l *schema.Link) bool {
	for i, e := range rule.Exprs {
		if e.Name != "meta" || e.Write || i+1 >= len(rule.Exprs) {
			continue
		}
		switch e.Key {
		case "iifname", "oifname":
			if namesLink(t, &rule.Exprs[i+1], func(b []byte) bool { return isName(b, l.Name) }) {
				return true
			}
		case "iif", "oif":
			index := binary.NativeEndian.AppendUint32(nil, uint32(l.Facts.Index))
			if namesLink(t, &rule.Exprs[i+1], func(b []byte) bool { return bytes.HasPrefix(b, index) }) {
				return true
			}
		}
	}
	return false
}

func namesLink(t *schema.Table, e *schema.Expr, is func([]byte) bool) bool {
	if e.Name == "cmp" {
		return is(e.Data)
	}
	if e.Name != "lookup" {
		return false
	}
	set := t.SetNamed(e.Set)
	return set != nil && slices.ContainsFunc(set.Elements, func(x schema.Element) bool { return is(x.Key) })
}

// isName compares a name as the kernel stores it: padded with zeros, or shorter for a wildcard.
func isName(b []byte, name string) bool {
	if whole, _, padded := bytes.Cut(b, []byte{0}); padded {
		return string(whole) == name
	}
	return len(b) > 0 && bytes.HasPrefix([]byte(name), b)
}
