package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/nftconf"
)

// How sure an owner is named. High: its name is on the table, chain or rule, and the disk or a process confirms it. Medium:
// one of both. Low: neither.
const (
	high   = "high"
	medium = "medium"
	low    = "low"
)

func matchName(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		switch {
		case strings.HasSuffix(p, "*"):
			return strings.HasPrefix(name, strings.TrimSuffix(p, "*"))
		case strings.HasPrefix(p, "*"):
			return strings.HasSuffix(name, strings.TrimPrefix(p, "*"))
		}
		return p == name
	})
}

// ownerOf says who writes a rule, or the policy of a base chain (rule nil), with the evidence. A rule that nobody's chain
// holds is somebody's when its comment, its set, its jump or its exact form says so, and never because it names somebody's
// interface. The signature is empty when the rule is nobody's that would write it again.
func ownerOf(s *schema.State, t *schema.Table, c *schema.Chain, rule *schema.Rule) (Owner, signature) {
	o, sig := recognise(s, t, c, rule)
	if sig.reload != "" {
		sig.hint += " (" + sig.reload + ")"
	}
	return o, sig
}

func recognise(s *schema.State, t *schema.Table, c *schema.Chain, rule *schema.Rule) (Owner, signature) {
	if rule != nil {
		if _, ours := schema.Mark(rule.Comment); ours {
			return Owner{"vmnet", high, []string{"comment " + rule.Comment}}, signature{}
		}
	}
	for _, sig := range signatures {
		if seen := sig.holds(t, c, rule); seen != "" {
			return sig.confirmed(s, t, c, rule, seen), sig
		}
	}
	if rule == nil {
		return policyOwner(s, t, c)
	}
	for _, sig := range signatures {
		if seen := sig.wrote(s, t, c, rule); seen != "" {
			return sig.confirmed(s, t, c, rule, seen), sig
		}
	}
	if path, line := persisted(s, t, c, rule); path != "" {
		if i := slices.IndexFunc(signatures, func(x signature) bool { return x.owner == loaderOf(path) }); i >= 0 && iptablesFiles[path].named {
			return signatures[i].confirmed(s, t, c, nil, fmt.Sprintf("%s line %d has the same rule", path, line)), signatures[i]
		}
		return loadedBy(s, path, fmt.Sprintf("%s line %d has the same rule", path, line)), signature{}
	}
	return Owner{"unknown", low, []string{nobody(s, t, c)}}, signature{}
}

// loadedBy is who loads a file that has what is live.
func loadedBy(s *schema.State, path, seen string) Owner {
	o := Owner{loaderOf(path), medium, []string{seen}}
	if boot := atBoot(s, path); boot != "" {
		o.Confidence, o.Evidence = high, append(o.Evidence, boot)
	}
	return o
}

// nobody says what was looked for in vain.
func nobody(s *schema.State, t *schema.Table, c *schema.Chain) string {
	for _, sig := range signatures {
		if matchName(sig.open, c.Name) {
			return fmt.Sprintf("%s leaves chain %s to others, and no file holds it", sig.owner, c.Name)
		}
	}
	if t.Legacy || t.Compat {
		return "no manager's chain, table or file holds it"
	}
	for _, f := range nftFiles(s) {
		if line := fills(f, t, c); line > 0 {
			return fmt.Sprintf("%s fills this chain from line %d on, and no line of it reads like this rule: if one means it, it comes back at boot", f.Path, line)
		}
	}
	return fmt.Sprintf("no manager's table, and no file that nftables.service loads, has chain %s of table %s %s", c.Name, t.Family, t.Name)
}

// fills is the first line of a file that adds a rule to a chain; 0 for none.
func fills(f *schema.File, t *schema.Table, c *schema.Chain) int {
	for _, r := range nftconf.Rules(f.Content, nil) {
		if r.Family == t.Family && r.Table == t.Name && r.Chain == c.Name {
			return r.Line + 1
		}
	}
	return 0
}

// holds tells by the name of the table or chain that whatever stands there is the program's.
func (sig signature) holds(t *schema.Table, c *schema.Chain, rule *schema.Rule) string {
	if matchName(sig.tables, t.Name) && !t.Legacy && !t.Compat {
		return "table " + t.Family + " " + t.Name
	}
	if matchName(sig.open, c.Name) && rule != nil && !onlyReturns(rule) {
		return ""
	}
	if sig.has(t, c) {
		return "chain " + c.Name + " in " + tableName(t)
	}
	return ""
}

