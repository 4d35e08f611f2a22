package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// DefaultRun and DefaultState are where Dirs are on a real host.
const (
	DefaultRun   = "/run/vmnet"
	DefaultState = "/var/lib/vmnet"
)

// Dirs are the two directories vmnet keeps for itself, both of mode 0700.
type Dirs struct {
	// Run is on a tmpfs: the lock.
	Run string
	// State outlives a reboot: changes under way, and the history.
	State string
}

// DirsAt fills in what is not given: the real ones, or, beside a runtime directory of somebody's own, one in it.
func DirsAt(run, state string) Dirs {
	if state == "" {
		state = DefaultState
		if run != "" && run != DefaultRun {
			state = filepath.Join(run, "state")
		}
	}
	if run == "" {
		run = DefaultRun
	}
	return Dirs{run, state}
}

// changes are the journals of changes that have not ended.
func (d Dirs) changes() string { return filepath.Join(d.State, "changes") }

// history are the journals of those that have.
func (d Dirs) history() string { return filepath.Join(d.State, "history") }

// secure makes the directories or checks those that are there.
func (d Dirs) secure() error {
	for _, path := range []string{d.Run, d.State, d.changes(), d.history()} {
		if err := secureDir(path); err != nil {
			return err
		}
	}
	return nil
}

// secureDir makes a directory, mode 0700, or checks the one that is there: a directory, no symbolic link, ours, and nobody
// else's to write into. It changes nothing of one that it did not make.
func secureDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("check directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("check directory %s: it is a %s, not a directory", path, kindOf(info.Mode()))
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("check directory %s: it belongs to user %d: %w", path, stat.Uid, fs.ErrPermission)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("check directory %s: others may write there (mode %v): vmnet needs one of its own", path, info.Mode())
	}
	return nil
}

func kindOf(m fs.FileMode) string {
	if m&fs.ModeSymlink != 0 {
		return "symbolic link"
	}
	return "file"
}

// openPrivate opens a file of ours without following a symbolic link, mode 0600, and without waiting: what is there must be a
// regular file, no pipe that nobody writes to.
func openPrivate(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("it is no regular file")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// syncDir makes the names in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil && !errors.Is(err, unix.EINVAL) { // some file systems cannot
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
