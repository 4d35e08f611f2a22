package xtables

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
)

// Do adds or deletes one rule through the iptables, ebtables or arptables of its backend. It reads the chain first and refuses when it is not as
// c says.
func (p *Provider) Do(ctx context.Context, c schema.Change) error {
	f, ok := object(c).(*schema.ForeignRule)
	if !ok {
		return fmt.Errorf("%s %s: iptables-legacy tables are read only; single rules are written: %w", c.Verb(), c.Ref, errors.ErrUnsupported)
	}
	if f.Family != "ip" && f.Family != "ip6" && !ofCommentless(f) {
		return fmt.Errorf("%s %s: rules of %s are written by none of iptables, ebtables and arptables: %w", c.Verb(), c.Ref, f.Family, errors.ErrUnsupported)
	}
	if c.Before != nil && c.After != nil {
		return fmt.Errorf("%s %s: a rule is added or deleted, never changed: %w", c.Verb(), c.Ref, errors.ErrUnsupported)
	}
	if err := p.do(ctx, c, f); err != nil {
		return fmt.Errorf("%s %s: %w", c.Verb(), c.Ref, err)
	}
	return nil
}

func object(c schema.Change) schema.Object {
	if c.After != nil {
		return c.After
	}
	return c.Before
}

func (p *Provider) do(ctx context.Context, c schema.Change, f *schema.ForeignRule) error {
	t, err := p.table(ctx, f)
	if err != nil {
		return err
	}
	chain := t.Chain(f.Chain)
	if chain == nil {
		return fmt.Errorf("chain %s of table %s %s: %w", f.Chain, f.Family, f.Table, fs.ErrNotExist)
	}
	live := find(t, chain, f)
	switch {
	case c.Before == nil && live != nil:
		return fmt.Errorf("the rule is there already: %w", fs.ErrExist)
	case c.After == nil && live == nil:
		return fmt.Errorf("the rule is not there: %w", fs.ErrNotExist)
	}
	if ofCommentless(f) {
		return doCommentless(ctx, &commentless{t, p.options.ByHandle}, c, f, live)
	}
	if c.After == nil {
		return remove(ctx, f, live)
	}
	return insert(ctx, f, position(chain, f))
}

// doCommentless makes a change through ebtables or arptables; live is the rule to delete.
func doCommentless(ctx context.Context, tool *commentless, c schema.Change, f, live *schema.ForeignRule) error {
	if c.After == nil {
		live.ByTool = f.ByTool
		return tool.delete(ctx, live)
	}
	return tool.insert(ctx, f, position(tool.table.Chain(f.Chain), f))
}

// table reads the table as it is now.
func (p *Provider) table(ctx context.Context, f *schema.ForeignRule) (*schema.Table, error) {
	read := p.Read
	if !f.Legacy {
		read = p.options.NFTables
	}
	if read == nil {
		return nil, fmt.Errorf("nobody reads nftables here: %w", errors.ErrUnsupported)
	}
	objects, err := read(ctx)
	if err != nil {
		return nil, err
	}
	t, ok := schema.NewState(objects...).Get(f.TableRef()).(*schema.Table)
	if !ok {
		return nil, fmt.Errorf("table %s %s: %w", f.Family, f.Table, fs.ErrNotExist)
	}
	return t, nil
}

// find is the rule as it is live: its place and all. Two spellings of one rule are the same.
func find(t *schema.Table, c *schema.Chain, want *schema.ForeignRule) *schema.ForeignRule {
	nth := 0
	for i, r := range c.Rules {
		if r.Text != want.Rule.Text && (t.Commentless() || !iptspec.Equal("-A "+c.Name+" "+r.Text, "-A "+c.Name+" "+want.Rule.Text)) {
			continue // iptables' options only are told apart by their sense
		}
		if nth++; nth == max(want.Nth, 1) {
			return schema.RuleAt(t, c, i)
		}
	}
	return nil
}

// position is where to insert, counting from 1: in front of the rule that Next names and that is nearest to Index; without
// one at Index or the end, whichever comes first.
func position(c *schema.Chain, f *schema.ForeignRule) int {
	best := -1
	for i, r := range c.Rules {
		if f.Next != "" && r.Text == f.Next && (best < 0 || abs(i-f.Index) < abs(best-f.Index)) {
			best = i
		}
	}
	if best < 0 {
		best = min(f.Index, len(c.Rules))
	}
	return best + 1
}

func abs(n int) int { return max(n, -n) }
