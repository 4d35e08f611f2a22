package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy is the error of a Lock that somebody else holds: a *BusyError.
var ErrBusy = errors.New("busy")

// Holder says who holds the lock.
type Holder struct {
	PID     int       `json:"pid"`
	Start   uint64    `json:"start,omitempty"` // of the process, in clock ticks since boot: its number may be another's later
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

// NewHolder is this process.
func NewHolder(command string) Holder {
	p := self()
	return Holder{PID: p.PID, Start: p.Start, Command: command, Since: time.Now()}
}

// BusyError names who holds the lock.
type BusyError struct {
	Path   string
	Holder Holder // zero while the holder has not written its name yet
}

// Error names the holder.
func (e *BusyError) Error() string {
	if e.Holder.PID == 0 {
		return fmt.Sprintf("%v: another vmnet holds %s", ErrBusy, e.Path)
	}
	return fmt.Sprintf("%v: process %d (%s) holds %s since %s", ErrBusy, e.Holder.PID, e.Holder.Command, e.Path,
		e.Holder.Since.Local().Format("15:04:05"))
}

// Is makes a BusyError an ErrBusy.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// Lock is the right to change this host: one at a time. The kernel gives it back when its process dies (flock(2)), so
// that a stale one cannot be.
type Lock struct {
	dirs Dirs
	file *os.File
}

// Acquire takes the lock, waiting at most timeout for whoever holds it. The directories are made where they are missing.
// The error is a *BusyError when the time is over.
func Acquire(ctx context.Context, dirs Dirs, h Holder, timeout time.Duration) (*Lock, error) {
	if err := dirs.secure(); err != nil {
		return nil, err
	}
	return take(ctx, dirs, h, timeout)
}

// take is Acquire for whoever must act whatever became of the directories since they were found in order: a watchdog.
func take(ctx context.Context, dirs Dirs, h Holder, timeout time.Duration) (*Lock, error) {
	path := filepath.Join(dirs.Run, "lock")
	file, err := openPrivate(path, os.O_RDWR|os.O_CREATE)
	if errors.Is(err, unix.EROFS) { // flock(2) asks for no right to write
		file, err = openPrivate(path, os.O_RDONLY)
	}
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	l := &Lock{dirs, file}
	if err := l.wait(ctx, timeout); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	l.sign(h)
	return l, nil
}

// Inherit hands the lock down to the programs this process runs from now on: when it is killed while one of them still
// changes the host, the lock is held until that ends, and nobody undoes what is still being done.
func (l *Lock) Inherit() error {
	if l == nil || l.file == nil {
		return nil
	}
	if _, err := unix.FcntlInt(l.file.Fd(), unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("hand down the lock: %w", err)
	}
	return nil
}

// Disown takes that back.
func (l *Lock) Disown() error {
	if l == nil || l.file == nil {
		return nil
	}
	if _, err := unix.FcntlInt(l.file.Fd(), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return fmt.Errorf("keep the lock: %w", err)
	}
	return nil
}

// wait polls: flock(2) that blocks cannot be told to stop.
func (l *Lock) wait(ctx context.Context, timeout time.Duration) error {
	const poll = 50 * time.Millisecond
	deadline := time.Now().Add(timeout)
	for {
		err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", l.file.Name(), err)
		}
		if !time.Now().Before(deadline) {
			return &BusyError{l.file.Name(), l.holder()}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(min(poll, time.Until(deadline))):
		}
	}
}

// holder reads who signed; the zero Holder where that cannot be read.
func (l *Lock) holder() Holder {
	var h Holder
	b := make([]byte, signature)
	n, _ := l.file.ReadAt(b, 0) // io.EOF is usual: the file is short
	if json.Unmarshal(b[:n], &h) != nil {
		return Holder{}
	}
	return h
}

// sign writes a name for those who find the lock held. What holds is the flock: a name that a full or read-only file system does
// not take keeps nobody from confirming or undoing a change.
func (l *Lock) sign(h Holder) {
	b, _ := json.Marshal(h)
	l.overwrite(append(b, '\n'))
}

// unsign takes the name back: nobody must be taken for a holder who is none.
func (l *Lock) unsign() { l.overwrite(nil) }

// overwrite keeps what room the file has, for on a full disk there may be no other: the rest of it becomes white space.
func (l *Lock) overwrite(b []byte) {
	if info, err := l.file.Stat(); err == nil {
		for int64(len(b)) < min(info.Size(), signature) {
			b = append(b, '\n')
		}
	}
	_, _ = l.file.WriteAt(b, 0)
}

// signature is how much of the file is read for a name.
const signature = 4096

// Release gives the lock back. The file stays: removing it would let two processes lock two files of one name.
func (l *Lock) Release() error {
	if l == nil || l.file == nil {
		return nil
	}
	// Unlocked by name: a program that inherited the descriptor and lives on, such as a server, must not keep it.
	l.unsign()
	err := errors.Join(unix.Flock(int(l.file.Fd()), unix.LOCK_UN), l.file.Close())
	l.file = nil
	if err != nil {
		return fmt.Errorf("release lock: %w", err)
	}
	return nil
}
