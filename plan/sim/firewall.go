package sim

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// putTable makes a table, or replaces it whole.
func (h *host) putTable(t *schema.Table) error {
	for _, c := range t.Chains {
		for i, r := range c.Rules {
			if err := checkRule(t, r); err != nil {
				return fmt.Errorf("rule %d of chain %s: %w", i+1, c.Name, err)
			}
		}
	}
	h.put(schema.Clone(t))
	return nil
}

// checkRule refuses a rule that leads to a chain, or looks into a set, that its table does not have.
func checkRule(t *schema.Table, r *schema.Rule) error {
	for _, e := range r.Exprs {
		if v := e.Verdict; v != nil && v.Chain != "" && t.Chain(v.Chain) == nil {
			return fmt.Errorf("there is no chain %s: %w", v.Chain, fs.ErrNotExist)
		}
		if e.Name == "lookup" && e.Set != "" && t.SetNamed(e.Set) == nil {
			return fmt.Errorf("there is no set %s: %w", e.Set, unix.EINVAL)
		}
	}
	return nil
}

func (h *host) deleteTable(t *schema.Table) error {
	h.del(t.Ref())
	return nil
}

// editChain replaces the table that holds a rule by a copy whose chain was changed. Only the chain's list is copied:
// rules are frozen, like all that is in a State.
func (h *host) editChain(f *schema.ForeignRule, change func(*schema.Chain) error) error {
	t, _ := h.Get(f.TableRef()).(*schema.Table)
	if t == nil {
		return fmt.Errorf("there is no %s: %w", f.TableRef(), fs.ErrNotExist)
	}
	i := slices.IndexFunc(t.Chains, func(c *schema.Chain) bool { return c.Name == f.Chain })
	if i < 0 {
		return fmt.Errorf("there is no chain %s in %s: %w", f.Chain, f.TableRef(), fs.ErrNotExist)
	}
	table, chain := *t, *t.Chains[i]
	chain.Rules = slices.Clone(chain.Rules)
	if err := change(&chain); err != nil {
		return err
	}
	table.Chains = slices.Clone(t.Chains)
	table.Chains[i] = &chain
	h.put(&table)
	return nil
}

// insertRule puts a rule where schema.ForeignRule says: in front of the rule with text Next that is nearest to Index; if
// there is none, at Index or the end.
func (h *host) insertRule(f *schema.ForeignRule) error {
	return h.editChain(f, func(c *schema.Chain) error {
		rule := f.Rule
		c.Rules = slices.Insert(c.Rules, place(c.Rules, f), &rule)
		return nil
	})
}

func place(rules []*schema.Rule, f *schema.ForeignRule) int {
	best := -1
	for i, r := range rules {
		if f.Next != "" && r.Text == f.Next && (best < 0 || abs(i-f.Index) < abs(best-f.Index)) {
			best = i
		}
	}
	if best >= 0 {
		return best
	}
	return min(max(f.Index, 0), len(rules))
}

func abs(n int) int { return max(n, -n) }

func (h *host) deleteRule(f *schema.ForeignRule) error {
	return h.atRule(f, func(c *schema.Chain, i int) { c.Rules = slices.Delete(c.Rules, i, i+1) })
}

// insertByTool is insertRule, with the chain that bears the rule's mark where the tool knows no comments.
func (h *host) insertByTool(f *schema.ForeignRule) error {
	if name := f.MarkChain(); name != "" {
		t, _ := h.Get(f.TableRef()).(*schema.Table)
		if t != nil && t.Chain(name) == nil {
			table := *t
			table.Chains = append(slices.Clone(t.Chains), t.AcceptChain(name))
			h.put(&table)
		}
	}
	return h.insertRule(f)
}

// deleteByTool deletes a rule, and with it the chain that bears its mark when no other rule leads there.
func (h *host) deleteByTool(f *schema.ForeignRule) error {
	if f.Nth > 1 {
		return fmt.Errorf("it is number %d of several that are alike, and iptables deletes the first: %w", f.Nth, errors.ErrUnsupported)
	}
	if err := h.deleteRule(f); err != nil {
		return err
	}
	t, _ := h.Get(f.TableRef()).(*schema.Table)
	if name := f.MarkChain(); name != "" && !t.Refers(name) {
		table := *t
		table.Chains = slices.DeleteFunc(slices.Clone(t.Chains), func(c *schema.Chain) bool { return c.Name == name })
		h.put(&table)
	}
	return nil
}

func (h *host) replaceRule(f *schema.ForeignRule) error {
	return h.atRule(f, func(c *schema.Chain, i int) { c.Rules[i] = &f.Rule })
}

// atRule finds the Nth rule with f's text in its chain.
func (h *host) atRule(f *schema.ForeignRule, change func(c *schema.Chain, i int)) error {
	return h.editChain(f, func(c *schema.Chain) error {
		seen := 0
		for i, r := range c.Rules {
			if r.Text != f.Rule.Text {
				continue
			}
			if seen++; seen == max(f.Nth, 1) {
				change(c, i)
				return nil
			}
		}
		return fmt.Errorf("there is no such rule in chain %s: %w", f.Chain, fs.ErrNotExist)
	})
}

// updateFile replaces the content. Files of others are neither made nor removed.
func (h *host) updateFile(f *schema.File) error {
	c := *f
	c.Mode = h.Get(f.Ref()).(*schema.File).Mode
	h.put(&c)
	return nil
}
