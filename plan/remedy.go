package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// healer looks for remedies against foreign rules: it keeps the state as it will be once the steps found so far are made.
type healer struct {
	walker     *trace.Walker // over state; nil when that has changed
	walked     *trace.Walker // the last one made, over whatever state
	r          *resolved
	state      *schema.State // without rules of ours in foreign tables, but with every remedy found now
	remedies   []*draft
	findings   map[string]*Finding   // by culprit
	order      []string              // culprits as found
	given      map[string]bool       // culprits that no remedy may touch, for one goal and at all
	marked     []*schema.ForeignRule // rules of earlier remedies that stand
	grants     grants                // the same, kept by managers
	elsewhere  []netip.Prefix        // every address but the host's own, once asked for
	askedFor   []trace.Asked         // what the file asks for, once somebody wants to know
	relied     map[schema.Ref]bool   // objects that decided a goal
	layouts    map[*schema.State]*layout
	breaks     map[string][]string // goals by culprit, before any remedy
	healing    map[string][]*draft // remedies by culprit
	savedLines []savedRule         // lines of saved rulesets to take out
	possible   []*draft            // the steps that the kernel would not refuse, in order
}

// culprit is what blocks: a rule, or the policy of a base chain (rule nil).
type culprit struct {
	table *schema.Table
	chain *schema.Chain
	base  *schema.Chain
	index int
	rule  *schema.Rule
}

func (c culprit) String() string {
	what := "policy drop"
	if c.rule != nil {
		what = c.rule.Text
	}
	prefix := ""
	if c.table.Legacy {
		prefix = "legacy "
	}
	return fmt.Sprintf("%s%s %s %s: %s", prefix, c.table.Family, c.table.Name, c.chain.Name, what)
}

func (h *healer) culprit(hop *trace.Hop) (culprit, bool) {
	t, ok := h.state.Get(hop.Ref).(*schema.Table)
	if !ok || schema.OwnTable(t) {
		return culprit{}, false
	}
	c := culprit{table: t, chain: t.Chain(hop.Chain), base: t.Chain(hop.Base), index: hop.Rule}
	if c.chain == nil {
		return culprit{}, false
	}
	if c.base == nil {
		c.base = c.chain
	}
	if hop.Rule >= 0 && hop.Rule < len(c.chain.Rules) {
		c.rule = c.chain.Rules[hop.Rule]
	}
	return c, true
}

// heal finds a remedy for one flow of a goal that a foreign rule blocks. It reports whether the state changed, so that the
// flow is worth another look.
func (h *healer) heal(g *schema.Goal, res trace.Result) (bool, error) {
	if res.Decider == nil {
		return false, nil
	}
	if res.Decider.Code != "" {
		return h.healCause(g, res)
	}
	c, ok := h.culprit(res.Decider)
	if !ok {
		return false, nil
	}
	key := c.String()
	f := h.findings[key]
	if f == nil {
		f = h.finding(c, res)
		h.findings[key] = f
		h.order = append(h.order, key)
	}
	if !slices.Contains(f.Breaks, g.Name) {
		f.Breaks = append(f.Breaks, g.Name)
	}
	if len(f.Evidence) < 6 {
		f.Evidence = appendNew(f.Evidence, fmt.Sprintf("%s: %s dies there (the %s)", g.Address, res.Decider.Packet, res.Half))
	}
	goal := key + " for " + g.Address + " " + g.Name
	if res.Verdict == trace.Depends || h.given[goal] {
		return false, nil
	}
	drafts, fix, err := h.choose(h.roads(g, res, c), res)
	if err != nil {
		return false, err
	}
	f.Fixes = mergeFixes(f.Fixes, fix)
	if len(drafts) == 0 {
		h.given[key], h.given[goal] = true, true
		return false, nil
	}
	if f.Address == "" {
		f.Address, f.Origin = g.Address, h.r.Blocks[g.Address]
	}
	if ok, err := h.relocate(drafts); !ok || err != nil {
		h.given[key], h.given[goal] = true, true // it stands in front already and does not help: never try the same twice
		return false, err
	}
	h.walker = nil // the state changes
	for _, d := range drafts {
		d.codes = []string{f.Code}
		if err := sim.Do(h.state, d.change); err != nil {
			return false, fmt.Errorf("foresee %s: %w", d.change, err)
		}
		h.remedies = append(h.remedies, d)
		h.healing[key] = append(h.healing[key], d)
	}
	return true, nil
}

