package xtables

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/vmnet/vmnet/providers/xt"
	"github.com/vmnet/vmnet/schema"
)

// Options say how a Provider works.
type Options struct {
	// NFTables reads the nftables tables as they are now: rules written through iptables-nft are checked against them. Nil:
	// such rules cannot be written.
	NFTables func(context.Context) ([]schema.Object, error)
	// ByHandle makes a change to a rule of nftables by netlink: rules of arptables-nft are deleted so. Nil: they are not.
	ByHandle func(context.Context, schema.Change) error
}

// Provider reads legacy tables (kind xtable) and writes single rules (kind xrule) in the network namespace of the thread
// that calls it.
type Provider struct {
	options Options
}

// Open returns a Provider. Nothing is touched.
func Open(o Options) *Provider { return &Provider{o} }

// Kinds implements providers.Provider.
func (p *Provider) Kinds() []schema.Kind { return []schema.Kind{schema.KindXTable, schema.KindXRule} }

// Read returns the legacy tables that exist, and stand-ins for what cannot be read. Not being allowed to look is fs.ErrPermission.
func (p *Provider) Read(ctx context.Context) ([]schema.Object, error) {
	sets := xt.OpenSets()
	defer sets.Close()
	out, err := p.read(ctx, sets)
	if err == nil && sets.Doubtful() { // a rule writes into a set that an earlier one looks into: known now
		sets.Again()
		out, err = p.read(ctx, sets)
	}
	if err != nil {
		return nil, err
	}
	others, err := unread()
	if err != nil {
		return nil, err
	}
	for _, t := range others {
		out = append(out, t)
	}
	return out, nil
}

func (p *Provider) read(ctx context.Context, sets *xt.Sets) ([]schema.Object, error) {
	var out []schema.Object
	for _, f := range families {
		names, err := tableNames(f.names)
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			continue
		}
		tables, err := f.read(ctx, sets, names)
		if err != nil {
			return nil, fmt.Errorf("read legacy tables of %s: %w", f.name, err)
		}
		for _, t := range tables {
			out = append(out, t)
		}
	}
	return out, nil
}

// tableNames reads the list of tables that exist; a kernel without legacy iptables has no such file. The list is for root and its
// group alone. Who may not read it is told that there are none only where the kernel has no code for any.
func tableNames(file string) ([]string, error) {
	b, err := os.ReadFile("/proc/thread-self/net/" + file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		if modules, e := os.ReadFile("/proc/modules"); e == nil && idle(string(modules), strings.TrimSuffix(file, "_names")) {
			return nil, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list legacy tables: %w", err)
	}
	return strings.Fields(string(b)), nil
}

// idle tells, from /proc/modules, that nobody can have tables of a core module (ip_tables, ip6_tables, arp_tables): it is a module, and
// none of those that bring tables, which all use it, is loaded. The third field is how many use it, the fourth which
// (kernel/module/procfs.c); "-" stands for none, and in place of the number for a kernel that does not count.
func idle(modules, core string) bool {
	for line := range strings.Lines(modules) {
		f := strings.Fields(line)
		if len(f) >= 4 && f[0] == core {
			return f[2] == "0" && f[3] == "-"
		}
	}
	return false
}
