package guest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/guest"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

func TestMain(m *testing.M) { os.Exit(guest.Main(m)) }

// The guest is another kernel with this machine's files, and has what the tests come for.
func TestGuest(t *testing.T) {
	here := release(t)
	guest.Run(t, func() {
		if !guest.Inside() {
			t.Fatal("not in the guest")
		}
		t.Logf("kernel %s", here)
		if _, err := os.Stat("guest_test.go"); err != nil {
			t.Errorf("not in the directory of the package: %v", err)
		}
		if err := os.WriteFile(filepath.Join(t.TempDir(), "f"), nil, 0o644); err != nil {
			t.Error(err)
		}
		t.Run("links", links)
	})
}

// links makes what the machine's own kernel may not have.
func links(t *testing.T) {
	world.InNewHost(t, func() {
		for _, line := range strings.Split(`link add br0 type bridge vlan_filtering 1
			link add d0 type dummy
			link set d0 master br0
			link add link br0 name br0.10 type vlan id 10
			link add bond0 type bond mode active-backup
			link add red type vrf table 10
			link add v0 type veth peer name v1
			tuntap add tap0 mode tap`, "\n") {
			if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
				t.Errorf("ip %s: %v\n%s", line, err, out)
			}
		}
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader("table bridge b { chain c { type filter hook forward priority 0; ct state established accept; vlan id 10 drop; }; }\n" +
			"table inet f { chain c { type filter hook forward priority 0; ct state new limit rate 1/second accept; }; }\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("nft: %v\n%s", err, out)
		}
	})
}

func release(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
