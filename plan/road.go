package plan

import (
	"fmt"
	"slices"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// road is one way to let the blocked packets of a goal through.
type road struct {
	title  string
	drafts []*draft
	// closed says why it is not to be taken; "" for a road that is open.
	closed string
}

// choose takes a road by the law of the least opening: the first that is open and lets nothing through that the file does
// not ask for. The fixes tell the roads not taken, with the reason.
func (h *healer) choose(roads []road, res trace.Result) ([]*draft, []Fix, error) {
	var chosen []*draft
	var fixes []Fix
	for _, r := range roads {
		f := Fix{Title: r.title, WhyNot: r.closed}
		switch {
		case f.WhyNot != "":
		case chosen != nil:
			f.WhyNot = "not needed: the chosen road opens nothing else"
		default:
			var err error
			if f.WhyNot, err = h.against(r, res); err != nil {
				return nil, nil, err
			}
			if f.Chosen = f.WhyNot == ""; f.Chosen {
				chosen = r.drafts
			}
		}
		fixes = append(fixes, f)
	}
	return chosen, fixes, nil
}

// against says why an open road is not to be taken: it does not help, or lets through what nobody asked for. "" for neither.
func (h *healer) against(r road, res trace.Result) (string, error) {
	after, err := h.with(r.drafts)
	if err != nil {
		return "", err
	}
	w := h.walk(after)
	if samePlaceStill(w, res) {
		return "the packet would still die there: " + res.Decider.Packet, nil
	}
	if why := h.opens(w); why != "" {
		return why + h.byHand(r), nil
	}
	return h.passesBy(r)
}

// with is the state as drafts would make it.
func (h *healer) with(drafts []*draft) (*schema.State, error) {
	s := h.state.Clone()
	for _, d := range drafts {
		if standing := s.Get(d.change.Ref); standing != nil && d.change.Before == nil { // found by an earlier remedy, further down
			if err := sim.Do(s, schema.Change{Ref: d.change.Ref, Before: standing}); err != nil {
				return nil, fmt.Errorf("foresee %s elsewhere: %w", standing, err)
			}
		}
		if err := sim.Do(s, d.change); err != nil {
			return nil, fmt.Errorf("foresee %s: %w", d.change, err)
		}
	}
	return s, nil
}

// samePlace tells whether two hops are the same rule or policy, wherever it has moved to in its chain.
func samePlace(a, b *trace.Hop) bool {
	return a.Half == b.Half && a.Ref == b.Ref && a.Chain == b.Chain && a.Text == b.Text && (a.Rule < 0) == (b.Rule < 0) &&
		a.Talk == b.Talk && (a.Talk == 0 || a.In == b.In && a.Out == b.Out)
}

// samePlaceStill tells whether a packet dies where it did.
func samePlaceStill(w *trace.Walker, res trace.Result) bool {
	again := w.Walk(res.Flow)
	return again.Decider != nil && samePlace(again.Decider, res.Decider)
}

// roads lists the ways to let a goal's packets past a culprit, the best first: through the owner's door, deleting the
// rule, an exception in front of it; and those that are never taken, with the reason.
func (h *healer) roads(g *schema.Goal, res trace.Result, c culprit) []road {
	owner, sig := ownerOf(h.state, c.table, c.chain, c.rule)
	roads := []road{{title: "an accept in a table of our own", closed: "an accept ends only its own base chain: it cannot undo a drop in another"}}
	if c.rule == nil {
		roads = append(roads, road{title: "set the policy to accept", closed: "it would let through everything else that the policy stops"})
	}
	report := func(why string) []road {
		return append(roads, road{title: "change it at its owner " + owner.Name, closed: why})
	}
	switch {
	case h.r.Settings.Foreign == "report":
		return report(`foreign = "report" in the vmnet block: rules of others are only named`)
	case sig.control:
		return report(fmt.Sprintf("%s is a privacy or security control: it is named, never opened; its own way is %s", owner.Name, sig.hint))
	}
	if res.Half == trace.Resolution {
		return append(roads, h.neighbourRoads(g, res, c, owner, sig)...)
	}
	acc := h.accepts(g, res, c)
	if len(acc) == 0 {
		return report("no rule could be written that lets exactly this flow through")
	}
	if user := dockerUser(c); user != nil {
		roads = append(roads, road{title: "accept exactly these flows in DOCKER-USER, Docker's own door", drafts: h.door(c, user, acc, g, res)})
		if sig.owner != "libvirt" && c.rule != nil { // libvirt's chains may come before that, and a policy comes after all
			return roads
		}
	}
	if sig.owner == "libvirt" {
		return append(roads, h.libvirtDoor(g, c, acc)...)
	}
	if sig.owner == schema.ManagerUFW {
		return append(roads, h.ufwDoor(g, c, acc)...)
	}
	if sig.owner == schema.ManagerFirewalld {
		return append(roads, h.firewalldDoor(g, c, acc)...)
	}
	if native := !c.table.Legacy && !c.table.Compat; sig.owner != "" && (sig.owner != "docker" || native) {
		return report(fmt.Sprintf("it belongs to %s, which would write it again; its own way is %s", owner.Name, sig.ownWay(h.state, c, acc)))
	}
	for i, acc := range narrowest(c, widths(g, res, c, acc), res.Flow.Dst.Is6()) {
		var ways []road
		switch {
		case !tracked(c) && res.Half != "request":
			ways = h.untracked(g, c, acc)
		case c.rule != nil:
			ways = h.ownerless(g, c, acc)
		default:
			ways = h.beforePolicy(g, c, acc, "accept exactly these flows")
		}
		if i > 0 && c.rule != nil { // to delete the rule is the same for all widths
			ways = ways[1:]
		}
		roads = append(roads, ways...)
	}
	return roads
}

// untracked are the roads for answers where no connection is known: who has the addresses and ports of one passes for one.
func (h *healer) untracked(g *schema.Goal, c culprit, acc []accept) []road {
	at := c.index
	if c.rule == nil {
		at = len(c.chain.Rules)
	}
	r := road{
		title:  "an exception for the answers, told by their addresses and ports alone: connections are not known at this place" + ofPorts(c, acc),
		drafts: h.exceptions(c, acc, at, g),
	}
	if c.rule == nil {
		return []road{r}
	}
	del := road{title: "delete the rule by its full specification", drafts: h.deletion(g, c)}
	if why := h.notGoverned(c); why != "" {
		del.closed = "it blocks more than the file asks for: " + why
	}
	return []road{del, r}
}

// ownerless deletes a rule that nobody owns, or puts an exception in front of it.
func (h *healer) ownerless(g *schema.Goal, c culprit, acc []accept) []road {
	del := road{title: "delete the rule by its full specification", drafts: h.deletion(g, c)}
	if why := h.notGoverned(c); why != "" {
		del.closed = "it blocks more than the file asks for: " + why
	}
	if accepts(c.rule) || leaves(c.rule) {
		del.closed = "it stops nothing itself: it keeps packets from a rule that would let them through, or leads them to one that stops them"
	}
	return []road{del, {title: "an exception in front of it for exactly these flows" + ofPorts(c, acc), drafts: h.exceptions(c, acc, c.index, g)}}
}

func (h *healer) deletion(g *schema.Goal, c culprit) []*draft {
	f := schema.RuleAt(c.table, c.chain, c.index)
	d := newDraft(f, nil)
	d.address, d.because = g.Address, fmt.Sprintf("it blocks what %s asks for: %s", g.Address, g.Name)
	d.undo = fmt.Sprintf("put the rule back at its place, number %d of chain %s", c.index+1, c.chain.Name)
	return []*draft{d}
}

// exceptions puts accepts into the culprit's own chain, in front of the position.
func (h *healer) exceptions(c culprit, acc []accept, at int, g *schema.Goal) []*draft {
	var out []*draft
	next := nextText(c.chain, at)
	for _, a := range acc {
		d := h.insert(c.table, c.chain, a.rule(c.table), at, next, g)
		if c.rule != nil {
			d.front = c.rule.Text
		}
		out = append(out, d)
		at++
	}
	return out
}

// nextText is the rule that stands at a position, "" at the end of the chain.
func nextText(c *schema.Chain, at int) string {
	if at < len(c.Rules) {
		return c.Rules[at].Text
	}
	return ""
}

// chainEnd is added to the place of a rule at the end of a chain: however many others come and go meanwhile, it goes there.
const chainEnd = 1 << 24

func (h *healer) insert(t *schema.Table, c *schema.Chain, rule schema.Rule, at int, next string, g *schema.Goal) *draft {
	if next == "" {
		at += chainEnd
	}
	f := &schema.ForeignRule{
		Family: t.Family, Table: t.Name, Chain: c.Name, Legacy: t.Legacy, ByTool: t.Legacy || t.Compat,
		Rule: rule, Index: at, Next: next,
	}
	d := newDraft(nil, f)
	d.address, d.because = g.Address, fmt.Sprintf("%s asks for it: %s", g.Address, g.Name)
	d.undo = "delete the rule by its comment and full specification"
	return d
}

// dockerUser is the chain Docker leaves to others, when the culprit is one that it overrules: the base chain's policy, or a
// rule that comes after the jump to it.
func dockerUser(c culprit) *schema.Chain {
	user := c.table.Chain("DOCKER-USER")
	if user == nil || c.base.Hook != "forward" || c.chain == user {
		return nil
	}
	for i, r := range c.base.Rules {
		if c.chain == c.base && c.rule != nil && i >= c.index {
			return nil
		}
		for _, e := range r.Exprs {
			if e.Verdict != nil && (e.Verdict.Chain == "DOCKER-USER" || jumpsTo(c.table, c.table.Chain(e.Verdict.Chain), "DOCKER-USER", 0)) {
				return user
			}
		}
	}
	return nil
}

// door puts accepts into the chain that Docker leaves to others: behind all that is there already and may stop packets for a
// reason, as far as they still help.
func (h *healer) door(c culprit, user *schema.Chain, acc []accept, g *schema.Goal, res trace.Result) []*draft {
	var out []*draft
	for _, at := range ends(user) {
		out = nil
		next := nextText(user, at)
		for _, a := range acc {
			out = append(out, h.insert(c.table, user, a.rule(c.table), at, next, g))
			at++
		}
		if after, err := h.with(out); err != nil || !samePlaceStill(h.walk(after), res) {
			break // an error shows again when the road is looked at
		}
	}
	return out
}

// beforePolicy are the roads past a policy: an accept at the end of the chain, or in front of a rule that leads past the end.
func (h *healer) beforePolicy(g *schema.Goal, c culprit, acc []accept, what string) []road {
	var out []road
	for i, at := range ends(c.chain) {
		title := what + " at the end of the chain, before its policy"
		if i > 0 {
			title = what + " in front of a rule that leaves the rest of the chain out, so that the policy decides: " + c.chain.Rules[at].Text
		}
		out = append(out, road{title: title + ofPorts(c, acc), drafts: h.exceptions(c, acc, at, g)})
	}
	return out
}

// ends are the places for an accept in a chain, of which the first that helps is best: what stands in front of it keeps its
// say. The end of the chain comes first; packets that return before it, or go elsewhere for good, do not get there.
func ends(c *schema.Chain) []int {
	out := []int{len(c.Rules)}
	for i, r := range slices.Backward(c.Rules) {
		switch {
		case leaves(r) && onlyReturns(r):
			out = []int{i}
		case leaves(r):
			out = append(out, i)
		}
	}
	return out
}

// leaves tells whether packets that a rule matches do not come to those behind it, though nothing is decided.
func leaves(r *schema.Rule) bool {
	return slices.ContainsFunc(r.Exprs, func(e schema.Expr) bool {
		return e.Verdict != nil && (e.Verdict.Kind == "return" || e.Verdict.Kind == "goto")
	})
}
