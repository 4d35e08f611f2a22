// Command vmnet plans, repairs and proves the network between virtual machines, their Linux host and the world.
//
// Every command is one file here and does little: it reads flags, calls the packages that know, and gives what they say
// to cmd/vmnet/view. Read root.go for what the commands share, exit.go for how they end.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"sync/atomic"
	"syscall"
)

// collect is when garbage is collected (GOGC): seldom, for most commands read a host once and end. Above memoryAim more often.
const (
	collect   = 400
	memoryAim = 512 << 20
)

func main() {
	debug.SetGCPercent(collect)
	debug.SetMemoryLimit(memoryAim)
	os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}, os.Environ()))
}

// streams are what a command reads and writes: the result goes to out, everything else to err.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// run is main without the process: it returns the exit code.
func run(args []string, s streams, environ []string) int {
	ctx, stop := untilSignal(s)
	defer stop()
	signal.Ignore(syscall.SIGPIPE)
	a := newApp(s, environ)
	root := a.root()
	root.SetArgs(longFlags(root, args))
	return int(a.end(root.ExecuteContext(ctx)))
}

// changing tells that this process may have begun to change the host.
var changing atomic.Bool

// untilSignal is a context that the first signal to end ends: an apply then stops after its step and rolls back, for a closed terminal or
// pipe must not kill it halfway. The second ends the process at once, and what an apply has made is left to its watchdog.
func untilSignal(s streams) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case sig := <-signals:
				if n == 0 {
					cancel(&signalError{sig})
					continue
				}
				if sig == syscall.SIGHUP { // nobody asked for haste
					continue
				}
				if changing.Load() {
					_, _ = io.WriteString(s.err, "vmnet: interrupted again: a change that was begun is left to its watchdog; vmnet history says what became of it\n")
				}
				os.Exit(int(exitError))
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}
