package plan

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
	"github.com/vmnet/vmnet/schema/ufwconf"
)

// The chains of ufw hang in a base chain in this order (ufw-framework(8)): before, in which the user's own are reached at
// the end, after, reject, track, and then the policy. What a grant adds decides before everything behind the user's chain.
const (
	ufwBefore = iota // before.rules, and what they jump to: a grant comes too late
	ufwUser          // the user's rules: a grant has to stand in front
	ufwAfter         // everything behind them, the policy too
)

// ufwStage tells where a culprit stands.
func ufwStage(c culprit) int {
	name := strings.TrimPrefix(strings.TrimPrefix(c.chain.Name, "ufw6-"), "ufw-")
	switch {
	case c.rule == nil, c.chain == c.base:
		return ufwAfter
	case strings.HasPrefix(name, "user-"):
		return ufwUser
	case strings.HasPrefix(name, "after-"), strings.HasPrefix(name, "reject-"), strings.HasPrefix(name, "track-"),
		strings.HasPrefix(name, "skip-to-policy-"):
		return ufwAfter
	}
	return ufwBefore
}

// ufwDoor lists the ways to let flows past a rule or policy of ufw: through ufw itself, so that they last.
func (h *healer) ufwDoor(g *schema.Goal, c culprit, acc []accept) []road {
	stage := ufwStage(c)
	ask := road{title: "ask ufw for exactly these flows: it keeps them"}
	var roads []road
	if stage == ufwUser {
		ask.title = "ask ufw for exactly these flows in front of its other rules: it keeps them"
		roads = append(roads, road{title: "delete ufw's rule", closed: "somebody told ufw so" + h.toldUFW(c) + ": an exception for what the file asks for leaves the rest of it in force"})
	}
	if who := singledOut(g, c); stage == ufwUser && who != "" {
		ask.title = "let " + who + " through as well"
		ask.closed = "somebody told ufw to keep out " + who + ", who is only some of those that the file speaks of: that is a ban, and is named, never opened"
		return append(roads, ask)
	}
	if stage == ufwBefore {
		ask.closed = fmt.Sprintf("chain %s is made of /etc/ufw/before.rules or before6.rules, and comes before all that ufw can be asked for: edit that file", c.chain.Name)
		return append(roads, ask)
	}
	for _, a := range acc {
		grant, why := ufwGrant(c, a)
		if grant != nil {
			why = cmp.Or(h.grants.silent[grant.Ref()], h.grants.stuck[grant.Ref()], h.overruled(c, grant))
		}
		if why != "" {
			ask.closed = why
			return append(roads, ask)
		}
		if stage == ufwUser {
			grant.Index = 1
		}
		ask.drafts = append(ask.drafts, h.grantDraft(h.atItsPlace(grant), g))
	}
	if _, err := h.with(ask.drafts); err != nil {
		ask.closed = cause(err, ask.drafts[0].change.After.(*schema.Grant)).Error()
	}
	return append(roads, ask)
}

// singledOut names the sources that a rule is aimed at, when the goal speaks of more than those: a ban, by a person or by
// fail2ban's action "ufw". "" when the rule stops all that the goal lets in, or goes by something else.
func singledOut(g *schema.Goal, c culprit) string {
	if c.rule == nil {
		return ""
	}
	var out []string
	for _, p := range trace.BoxOf(c.table, c.rule).Src {
		whole := slices.ContainsFunc(g.From.Prefixes, func(from netip.Prefix) bool { return contains(p, from) })
		if !whole && p.Bits() > 0 {
			out = append(out, shortPrefix(p))
		}
	}
	return strings.Join(out, ", ")
}

// overruled says that somebody has put a rule in front of a grant after it was made, and did so on purpose: what ufw is told
// goes to the end. "" for any other.
func (h *healer) overruled(c culprit, g *schema.Grant) string {
	live, _ := h.r.live.Get(c.table.Ref()).(*schema.Table)
	i := slices.IndexFunc(h.grants.standing, func(s *schema.Grant) bool { return s.Ref() == g.Ref() })
	if i < 0 || live == nil || live.Chain(c.chain.Name) == nil || ufwStage(c) != ufwUser {
		return ""
	}
	at := slices.IndexFunc(live.Chain(c.chain.Name).Rules, func(r *schema.Rule) bool { return r.Text == c.rule.Text })
	if at < 0 || h.grants.standing[i].Place < at {
		return ""
	}
	h.grants.overruled[g.Ref()] = true
	return "somebody put it in front of what ufw was asked for before" + h.toldUFW(c) + ": that is a decision; take out either of the two"
}

