package guests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// put writes files below a directory of the test.
func put(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLeases(t *testing.T) {
	root := t.TempDir()
	put(t, root, map[string]string{
		"var/lib/incus/networks/incusbr0/dnsmasq.leases": "1700000000 52:54:00:00:00:0A 10.0.0.5 web ff:00:01\n0 52:54:00:00:00:0b 10.0.0.6 * *\nduid 00:01:00:01\n1700000000 1234 fd00::5 web 00:02:00\nnonsense\n",
		"var/lib/libvirt/dnsmasq/virbr0.status":          `[{"ip-address":"192.168.122.73","mac-address":"52:54:00:AA:00:01","hostname":"db1","client-id":"ff:b5","expiry-time":1700000000}]`,
		"var/lib/libvirt/dnsmasq/virbr1.status":          "",
	})
	objects, err := New(root).Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range objects {
		l := o.(*schema.Lease)
		got = append(got, fmt.Sprintf("%s: %s [%s] %t", l.Link, l, l.ClientID, l.Expires.IsZero()))
	}
	want := "incusbr0: 10.0.0.5 for 52:54:00:00:00:0a (web) [ff:00:01] false\nincusbr0: 10.0.0.6 for 52:54:00:00:00:0b [] true\n" +
		"incusbr0: fd00::5 for client 00:02:00 (web) [00:02:00] false\nvirbr0: 192.168.122.73 for 52:54:00:aa:00:01 (db1) [ff:b5] false"
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// A process is told by its open taps, and its guest by its command line.
func TestHolders(t *testing.T) {
	proc := t.TempDir()
	put(t, proc, map[string]string{
		"4711/comm":      "qemu-system-x86\n",
		"4711/cmdline":   "/usr/bin/qemu-system-x86_64\x00-name\x00guest=db1,debug-threads=on\x00-device\x00{\"driver\":\"virtio-net-pci\",\"mac\":\"52:54:00:AA:00:01\"}\x00",
		"4711/fdinfo/33": "pos:\t0\nflags:\t0104002\nmnt_id:\t26\niff:\tvnet3\n",
		"4711/fdinfo/34": "pos:\t0\niff:\tvnet3\n",
		"4711/fdinfo/35": "pos:\t0\n",
		"80/comm":        "sshd\n",
		"80/fd/x":        "",
	})
	if err := os.Mkdir(filepath.Join(proc, "4711/fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, fd := range []string{"33", "34", "35"} {
		if err := os.Symlink("/dev/net/tun", filepath.Join(proc, "4711/fd", fd)); err != nil {
			t.Fatal(err)
		}
	}
	objects, err := (&Provider{proc: proc, root: t.TempDir(), holders: true}).Read(t.Context())
	if err != nil || len(objects) != 1 {
		t.Fatalf("%v: %v", objects, err)
	}
	h := objects[0].(*schema.Holder)
	if h.String() != "vnet3 held by qemu-system-x86[4711] (db1)" || len(h.MACs) != 1 || h.MACs[0] != "52:54:00:aa:00:01" {
		t.Errorf("%s %v", h, h.MACs)
	}
}

func TestDescribe(t *testing.T) {
	for line, want := range map[string]string{
		"cloud-hypervisor --net tap=vmtap0,mac=12:34:56:78:90:AB":                                                    " [12:34:56:78:90:ab]",
		"qemu -name web -device e1000,netdev=n0,mac=52:54:00:00:00:01 -device e1000,netdev=n1,mac=52:54:00:00:00:02": "web [52:54:00:00:00:01 52:54:00:00:00:02]",
		"lkvm run --name db": "db []",
	} {
		name, macs := describe(strings.Fields(line))
		if got := fmt.Sprintf("%s %v", name, macs); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}
