package torture_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// waits makes a change that waits for so long, and returns when it does.
func (x *trial) waits(confirm string, more ...string) (*vmnet, *follower) {
	x.Helper()
	v := x.start(append([]string{"apply", x.config, "--auto-approve", "--confirm", confirm}, more...)...)
	f := x.follow()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, l := range f.next() {
			if l.Type == "wait" {
				return v, f
			}
		}
	}
	x.Fatalf("it does not wait\n%s", v.out.String())
	return nil, nil
}

// TestLate: the deadline is over and the watchdog does not act, or cannot say so. Whoever waits sees to it, and ends.
func TestLate(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*trial, *follower){
		"stopped": func(x *trial, f *follower) { x.must(unix.Kill(f.dog(), unix.SIGSTOP)) },
		"moved": func(x *trial, _ *follower) {
			x.must(os.Rename(filepath.Join(x.run, "state", "changes"), filepath.Join(x.run, "state", "moved")))
		},
		"read only": func(x *trial, _ *follower) { x.sh("mount -o remount,ro " + filepath.Join(x.run, "state")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			try(t, plain(), func(x *trial) {
				state := filepath.Join(x.run, "state")
				x.must(os.MkdirAll(state, 0o700))
				if name == "read only" {
					x.sh("mount -t tmpfs -o mode=700 tmpfs " + state)
					defer x.sh("umount -l " + state)
				}
				v, f := x.waits("3s")
				defer f.close()
				spoil(x, f)
				code := x.code(v)
				if changed := x.changed(); code != 6 || len(changed) > 0 {
					x.Errorf("code %d, changed %v\n%s", code, changed, v.out.String())
				}
			})
		})
	}
}

// TestMovedFolder: nobody waits but the watchdog, and somebody moved the folder with the journal.
func TestMovedFolder(t *testing.T) {
	t.Parallel()
	try(t, plain(), func(x *trial) {
		v, f := x.waits("2s", "--detach")
		defer f.close()
		x.must(os.Rename(filepath.Join(x.run, "state", "changes"), filepath.Join(x.run, "state", "moved")))
		x.code(v)
		x.quiet()
		if changed := x.changed(); len(changed) > 0 {
			x.Errorf("not undone: %v", changed)
		}
	})
}

// TestDeadConfirmer: whoever confirmed a change died at once. Its watchdog completes it, and it is told as what it is.
func TestDeadConfirmer(t *testing.T) {
	t.Parallel()
	try(t, plain(), func(x *trial) {
		v, f := x.waits("3s", "--detach")
		defer f.close()
		x.code(v)
		dog := f.dog()
		x.must(unix.Kill(dog, unix.SIGSTOP))
		j, err := os.OpenFile(x.open()[0], os.O_APPEND|os.O_WRONLY, 0)
		x.must(err)
		_, err = j.WriteString(`{"type":"confirmed","time":"2026-01-02T03:04:05Z","who":{"login":{"kind":"console"}},"by":{"pid":4194305,"start":1}}` + "\n")
		x.must(err)
		x.must(j.Close())
		if _, out := x.vmnet("plan", x.config); !strings.Contains(strings.Join(strings.Fields(out), " "), "is confirmed and stays") {
			x.Errorf("plan\n%s", out)
		}
		x.must(unix.Kill(dog, unix.SIGCONT))
		x.quiet()
		if h, left := x.history(), x.steps(); len(h) != 1 || h[0] != "applied" || left != 0 {
			x.Errorf("history %v, steps left %d", h, left)
		}
	})
}