// relocate makes room for rules that an earlier remedy has put further down in the same chain: they go to the front, where
// they serve both. It reports false when one of them stands in front already.
func (h *healer) relocate(drafts []*draft) (bool, error) {
	for _, d := range drafts {
		standing := h.state.Get(d.change.Ref)
		if d.change.After == nil || standing == nil {
			continue
		}
		i := slices.IndexFunc(h.remedies, func(r *draft) bool { return r.change.Before == nil && r.change.Ref == d.change.Ref })
		if i < 0 || depth(standing) <= depth(d.change.After) {
			return false, nil
		}
		if err := sim.Do(h.state, schema.Change{Ref: d.change.Ref, Before: standing}); err != nil {
			return false, fmt.Errorf("foresee %s elsewhere: %w", standing, err)
		}
		h.remedies = slices.Delete(h.remedies, i, i+1)
	}
	return true, nil
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// mergeFixes keeps one entry per road; a road once chosen stays so.
func mergeFixes(have, more []Fix) []Fix {
	for _, f := range more {
		i := slices.IndexFunc(have, func(x Fix) bool { return x.Title == f.Title })
		switch {
		case i < 0:
			have = append(have, f)
		case f.Chosen:
			have[i].Chosen, have[i].WhyNot = true, ""
		}
	}
	return have
}

func (h *healer) finding(c culprit, res trace.Result) *Finding {
	owner, _ := ownerOf(h.state, c.table, c.chain, c.rule)
	f := &Finding{Code: "VN410", Severity: "error", Object: c.String(), Owner: &owner, Title: "a foreign rule blocks: " + c.String()}
	switch {
	case res.Verdict == trace.Depends:
		f.Code, f.Severity = "VN412", "warning"
		f.Title = "it depends on a rule that cannot be decided: " + c.String()
	case c.rule == nil:
		f.Code, f.Title = "VN411", "a foreign policy blocks: "+c.String()
	}
	if c.rule != nil && c.rule.Packets != nil && *c.rule.Packets > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("the rule has counted %d packets", *c.rule.Packets))
	}
	if c.rule != nil {
		if path, line := persisted(h.state, c.table, c.chain, c.rule); path != "" {
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s:%d has the same rule: it comes back at boot", path, line))
		}
	}
	return f
}

