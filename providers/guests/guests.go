// Package guests finds the machines behind a host's taps: which process holds a tap (proc(5)), and which addresses the host's DHCP
// servers gave away (dnsmasq(8), libvirt's and Incus' copies of it).
//
// It changes nothing, and asks no hypervisor. Holders are those in the network namespace of the calling thread.
package guests

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// Provider reads holders and leases.
type Provider struct {
	proc, root string
	holders    bool
}

// New returns a Provider of the leases below root; "" is the host's own.
func New(root string) *Provider { return &Provider{proc: "/proc", root: root} }

// WithHolders returns a Provider that also says who holds which tap. That looks at every open file of every process:
// milliseconds on a busy host, and complete only for root.
func (p *Provider) WithHolders() *Provider {
	c := *p
	c.holders = true
	return &c
}

// Kinds lists what this provider speaks for.
func (p *Provider) Kinds() []schema.Kind { return []schema.Kind{schema.KindHolder, schema.KindLease} }

// Read returns holders, where they are asked for, and leases. What may not be read is left out: both are evidence, and nothing
// rests on one that is missing.
func (p *Provider) Read(ctx context.Context) ([]schema.Object, error) {
	all := p.leases()
	if !p.holders {
		return all, ctx.Err()
	}
	dirs, _ := filepath.Glob(filepath.Join(p.proc, "[0-9]*"))
	here, _ := os.Readlink(filepath.Join(p.proc, "thread-self/ns/net"))
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if there, err := os.Readlink(filepath.Join(dir, "ns/net")); err == nil && there != here {
			continue // its tap of that name is another namespace's
		}
		all = append(all, held(dir)...)
	}
	return all, ctx.Err()
}

// readFile is a file's content, "" for one that cannot be read or is larger than a table of leases can be.
func readFile(path string) string {
	const most = 4 << 20
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > most {
		return ""
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b)
}

// trimmed is a small file of /proc without the newline; "" for one that cannot be read.
func trimmed(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
