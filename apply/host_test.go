package apply_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

var errInjected = errors.New("injected fault")

// memory is a host that keeps its state in memory and obeys the contract of a provider: compare-and-set, what an object
// requires must be there, what is required stays. It knows nothing else of a kernel.
type memory struct {
	state *schema.State
	calls int // of Do

	failAt   int  // the call that fails, counting from 1; 0 for none
	failLate bool // it fails after it made the change
	onDo     func(call int, c schema.Change)
	onRead   func(*schema.State)
}

func (m *memory) Read(context.Context) (*schema.State, error) {
	s := m.state.Clone()
	if m.onRead != nil {
		m.onRead(s)
	}
	return s, nil
}

func (m *memory) Do(ctx context.Context, c schema.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.calls++
	if m.onDo != nil {
		m.onDo(m.calls, c)
	}
	if m.calls == m.failAt && !m.failLate {
		return errInjected
	}
	if err := m.do(c); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	if m.calls == m.failAt {
		return errInjected
	}
	return nil
}

func (m *memory) do(c schema.Change) error {
	live := m.state.Get(c.Ref)
	switch {
	case c.Before == nil && live != nil:
		return fs.ErrExist
	case c.Before != nil && live == nil:
		return fs.ErrNotExist
	case c.Before != nil && len(schema.Compare(live, c.Before)) > 0:
		return errors.New("changed meanwhile")
	}
	if c.After == nil {
		for o := range m.state.All() {
			for _, on := range o.Requires() {
				if on == c.Ref {
					return fmt.Errorf("%s needs it", o.Ref())
				}
			}
		}
		m.state.Delete(c.Ref)
		return nil
	}
	for _, on := range c.After.Requires() {
		if m.state.Get(on) == nil {
			return fmt.Errorf("%s: %w", on, fs.ErrNotExist)
		}
	}
	m.state.Put(schema.Clone(c.After))
	return nil
}

func link(name, kind, master string, mtu uint32) *schema.Link {
	return &schema.Link{Name: name, Type: kind, Master: new(master), MTU: new(mtu), Up: new(true), MAC: new(""), Alias: new("")}
}

func marked(l *schema.Link, address string) *schema.Link {
	l.Alias = new(schema.AliasFor(address))
	return l
}

func address(link, prefix string) *schema.Address {
	return &schema.Address{Link: link, Prefix: netip.MustParsePrefix(prefix), Proto: new(uint8(schema.ProtoVMNET))}
}

// drifted is a host that needs every verb: a bridge and an address to create, a port to attach, a setting to correct, an
// MTU to correct, and a bridge of ours with its address that no file wants any more.
func drifted() (*schema.State, *schema.Desired) {
	live := schema.NewState(
		link("eth0", "device", "", 1400), link("vnet3", "veth", "", 1500),
		marked(link("br-old", "bridge", "", 1500), "bridge.old"), address("br-old", "10.9.0.1/24"),
		&schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "0"},
		&schema.Sysctl{Key: "net.core.somaxconn", Value: "4096"},
	)
	want := schema.NewState(
		marked(link("br0", "bridge", "", 1500), "bridge.lan"), address("br0", "10.0.0.1/24"),
		&schema.Link{Name: "eth0", MTU: new(uint32(1500))},
		&schema.Link{Name: "vnet3", Master: new("br0")},
		&schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"},
	)
	return live, &schema.Desired{State: want}
}

func newPlan(t *testing.T, live *schema.State, want *schema.Desired) *plan.Plan {
	t.Helper()
	p, err := plan.New(live, want, plan.Options{Now: time.Now(), ID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if p.Empty() {
		t.Fatal("the plan is empty: the test would prove nothing")
	}
	return p
}

func acquire(t *testing.T, dir string) *apply.Lock {
	t.Helper()
	l, err := apply.Acquire(t.Context(), dir, apply.Holder{PID: 1, Command: "test"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Release(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func journal(t *testing.T) *apply.Journal {
	t.Helper()
	return acquire(t, filepath.Join(t.TempDir(), "run")).Journal("test")
}

// quick looks once: a host in memory has nothing to settle.
var quick = apply.Options{Settle: -1}
