package torture_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFullDisk: the journal's file system is full from the first byte, or some records after the head.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, room := range []int{-1, 10, 150, 420, 700, 1000, 1400, 2000} { // bytes beside the head; -1: not even that
		t.Run(strconv.Itoa(room), func(t *testing.T) {
			t.Parallel()
			try(t, plain(), func(x *trial) { x.fullDisk(room) })
		})
	}
}

func (x *trial) fullDisk(room int) {
	x.Helper()
	// The head has the command line: a long one moves the end of the head to where it is wanted in its last page.
	page := os.Getpagesize()
	long := (2*page - x.head()%page - max(room, 0)) % page
	command := []string{"apply", x.config, "--auto-approve", "--confirm", "10m", "--detach", "--lock-timeout=1." + strings.Repeat("0", long) + "s"}
	state := filepath.Join(x.run, "state")
	x.must(os.MkdirAll(state, 0o700))
	x.must(unix.Mount("tmpfs", state, "tmpfs", 0, "size=1m,mode=700"))
	defer func() { _ = unix.Unmount(state, unix.MNT_DETACH) }() // it goes with the host
	pages := 0
	if room >= 0 {
		pages = (x.head()+long)/page + 1
	}
	x.fill(state, pages)
	code, out := x.vmnet(command...)
	changed := x.changed()
	x.Logf("room for %d bytes: code %d", room, code)
	switch {
	case code == 0 && len(changed) > 0: // all but the end fitted
		code, out = x.vmnet("rollback")
		if changed = x.changed(); len(changed) > 0 {
			x.Errorf("rollback: code %d, %v\n%s", code, changed, out)
		}
	case code != 1 && code != 6 || len(changed) > 0 || !saysWhy(out):
		x.Errorf("code %d, %v\n%s", code, changed, out)
	}
	x.quiet()
	x.must(os.Remove(filepath.Join(state, "filler")))
	x.converges(false)
}

// saysWhy: where only the watchdog found no room to say that it is there, it is the watchdog that is missed.
func saysWhy(out string) bool {
	out = strings.Join(strings.Fields(out), " ")
	return strings.Contains(out, "no space left") || strings.Contains(out, "arm the watchdog")
}

// head is how long the head of the journal is, measured on a change that is taken back.
func (x *trial) head() int {
	x.Helper()
	if x.measured > 0 {
		return x.measured
	}
	run := x.run
	defer func() { x.run = run }()
	x.run = filepath.Join(filepath.Dir(run), "mmm") // as long as the other
	if code, out := x.vmnet("apply", x.config, "--auto-approve", "--confirm", "10m", "--detach", "--lock-timeout=1.s"); code != 0 || len(x.open()) != 1 {
		x.Fatalf("apply: code %d\n%s", code, out)
	}
	b, err := os.ReadFile(x.open()[0])
	x.must(err)
	first, _, _ := strings.Cut(string(b), "\n")
	if code, out := x.vmnet("rollback"); code != 0 {
		x.Fatalf("rollback: code %d\n%s", code, out)
	}
	x.quiet()
	x.measured = len(first) + 1
	return x.measured
}

// fill leaves some pages of a file system free, beside what vmnet's folders there take.
func (x *trial) fill(dir string, free int) {
	x.Helper()
	for _, folder := range []string{"changes", "history"} {
		x.must(os.Mkdir(filepath.Join(dir, folder), 0o700))
	}
	f, err := os.Create(filepath.Join(dir, "filler"))
	x.must(err)
	for err == nil {
		_, err = f.Write(make([]byte, os.Getpagesize()))
	}
	info, err := f.Stat()
	x.must(err)
	x.must(f.Truncate(info.Size() - int64(free*os.Getpagesize())))
	x.must(f.Close())
}

// TestTraps: what lies where vmnet writes, put there by somebody else, is never followed, and nothing is for others to read.
func TestTraps(t *testing.T) {
	t.Parallel()
	try(t, plain(), func(x *trial) {
		elsewhere := filepath.Join(x.TempDir(), "elsewhere")
		x.must(os.Mkdir(elsewhere, 0o755))
		x.must(os.MkdirAll(filepath.Join(x.run, "state"), 0o700))
		for _, trap := range []string{"state/changes", "state/history", "state"} {
			path := filepath.Join(x.run, trap)
			x.must(os.RemoveAll(path))
			x.must(os.Symlink(elsewhere, path))
			if code, out := x.vmnet("apply", x.config, "--auto-approve", "--confirm", "none"); code != 1 || !strings.Contains(out, "symbolic link") {
				x.Errorf("%s is a symbolic link: code %d\n%s", trap, code, out)
			}
			x.must(os.Remove(path))
		}
		if list, err := os.ReadDir(elsewhere); err != nil || len(list) > 0 {
			x.Errorf("written elsewhere: %v, %v", list, err)
		}
		// A change that is not ours to read: a link to a file of others.
		x.must(os.MkdirAll(filepath.Join(x.run, "state", "changes"), 0o700))
		secret := filepath.Join(elsewhere, "secret")
		x.must(os.WriteFile(secret, []byte("{\"type\":\"change\"}\n"), 0o600))
		x.must(os.Symlink(secret, filepath.Join(x.run, "state", "changes", "x.jsonl")))
		x.converges(false)
		if b, err := os.ReadFile(secret); err != nil || string(b) != "{\"type\":\"change\"}\n" {
			x.Errorf("the file behind the link: %q, %v", b, err)
		}
		x.private()
	})
}

// private checks every mode.
func (x *trial) private() {
	x.Helper()
	x.must(filepath.WalkDir(x.run, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode()&fs.ModeSymlink == 0 && info.Mode().Perm()&0o077 != 0 {
			x.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	}))
}

// TestSecrets: the values of variables are not in the history's command line, however they were given.
func TestSecrets(t *testing.T) {
	t.Parallel()
	s := plain()
	s.config = "variable \"name\" {\n  type = string\n}\n" + strings.Replace(s.config, "\"br-build\"", "var.name", 1)
	try(t, s, func(x *trial) {
		for i, args := range [][]string{{"-var", "name=br-one"}, {"-var=name=br-two"}, {"--var", "name=br-three"}, {"--var=name=br-four"}} {
			if code, out := x.vmnet(append([]string{"apply", x.config, "--auto-approve", "--confirm", "none"}, args...)...); code != 0 {
				x.Fatalf("%v: code %d\n%s", args, code, out)
			}
			_, doc := x.json("history", "--json")
			_, command, _ := strings.Cut(doc, `"command":"`)
			command, _, _ = strings.Cut(command, `"`)
			if !strings.Contains(command, "name=…") || strings.Contains(command, "br-") {
				x.Errorf("%d: the command is %q", i, command)
			}
		}
	})
}
