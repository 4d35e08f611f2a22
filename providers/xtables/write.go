package xtables

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/coreos/go-iptables/iptables"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
)

// lockWait is how many seconds the tool waits for the lock that all iptables share (iptables(8), -w).
const lockWait = 5

// Do adds or deletes one rule through the iptables or ebtables of its backend. It reads the chain first and refuses when it is not as
// c says.
func (p *Provider) Do(ctx context.Context, c schema.Change) error {
	f, ok := object(c).(*schema.ForeignRule)
	if !ok {
		return fmt.Errorf("%s %s: iptables-legacy tables are read only; single rules are written: %w", c.Verb(), c.Ref, errors.ErrUnsupported)
	}
	if f.Family != "ip" && f.Family != "ip6" && (f.Family != "bridge" || f.Legacy) {
		return fmt.Errorf("%s %s: rules of %s are written neither by iptables nor by ebtables: %w", c.Verb(), c.Ref, f.Family, errors.ErrUnsupported)
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
	if f.Family == "bridge" {
		return doBridge(ctx, t, c, f, live)
	}
	tool, err := toolFor(f)
	if err != nil {
		return err
	}
	if f.Legacy {
		if err := ensureLock(); err != nil {
			return err
		}
	}
	if c.After == nil {
		return tool.delete(f, live)
	}
	return tool.insert(f, position(chain, f))
}

// doBridge makes a change through ebtables; live is the rule to delete.
func doBridge(ctx context.Context, t *schema.Table, c schema.Change, f, live *schema.ForeignRule) error {
	tool, err := bridgeToolFor(t)
	if err != nil {
		return err
	}
	if c.After == nil {
		return tool.delete(ctx, f, live)
	}
	return tool.insert(ctx, f, position(t.Chain(f.Chain), f))
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

// ensureLock gives the tool a lock file that it can open. In a network namespace of an ordinary user's own, where
// /run/xtables.lock is root's, nobody else writes rules, so a lock of that user's is enough (iptables(8), XTABLES_LOCKFILE).
func ensureLock() error {
	const variable, usual = "XTABLES_LOCKFILE", "/run/xtables.lock"
	if os.Getenv(variable) != "" {
		return nil
	}
	if f, err := os.OpenFile(usual, os.O_RDONLY|os.O_CREATE, 0o600); err == nil {
		return f.Close()
	}
	if err := os.Setenv(variable, fmt.Sprintf("%s/vmnet-xtables-%d.lock", os.TempDir(), os.Getuid())); err != nil {
		return fmt.Errorf("set %s: %w", variable, err)
	}
	return nil
}

// tool is the iptables of one backend and family.
type tool struct {
	path string
	ipt  *iptables.IPTables
}

// dirs are where the tools are looked for; never in the caller's PATH.
var dirs = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin"}

func toolFor(f *schema.ForeignRule) (*tool, error) {
	name, proto := "iptables", iptables.ProtocolIPv4
	if f.Family == "ip6" {
		name, proto = "ip6tables", iptables.ProtocolIPv6
	}
	backend := "-nft"
	if f.Legacy {
		backend = "-legacy"
	}
	for _, d := range dirs {
		path := d + "/" + name + backend
		if _, err := os.Stat(path); err != nil {
			continue
		}
		ipt, err := iptables.New(iptables.Path(path), iptables.IPFamily(proto), iptables.Timeout(lockWait))
		if err != nil {
			return nil, fmt.Errorf("ask %s for its version: %w", path, err)
		}
		return &tool{path, ipt}, nil
	}
	return nil, fmt.Errorf("%s: %w in %s", name+backend, fs.ErrNotExist, strings.Join(dirs, ", "))
}

func (t *tool) insert(f *schema.ForeignRule, at int) error {
	spec, err := iptspec.Split(f.Rule.Text)
	if err != nil {
		return fmt.Errorf("take the rule apart: %w", err)
	}
	if err := t.ipt.Insert(f.Table, f.Chain, at, spec...); err != nil {
		return fmt.Errorf("%s -t %s -I %s %d %s: %w", t.path, f.Table, f.Chain, at, f.Rule.Text, err)
	}
	return nil
}

// delete takes the rule out by its full specification. Of several equal rules the tool takes the first.
func (t *tool) delete(f, live *schema.ForeignRule) error {
	if max(live.Nth, 1) > 1 {
		return fmt.Errorf("it is number %d of several equal rules, and iptables deletes the first: delete that one instead: %w", live.Nth, errors.ErrUnsupported)
	}
	spec, err := iptspec.Split(live.Rule.Text)
	if err != nil {
		return fmt.Errorf("take the rule apart: %w", err)
	}
	if err := t.ipt.Delete(f.Table, f.Chain, spec...); err != nil {
		return fmt.Errorf("%s -t %s -D %s %s: %w", t.path, f.Table, f.Chain, live.Rule.Text, err)
	}
	return nil
}
