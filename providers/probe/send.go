package probe

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

const (
	// patience is how long an answer may take. The kernel repeats a SYN after one second (tcp_syn_retries), so one lost packet is
	// made good.
	patience = 2 * time.Second
	// parallel is how many packets are under way at once.
	parallel = 16
	// again is when a datagram or an echo without answer is sent once more.
	again = 600 * time.Millisecond
	// glance is how often the end of ctx is looked for.
	glance = 50 * time.Millisecond
)

// attempt is a packet under way.
type attempt struct {
	schema.ProbeAttempt
	wire
	fd       int
	began    time.Time
	lastSent time.Time
}

// wire is what differs between the protocols.
type wire interface {
	// open makes a socket on its way to the destination, and sends the first packet.
	open(a *attempt) (fd int, err error)
	// again repeats the packet.
	again(a *attempt) error
	// look sees whether an answer is there; done is false where what came is not one.
	look(a *attempt) (done bool, err error)
}

// errSilence is the end of patience.
var errSilence = errors.New("")

// send lets the attempts run, some at a time, all on this thread.
func send(ctx context.Context, all []*attempt) {
	var running []*attempt
	for next := 0; next < len(all) || len(running) > 0; {
		for ; next < len(all) && len(running) < parallel; next++ {
			if all[next].start(ctx) {
				running = append(running, all[next])
			}
		}
		running = wait(ctx, running)
	}
}

// start begins an attempt; false when it is over already.
func (a *attempt) start(ctx context.Context) bool {
	a.fd, a.began, a.wire = -1, time.Now(), wires[a.Proto]
	if ctx.Err() != nil {
		a.end(context.Cause(ctx))
		return false
	}
	fd, err := a.open(a)
	a.fd, a.lastSent = fd, time.Now()
	if err != nil {
		a.end(err)
		return false
	}
	return true
}

// wait sees to what happens next, and returns the attempts that are still under way.
func wait(ctx context.Context, running []*attempt) []*attempt {
	fds := make([]unix.PollFd, len(running))
	for i, a := range running {
		fds[i] = unix.PollFd{Fd: int32(a.fd), Events: unix.POLLIN}
		if a.Proto == "tcp" {
			fds[i].Events = unix.POLLOUT
		}
	}
	_, err := unix.Poll(fds, int(glance.Milliseconds()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		for _, a := range running {
			a.end(err)
		}
		return nil
	}
	var left []*attempt
	for i, a := range running {
		if !a.over(ctx, fds[i].Revents != 0) {
			left = append(left, a)
		}
	}
	return left
}

// over looks after one attempt, and tells whether it has ended.
func (a *attempt) over(ctx context.Context, ready bool) bool {
	if ready {
		if done, err := a.look(a); done {
			a.end(err)
			return true
		}
	}
	switch now := time.Now(); {
	case ctx.Err() != nil:
		a.end(context.Cause(ctx))
		return true
	case now.Sub(a.began) >= patience:
		a.end(errSilence)
		return true
	case now.Sub(a.lastSent) >= again:
		a.lastSent = now
		if err := a.again(a); err != nil {
			a.end(err)
			return true
		}
	}
	return false
}

// end notes how the attempt ended: nil for an answer.
func (a *attempt) end(err error) {
	a.Millis = time.Since(a.began).Milliseconds()
	if a.fd >= 0 {
		if from, err := unix.Getsockname(a.fd); err == nil {
			a.Source = source(from, a.Proto)
		}
		_ = unix.Close(a.fd) // nothing was left to write
	}
	if icmp, ok := errors.AsType[told](err); ok {
		icmp.own = icmp.offender == a.Source.Addr()
		err = icmp
	}
	a.Outcome, a.Detail = outcome(a.Proto, err)
	a.wire = nil
}

// source is where a packet was sent from: the zero AddrPort where no way was found. An echo has an identifier in the port's place.
func source(from unix.Sockaddr, proto string) netip.AddrPort {
	at := addrPort(from)
	switch {
	case at.Addr().IsUnspecified():
		return netip.AddrPort{}
	case proto == "icmp":
		return netip.AddrPortFrom(at.Addr(), 0)
	}
	return at
}
