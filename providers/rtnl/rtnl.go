package rtnl

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// Provider reads and writes the links, addresses, routes, policy rules, neighbours and FDB entries of one network
// namespace. Its methods may be called at the same time; they run one after the other.
type Provider struct {
	mu   sync.Mutex
	conn *conn
	sys  sysfs
	// namespace is where the Provider was opened.
	namespace string
}

// Open opens a Provider in the network namespace of the calling thread, where it stays. Reading needs no privileges;
// changing needs CAP_NET_ADMIN.
func Open() (*Provider, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	return &Provider{conn: c, sys: openSysfs(), namespace: namespace()}, nil
}

// Close gives up the socket.
func (p *Provider) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.conn.close(), p.sys.close())
}

// Kinds lists what this provider speaks for.
func (p *Provider) Kinds() []schema.Kind {
	return []schema.Kind{
		schema.KindLink, schema.KindAddress, schema.KindRoute, schema.KindPolicyRule, schema.KindNeighbour, schema.KindFDB,
	}
}

// Read returns everything of those kinds. It touches nothing and may run on any thread.
func (p *Provider) Read(ctx context.Context) ([]schema.Object, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range dumpTries {
		objects, err := p.readOnce(ctx)
		if !errors.Is(err, errInterrupted) {
			return objects, err
		}
	}
	return nil, fmt.Errorf("read links: they keep changing: %w, %d times", errInterrupted, dumpTries)
}

// readOnce reads links first: the other objects name them by index. One that names a link which appeared only afterwards
// makes the whole reading void (errInterrupted).
func (p *Provider) readOnce(ctx context.Context) ([]schema.Object, error) {
	links, err := p.readLinks(ctx)
	if err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	n := newNames(links)
	var all []schema.Object
	for _, l := range links {
		all = append(all, l.Link)
	}
	for _, r := range []struct {
		what string
		read func(context.Context, *names) ([]schema.Object, error)
	}{
		{"addresses", p.readAddresses},
		{"routes", p.readRoutes},
		{"rules", p.readRules},
		{"neighbours", p.readNeighbours},
		{"forwarding databases", p.readFDB},
	} {
		objects, err := r.read(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", r.what, err)
		}
		all = append(all, objects...)
	}
	if n.missed {
		return nil, errInterrupted
	}
	return all, nil
}

func (p *Provider) readLinks(ctx context.Context) ([]rawLink, error) {
	// No IFLA_EXT_MASK: any mask makes the kernel walk all devices once more to size its answer.
	links, err := dump(ctx, p.conn, unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg), decodeLink)
	if err != nil {
		return nil, err
	}
	byIndex := make(map[int]*schema.Link, len(links))
	plain := make([]*schema.Link, len(links))
	for i, l := range links {
		byIndex[l.index] = l.Link
		plain[i] = l.Link
	}
	for _, l := range links {
		if m := byIndex[l.master]; m != nil {
			l.Master = &m.Name
		}
		p.sys.pinned(l.Link)
	}
	if err := p.readVLANs(ctx, links, byIndex); err != nil {
		return nil, err
	}
	p.sys.queues(ctx, plain)
	if err := p.readGroups(ctx, byIndex); err != nil {
		return nil, err
	}
	return links, p.readPrograms(ctx, byIndex)
}

// Do makes one change, compare-and-set. It must be called on a thread in the namespace when it creates a tap.
func (p *Provider) Do(ctx context.Context, c schema.Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.change(ctx, c); err != nil {
		return fmt.Errorf("%s %s: %w", c.Verb(), c.Ref, err)
	}
	return nil
}

func (p *Provider) change(ctx context.Context, c schema.Change) error {
	switch c.Ref.Kind {
	case schema.KindLink:
		return changeOf(ctx, c, p.changeLink)
	case schema.KindAddress:
		return changeOf(ctx, c, p.changeAddress)
	case schema.KindRoute:
		return changeOf(ctx, c, p.changeRoute)
	case schema.KindPolicyRule:
		return changeOf(ctx, c, p.changeRule)
	case schema.KindNeighbour:
		return changeOf(ctx, c, p.changeNeighbour)
	case schema.KindFDB:
		return changeOf(ctx, c, p.changeFDB)
	default:
		return unsupported("rtnl does not change %s", c.Ref.Kind)
	}
}

// changeOf hands the sides of a Change on as what they are; nil for a side that is not there.
func changeOf[T any, P interface {
	*T
	schema.Object
}](ctx context.Context, c schema.Change, do func(ctx context.Context, before, after P) error) error {
	var sides [2]P
	for i, o := range []schema.Object{c.Before, c.After} {
		if o == nil {
			continue
		}
		v, ok := o.(P)
		if !ok || v == nil || v.Ref() != c.Ref {
			return fmt.Errorf("the change holds %T %v instead", o, o)
		}
		sides[i] = v
	}
	if sides[0] == nil && sides[1] == nil {
		return errors.New("the change is empty")
	}
	return do(ctx, sides[0], sides[1])
}

// one is the side of a change that is there: both say which object it is.
func one[T any](before, after *T) *T {
	if before != nil {
		return before
	}
	return after
}

// object makes a schema.Object of a pointer, keeping nil nil.
func object[T any, P interface {
	*T
	schema.Object
}](p P) schema.Object {
	if p == nil {
		return nil
	}
	return p
}

// names finds links by index.
type names struct {
	links map[int]*schema.Link
	// partial says that links holds a few of all: the others go by their number.
	partial bool
	// missed is set when an index was asked for that is not there.
	missed bool
}

// few are the names that a change of one object needs.
func few(links ...*schema.Link) *names {
	n := &names{links: make(map[int]*schema.Link, len(links)), partial: true}
	for _, l := range links {
		n.links[l.Facts.Index] = l
	}
	return n
}

func newNames(links []rawLink) *names {
	n := &names{links: make(map[int]*schema.Link, len(links))}
	for _, l := range links {
		n.links[l.index] = l.Link
	}
	return n
}

// name returns the name of a link; "" for index 0, which stands for none.
func (n *names) name(index int) string {
	if index == 0 {
		return ""
	}
	switch l := n.links[index]; {
	case l != nil:
		return l.Name
	case n.partial:
		return "#" + strconv.Itoa(index)
	}
	n.missed = true
	return ""
}
