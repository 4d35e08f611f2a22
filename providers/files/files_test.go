package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/vmnet/vmnet/schema"
)

const (
	path = "/etc/iptables/rules.v4"
	old  = "*filter\n-A FORWARD -d 192.168.1.100 -p tcp --dport 22 -j DROP\nCOMMIT\n"
	good = "*filter\nCOMMIT\n"
)

// disk is a provider over a directory of its own, with rules.v4 in it.
type disk struct {
	*testing.T
	p    *Provider
	root string
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{t, nil, t.TempDir()}
	d.p = New().Under(d.root)
	d.write(path, old, 0o640)
	return d
}

func (d *disk) write(name, content string, mode fs.FileMode) {
	d.Helper()
	full := filepath.Join(d.root, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
		d.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), mode); err != nil {
		d.Fatal(err)
	}
	if err := os.Chmod(full, mode); err != nil {
		d.Fatal(err)
	}
}

func (d *disk) do(before, after string) error {
	return d.p.Do(d.Context(), schema.Change{
		Ref: schema.FileRef(path), Before: &schema.File{Path: path, Content: before}, After: &schema.File{Path: path, Content: after},
	})
}

// holds checks the names beside rules.v4, and its content and mode.
func (d *disk) holds(content string, names ...string) {
	d.Helper()
	dir := filepath.Join(d.root, "etc/iptables")
	entries, err := os.ReadDir(dir)
	if err != nil {
		d.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err != nil || info.Mode().Perm() != 0o640 {
			d.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if !slices.Equal(got, names) {
		d.Errorf("files %q, want %q", got, names)
	}
	if b, err := os.ReadFile(filepath.Join(d.root, path)); string(b) != content || err != nil {
		d.Errorf("content %q, %v, want %q", b, err, content)
	}
}

func TestReplaceAndUndo(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	if err := d.do(old, good); err != nil {
		t.Fatal(err)
	}
	d.holds(good, "rules.v4", copyNameOf(old))
	if b, err := os.ReadFile(filepath.Join(d.root, "etc/iptables", copyNameOf(old))); string(b) != old || err != nil {
		t.Errorf("the copy holds %q, %v", b, err)
	}
	if err := d.do(old, good); err == nil {
		t.Error("a second time succeeded")
	}
	// The undo, by another process: no copy of what we wrote ourselves.
	d.p = New().Under(d.root)
	if err := d.do(good, old); err != nil {
		t.Fatal(err)
	}
	d.holds(old, "rules.v4", copyNameOf(old))
	// And again.
	if err := d.do(old, good); err != nil {
		t.Fatal(err)
	}
	d.holds(good, "rules.v4", copyNameOf(old))
}

func copyNameOf(content string) string { return filepath.Base(copyName("rules.v4", content)) }

// What somebody else wrote is kept, even when it happens to be replaced by what once was there.
func TestKeepOthersContent(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	if err := d.do(old, good); err != nil {
		t.Fatal(err)
	}
	const theirs = "# mine\n"
	d.write(path, theirs, 0o640)
	if err := os.Chtimes(filepath.Join(d.root, path), time.Now(), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := d.do(theirs, old); err != nil {
		t.Fatal(err)
	}
	names := []string{"rules.v4", copyNameOf(old), copyNameOf(theirs)}
	slices.Sort(names)
	d.holds(old, names...)
}

func TestRead(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	objects, err := d.p.Read(t.Context())
	if err != nil || len(objects) != 1 {
		t.Fatalf("Read = %v, %v", objects, err)
	}
	if got, want := *objects[0].(*schema.File), (schema.File{Path: path, Mode: 0o640, Content: old}); got != want {
		t.Errorf("Read = %+v, want %+v", got, want)
	}
}

// A symbolic link stays, and what it names is replaced; below a root it cannot lead outside.
func TestSymlink(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	d.write("/srv/rules", old, 0o640)
	full := filepath.Join(d.root, path)
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/srv/rules", full); err != nil {
		t.Fatal(err)
	}
	if err := d.do(old, good); err != nil {
		t.Fatal(err)
	}
	if link, err := os.Readlink(full); link != "/srv/rules" || err != nil {
		t.Errorf("the link leads to %q, %v", link, err)
	}
	if b, err := os.ReadFile(filepath.Join(d.root, "srv/rules")); string(b) != good || err != nil {
		t.Errorf("the target holds %q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(d.root, "srv", filepath.Base(copyName("rules", old)))); err != nil {
		t.Error(err)
	}
}

// Without a root, links are followed as the system does.
func TestSymlinkForReal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := os.WriteFile(real, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	err := New(link).Do(t.Context(), schema.Change{
		Ref: schema.FileRef(link), Before: &schema.File{Path: link, Content: old}, After: &schema.File{Path: link, Content: good},
	})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
	if b, err := os.ReadFile(real); string(b) != good || err != nil {
		t.Errorf("the target holds %q, %v", b, err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	file := func(path, content string) *schema.File { return &schema.File{Path: path, Content: content} }
	for _, row := range []struct {
		name          string
		path          string
		before, after schema.Object
		want          error
	}{
		{"content changed", path, file(path, "else"), file(path, good), nil},
		{"missing", "/etc/iptables/rules.v6", file("/etc/iptables/rules.v6", old), file("/etc/iptables/rules.v6", good), fs.ErrNotExist},
		{"created over", path, nil, file(path, good), fs.ErrExist},
		{"created", "/etc/nftables.conf", nil, file("/etc/nftables.conf", good), errors.ErrUnsupported},
		{"deleted", path, file(path, old), nil, errors.ErrUnsupported},
		{"other path", path, file(path, old), file("/etc/shadow", good), nil},
		{"escape", "/etc/../../shadow", file("/etc/../../shadow", old), file("/etc/../../shadow", good), fs.ErrInvalid},
		{"relative", "etc/shadow", file("etc/shadow", old), file("etc/shadow", good), fs.ErrInvalid},
		{"directory", "/etc/iptables", file("/etc/iptables", old), file("/etc/iptables", good), nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(t)
			err := d.p.Do(t.Context(), schema.Change{Ref: schema.FileRef(row.path), Before: row.before, After: row.after})
			if err == nil || (row.want != nil && !errors.Is(err, row.want)) {
				t.Errorf("error %v, want %v", err, row.want)
			}
			d.holds(old, "rules.v4")
		})
	}
}

// A directory that cannot be written to leaves everything as it was.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	dir := filepath.Join(d.root, "etc/iptables")
	// A directory in the place of the copy makes keeping it fail, also for root.
	if err := os.Mkdir(filepath.Join(dir, copyNameOf(old)), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := d.do(old, good); err == nil {
		t.Error("replaced without keeping a copy")
	}
	d.holds(old, "rules.v4", copyNameOf(old))
}
