// Package sysctl reads and writes kernel settings, sysctl(8), as files below /proc/sys.
//
// It knows nothing of what they mean. Per-link settings (net.ipv4.conf.<link>.…) are read with the links, by package
// rtnl; here they can be written. Settings under /proc/sys/net belong to the network namespace of the thread that
// opens the file: call Read and Do on a thread that is in it.
package sysctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// Provider reads and writes the settings below one directory.
type Provider struct {
	root string
	keys []string
}

// New returns a Provider over root; "" stands for /proc/sys.
func New(root string) *Provider {
	if root == "" {
		root = "/proc/sys"
	}
	return &Provider{root: root, keys: standardKeys()}
}

// WithKeys returns a Provider that also reads these settings, such as those a configuration declares. Per-link settings
// among them are left out: they come with their links.
func (p *Provider) WithKeys(keys ...string) *Provider {
	c := *p
	c.keys = slices.Clone(p.keys)
	for _, k := range keys {
		if _, _, _, perLink := schema.SplitLinkSysctl(k); !perLink && !slices.Contains(c.keys, k) {
			c.keys = append(c.keys, k)
		}
	}
	return &c
}

// standardKeys are the settings that decide whether packets of VMs get through
// (Documentation/networking/ip-sysctl.rst, bridge-nf in the same place).
func standardKeys() []string {
	keys := []string{
		"net.ipv4.ip_forward",
		"net.ipv4.icmp_echo_ignore_all",
		"net.ipv4.ip_local_port_range",
		"net.netfilter.nf_conntrack_max",
		"net.netfilter.nf_conntrack_tcp_loose",
		"net.bridge.bridge-nf-call-iptables",
		"net.bridge.bridge-nf-call-ip6tables",
		"net.bridge.bridge-nf-call-arptables",
		"net.bridge.bridge-nf-filter-vlan-tagged",
	}
	for _, of := range []string{"all", "default"} {
		for _, name := range []string{
			"forwarding", "rp_filter", "route_localnet", "arp_ignore", "arp_announce", "arp_filter", "proxy_arp", "accept_local", "src_valid_mark",
			"ignore_routes_with_linkdown", "bc_forwarding",
		} {
			keys = append(keys, "net.ipv4.conf."+of+"."+name)
		}
		for _, name := range []string{"forwarding", "disable_ipv6", "accept_ra"} {
			keys = append(keys, "net.ipv6.conf."+of+"."+name)
		}
	}
	return keys
}

// Kinds lists what this provider speaks for.
func (p *Provider) Kinds() []schema.Kind { return []schema.Kind{schema.KindSysctl} }

// Read returns the settings that exist. One whose module is not loaded is not there.
func (p *Provider) Read(ctx context.Context) ([]schema.Object, error) {
	var all []schema.Object
	for _, key := range p.keys {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		value, err := p.read(key)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read sysctl/%s: %w", key, err)
		}
		all = append(all, &schema.Sysctl{Key: key, Value: value})
	}
	return all, nil
}

// Do writes one setting, compare-and-set. A setting is never made and never removed: a Change without Before is for
// one that does not exist, and fails for that reason; a Change without After fails, too.
func (p *Provider) Do(_ context.Context, c schema.Change) error {
	if err := p.change(c); err != nil {
		return fmt.Errorf("%s %s: %w", c.Verb(), c.Ref, err)
	}
	return nil
}

func (p *Provider) change(c schema.Change) error {
	before, _ := c.Before.(*schema.Sysctl)
	after, _ := c.After.(*schema.Sysctl)
	if after == nil {
		return fmt.Errorf("a sysctl cannot be removed: %w", errors.ErrUnsupported)
	}
	if after.Key != c.Ref.Name {
		return fmt.Errorf("the change is about %s", after.Key)
	}
	live, err := p.read(after.Key)
	switch {
	case err != nil:
		return err
	case before == nil:
		return fmt.Errorf("it is there already (%s): %w", live, fs.ErrExist)
	case live != normal(before.Value):
		return fmt.Errorf("it changed meanwhile: it is %q, not %q", live, before.Value)
	}
	return p.set(after.Key, live, normal(after.Value))
}

// set writes and reads back: the kernel takes some values and keeps others.
func (p *Provider) set(key, old, value string) error {
	if err := p.write(key, value); err != nil {
		return err
	}
	now, err := p.read(key)
	if err == nil && now == value {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("the kernel made %q of %q", now, value)
	}
	if e := p.write(key, old); e != nil {
		err = errors.Join(err, fmt.Errorf("put %q back: %w", old, e))
	}
	return err
}

// path is the file of a key: dots become slashes, and slashes dots (sysctl(8), as in net.ipv4.conf.eth0/100.rp_filter).
func (p *Provider) path(key string) (string, error) {
	parts := strings.Split(key, ".")
	for i, part := range parts {
		parts[i] = strings.ReplaceAll(part, "/", ".")
		if parts[i] == "" || parts[i] == "." || parts[i] == ".." || strings.ContainsRune(part, 0) {
			return "", fmt.Errorf("%q is not the name of a sysctl: %w", key, fs.ErrInvalid)
		}
	}
	return filepath.Join(append([]string{p.root}, parts...)...), nil
}

func (p *Provider) read(key string) (string, error) {
	path, err := p.path(key)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", short(err)
	}
	return normal(string(b)), nil
}

// write never makes a file, also where root is a directory of a test.
func (p *Provider) write(key, value string) error {
	path, err := p.path(key)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, unix.O_WRONLY, 0)
	if err != nil {
		return short(err)
	}
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		// Files of a test have a size; those of procfs say 0 and need no truncation.
		if err := f.Truncate(0); err != nil {
			return errors.Join(short(err), f.Close())
		}
	}
	_, err = f.WriteString(value + "\n")
	return errors.Join(short(err), short(f.Close()))
}

// short leaves out the path, which the Ref says already.
func short(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// normal separates fields by single spaces.
func normal(value string) string { return strings.Join(strings.Fields(value), " ") }
