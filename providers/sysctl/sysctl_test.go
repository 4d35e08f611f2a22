package sysctl

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

func read(t *testing.T, p *Provider) *schema.State {
	t.Helper()
	objects, err := p.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return schema.NewState(objects...)
}

func change(key, before, after string) schema.Change {
	return schema.Change{
		Ref: schema.SysctlRef(key), Before: &schema.Sysctl{Key: key, Value: before}, After: &schema.Sysctl{Key: key, Value: after},
	}
}

// On the real kernel, in a network namespace of its own.
func TestKernel(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		p := New("").WithKeys("net.ipv4.tcp_rmem", "net.ipv4.conf.lo.rp_filter", "net.no.such.key")
		start := read(t, p)
		for _, key := range []string{
			"net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "net.ipv6.conf.default.accept_ra", "net.ipv4.ip_local_port_range",
		} {
			if _, ok := start.Sysctl(key); !ok {
				t.Errorf("%s was not read", key)
			}
		}
		for _, key := range []string{"net.ipv4.conf.lo.rp_filter", "net.no.such.key"} {
			if v, ok := start.Sysctl(key); ok {
				t.Errorf("%s = %q was read", key, v)
			}
		}

		for _, row := range []struct{ key, before, after string }{
			{"net.ipv4.ip_forward", "0", "1"},
			{"net.ipv4.conf.lo.rp_filter", "0", "2"},
			{"net.ipv4.ip_local_port_range", "32768 60999", "40000 50000"},
			{"net.ipv6.conf.all.forwarding", "0", "1"},
		} {
			do := change(row.key, row.before, row.after)
			if err := p.Do(t.Context(), do); err != nil {
				t.Fatal(err)
			}
			if got, err := p.read(row.key); err != nil || got != row.after {
				t.Errorf("%s = %q, %v, want %q", row.key, got, err, row.after)
			}
			if row.key == "net.ipv4.ip_forward" {
				if v, _ := read(t, p).Sysctl("net.ipv4.conf.all.forwarding"); v != "1" {
					t.Errorf("conf.all.forwarding is %q after ip_forward = 1", v)
				}
			}
			if err := p.Do(t.Context(), do); err == nil {
				t.Errorf("%v: a second time succeeded", do)
			}
			if err := p.Do(t.Context(), do.Inverse()); err != nil {
				t.Fatal(err)
			}
		}
		if d := schema.Diff(start, read(t, p)); len(d) > 0 {
			t.Errorf("at the end: %v", d)
		}

		// Values the kernel does not take leave the old one.
		if err := p.Do(t.Context(), change("net.ipv4.ip_local_port_range", "32768 60999", "9 1")); err == nil {
			t.Error("an empty range of ports was taken")
		}
		if d := schema.Diff(start, read(t, p)); len(d) > 0 {
			t.Errorf("after a refused value: %v", d)
		}
	})
}

func TestErrors(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "outside"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sys := filepath.Join(root, "sys")
	for name, value := range map[string]string{"net/ipv4/conf/eth0.100/rp_filter": "1\n", "net/ipv4/range": "1\t2\n"} {
		path := filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := New(sys)
	for _, row := range []struct {
		name string
		c    schema.Change
		want error // nil: succeeds
	}{
		{"a dot in a name", change("net.ipv4.conf.eth0/100.rp_filter", "1", "2"), nil},
		{"tabs are spaces", change("net.ipv4.range", "1 2", "10000 20000"), nil},
		{"shorter than before", change("net.ipv4.range", "10000 20000", "3 4"), nil},
		{"missing", change("net.ipv4.nope", "1", "2"), fs.ErrNotExist},
		{"created", schema.Change{Ref: schema.SysctlRef("net.ipv4.range"), After: &schema.Sysctl{Key: "net.ipv4.range", Value: "1"}}, fs.ErrExist},
		{"removed", schema.Change{Ref: schema.SysctlRef("net.ipv4.range"), Before: &schema.Sysctl{Key: "net.ipv4.range", Value: "3 4"}}, errors.ErrUnsupported},
		{"escape", change("net.//.//.//.outside", "secret", "x"), fs.ErrInvalid},
		{"escape at once", change("//.outside", "secret", "x"), fs.ErrInvalid},
		{"many dots", change("net....outside", "secret", "x"), fs.ErrInvalid},
		{"empty", change("", "", "x"), fs.ErrInvalid},
		{"absolute", change("/etc.passwd", "", "x"), fs.ErrNotExist},
	} {
		err := p.Do(t.Context(), row.c)
		if !errors.Is(err, row.want) || (row.want == nil) != (err == nil) {
			t.Errorf("%s: Do(%v) = %v, want %v", row.name, row.c, err, row.want)
		}
	}
	if got, err := p.read("net.ipv4.range"); got != "3 4" || err != nil {
		t.Errorf("net.ipv4.range = %q, %v", got, err)
	}
	if b, err := os.ReadFile(filepath.Join(root, "outside")); string(b) != "secret\n" || err != nil {
		t.Errorf("outside the root: %q, %v", b, err)
	}
}

func FuzzPath(f *testing.F) {
	for _, key := range []string{"net.ipv4.ip_forward", "net.ipv4.conf.eth0/100.rp_filter", "//.//", "..", "/", "a//.b"} {
		f.Add(key)
	}
	p := New("/proc/sys")
	f.Fuzz(func(t *testing.T, key string) {
		path, err := p.path(key)
		if err != nil {
			return
		}
		if inside, err := filepath.Rel("/proc/sys", path); err != nil || !filepath.IsLocal(inside) || inside == "." {
			t.Errorf("path(%q) = %q", key, path)
		}
	})
}
