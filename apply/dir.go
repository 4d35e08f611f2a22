package apply

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// DefaultDir is the runtime directory: on a tmpfs, so that a reboot clears it together with what it describes.
const DefaultDir = "/run/vmnet"

// secureDir makes the runtime directory, mode 0700, or checks the one that is there: a directory, no symbolic link, ours,
// and nobody else's to write into.
func secureDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make runtime directory: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("check runtime directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("check runtime directory %s: it is a %s, not a directory", path, kindOf(info.Mode()))
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("check runtime directory %s: it belongs to user %d: %w", path, stat.Uid, fs.ErrPermission)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o700); err != nil {
			return fmt.Errorf("close runtime directory: %w", err)
		}
	}
	return nil
}

func kindOf(m fs.FileMode) string {
	if m&fs.ModeSymlink != 0 {
		return "symbolic link"
	}
	return "file"
}

// openPrivate opens a file of the runtime directory without following a symbolic link, mode 0600.
func openPrivate(path string, flags int) (*os.File, error) {
	return os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
}
