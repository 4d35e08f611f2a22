package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestTableTainted(t *testing.T) {
	filter := func(r *schema.Rule, sets ...*schema.Set) *schema.Table {
		return &schema.Table{Family: "ip", Name: "filter", Compat: true, Sets: sets, Chains: []*schema.Chain{{Name: "INPUT", Hook: "input", Rules: []*schema.Rule{r}}}}
	}
	native := &schema.Rule{Text: "ip saddr @bad drop", Exprs: []schema.Expr{{Name: "payload"}, {Name: "lookup", Set: "bad"}, {Name: "immediate"}}}
	found(t, tableTainted(), lab(filter(native, &schema.Set{Name: "bad"})), "rules of nft stand in the table ip filter of iptables", "chain INPUT: ip saddr @bad drop", "set bad")
	healthy(t, tableTainted(), "a table of iptables", lab(filter(&schema.Rule{Text: "-s 192.0.2.1/32 -j DROP", Exprs: []schema.Expr{{Name: "payload"}, {Name: "cmp"}}})))
	other := filter(native)
	other.Name, other.Compat = "mine", false
	healthy(t, tableTainted(), "a table of nft's own", lab(other))
}
