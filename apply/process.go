package apply

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/sessions"
)

// Process is a process and no other, whoever bears its number later.
type Process = sessions.Process

// self is this process; the zero Process where /proc is not to be had.
func self() Process {
	p, err := sessions.Self()
	if err != nil {
		return Process{}
	}
	return p
}

// kill ends a process, unless its number is another's by now.
func kill(p Process) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end process %d: %w", p.PID, err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	if !p.Alive() {                       // looked at while the descriptor holds the number
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end process %d: %w", p.PID, err)
	}
	return nil
}

// bootID names this boot; "" where /proc is not to be had says nothing, and is compared with nothing.
func bootID() string {
	id, err := sessions.BootID()
	if err != nil {
		return ""
	}
	return id
}

// namespace names the network namespace of this thread (namespaces(7)); "" says nothing, and is compared with nothing.
func namespace() string {
	name, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return ""
	}
	return name
}

// uptime is the clock of deadlines: nobody can set it.
func uptime() time.Duration { return sessions.SinceBoot() }
