package dnsmasq

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// TestOtherNamespace: the directory of servers is one for all network namespaces, and none sees or ends another's.
func TestOtherNamespace(t *testing.T) {
	root := t.TempDir()
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	d := &schema.Dnsmasq{Device: "br0", Address: "nat.lab", Listen: []netip.Addr{netip.MustParseAddr("10.20.0.1")}, DNS: &schema.DNS{}, State: schema.ServiceRunning}
	create := schema.Change{Ref: d.Ref(), After: d}
	bridge := func() {
		for _, args := range [][]string{{"link", "add", "br0", "type", "bridge"}, {"address", "add", "10.20.0.1/24", "dev", "br0"}, {"link", "set", "br0", "up"}} {
			if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
				t.Errorf("ip %v: %v: %s", args, err, out)
			}
		}
	}
	world.InNewHost(t, func() {
		p := New(root)
		bridge()
		if err := p.Do(t.Context(), create); err != nil {
			t.Fatal(err)
		}
		world.InNewHost(t, func() {
			bridge()
			if all, err := New(root).Read(t.Context()); len(all) > 0 || err != nil {
				t.Errorf("the other namespace sees %v, %v", all, err)
			}
			if err := New(root).Do(t.Context(), create); !errors.Is(err, fs.ErrExist) {
				t.Errorf("a second server of the name in another namespace: %v, want that it exists", err)
			}
		})
		all, err := p.Read(t.Context())
		if err != nil || len(all) != 1 || all[0].(*schema.Dnsmasq).State != schema.ServiceRunning {
			t.Fatalf("afterwards: %v, %v", all, err)
		}
		if err := p.Do(t.Context(), schema.Change{Ref: d.Ref(), Before: all[0]}); err != nil {
			t.Error(err)
		}
	})
}
