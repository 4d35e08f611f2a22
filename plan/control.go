package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// passesBy says which privacy or security control the rules of a road would lead packets past; "" for none. An accept ends its base
// chain: what stands behind it there, a ban or a kill switch, never sees the packet. Whether the file asks for the packet does
// not matter, and neither does the culprit that stops it before it gets there.
func (h *healer) passesBy(r road) (string, error) {
	var rules []schema.Change
	var owners []string
	for _, d := range r.drafts {
		f, ok := d.change.After.(*schema.ForeignRule)
		if !ok || d.change.Before != nil {
			continue
		}
		rules = append(rules, d.change)
		t, _ := h.state.Get(f.TableRef()).(*schema.Table)
		for _, o := range h.controls(t) {
			owners = appendNew(owners, o)
		}
	}
	if len(owners) == 0 {
		return "", nil
	}
	standing := h.standing(rules)
	before := h.state.Clone()
	for t := range schema.Each[*schema.Table](h.state) {
		before.Put(h.onlyControls(t))
	}
	after := before.Clone()
	for _, c := range rules {
		if standing := after.Get(c.Ref); standing != nil { // found by an earlier remedy, further down
			if err := sim.Do(after, schema.Change{Ref: c.Ref, Before: standing}); err != nil {
				return "", fmt.Errorf("foresee %s elsewhere: %w", standing, err)
			}
		}
		if err := sim.Do(after, c); err != nil {
			return "", fmt.Errorf("foresee %s beside controls: %w", c, err)
		}
	}
	opened, err := trace.Opened(h.walk(before), h.walk(after), nil)
	switch {
	case err != nil:
		return "whether it leads packets past " + strings.Join(owners, ", ") + " cannot be told: " + err.Error(), nil
	case len(opened) == 0:
		return "", nil
	case len(standing) == len(rules): // the control came later
		for _, f := range standing {
			h.inTheWay(f, strings.Join(owners, ", "))
		}
		return "", nil
	}
	return fmt.Sprintf("%s further on is a privacy or security control, and would not see these packets any more: %s", strings.Join(owners, ", "), opening(opened[0])), nil
}

// standing are the rules of earlier applies that changes would make.
func (h *healer) standing(rules []schema.Change) []*schema.ForeignRule {
	var out []*schema.ForeignRule
	for _, c := range rules {
		f := c.After.(*schema.ForeignRule)
		if i := slices.IndexFunc(h.marked, func(s *schema.ForeignRule) bool { return sameRule(s, f) }); i >= 0 {
			out = append(out, h.marked[i])
		}
	}
	return out
}

// controls are the owners of the privacy and security controls in a table.
func (h *healer) controls(t *schema.Table) []string {
	var out []string
	if t == nil || schema.OwnTable(t) {
		return nil
	}
	for _, c := range t.Chains {
		if c.Hook != "" && c.Policy == "drop" {
			out = h.appendControl(out, t, c, nil)
		}
		for _, r := range c.Rules {
			if drops(r) {
				out = h.appendControl(out, t, c, r)
			}
		}
	}
	return out
}

func (h *healer) appendControl(list []string, t *schema.Table, c *schema.Chain, r *schema.Rule) []string {
	if o, sig := ownerOf(h.state, t, c, r); sig.control {
		return appendNew(list, o.Name)
	}
	return list
}

// onlyControls is a table in which nothing stops packets but privacy and security controls. Our own stay as they are.
func (h *healer) onlyControls(t *schema.Table) *schema.Table {
	if schema.OwnTable(t) {
		return t
	}
	if made := h.disarmed[t]; made != nil {
		return made
	}
	out := *t
	out.Chains = slices.Clone(t.Chains)
	for i, c := range t.Chains {
		chain := *c
		chain.Rules = slices.Clone(c.Rules)
		if _, sig := ownerOf(h.state, t, c, nil); c.Policy == "drop" && !sig.control {
			chain.Policy = "accept"
		}
		for k, r := range c.Rules {
			if !drops(r) {
				continue
			}
			if _, sig := ownerOf(h.state, t, c, r); !sig.control {
				chain.Rules[k] = idle(r)
			}
		}
		out.Chains[i] = &chain
	}
	if h.disarmed == nil {
		h.disarmed = map[*schema.Table]*schema.Table{}
	}
	h.disarmed[t] = &out
	return &out
}

// idle is a rule at its place that does nothing.
func idle(r *schema.Rule) *schema.Rule {
	out := *r
	out.Exprs = nil
	return &out
}
