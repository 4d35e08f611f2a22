package hosttest

import (
	"encoding/binary"
	"io/fs"

	"github.com/vmnet/vmnet/schema"
)

// native32 is a number as it lies in a register of nftables.
func native32(n uint32) schema.Bytes { return binary.NativeEndian.AppendUint32(nil, n) }

func verdict(kind, chain string) schema.Expr {
	return schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: kind, Chain: chain}}
}

// established is "ct state established,related accept", from the source addresses "ip saddr … verdict", and member
// "ip saddr @set accept".
func established() *schema.Rule {
	return &schema.Rule{Comment: "vmnet:nat.lab", Exprs: []schema.Expr{
		{Name: "ct", Key: "state", DReg: 1},
		{Name: "bitwise", SReg: 1, DReg: 1, Len: 4, Op: "bool", Data: native32(6), Data2: native32(0)},
		{Name: "cmp", SReg: 1, Op: "neq", Data: native32(0)},
		verdict("accept", ""),
	}}
}

func source(address string, then schema.Expr) *schema.Rule {
	text := "ip saddr " + address + " " + then.Verdict.Kind
	if then.Verdict.Chain != "" {
		text += " " + then.Verdict.Chain
	}
	return &schema.Rule{Text: text, Exprs: []schema.Expr{
		{Name: "payload", DReg: 1, Base: "network", Offset: 12, Len: 4},
		{Name: "cmp", SReg: 1, Op: "eq", Data: ip(address).AsSlice()},
		then,
	}}
}

func member(set string) *schema.Rule {
	return &schema.Rule{Exprs: []schema.Expr{
		{Name: "payload", DReg: 1, Base: "network", Offset: 12, Len: 4},
		{Name: "lookup", SReg: 1, Set: set},
		verdict("accept", ""),
	}}
}

// guests is a set of IPv4 addresses.
func guests(addresses ...string) *schema.Set {
	s := &schema.Set{Name: "guests", KeyType: 7, KeyLen: 4} // 7 is nft(8)'s ipv4_addr
	for _, a := range addresses {
		s.Elements = append(s.Elements, schema.Element{Key: ip(a).AsSlice()})
	}
	return s
}

// filter is a table with a base chain, a chain that it jumps to, and a set.
func filter(rules ...*schema.Rule) *schema.Table {
	return &schema.Table{
		Family: "ip", Name: "vmtest",
		Chains: []*schema.Chain{
			{Name: "forward", Type: "filter", Hook: "forward", Priority: 0, Policy: "accept", Rules: rules},
			{Name: "lab", Rules: []*schema.Rule{source("10.0.0.9", verdict("drop", ""))}},
		},
		Sets: []*schema.Set{guests("10.0.0.11", "10.0.0.12")},
	}
}

// table lays a whole table over the live one: tables are written whole.
func table(want *schema.Table) change {
	return func(s *schema.State) schema.Change {
		return schema.Change{Ref: want.Ref(), Before: s.Get(want.Ref()), After: schema.Clone(want)}
	}
}

