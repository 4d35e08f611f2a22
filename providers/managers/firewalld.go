package managers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// firewalld is firewalld(1), 1.0 and later. What it is told lasts: its permanent configuration. It is never reloaded:
// firewalld 1.3 flushes every table of iptables-nft when it is (fw.py, flush), those of Docker, ufw and everybody else, and
// forgets what was told to its runtime only. A policy that is not at work yet is so after its next start; until then
// somebody else has to let the packets through.
type firewalld struct {
	root string
}

func (*firewalld) name() string { return schema.ManagerFirewalld }

// The folders of firewalld(1): what the administrator said, and what the packages brought.
const (
	firewalldEtc = "/etc/firewalld"
	firewalldLib = "/usr/lib/firewalld"
)

func (f *firewalld) path(parts ...string) string {
	return filepath.Join(append([]string{"/", f.root}, parts...)...)
}

// file is where firewalld keeps a zone or policy that the administrator made.
func (f *firewalld) file(what, name string) string {
	return f.path(firewalldEtc, map[string]string{"zone": "zones", "policy": "policies"}[what], name+".xml")
}

// policies reads the policies of ours by name.
func (f *firewalld) policies() (map[string]*policyXML, error) {
	dir := f.path(firewalldEtc, "policies")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
	out := map[string]*policyXML{}
	for _, e := range entries {
		name, isXML := strings.CutSuffix(e.Name(), ".xml")
		if !isXML {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
		p := &policyXML{Target: "CONTINUE"}
		if err := xml.Unmarshal(b, p); err != nil {
			continue // firewalld does not take it either
		}
		out[name] = p
	}
	return out, nil
}

func (f *firewalld) read(context.Context) ([]*schema.Grant, error) { return f.grants() }

// grants are those of ours that its files hold.
func (f *firewalld) grants() ([]*schema.Grant, error) {
	policies, err := f.policies()
	if err != nil {
		return nil, err
	}
	var all []*schema.Grant
	for name, p := range policies {
		for _, g := range p.grants() {
			if g.Policy() == name { // a copy somebody made under another name is his
				all = append(all, g)
			}
		}
	}
	slices.SortFunc(all, func(a, b *schema.Grant) int { return strings.Compare(a.Ref().Name, b.Ref().Name) })
	return all, nil
}

// find returns the grant as it stands, or nil.
func (f *firewalld) find(g *schema.Grant) (*schema.Grant, error) {
	all, err := f.grants()
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if s.Ref() == g.Ref() {
			return s, nil
		}
	}
	return nil, nil
}

func (f *firewalld) add(ctx context.Context, g *schema.Grant) error {
	standing, err := f.find(g)
	switch {
	case err != nil:
		return err
	case standing != nil:
		return fmt.Errorf("firewalld has it: %w", fs.ErrExist)
	}
	c, err := f.command(ctx)
	if err != nil {
		return err
	}
	if err := f.ask(ctx, c, g); err != nil {
		return errors.Join(err, f.takeBack(context.WithoutCancel(ctx), g))
	}
	return nil
}

// ask tells firewalld, for good, and at once where it has the policy at work already.
func (f *firewalld) ask(ctx context.Context, c command, g *schema.Grant) error {
	for _, z := range []struct{ zone, device string }{{g.Zone, g.In}, {g.ToZone, g.Out}} {
		if err := f.makeZone(ctx, c, z.zone, z.device); err != nil {
			return err
		}
	}
	if err := f.makePolicy(ctx, c, g); err != nil {
		return err
	}
	if err := c.permanent(ctx, "--policy="+g.Policy(), "--add-rich-rule="+g.RichRule()); err != nil {
		return err
	}
	if slices.Contains(c.policies, g.Policy()) {
		if err := c.runtime(ctx, "--policy="+g.Policy(), "--add-rich-rule="+g.RichRule()); err != nil {
			return err
		}
	}
	standing, err := f.find(g)
	if err == nil && standing == nil {
		err = fmt.Errorf("firewalld has no such rule afterwards: %w", fs.ErrNotExist)
	}
	return err
}

