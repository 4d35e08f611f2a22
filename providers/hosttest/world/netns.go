package world

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// TB is what InNewHost needs of a *testing.T; so programs can import this package without the testing package.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Failed() bool
	FailNow()
	Skipped() bool
	SkipNow()
}

// InNewHost runs fn in a fresh host: on an operating system thread of its own, in new network and mount namespaces with
// their own /sys and /run. Commands that fn starts run there too; other goroutines do not. The host is gone afterwards, so
// clean up with defer, not with t.Cleanup. Tests that use it may run in parallel.
func InNewHost(t TB, fn func()) {
	t.Helper()
	var err error
	finished := false
	onNewThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			err = fmt.Errorf("make namespaces: %w", err)
			return
		}
		if err = furnish(); err != nil {
			return
		}
		fn()
		finished = true
	})
	switch {
	case err != nil:
		t.Fatalf("new host: %v", err)
	case finished:
	case t.Skipped() && !t.Failed():
		t.SkipNow()
	default: // fn has called FailNow, which ended only its own goroutine
		t.FailNow()
	}
}

// onNewThread runs fn on a thread that dies with it, so that nobody inherits its namespaces. Never on the first thread of
// the process: that cannot die, and /proc/self shows its namespaces.
func onNewThread(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onNewThread(fn) // this goroutine keeps the first thread busy meanwhile
			runtime.UnlockOSThread()
			return
		}
		fn()
	}()
	<-done
}

// namespace is a network namespace, held open by a file.
type namespace struct{ file *os.File }

// currentNamespace opens that of the calling thread.
func currentNamespace() (*namespace, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	return &namespace{f}, nil
}

func newNamespace() (n *namespace, err error) {
	onNewThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("make network namespace: %w", err)
			return
		}
		if err = loopbackUp(); err != nil {
			return
		}
		n, err = currentNamespace()
	})
	return n, err
}

func (n *namespace) fd() int { return int(n.file.Fd()) }

// do runs fn on a thread inside the namespace.
func (n *namespace) do(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		old, err := currentNamespace()
		if err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		defer old.file.Close()
		if err := unix.Setns(n.fd(), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err = fn()
		if back := unix.Setns(old.fd(), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		} // else the thread dies with this goroutine
		result <- err
	}()
	return <-result
}
