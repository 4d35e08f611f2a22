package hosttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

// Namespace is a real host: the providers of this machine's kernel, in a network namespace of their own. Its methods may be
// called from any goroutine.
type Namespace struct {
	host *providers.Host
	work chan func()
	root string // in front of the paths of files
}

// Netns makes a Namespace, which goes away with the test. TestMain has to call world.Main. Duplicate address detection is
// off for new links, so that rows need not wait a second for each IPv6 address.
func Netns(t testing.TB) *Namespace {
	t.Helper()
	n := &Namespace{work: make(chan func()), root: t.TempDir()}
	ready := make(chan error)
	var ended sync.WaitGroup
	ended.Go(func() {
		world.InNewHost(outside{t}, func() {
			err := n.open(n.root)
			ready <- err
			if err != nil {
				return
			}
			for f := range n.work {
				f()
			}
			if err := EndServices(n.host); err != nil {
				t.Errorf("end services: %v", err)
			}
			if err := n.host.Close(); err != nil {
				t.Errorf("close host: %v", err)
			}
		})
	})
	if err := <-ready; err != nil {
		t.Fatalf("new host: %v", err)
	}
	t.Cleanup(func() {
		close(n.work)
		ended.Wait()
	})
	return n
}

func (n *Namespace) open(root string) error {
	// Servers read their files again as somebody else, who has to come that far.
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
		return err
	}
	for _, path := range []string{rulesFile} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(rulesContent), 0o644); err != nil {
			return err
		}
	}
	for key, value := range map[string]string{
		"ipv6/conf/all/accept_dad": "0", "ipv6/conf/default/accept_dad": "0",
		"ipv4/conf/default/rp_filter": "0", // written, as sysctl.d does at boot, it is not handed on to links: see plan/sim
	} {
		if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0o644); err != nil {
			return fmt.Errorf("prepare settings: %w", err)
		}
	}
	h, err := providers.Open(providers.Options{FileRoot: root, Sysctls: moreSysctls()})
	n.host = h
	return err
}

// rulesFile is a file of rules that every host of this package has, and rulesContent what it holds.
const (
	rulesFile    = "/etc/iptables/rules.v4"
	rulesContent = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.0/8 -p tcp --sport 22 -j DROP\nCOMMIT\n"
)

// moreSysctls are settings that the suite changes and the provider reads only when asked.
func moreSysctls() []string {
	return []string{
		"net.ipv4.conf.all.promote_secondaries", "net.ipv6.conf.all.accept_dad", "net.ipv6.conf.default.accept_dad",
	}
}

// EndServices ends the servers that a test has left: they would outlive it.
func EndServices(h *providers.Host) error {
	s, err := h.Read(context.Background())
	if err != nil {
		return err
	}
	var errs []error
	for d := range schema.Each[*schema.Dnsmasq](s) {
		errs = append(errs, h.Do(context.Background(), schema.Change{Ref: d.Ref(), Before: d}))
	}
	return errors.Join(errs...)
}

// Inside runs f in the namespace.
func (n *Namespace) Inside(f func()) {
	done := make(chan struct{})
	n.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// Read reads the whole state.
func (n *Namespace) Read(ctx context.Context) (s *schema.State, err error) {
	n.Inside(func() { s, err = n.host.Read(ctx) })
	return s, err
}

// Do makes one change.
func (n *Namespace) Do(ctx context.Context, c schema.Change) (err error) {
	n.Inside(func() { err = n.host.Do(ctx, c) })
	return err
}

// outside lets world.InNewHost fail a test from a goroutine that is not the test's.
type outside struct{ testing.TB }

// FailNow only marks the test: the goroutine that runs it is another.
func (o outside) FailNow() { o.Fail() }

// Fatalf only marks the test.
func (o outside) Fatalf(format string, args ...any) { o.Errorf(format, args...) }