func tableRows() []row {
	full := filter(established(), source("10.0.0.7", verdict("jump", "lab")), member("guests"))
	return []row{
		{name: "make", do: create(full)},
		{name: "make ours", do: create(&schema.Table{Family: "inet", Name: "vmnet", Chains: []*schema.Chain{
			{Name: "forward", Type: "filter", Hook: "forward", Priority: -5, Policy: "drop", Rules: []*schema.Rule{established()}},
		}})},
		{name: "make for a bridge", do: create(&schema.Table{Family: "bridge", Name: "vmnet", Chains: []*schema.Chain{
			{Name: "forward", Type: "filter", Hook: "forward", Priority: -200, Policy: "accept"},
		}})},
		{name: "make an empty one", do: create(&schema.Table{Family: "ip6", Name: "vmtest"})},
		{name: "make twice", given: []change{create(full)}, do: create(full), fails: fs.ErrExist},
		{name: "delete", given: []change{create(full)}, do: remove(full)},
		{name: "delete what is not there", do: remove(full), fails: fs.ErrNotExist},
		{name: "more rules", given: []change{create(filter(established()))}, do: table(full)},
		{name: "no rules", given: []change{create(full)}, do: table(filter())},
		{name: "another order", given: []change{create(full)}, do: table(filter(member("guests"), established()))},
		{name: "another policy", given: []change{create(full)}, do: func(s *schema.State) schema.Change {
			after := schema.Clone(s.Get(full.Ref())).(*schema.Table)
			after.Chain("forward").Policy = "drop"
			return schema.Change{Ref: full.Ref(), Before: s.Get(full.Ref()), After: after}
		}},
		{name: "another member", given: []change{create(full)}, do: func(s *schema.State) schema.Change {
			after := schema.Clone(s.Get(full.Ref())).(*schema.Table)
			after.Sets = []*schema.Set{guests("10.0.0.11", "10.0.0.13", "10.0.0.14")}
			return schema.Change{Ref: full.Ref(), Before: s.Get(full.Ref()), After: after}
		}},
		{name: "a jump to nowhere", do: create(filter(source("10.0.0.7", verdict("jump", "nosuch")))), fails: errAny},
		{name: "a set that is not there", do: create(filter(member("nosuch"))), fails: errAny},
	}
}

// rule is the i-th rule of chain forward as an object, changed by fill.
func rule(s *schema.State, i int, fill func(*schema.ForeignRule)) *schema.ForeignRule {
	t := s.Get(schema.TableRef("ip", "vmtest")).(*schema.Table)
	f := schema.RuleAt(t, t.Chain("forward"), i)
	if fill != nil {
		fill(f)
	}
	return f
}

func nftRuleRows() []row {
	given := []change{create(filter(
		source("10.0.0.1", verdict("accept", "")), source("10.0.0.2", verdict("drop", "")), source("10.0.0.3", verdict("accept", "")),
		source("10.0.0.2", verdict("drop", "")),
	))}
	deletion := func(i int) change {
		return func(s *schema.State) schema.Change {
			f := rule(s, i, nil)
			return schema.Change{Ref: f.Ref(), Before: f}
		}
	}
	return []row{
		{name: "delete the first", given: given, do: deletion(0)},
		// Of rules that are alike the last is named first: after another, the rest would change their names.
		{name: "delete the last of two that are alike", given: given, do: deletion(3)},
		{name: "add once more in front of another", given: given, do: func(s *schema.State) schema.Change {
			f := rule(s, 0, func(f *schema.ForeignRule) { f.Nth, f.Index, f.Next = 2, 2, rule(s, 2, nil).Rule.Text })
			return schema.Change{Ref: f.Ref(), After: f}
		}},
		{name: "add once more at the end", given: given, do: func(s *schema.State) schema.Change {
			f := rule(s, 0, func(f *schema.ForeignRule) { f.Nth, f.Index, f.Next = 2, 4, "" })
			return schema.Change{Ref: f.Ref(), After: f}
		}},
		{name: "add what is there", given: given, do: func(s *schema.State) schema.Change {
			f := rule(s, 0, nil)
			return schema.Change{Ref: f.Ref(), After: f}
		}, fails: fs.ErrExist},
		{name: "delete from a chain that is not there", given: given, do: func(s *schema.State) schema.Change {
			f := rule(s, 0, func(f *schema.ForeignRule) { f.Chain = "nosuch" })
			return schema.Change{Ref: f.Ref(), Before: f}
		}, fails: fs.ErrNotExist},
		{name: "delete from a table that is not there", do: func(*schema.State) schema.Change {
			f := &schema.ForeignRule{Family: "ip", Table: "nosuch", Chain: "forward", Rule: schema.Rule{Text: "drop"}}
			return schema.Change{Ref: f.Ref(), Before: f}
		}, fails: fs.ErrNotExist},
	}
}
