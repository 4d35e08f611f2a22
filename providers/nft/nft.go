package nft

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/xt"
	"github.com/vmnet/vmnet/schema"
)

// Provider speaks for the nftables tables of one network namespace. Its methods may not run at the same time.
type Provider struct {
	sock       *socket
	watch      *watch
	sets       *xt.Sets
	generation uint32
	unstable   bool
}

// Open opens a netlink socket in the network namespace of the calling thread. It needs no privilege; Read and Do need
// CAP_NET_ADMIN in the user namespace that owns the network namespace.
func Open() (*Provider, error) {
	s, err := openSocket()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	w, err := openWatch(s.conn.PID())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open nftables: %w", err), s.close())
	}
	return &Provider{sock: s, watch: w, sets: xt.OpenSets()}, nil
}

// Close closes the socket. After a Do that deleted something the kernel takes some 10 ms for it.
func (p *Provider) Close() error {
	p.sets.Close()
	return errors.Join(p.watch.close(), p.sock.close())
}

// Kinds returns the kinds this package speaks for.
func (p *Provider) Kinds() []schema.Kind { return []schema.Kind{schema.KindTable, schema.KindNftRule} }

// Generation is the generation of the ruleset at the last Read; every commit raises it. 0 before the first.
func (p *Provider) Generation() uint32 { return p.generation }

// Unstable tells whether the ruleset kept changing during the last Read, so that its tables may not have existed together.
func (p *Provider) Unstable() bool { return p.unstable }

// readTries is how often a ruleset that changes while it is read is read anew.
const readTries = 8

// Read returns every table of every family, complete. Single rules are views of them (schema.State.Get), so they are not
// listed. The error is fs.ErrPermission without CAP_NET_ADMIN.
func (p *Provider) Read(ctx context.Context) ([]schema.Object, error) {
	tables, err := p.tables(ctx, everyTable)
	if err != nil {
		return nil, fmt.Errorf("read nftables: %w", err)
	}
	objects := make([]schema.Object, len(tables))
	for i, t := range tables {
		objects[i] = t
	}
	return objects, nil
}

// tables reads the tables a filter wants, between two equal generations; or says that there are none such. What does not come to rest is
// returned as it was seen at last, and Unstable says so.
func (p *Provider) tables(ctx context.Context, want filter) ([]*schema.Table, error) {
	defer p.sock.watch(ctx)()
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		want.anyhow = try >= readTries
		tables, gen, err := p.snapshot(want)
		moved := want.anyhow && errors.Is(err, errMoved)
		switch {
		case err == nil || moved:
			p.generation, p.unstable = gen.id, moved
			return tables, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !changedMeanwhile(err):
			return nil, err
		case want.anyhow:
			return nil, fmt.Errorf("%w (tried %d times)%s", err, try, p.byAnyone())
		}
		_ = p.Watch() // whoever is in the way is named, where that is allowed
		pause(ctx, try)
	}
}

// pause waits a little, longer each time: who wrote may be done by then.
func pause(ctx context.Context, try int) {
	t := time.NewTimer(time.Millisecond << min(try-1, 4))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// errMoved says that the dumps are whole, but not of one generation.
var errMoved = errors.New("the ruleset changed between two dumps")

// changedMeanwhile tells whether reading again can help: a chain or set may be gone before its turn.
func changedMeanwhile(err error) bool {
	return errors.Is(err, errMoved) || errors.Is(err, errInterrupted) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAGAIN)
}
