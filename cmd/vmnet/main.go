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
	// A closed terminal or pipe must not kill an apply halfway: it is told as the end of the context, and rolls back.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	signal.Ignore(syscall.SIGPIPE)
	a := newApp(s, environ)
	root := a.root()
	root.SetArgs(longFlags(root, args))
	return int(a.end(root.ExecuteContext(ctx)))
}
