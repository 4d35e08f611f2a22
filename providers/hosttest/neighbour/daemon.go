package neighbour

import (
	"bytes"
	"context"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// daemon is a program that keeps running.
type daemon struct {
	cmd  *exec.Cmd
	log  *output
	done chan struct{} // closed when it has ended
}

// furnish gives a process namespace its /proc, and its part of the control groups where the kernel lets it: Docker looks.
const furnish = `mount -t proc proc /proc; mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null; exec "$@"`

// launch starts a program as the first process of a process namespace of its own.
func launch(t testing.TB, name string, argv []string) *daemon {
	t.Helper()
	d := &daemon{log: &output{}, done: make(chan struct{})}
	args := append([]string{"-c", furnish, name, program(argv[0])}, argv[1:]...)
	d.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), program("sh"), args...)
	d.cmd.Env = environ()
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	d.cmd.WaitDelay = time.Second
	d.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP,
		Pdeathsig:  unix.SIGKILL, // with the thread that is the host
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		defer close(d.done)
		_ = d.cmd.Wait() // how it ended is in its log, or our own doing
	}()
	t.Cleanup(func() {
		d.stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, d.log.tail())
		}
	})
	return d
}

func (d *daemon) ended() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// grace is how long a daemon may take to end by itself.
const grace = 10 * time.Second

// stop asks the program to end, then makes it.
func (d *daemon) stop() {
	if d.ended() {
		return
	}
	_ = d.cmd.Process.Signal(unix.SIGTERM) // gone already: good
	select {
	case <-d.done:
		return
	case <-time.After(grace):
	}
	_ = d.cmd.Process.Kill()
	<-d.done
}

// output collects what a daemon prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write adds to the output.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is all that was printed.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// tail is the end of it, where the reason of a failure stands.
func (o *output) tail() string {
	s := o.String()
	return s[max(0, len(s)-4000):]
}