// has tells by a chain's name that it is the program's.
func (sig signature) has(t *schema.Table, c *schema.Chain) bool {
	return matchName(sig.chains, c.Name) || matchName(sig.weak, c.Name) && c.Hook == "" && sig.anchored(t)
}

func tableName(t *schema.Table) string {
	if t.Legacy {
		return "legacy " + t.Family + " " + t.Name
	}
	return t.Family + " " + t.Name
}

// anchored tells whether the table has a chain that is the program's for sure.
func (sig signature) anchored(t *schema.Table) bool {
	return slices.ContainsFunc(t.Chains, func(o *schema.Chain) bool { return matchName(sig.chains, o.Name) })
}

// onlyReturns is the last rule of a chain that a program leaves to others.
func onlyReturns(r *schema.Rule) bool {
	for _, e := range r.Exprs {
		if e.Name != "counter" && (e.Verdict == nil || e.Verdict.Kind != "return") {
			return false
		}
	}
	return true
}

// wrote tells by the rule itself that it is the program's.
func (sig signature) wrote(s *schema.State, t *schema.Table, c *schema.Chain, rule *schema.Rule) string {
	if matchName(sig.comments, rule.Comment) {
		return fmt.Sprintf("comment %q", rule.Comment)
	}
	for _, e := range rule.Exprs {
		if e.Verdict != nil && e.Verdict.Chain != "" && matchName(sig.chains, e.Verdict.Chain) {
			return "it leads to chain " + e.Verdict.Chain
		}
		if set := setOf(e); set != "" && matchName(sig.sets, set) {
			return "set " + set
		}
	}
	if sig.shape != nil {
		return sig.shape(s, t, c, rule)
	}
	return ""
}

// setOf is the set that an expression looks into: an ipset of iptables' match "set", or one of nftables.
func setOf(e schema.Expr) string {
	if e.Name == "lookup" {
		return e.Set
	}
	if f := strings.Fields(e.Text); e.Name == "xtmatch" && e.Key == "set" {
		if i := slices.Index(f, "--match-set"); i >= 0 && i+1 < len(f) {
			return f[i+1]
		}
	}
	return ""
}

// policyOwner says who set a policy: only programs that do set policies count, however many hang their chains in it.
func policyOwner(s *schema.State, t *schema.Table, c *schema.Chain) (Owner, signature) {
	var found []signature
	for _, sig := range signatures {
		for _, other := range t.Chains {
			if slices.Contains(sig.policies, c.Hook) && sig.has(t, other) && jumpsTo(t, c, other.Name, 0) {
				found = append(found, sig)
				break
			}
		}
	}
	if len(found) > 0 {
		return policyOf(s, t, c, found)
	}
	if seen := killSwitchPolicy(s, c); seen != "" {
		sig := signatures[len(signatures)-1]
		return sig.confirmed(s, t, c, nil, seen), sig
	}
	if path, line := savedPolicy(s, t, c); path != "" {
		return loadedBy(s, path, fmt.Sprintf("%s line %d sets the same policy", path, line)), signature{}
	}
	return Owner{"unknown", low, []string{"of the managers whose chains hang in it, none sets policies, and no file does"}}, signature{}
}

// policyOf chooses among programs that set the same policy: the one whose files say that it is at work, else the first.
// All are named.
func policyOf(s *schema.State, t *schema.Table, c *schema.Chain, found []signature) (Owner, signature) {
	slices.SortStableFunc(found, func(a, b signature) int {
		return len(b.proof(s)) - len(a.proof(s))
	})
	var hang []string
	for _, sig := range found {
		i := slices.IndexFunc(t.Chains, func(o *schema.Chain) bool { return sig.has(t, o) && jumpsTo(t, c, o.Name, 0) })
		hang = append(hang, fmt.Sprintf("chain %s jumps to %s", c.Name, t.Chains[i].Name))
	}
	o := found[0].confirmed(s, t, c, nil, hang[0])
	for i, sig := range found[1:] {
		o.Evidence = append(o.Evidence, hang[i+1]+": "+sig.owner+" sets this policy too")
	}
	if len(found) > 1 {
		o.Confidence = medium
	}
	return o, found[0]
}

func jumpsTo(t *schema.Table, c *schema.Chain, target string, depth int) bool {
	if c == nil || depth > 16 { // the kernel's own limit of jumps
		return false
	}
	for _, r := range c.Rules {
		for _, e := range r.Exprs {
			if e.Verdict == nil || e.Verdict.Chain == "" {
				continue
			}
			if e.Verdict.Chain == target || jumpsTo(t, t.Chain(e.Verdict.Chain), target, depth+1) {
				return true
			}
		}
	}
	return false
}
