package xtables

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// privateRun gives the test's thread a /run of its own: the machine's lock is not ours to hold.
func privateRun(t *testing.T) {
	t.Helper()
	newNamespace(t)
	err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	if err != nil {
		t.Fatalf("make a private /run: %v", err)
	}
}

func legacyRule() schema.Change {
	f := &schema.ForeignRule{Family: "ip", Table: "filter", Chain: "FORWARD", Legacy: true, Rule: schema.Rule{Text: "-d 192.0.2.1/32 -j DROP"}}
	return schema.Change{Ref: f.Ref(), After: f}
}

// A lock that somebody else keeps is waited for, for some seconds, and then he is named.
func TestLockIsHeld(t *testing.T) {
	privateRun(t)
	run(t, "", "iptables-legacy", "-P", "FORWARD", "ACCEPT") // the table
	holder := exec.Command("/usr/bin/flock", "/run/xtables.lock", "/bin/sleep", "60")
	holder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = unix.Kill(-holder.Process.Pid, unix.SIGKILL)
		_ = holder.Wait()
	}()
	for began := time.Now(); lockHolder(usualLock) == ""; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("flock does not take the lock")
		}
	}
	began := time.Now()
	err := Open(Options{}).Do(t.Context(), legacyRule())
	if err == nil || !strings.Contains(err.Error(), "; /run/xtables.lock is held by flock (pid ") {
		t.Errorf("the lock is held, and: %v", err)
	}
	if took := time.Since(began); took < 4*time.Second || took > 20*time.Second {
		t.Errorf("waited %v", took)
	}
	if rules := list(t, "iptables-legacy", "FORWARD"); len(rules) > 0 {
		t.Errorf("written all the same: %q", rules)
	}
}

// Whatever stands in the caller's PATH and environment, the host's own iptables is what runs.
func TestPoisonedEnvironment(t *testing.T) {
	privateRun(t)
	run(t, "", "iptables-legacy", "-P", "FORWARD", "ACCEPT")
	dir := t.TempDir()
	trap := filepath.Join(dir, "ran")
	for _, name := range []string{"iptables", "iptables-legacy", "xtables-legacy-multi", "modprobe"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n/bin/touch "+trap+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	t.Setenv("LD_PRELOAD", filepath.Join(dir, "evil.so"))
	t.Setenv("XTABLES_LIBDIR", dir) // iptables would find no extension there
	t.Setenv(lockVariable, filepath.Join(dir, "other.lock"))
	if err := Open(Options{}).Do(t.Context(), legacyRule()); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{trap, filepath.Join(dir, "other.lock")} {
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %v", file, err)
		}
	}
}