// road is one way to let the blocked packets of a goal through.
type road struct {
	title  string
	drafts []*draft
	// closed says why it is not to be taken; "" for a road that is open.
	closed string
	// answers are packets that taking it lets through beside the declared flows though they have the form of their answers;
	// the title says so.
	answers []trace.Asked
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
	if again := w.Walk(res.Flow); again.Decider != nil && samePlace(again.Decider, res.Decider) {
		return "the packet would still die there: " + again.Decider.Packet, nil
	}
	return h.opens(r, w), nil
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
	return a.Half == b.Half && a.Ref == b.Ref && a.Chain == b.Chain && a.Text == b.Text && (a.Rule < 0) == (b.Rule < 0)
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
	acc := h.accepts(g, res, c)
	if len(acc) == 0 {
		return report("no rule could be written that lets exactly this flow through")
	}
	if user := dockerUser(c); user != nil {
		roads = append(roads, road{title: "accept exactly these flows in DOCKER-USER, Docker's own door", drafts: h.door(c, user, acc, g)})
		if sig.owner != "libvirt" { // whose chains may come before that
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
	if sig.owner != "" && sig.owner != "docker" {
		return report(fmt.Sprintf("it belongs to %s, which would write it again; its own way is %s", owner.Name, sig.ownWay(h.state, c, acc)))
	}
	if !tracked(c) && res.Half != "request" {
		return append(roads, h.untracked(g, c, acc)...)
	}
	if c.rule != nil {
		return append(roads, h.ownerless(g, c, acc)...)
	}
	return append(roads, road{title: "accept exactly these flows at the end of the chain, before its policy", drafts: h.exceptions(c, acc, len(c.chain.Rules), g)})
}

// untracked are the roads for answers where no connection is known: who has the addresses and ports of one passes for one.
func (h *healer) untracked(g *schema.Goal, c culprit, acc []accept) []road {
	at := c.index
	if c.rule == nil {
		at = len(c.chain.Rules)
	}
	r := road{
		title:  "an exception for the answers, told by their addresses and ports alone: connections are not known at this place",
		drafts: h.exceptions(c, acc, at, g),
	}
	for _, a := range acc {
		r.answers = append(r.answers, a.asked(c))
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
	if box := trace.BoxOf(c.table, c.rule); c.base.Hook == "input" && len(box.SPort) > 0 && box.CT == 0 {
		del.title += " (it also dropped packets from that source port that answer nothing: the host's other rules decide on those now)"
		del.answers = []trace.Asked{{Hook: c.base.Hook, Box: box}}
	}
	return []road{del, {title: "an exception in front of it for exactly these flows", drafts: h.exceptions(c, acc, c.index, g)}}
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

func (h *healer) insert(t *schema.Table, c *schema.Chain, rule schema.Rule, at int, next string, g *schema.Goal) *draft {
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

func (h *healer) door(c culprit, user *schema.Chain, acc []accept, g *schema.Goal) []*draft {
	at := 0
	for at < len(user.Rules) {
		if _, ours := schema.Mark(user.Rules[at].Comment); !ours {
			break
		}
		at++
	}
	next := nextText(user, at)
	var out []*draft
	for _, a := range acc {
		out = append(out, h.insert(c.table, user, a.rule(c.table), at, next, g))
		at++
	}
	return out
}

// accepts are the narrowest rules that let the blocked packet's part of the goal through the culprit's hook.
func (h *healer) accepts(g *schema.Goal, res trace.Result, c culprit) []accept {
	if c.table.Compat && c.table.Family != "ip" && c.table.Family != "ip6" {
		return nil // of ebtables and arptables: not written yet
	}
	reply := res.Half == "reply"
	in, out := h.devices(g, res, c.table)
	base := accept{address: g.Address}
	switch c.base.Hook {
	case "forward":
		base.in, base.out = in, out
	case "input", "prerouting", "ingress":
		base.in = in
	case "output", "postrouting", "egress":
		base.out = out
	default:
		return nil
	}
	switch {
	case !tracked(c):
	case reply || res.Half == "established":
		base.state = ctEstablished
	case g.Via != nil && c.base.Hook == "forward":
		base.state = ctDNAT
	}
	v6 := res.Flow.Dst.Is6()
	if (c.base.Hook == "prerouting" || c.base.Hook == "ingress") && g.Via != nil && !reply {
		return beforeDNAT(base, g, res.Flow, v6)
	}
	return spread(base, g, v6, reply)
}

// devices are the interfaces that a table's rules see a packet of the blocked half come in and go out by: those of layer 3
// for the IP families, a bridge's ports for the bridge family. A netdev chain sees its own device only.
func (h *healer) devices(g *schema.Goal, res trace.Result, t *schema.Table) (in, out string) {
	switch t.Family {
	case "netdev":
		return "", ""
	case "bridge":
		in, out = h.port(res.Flow.From), h.port(res.Flow.To)
	default:
		in, out = l3Device(g.From, h.r), l3Device(g.To, h.r)
	}
	if res.Half == "reply" {
		in, out = out, in
	}
	return in, out
}

// port is the name if it is a bridge's port: a bridge itself stands for ports that are not known.
func (h *healer) port(name string) string {
	if l := h.state.Link(name); l != nil && l.Type == "bridge" {
		return ""
	}
	return name
}

// tracked tells whether a chain's rules know the connection of a packet: chains of IP behind conntrack's look at it.
func tracked(c culprit) bool {
	return c.table.Family != "bridge" && c.table.Family != "netdev" && c.base.Hook != "ingress" && c.base.Hook != "egress" && c.base.Priority >= prioConntrack
}

// prioConntrack is NF_IP_PRI_CONNTRACK (include/uapi/linux/netfilter_ipv4.h).
const prioConntrack = -200

// beforeDNAT is a forward as it comes in: to the host's own address and port.
func beforeDNAT(base accept, g *schema.Goal, f trace.Flow, v6 bool) []accept {
	var out []accept
	for _, src := range prefixesOf(g.From, v6) {
		a := base
		a.src, a.dst, a.proto, a.dport = src, netip.PrefixFrom(f.Dst, f.Dst.BitLen()), g.Via.Proto, g.Via.Ports
		out = append(out, a)
	}
	return out
}

// spread makes one accept for each pair of prefixes and each port range of the goal.
func spread(base accept, g *schema.Goal, v6, reply bool) []accept {
	var out []accept
	ports := g.Service.Ports
	if len(ports) == 0 {
		ports = []schema.PortRange{{}}
	}
	for _, src := range prefixesOf(g.From, v6) {
		for _, dst := range prefixesOf(g.To, v6) {
			for _, p := range ports {
				a := base
				a.src, a.dst, a.proto, a.dport = src, dst, g.Service.Proto, p
				if reply {
					a.src, a.dst, a.sport, a.dport = dst, src, p, schema.PortRange{}
				}
				out = append(out, a)
			}
		}
	}
	return out
}

func prefixesOf(e schema.Endpoint, v6 bool) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range e.Prefixes {
		if p.Addr().Is6() == v6 {
			out = append(out, p)
		}
	}
	if len(e.Prefixes) == 0 {
		return []netip.Prefix{{}}
	}
	return out
}

// l3Device is the interface that iptables and nft see for an endpoint: the bridge, never its port.
func l3Device(e schema.Endpoint, r *resolved) string {
	if e.Device != "" {
		return e.Device
	}
	if n := r.network(e.Address); n != nil {
		return n.Device
	}
	return ""
}

// notGoverned says what a rule blocks that the file says nothing about; "" when everything it blocks is either asked for
// by the file or stopped by our own table all the same, so that deleting the rule opens nothing else.
func (h *healer) notGoverned(c culprit) string {
	box := trace.BoxOf(c.table, c.rule)
	if !box.Exact {
		return "it matches by more than addresses and ports"
	}
	switch c.base.Hook {
	case "forward":
		if h.inNetworks(box.Dst) || h.inNetworks(box.Src) {
			return ""
		}
	case "output":
		if h.inNetworks(box.Dst) {
			return ""
		}
	case "input":
		if h.inNetworks(box.Src) && h.askedOfHost(box) {
			return ""
		}
	}
	return "it matches " + box.String()
}

// inNetworks tells whether a set of prefixes lies within one network of the file. An empty set is every address.
func (h *healer) inNetworks(prefixes []netip.Prefix) bool {
	if len(prefixes) == 0 {
		return false
	}
	for _, p := range prefixes {
		if !slices.ContainsFunc(h.r.Networks, func(n schema.Network) bool {
			return slices.ContainsFunc(n.Subnets, func(s netip.Prefix) bool { return contains(s, p) })
		}) {
			return false
		}
	}
	return true
}

func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// askedOfHost tells whether packets to the host that a rule drops are all asked for: replies to what the host may ask of
// the network (the rule names source ports), or a service that a goal lets guests reach.
func (h *healer) askedOfHost(box trace.Box) bool {
	for _, g := range h.r.Goals {
		if !g.Allow || g.Via != nil {
			continue
		}
		switch {
		case g.From.Kind == "host" && len(box.SPort) > 0 && covers(g.To, box.Src) && (g.Service.Proto == "" || serviceCovers(g.Service, box.Proto, box.SPort)):
			return true
		case g.To.Kind == "host" && len(box.SPort) == 0 && covers(g.From, box.Src) && (g.Service.Proto == "" || serviceCovers(g.Service, box.Proto, box.DPort)):
			return true
		}
	}
	return false
}

func covers(e schema.Endpoint, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if !slices.ContainsFunc(e.Prefixes, func(o netip.Prefix) bool { return contains(o, p) }) {
			return false
		}
	}
	return len(prefixes) > 0
}
