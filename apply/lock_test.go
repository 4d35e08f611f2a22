package apply_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/apply"
)

func TestLockNamesItsHolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := apply.Acquire(t.Context(), apply.DirsAt(dir, ""), apply.Holder{PID: 4711, Command: "vmnet apply lab", Since: time.Now()}, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = apply.Acquire(t.Context(), apply.DirsAt(dir, ""), apply.Holder{}, 120*time.Millisecond)
	if !errors.Is(err, apply.ErrBusy) || !strings.Contains(err.Error(), "process 4711 (vmnet apply lab)") {
		t.Fatalf("second Acquire: %v, want busy and who holds it", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = first.Release() })
	second, err := apply.Acquire(t.Context(), apply.DirsAt(dir, ""), apply.Holder{}, 10*time.Second)
	if err != nil {
		t.Fatalf("Acquire while the first lets go: %v", err)
	}
	if err := second.Release(); err != nil {
		t.Error(err)
	}
}

// The name in the lock is taken back with it, whatever its length, and needs no room that a first one did not.
func TestLockIsSignedInPlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, command := range []string{"vmnet apply " + strings.Repeat("long", 100), "vmnet confirm"} {
		l, err := apply.Acquire(t.Context(), apply.DirsAt(dir, ""), apply.Holder{PID: 4711, Command: command}, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = apply.Acquire(t.Context(), apply.DirsAt(dir, ""), apply.Holder{}, 0)
		if busy, ok := errors.AsType[*apply.BusyError](err); !ok || busy.Holder.Command != command {
			t.Errorf("%v, want %s to hold it", err, command)
		}
		before := size(t, dir)
		if err := l.Release(); err != nil {
			t.Fatal(err)
		}
		if after := size(t, dir); after != before {
			t.Errorf("the lock has %d bytes, had %d: the next one needs room", after, before)
		}
		b, err := os.ReadFile(filepath.Join(dir, "lock"))
		if err != nil || strings.TrimSpace(string(b)) != "" {
			t.Errorf("given back, it still names somebody: %s (%v)", b, err)
		}
	}
}

func size(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestRuntimeDirIsPrivate(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	wide := filepath.Join(base, "wide")
	if err := os.Mkdir(wide, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(wide, os.ModeSticky|0o777); err != nil { // past the umask
		t.Fatal(err)
	}
	if _, err := apply.Acquire(t.Context(), apply.DirsAt(wide, ""), apply.Holder{}, 0); err == nil || !strings.Contains(err.Error(), "others may write there") {
		t.Errorf("a directory that anybody may write to: %v, want a refusal", err)
	}
	if info, err := os.Stat(wide); err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("mode %v, error %v; want it as it was", info.Mode(), err)
	}
	acquire(t, filepath.Join(base, "own"))
	if info, err := os.Stat(filepath.Join(base, "own")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, error %v; want 0700", info.Mode().Perm(), err)
	}
	sym := filepath.Join(base, "sym")
	if err := os.Symlink(wide, sym); err != nil {
		t.Fatal(err)
	}
	if _, err := apply.Acquire(t.Context(), apply.DirsAt(sym, ""), apply.Holder{}, 0); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a symbolic link as runtime directory: %v, want a refusal", err)
	}
	trap := filepath.Join(base, "trap")
	if err := os.Mkdir(trap, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", filepath.Join(trap, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := apply.Acquire(t.Context(), apply.DirsAt(trap, ""), apply.Holder{}, 0); err == nil {
		t.Error("a lock that is a symbolic link was followed")
	}
	own := apply.DirsAt(filepath.Join(base, "own"), "")
	if err := unix.Mkfifo(filepath.Join(own.State, "changes", "x.jsonl"), 0o600); err != nil {
		t.Fatal(err)
	}
	if open, err := own.Open(); err != nil || len(open) != 1 || !strings.Contains(open[0].Cause, "no regular file") { // and do not wait for a writer
		t.Errorf("a pipe as a journal: %v, %v, want one that cannot be read", open, err)
	}
}
