package managers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/ufwconf"
)

// ufw is the uncomplicated firewall, ufw(8), 0.36 and later.
type ufw struct {
	root string
}

func (*ufw) name() string { return schema.ManagerUFW }

// rules reads the rules of one family; none where ufw is not installed.
func (u *ufw) rules(family string) ([]ufwconf.Rule, error) {
	b, err := os.ReadFile(filepath.Join("/", u.root, ufwconf.Path(family)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ufw's rules: %w", err)
	}
	return ufwconf.Parse(string(b), family), nil
}

func (u *ufw) read(ctx context.Context) ([]*schema.Grant, error) {
	var all []*schema.Grant
	for _, family := range []string{"ip", "ip6"} {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read: %w", context.Cause(ctx))
		}
		rules, err := u.rules(family)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			if g := r.Grant(); g != nil {
				all = append(all, g)
			}
		}
	}
	return all, nil
}

// add makes the grant. ufw holds one rule for a flow and would overwrite another's action and comment: that is refused.
func (u *ufw) add(ctx context.Context, g *schema.Grant) error {
	if err := ufwconf.Check(g); err != nil {
		return err
	}
	rules, err := u.rules(g.Family)
	if err != nil {
		return err
	}
	for _, r := range rules {
		if r.Same(g) {
			return fmt.Errorf("ufw keeps one rule for a flow, and has one: %s: %w", r.Text, fs.ErrExist)
		}
	}
	words, err := u.words(g, len(rules))
	if err != nil {
		return err
	}
	err = u.run(ctx, words)
	if err == nil {
		err = u.check(g, true)
	}
	if err == nil {
		err = u.loaded(ctx, g)
	}
	if err != nil {
		return errors.Join(err, u.takeBack(ctx, g))
	}
	return nil
}

// words ask for the grant at its place; there are n rules of its family.
func (u *ufw) words(g *schema.Grant, n int) ([]string, error) {
	if g.Index > 1 && g.Index <= n {
		return u.insertWords(g)
	}
	return g.Add(), nil
}

// loaded makes sure that the rule is in the kernel while ufw is on: what iptables refuses, ufw passes over.
func (u *ufw) loaded(ctx context.Context, g *schema.Grant) error {
	if !u.enabled() {
		return nil
	}
	tool := map[string]string{"ip": "iptables", "ip6": "ip6tables"}[g.Family]
	line := strings.Fields(ufwconf.Line(g))
	if _, err := run(ctx, tool, append([]string{"-w", "5", "-C"}, line[1:]...)...); err != nil {
		return fmt.Errorf("ufw has the rule on its disk and not in the kernel: %w", err)
	}
	return nil
}

// enabled tells whether ufw is on (/etc/ufw/ufw.conf).
func (u *ufw) enabled() bool {
	b, err := os.ReadFile(filepath.Join("/", u.root, "/etc/ufw/ufw.conf"))
	if err != nil {
		return false
	}
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(l), "ENABLED="); ok {
			return strings.EqualFold(strings.Trim(v, `"'`), "yes")
		}
	}
	return false
}

// insertWords say the place among the rules of both families, as "ufw status numbered" counts: IPv6 comes last.
func (u *ufw) insertWords(g *schema.Grant) ([]string, error) {
	number := g.Index
	if g.Family == "ip6" {
		v4, err := u.rules("ip")
		if err != nil {
			return nil, err
		}
		number += len(v4)
	}
	return g.Insert(strconv.Itoa(number)), nil
}

// takeBack removes what a failed add has left on ufw's disk.
func (u *ufw) takeBack(ctx context.Context, g *schema.Grant) error {
	if u.check(g, true) != nil {
		return nil
	}
	if err := u.run(context.WithoutCancel(ctx), g.Remove()); err != nil {
		return fmt.Errorf("take it back: %w", err)
	}
	return nil
}

func (u *ufw) remove(ctx context.Context, g *schema.Grant) error {
	if err := u.check(g, true); err != nil {
		return err
	}
	rules, err := u.rules(g.Family)
	if err != nil {
		return err
	}
	if err := u.run(ctx, g.Remove()); err != nil {
		return errors.Join(err, u.putBack(ctx, g, len(rules)-1))
	}
	return u.check(g, false)
}

// putBack asks again for what a failed removal has taken off ufw's disk.
func (u *ufw) putBack(ctx context.Context, g *schema.Grant, n int) error {
	if u.check(g, false) != nil {
		return nil
	}
	words, err := u.words(g, n)
	if err == nil {
		err = u.run(context.WithoutCancel(ctx), words)
	}
	if err != nil {
		return fmt.Errorf("put it back: %w", err)
	}
	return nil
}

// check tells whether the grant is there, or is not: ufw exits with 0 also when it did nothing.
func (u *ufw) check(g *schema.Grant, there bool) error {
	rules, err := u.rules(g.Family)
	if err != nil {
		return err
	}
	found := false
	for _, r := range rules {
		if live := r.Grant(); live != nil && live.Ref() == g.Ref() {
			found = true
		}
	}
	switch {
	case there && !found:
		return fmt.Errorf("ufw has no such rule: %w", fs.ErrNotExist)
	case !there && found:
		return fmt.Errorf("ufw still has the rule: %w", fs.ErrExist)
	}
	return nil
}

func (u *ufw) run(ctx context.Context, words []string) error {
	var args []string
	if u.root != "" {
		args = []string{"--rootdir=" + u.root, "--datadir=" + u.root}
	}
	_, err := run(ctx, "ufw", append(args, words...)...)
	return err
}