// makeZone makes a zone of ours unless it is there: the default zone again, for one interface. Policies about the default
// zone are not about interfaces that nobody has put there, so none is lost.
func (f *firewalld) makeZone(ctx context.Context, c command, zone, device string) error {
	if !schema.OwnFirewalldZone(zone) {
		return nil
	}
	if _, err := os.Stat(f.file("zone", zone)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	base, err := f.defaultZone()
	if err != nil {
		return err
	}
	file, err := f.zoneFile(base)
	if err != nil {
		return err
	}
	if file, err = zoneFor(file, device); err != nil {
		return err
	}
	return f.fromFile(ctx, c, "zone", zone, file)
}

// defaultZone is where interfaces are that nobody has put anywhere.
func (f *firewalld) defaultZone() (string, error) {
	b, err := os.ReadFile(f.path(firewalldEtc, "firewalld.conf"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read firewalld's configuration: %w", err)
	}
	zone := "public" // its own fallback (config/__init__.py)
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if v, ok := strings.CutPrefix(strings.TrimSpace(s.Text()), "DefaultZone="); ok {
			zone = strings.TrimSpace(v)
		}
	}
	return zone, nil
}

func (f *firewalld) zoneFile(zone string) ([]byte, error) {
	b, err := os.ReadFile(f.file("zone", zone))
	if errors.Is(err, fs.ErrNotExist) {
		b, err = os.ReadFile(f.path(firewalldLib, "zones", zone+".xml"))
	}
	if err != nil {
		return nil, fmt.Errorf("read zone %s: %w", zone, err)
	}
	return b, nil
}

// makePolicy makes the policy of a grant unless it is there.
func (f *firewalld) makePolicy(ctx context.Context, c command, g *schema.Grant) error {
	policies, err := f.policies()
	if err != nil {
		return err
	}
	if p := policies[g.Policy()]; p != nil {
		if p.Short != g.Mark() || !slices.Equal(p.Ingress, []nameXML{{g.Zone}}) || !slices.Equal(p.Egress, []nameXML{{g.ToZone}}) {
			return fmt.Errorf("firewalld has a policy %s for something else: %w", g.Policy(), fs.ErrExist)
		}
		return nil
	}
	file, err := newPolicy(g)
	if err != nil {
		return err
	}
	return f.fromFile(ctx, c, "policy", g.Policy(), file)
}

func (f *firewalld) remove(ctx context.Context, g *schema.Grant) error {
	standing, err := f.find(g)
	switch {
	case err != nil:
		return err
	case standing == nil:
		return fmt.Errorf("firewalld has no such rule: %w", fs.ErrNotExist)
	}
	return f.takeBack(ctx, standing)
}

// takeBack takes a grant out of firewalld, and what was made for it and serves nobody else.
func (f *firewalld) takeBack(ctx context.Context, g *schema.Grant) error {
	policies, err := f.policies()
	if err != nil {
		return err
	}
	c, err := f.command(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(c.policies, g.Policy()) {
		if err := c.runtime(ctx, "--policy="+g.Policy(), "--remove-rich-rule="+g.RichRule()); err != nil {
			return err
		}
	}
	if policies[g.Policy()] != nil {
		if err := c.permanent(ctx, "--policy="+g.Policy(), "--remove-rich-rule="+g.RichRule()); err != nil {
			return err
		}
	}
	return f.sweep(ctx, c, g)
}

// sweep removes the policy of a grant when no rule is left in it, and then its zones when no policy needs them.
func (f *firewalld) sweep(ctx context.Context, c command, g *schema.Grant) error {
	policies, err := f.policies()
	if err != nil {
		return err
	}
	if p := policies[g.Policy()]; p != nil {
		if len(p.Rules) > 0 {
			return nil
		}
		if err := f.drop(ctx, c, "policy", g.Policy()); err != nil {
			return err
		}
		delete(policies, g.Policy())
	}
	for _, z := range []struct{ zone, device string }{{g.Zone, g.In}, {g.ToZone, g.Out}} {
		if !schema.OwnFirewalldZone(z.zone) || needed(policies, z.zone) {
			continue
		}
		if err := c.unbind(ctx, z.zone, z.device); err != nil {
			return err
		}
		if _, err := os.Stat(f.file("zone", z.zone)); err != nil {
			continue
		}
		if err := f.drop(ctx, c, "zone", z.zone); err != nil {
			return err
		}
	}
	return nil
}

func needed(policies map[string]*policyXML, zone string) bool {
	for _, p := range policies {
		if slices.Contains(p.Ingress, nameXML{zone}) || slices.Contains(p.Egress, nameXML{zone}) {
			return true
		}
	}
	return false
}

// drop deletes a zone or policy of ours, and the copy that firewalld keeps of its file.
func (f *firewalld) drop(ctx context.Context, c command, what, name string) error {
	if c.running {
		if err := c.permanent(ctx, "--delete-"+what+"="+name); err != nil {
			return err
		}
	} else if err := os.Remove(f.file(what, name)); err != nil {
		return fmt.Errorf("remove %s %s: %w", what, name, err)
	}
	if err := os.Remove(f.file(what, name) + ".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the copy of %s %s: %w", what, name, err)
	}
	return nil
}

// command is the way to tell firewalld: firewall-cmd(1) while it runs, else firewall-offline-cmd(1).
type command struct {
	running  bool
	policies []string // it is at work with these. One made since it was started is on its disk only
}

// The exit statuses of firewall-cmd (errors.py) for what is no error here.
const (
	notRunning = 252
	noZone     = 2
)

func (f *firewalld) command(ctx context.Context) (command, error) {
	if f.root != "" {
		return command{}, fmt.Errorf("firewalld works on the host's own files only, not below %s: %w", f.root, errors.ErrUnsupported)
	}
	said, err := run(ctx, "firewall-cmd", "--get-active-policies")
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == notRunning {
		return command{}, nil
	}
	return command{running: err == nil, policies: strings.Split(said, "\n")}, err
}

func (c command) permanent(ctx context.Context, args ...string) error {
	if c.running {
		_, err := run(ctx, "firewall-cmd", append([]string{"--permanent"}, args...)...)
		return err
	}
	_, err := run(ctx, "firewall-offline-cmd", args...)
	return err
}

func (c command) runtime(ctx context.Context, args ...string) error {
	_, err := run(ctx, "firewall-cmd", args...)
	return err
}

// unbind takes an interface out of a zone at once. The policies of the zone, and their chains, go with that.
func (c command) unbind(ctx context.Context, zone, device string) error {
	if !c.running {
		return nil
	}
	said, err := run(ctx, "firewall-cmd", "--get-zone-of-interface="+device)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == noZone {
		return nil
	}
	if err != nil || said != zone {
		return err
	}
	_, err = run(ctx, "firewall-cmd", "--zone="+zone, "--remove-interface="+device)
	return err
}

// fromFile makes a zone or policy from the text of its file. While firewalld is off the file is put into its place:
// firewall-offline-cmd 1.3 takes its own --new-policy-from-file and --delete-policy for a migration, and makes a public.xml.
func (f *firewalld) fromFile(ctx context.Context, c command, what, name string, content []byte) error {
	if !c.running {
		path := f.file(what, name)
		err := os.MkdirAll(filepath.Dir(path), 0o750)
		if err == nil {
			err = os.WriteFile(path, content, 0o644)
		}
		if err != nil {
			return fmt.Errorf("write a %s for firewalld: %w", what, err)
		}
		return nil
	}
	file, err := os.CreateTemp("", "vmnet-*.xml")
	if err != nil {
		return fmt.Errorf("write a %s for firewalld: %w", what, err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(content)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write a %s for firewalld: %w", what, err)
	}
	if err := c.permanent(ctx, fmt.Sprintf("--new-%s-from-file=%s", what, file.Name()), "--name="+name); err != nil {
		return err
	}
	if what == "zone" { // firewalld adds that to every new zone
		return c.permanent(ctx, "--zone="+name, "--remove-forward")
	}
	return nil
}
