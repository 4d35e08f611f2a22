package neighbour

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// base is where the private files live, on the host's own /run.
const base = "/run/neighbour"

// Prepare gives the host of the calling goroutine an /etc and /var of its own, once, as Start does: for tests that read the
// host's files before a neighbour starts.
func Prepare(t testing.TB) {
	t.Helper()
	if err := inside(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(base); err == nil {
		return
	}
	if err := private(); err != nil {
		t.Fatalf("make private files: %v", err)
	}
}

// inside tells whether the calling thread is a host of its own: a manager's rules must never reach another's.
func inside() error {
	own, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("read namespace: %w", err)
	}
	first, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return fmt.Errorf("read namespace: %w", err)
	}
	if own == first {
		return errors.New("neighbours are started inside world.InNewHost only")
	}
	return nil
}

func private() error {
	for _, dir := range []string{"/run/lock", "/run/dbus", "/run/netns"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := copyTree("/etc", base+"/etc"); err != nil {
		return err
	}
	if err := os.WriteFile(base+"/etc/machine-id", []byte("0123456789abcdef0123456789abcdef\n"), 0o644); err != nil {
		return err
	}
	if err := bind(base+"/etc", "/etc"); err != nil {
		return err
	}
	for _, dir := range []string{"/var/lib", "/var/log", "/var/cache"} {
		if err := os.MkdirAll(base+dir, 0o755); err != nil {
			return err
		}
		if err := bind(base+dir, dir); err != nil {
			return err
		}
	}
	return choose("nft")
}

func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", to, err)
	}
	return nil
}

// ours are the folders of /etc that say how this machine's own managers are set up: the neighbours begin without.
var ours = []string{"ufw", "firewalld", "docker", "libvirt", "iptables", "nftables.d", "NetworkManager", "ssl", "shadow", "gshadow"}

// copyTree copies what may be read of a folder.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(path, from)
		switch {
		case errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case slices.Contains(ours, strings.TrimPrefix(rel, "/")):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return copyEntry(path, to+rel, d)
	})
}

func copyEntry(from, to string, d fs.DirEntry) error {
	switch {
	case d.IsDir():
		return os.MkdirAll(to, 0o755)
	case d.Type() == fs.ModeSymlink:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case !d.Type().IsRegular():
		return nil
	}
	content, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s, err := d.Info()
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, s.Mode().Perm())
}

// choose makes iptables and its kin mean one of the two backends, "nft" or "legacy".
func choose(backend string) error {
	for _, tool := range []string{"iptables", "ip6tables"} {
		for _, verb := range []string{"", "-save", "-restore"} {
			link := "/etc/alternatives/" + tool + verb
			if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err := os.Symlink("/usr/sbin/"+tool+"-"+backend+verb, link); err != nil {
				return err
			}
		}
	}
	return nil
}
