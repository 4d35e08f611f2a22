package program_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/program"
)

func command(name string, args ...string) program.Command {
	return program.Command{Name: name, Args: args, Patience: 10 * time.Second}
}

// Nothing of the caller's environment reaches a program, and the caller's PATH finds none.
func TestPoisonedEnvironment(t *testing.T) {
	dir := t.TempDir()
	trap := filepath.Join(dir, "ran")
	if err := os.WriteFile(filepath.Join(dir, "env"), []byte("#!/bin/sh\ntouch "+trap+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("LD_PRELOAD", filepath.Join(dir, "evil.so"))
	t.Setenv("LD_LIBRARY_PATH", dir)
	t.Setenv("XTABLES_LIBDIR", dir)
	t.Setenv("BASH_ENV", filepath.Join(dir, "env"))
	t.Setenv("SECRET", "hunter2")
	c := command("env")
	c.Env = []string{"XTABLES_LOCKFILE=/dev/null"}
	said, err := program.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(said, "\n")
	slices.Sort(got)
	want := []string{"LANG=C", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "XTABLES_LOCKFILE=/dev/null"}
	if !slices.Equal(got, want) {
		t.Errorf("environment %q, want %q", got, want)
	}
	if _, err := os.Stat(trap); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the program of the caller's PATH ran")
	}
	if _, err := program.Find("no-such-program"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("find: %v", err)
	}
}

// A descriptor that is not close-on-exec is the program's too: a lock held by it lasts as long as the program.
func TestDescriptorsAreHandedOn(t *testing.T) {
	lock := filepath.Join(t.TempDir(), "lock")
	kept, err := unix.Open(lock, unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(kept)
	shut, err := unix.Open(lock, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(shut)
	said, err := program.Run(t.Context(), command("readlink", fmt.Sprintf("/proc/self/fd/%d", kept)))
	if err != nil || said != lock {
		t.Errorf("descriptor %d is %q in the program: %v", kept, said, err)
	}
	if said, err := program.Run(t.Context(), command("readlink", fmt.Sprintf("/proc/self/fd/%d", shut))); err == nil && said == lock {
		t.Errorf("a close-on-exec descriptor was handed on: %q", said)
	}
}

// A terminal's signals are not for the program: it is in a group of its own.
func TestOwnProcessGroup(t *testing.T) {
	said, err := program.Run(t.Context(), command("cat", "/proc/self/stat"))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(said)
	if pid, group := f[0], f[4]; pid != group || group == fmt.Sprint(unix.Getpgrp()) {
		t.Errorf("process %s is in group %s, ours is %d", pid, group, unix.Getpgrp())
	}
}

func TestFailures(t *testing.T) {
	_, err := program.Run(t.Context(), command("ls", "/no such file; touch /tmp/x"))
	failed, ok := errors.AsType[*program.Error](err)
	if !ok || failed.Code != 2 || !strings.Contains(failed.Said, "No such file or directory") {
		t.Errorf("ls: %v", err)
	}
	c := command("sleep", "60")
	c.Patience = 50 * time.Millisecond
	began := time.Now()
	if _, err := program.Run(t.Context(), c); err == nil || err.Error() != "sleep 60: sleep did not end within 50ms" || time.Since(began) > 5*time.Second {
		t.Errorf("sleep: %v after %v", err, time.Since(began))
	}
}
