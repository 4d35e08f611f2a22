package guests

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// The kernel tells which tap a process holds: one of this namespace, and not one that came with a file from elsewhere.
func TestHolderOfRealTap(t *testing.T) {
	world.InNewHost(t, func() {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatalf("open /dev/net/tun: %v", err)
		}
		req, err := unix.NewIfreq("vnet77")
		if err != nil {
			t.Fatal(err)
		}
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			t.Fatalf("attach: %v", err)
		}
		holder := exec.Command("sleep", "60")
		holder.ExtraFiles = []*os.File{os.NewFile(uintptr(fd), "tun")}
		if err := holder.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = holder.Process.Kill()
			_ = holder.Wait() // killed
		}()
		objects, err := New(t.TempDir()).WithHolders().Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			if h, ok := o.(*schema.Holder); !ok || h.Link != "vnet77" || h.PID != holder.Process.Pid || h.Process != "sleep" {
				t.Errorf("found %v", o)
			}
		}
		if len(objects) != 1 {
			t.Errorf("%d holders: %v", len(objects), objects)
		}
	})
}