// toldUFW is the comment that somebody gave a rule, in brackets; "" for none.
func (h *healer) toldUFW(c culprit) string {
	for _, r := range ufwRules(h.state, c.table.Family) {
		for _, l := range r.Live {
			if r.Comment != "" && iptspec.Equal(l, "-A "+c.chain.Name+" "+c.rule.Text) {
				return fmt.Sprintf(" (%q)", r.Comment)
			}
		}
	}
	return ""
}

// ufwGrant is an accept in ufw's words, or why ufw has none for it (ufw(8); common.py, UFWRule).
func ufwGrant(c culprit, a accept) (*schema.Grant, string) {
	switch {
	case !slices.Contains([]string{"forward", "input", "output"}, c.base.Hook):
		return nil, "ufw has no rules of its users' at the hook " + c.base.Hook
	case a.state == ctEstablished || a.sport != (schema.PortRange{}):
		return nil, "ufw cannot be asked for packets of known connections only: /etc/ufw/before.rules accepts them, and was edited"
	case a.proto != "" && a.proto != "tcp" && a.proto != "udp":
		return nil, fmt.Sprintf("ufw cannot be asked for %s: that is in /etc/ufw/before.rules and before6.rules", a.protoWord())
	case c.base.Hook == "output" && a.out == "":
		return nil, "by which interface the host sends the packets is not known"
	}
	g := &schema.Grant{
		Manager: schema.ManagerUFW, Address: a.address, Family: c.table.Family, Forward: c.base.Hook == "forward",
		In: a.in, Out: a.out, Src: prefixOrAny(a.src), Dst: prefixOrAny(a.dst), Proto: a.proto, Ports: a.dport,
	}
	if c.base.Hook == "input" {
		g.Out = ""
	}
	if c.base.Hook == "output" {
		g.In = ""
	}
	if len(a.in)+len(a.out) == 0 && !g.Src.IsValid() && !g.Dst.IsValid() && g.Proto == "" {
		return nil, "it would let everything through"
	}
	return g, ""
}

// ufwOutOfStep names what ufw would load otherwise than it is in the kernel: its next reload changes what gets through.
func (h *healer) ufwOutOfStep() {
	for _, family := range []string{"ip", "ip6"} {
		for _, hook := range []string{"input", "output", "forward"} {
			err := h.probeUFW(family, hook)
			if !errors.Is(err, sim.ErrUnmodelled) {
				continue
			}
			chain := ufwconf.Chain(family, hook)
			h.r.findings = append(h.r.findings, Finding{
				Code: "VN414", Severity: "warning", Title: "ufw would load other rules than the kernel has: chain " + chain,
				Object: chain, Owner: &Owner{Name: schema.ManagerUFW, Confidence: high, Evidence: []string{"chain " + chain}}, Detail: err.Error(),
			})
		}
	}
}

// probeUFW foresees a grant that nobody asks for: the error says why nothing can be foreseen. Nil where ufw is not at work.
func (h *healer) probeUFW(family, hook string) error {
	at := func(t *schema.Table) bool { return t.Family == family && t.Chain(ufwconf.Chain(family, hook)) != nil }
	if !slices.ContainsFunc(slices.Collect(schema.Each[*schema.Table](h.state)), at) || h.state.Get(schema.FileRef(ufwconf.Path(family))) == nil {
		return nil
	}
	g := &schema.Grant{Manager: schema.ManagerUFW, Address: "probe", Family: family, Forward: hook == "forward", In: "vmnet-probe"}
	if hook == "output" {
		g.In, g.Out = "", "vmnet-probe"
	}
	_, _, err := sim.Cascade(h.state, schema.Change{Ref: g.Ref(), After: g})
	return cause(err, g)
}

// cause is an error without what was tried.
func cause(err error, g *schema.Grant) error {
	for err != nil && strings.Contains(err.Error(), g.Ref().Name) && errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err
}
