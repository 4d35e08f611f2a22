package apply_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers/hosttest"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/config"
)

// wanted needs every verb on the host that drifted makes: a bridge, a NAT network and our table to create, the addresses
// and the default route of a NIC to move to the bridge, a tap to attach, settings to correct, and a bridge of ours that
// the file does not have to be removed with its address.
const wanted = `
vmnet {
  required_version = ">= 0.1"
}

bridge "lan" {
  device    = "br0"
  ports     = ["eno1"]
  addresses = ["192.0.2.10/24"]
  gateway   = "192.0.2.1"
}

nat "lab" {
  device = "virbr-lab"
  subnet = "10.20.0.0/24"
}

guest "db1" {
  network = nat.lab
  mac     = "52:54:00:12:34:56"
  address = "10.20.0.11"
  device  = "vnet3"
}

forward "ssh_db1" {
  tcp     = 2222
  to      = guest.db1
  to_port = 22
}
`

func load(t *testing.T) *schema.Desired {
	t.Helper()
	r, diags := config.Load("-", config.Options{Stdin: strings.NewReader(wanted)})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return r.Desired
}

// drifted is the host that needs it, on the model of the kernel.
func drifted(t *testing.T) (*hosttest.Fake, *schema.Desired) {
	t.Helper()
	h := &hosttest.Fake{State: hosttest.Fresh()}
	for _, o := range []schema.Object{
		&schema.Link{Name: "eno1", Type: "veth", Pair: "lan0", MTU: new(uint32(1500)), Up: new(true)},
		&schema.Link{Name: "vnet3", Type: "veth", Pair: "db1", MTU: new(uint32(1500)), Up: new(false)},
		&schema.Link{Name: "br-old", Type: "bridge", Alias: new(schema.AliasFor("bridge.old")), MAC: new("52:54:00:00:00:01"), Up: new(true)},
	} {
		do(t, h, nil, o)
	}
	do(t, h, nil, &schema.Address{Link: "eno1", Prefix: netip.MustParsePrefix("192.0.2.10/24")})
	do(t, h, nil, &schema.Address{Link: "br-old", Prefix: netip.MustParsePrefix("10.9.0.1/24"), Proto: new(uint8(schema.ProtoVMNET))})
	do(t, h, nil, &schema.Route{
		Table: schema.TableMain, Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Link: "eno1",
		Proto: new(uint8(schema.ProtoStatic)),
	})
	return h, load(t)
}

func do(t *testing.T, h apply.Host, before, after schema.Object) {
	t.Helper()
	o := after
	if o == nil {
		o = before
	}
	if err := h.Do(t.Context(), schema.Change{Ref: o.Ref(), Before: before, After: after}); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, h apply.Host) *schema.State {
	t.Helper()
	s, err := h.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newPlan(t *testing.T, h apply.Host, want *schema.Desired) *plan.Plan {
	t.Helper()
	p, err := plan.New(read(t, h), want, plan.Options{Now: time.Now(), ID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Steps) < 8 {
		t.Fatalf("the plan has %d steps: the test would prove little", len(p.Steps))
	}
	return p
}

// made is how often Do was called while the host was being made.
func made(h *hosttest.Fake) int { return len(h.Done()) }

// lens is a host that is seen through somebody's eyes: they may change what is read, not what is there.
type lens struct {
	apply.Host
	see func(*schema.State)
}

func (l lens) Read(ctx context.Context) (*schema.State, error) {
	s, err := l.Host.Read(ctx)
	if err == nil {
		l.see(s)
	}
	return s, err
}

// with is a copy of a live link with something of it changed.
func with(s *schema.State, change schema.Link) *schema.Link {
	return schema.Merge(s.Link(change.Name), &change).(*schema.Link)
}

func acquire(t *testing.T, dir string) *apply.Lock {
	t.Helper()
	l, err := apply.Acquire(t.Context(), apply.DirsAt(dir, ""), apply.Holder{PID: 1, Command: "test"}, 0)
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
