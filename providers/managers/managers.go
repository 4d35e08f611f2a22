// Package managers asks firewall managers for permissions, in their own words, and reads back those that bear our mark.
//
// It decides nothing, and writes nothing of its own into the kernel: the managers do. Where no manager is installed,
// reading costs one look at a file that is not there.
package managers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/vmnet/vmnet/schema"
)

// Provider reads and makes grants. It works in the network namespace of the thread that calls it.
type Provider struct {
	managers []manager
}

// manager is one firewall manager.
type manager interface {
	// name is what Grant.Manager says.
	name() string
	// read returns the grants that bear our mark; none where the manager is not installed.
	read(ctx context.Context) ([]*schema.Grant, error)
	// add and remove do what they say, or nothing: the manager is asked afterwards whether it did.
	add(ctx context.Context, g *schema.Grant) error
	remove(ctx context.Context, g *schema.Grant) error
}

// New returns a Provider of every manager that vmnet knows, with their files below root; "" is the host's own.
func New(root string) *Provider {
	return &Provider{[]manager{&ufw{root: root}, &firewalld{root: root}}}
}

// Kinds implements providers.Provider.
func (p *Provider) Kinds() []schema.Kind { return []schema.Kind{schema.KindGrant} }

// ClosedError is the error of Read for a manager whose files this user may not read: fs.ErrPermission.
type ClosedError struct {
	Manager string
	Err     error
}

// Error says whose files they are.
func (e *ClosedError) Error() string { return "read grants of " + e.Manager + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *ClosedError) Unwrap() error { return e.Err }

// Read implements providers.Provider. Where only some managers could be read it returns their grants, and a *ClosedError for each of the
// others, joined.
func (p *Provider) Read(ctx context.Context) ([]schema.Object, error) {
	var all []schema.Object
	var closed []error
	for _, m := range p.managers {
		grants, err := m.read(ctx)
		if errors.Is(err, fs.ErrPermission) {
			closed = append(closed, &ClosedError{m.name(), err})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read grants of %s: %w", m.name(), err)
		}
		for _, g := range grants {
			all = append(all, g)
		}
	}
	return all, errors.Join(closed...)
}

// Do makes or takes back one grant.
func (p *Provider) Do(ctx context.Context, c schema.Change) error {
	if err := p.do(ctx, c); err != nil {
		return fmt.Errorf("%s %s: %w", c.Verb(), c.Ref, err)
	}
	return nil
}

func (p *Provider) do(ctx context.Context, c schema.Change) error {
	before, _ := c.Before.(*schema.Grant)
	after, _ := c.After.(*schema.Grant)
	g := after
	if g == nil {
		g = before
	}
	switch {
	case g == nil:
		return errors.New("the change holds no grant")
	case before != nil && after != nil:
		return fmt.Errorf("a grant is there or not, nothing in it changes: %w", errors.ErrUnsupported)
	case g.Ref() != c.Ref:
		return fmt.Errorf("the change is about %s", g.Ref())
	}
	for _, m := range p.managers {
		if m.name() != g.Manager {
			continue
		}
		if after != nil {
			return m.add(ctx, after)
		}
		return m.remove(ctx, before)
	}
	return fmt.Errorf("vmnet does not know the manager %q: %w", g.Manager, errors.ErrUnsupported)
}
