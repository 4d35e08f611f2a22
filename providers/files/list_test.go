package files

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// TestReadAll: includes are followed, signs are read, and what a sign lacks is no error.
func TestReadAll(t *testing.T) {
	d := newDisk(t)
	d.write("/etc/nftables.conf", "include \"/etc/nftables.d/*.nft\"\ninclude \"more.nft\"\ninclude \"/etc/gone.nft\"\n", 0o644)
	d.write("/etc/nftables.d/b.nft", "include \"/etc/nftables.conf\"\n", 0o644) // a circle ends
	d.write("/etc/nftables.d/a.nft", "table ip a\n", 0o644)
	d.write("/etc/nftables.d/a.txt", "not included\n", 0o644)
	d.write("/etc/more.nft", "table ip m\n", 0o644)
	d.write("/etc/ufw/ufw.conf", "ENABLED=yes\n", 0o644)
	d.write("/etc/os-release", "", 0o644)
	d.write("/etc/firewalld/firewalld.conf/x", "a directory in its place\n", 0o644)
	d.write("/run/docker.pid", fmt.Sprintln(os.Getpid()), 0o644)
	d.write("/run/firewalld.pid", "2147483646\n", 0o644) // beyond any pid_max
	d.write("/run/libvirtd.pid", "x\n", 0o644)
	d.write("/lib/systemd/system/nftables.service", "[Unit]\n", 0o644)
	d.write("/etc/systemd/system/sysinit.target.wants/other.service", "[Unit]\n", 0o644)
	if err := os.Symlink("/lib/systemd/system/nftables.service", filepath.Join(d.root, "/etc/systemd/system/sysinit.target.wants/nftables.service")); err != nil {
		t.Fatal(err)
	}
	all, err := d.p.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range all {
		got = append(got, o.(*schema.File).Path)
	}
	want := []string{
		"/etc/iptables/rules.v4", "/etc/nftables.conf", "/etc/nftables.d/a.nft", "/etc/nftables.d/b.nft", "/etc/more.nft",
		"/etc/ufw/ufw.conf", "/run/docker.pid", "/etc/systemd/system/sysinit.target.wants/nftables.service",
	}
	if !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

// BenchmarkRead is what reading all files adds to a snapshot.
func BenchmarkRead(b *testing.B) {
	p := New()
	for b.Loop() {
		if _, err := p.Read(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
