package nft

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// changeRule deletes, adds or replaces one rule of a table that is not ours.
func (p *Provider) changeRule(before, after *schema.ForeignRule) (*batch, error) {
	place := before
	if place == nil {
		place = after
	}
	t, err := p.live(place.Family, place.Table)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, fmt.Errorf("table %s %s: %w", place.Family, place.Table, fs.ErrNotExist)
	}
	c := t.Chain(place.Chain)
	if c == nil {
		return nil, fmt.Errorf("chain %s %s %s: %w", place.Family, place.Table, place.Chain, fs.ErrNotExist)
	}
	w := &ruleWriter{tableWriter{batch: &batch{}, table: t}}
	w.family, _ = familyNumber(t.Family)
	w.encoder = encoder{table: t, ids: map[string]uint32{}}
	if before == nil && find(c, after) >= 0 {
		return nil, fmt.Errorf("it is there already: %w", fs.ErrExist)
	}
	if before != nil {
		if c, err = w.remove(c, before); err != nil {
			return nil, err
		}
	}
	if after == nil {
		return w.batch, nil
	}
	return w.batch, w.insert(c, after)
}

// find is the index of the rule with the text of f, the Nth of them; -1 when there is none.
func find(c *schema.Chain, f *schema.ForeignRule) int {
	nth := max(f.Nth, 1)
	for i, r := range c.Rules {
		if r.Text != f.Rule.Text {
			continue
		}
		if nth--; nth == 0 {
			return i
		}
	}
	return -1
}

// ruleWriter puts the change of one rule into a batch.
type ruleWriter struct{ tableWriter }

var errChanged = errors.New("a rule with that text is there, but it is another one")

// remove deletes a rule and returns the chain without it.
func (w *ruleWriter) remove(c *schema.Chain, f *schema.ForeignRule) (*schema.Chain, error) {
	i := find(c, f)
	if i < 0 {
		return nil, fmt.Errorf("no such rule in chain %s %s %s: %w", f.Family, f.Table, f.Chain, fs.ErrNotExist)
	}
	r := c.Rules[i]
	if !sameRule(r, &f.Rule) {
		return nil, errChanged
	}
	var a builder
	a.str(unix.NFTA_RULE_TABLE, f.Table)
	a.str(unix.NFTA_RULE_CHAIN, f.Chain)
	a.u64(unix.NFTA_RULE_HANDLE, r.Handle)
	w.add(request{typ: unix.NFT_MSG_DELRULE, family: w.family, attrs: a.b},
		"delete rule %s %s %s handle %d", f.Family, f.Table, f.Chain, r.Handle)
	rest := *c
	rest.Rules = slices.Delete(slices.Clone(c.Rules), i, i+1)
	return &rest, nil
}

// insert writes a rule at its place. One without its bytes is encoded, but never into a table of iptables-nft, which
// refuses the whole table when it meets bytecode that it did not make.
func (w *ruleWriter) insert(c *schema.Chain, f *schema.ForeignRule) error {
	label := fmt.Sprintf("add rule %s %s %s", f.Family, f.Table, f.Chain)
	if len(f.Rule.Raw) == 0 && w.table.Compat {
		return fmt.Errorf("%s: iptables-nft manages the table; its rules are written by iptables", label)
	}
	if err := w.anonymousSets(f); err != nil {
		return err
	}
	attrs, err := w.rule(f.Chain, &f.Rule)
	if err != nil {
		return fmt.Errorf("%s: %w", label, err)
	}
	flags := uint16(unix.NLM_F_CREATE)
	at := insertAt(c, f)
	if at < len(c.Rules) {
		a := builder{b: attrs}
		a.u64(unix.NFTA_RULE_POSITION, c.Rules[at].Handle)
		attrs = a.b
	} else {
		flags |= unix.NLM_F_APPEND
	}
	w.add(request{typ: unix.NFT_MSG_NEWRULE, flags: flags, family: w.family, attrs: attrs}, "%s", label)
	return nil
}

// insertAt is the index of the rule in front of which f goes: of those with the text Next the one nearest to Index; without
// one, Index, or the end.
func insertAt(c *schema.Chain, f *schema.ForeignRule) int {
	best := -1
	if f.Next != "" {
		for i, r := range c.Rules {
			if r.Text == f.Next && (best < 0 || abs(i-f.Index) < abs(best-f.Index)) {
				best = i
			}
		}
	}
	if best >= 0 {
		return best
	}
	return min(max(f.Index, 0), len(c.Rules))
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// anonymousSets makes the nameless sets that a rule looks into, which vanished with it. They get their old names, and must
// be there before the rule.
func (w *ruleWriter) anonymousSets(f *schema.ForeignRule) error {
	for i, s := range f.Sets {
		if w.table.SetNamed(s.Name) != nil {
			return fmt.Errorf("the name of the nameless set %s is taken: %w", s.Name, fs.ErrExist)
		}
		id := uint32(i + 1)
		w.ids[s.Name] = id
		w.sets = append(w.sets, s)
		attrs, err := encodeSet(f.Table, s, id)
		if err != nil {
			return fmt.Errorf("add set %s: %w", s.Name, err)
		}
		w.new(unix.NFT_MSG_NEWSET, attrs, "add set "+s.Name)
		if err := w.elements(f.Table, s); err != nil {
			return err
		}
	}
	return nil
}
