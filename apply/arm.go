package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Spawn says how a watchdog is started.
type Spawn struct {
	// Args are the arguments of this very program that make it a watchdog.
	Args []string
	// Lock is not handed down to it; nil: none is held.
	Lock *Lock
}

// systemdRun is where systemd's program for transient units is; never looked for in the caller's PATH.
const systemdRun = "/usr/bin/systemd-run"

// patience is how long a watchdog may take to come to its post.
const patience = 10 * time.Second

// Arm starts a watchdog that outlives this process, its session and its terminal, and waits until it is on guard. Where
// systemd runs, it is a transient service, which neither the end of a login's scope (logind.conf(5), KillUserProcesses) nor
// a signal ends for good; elsewhere, in a network namespace that systemd does not know, and where its service does not come
// to its post (systemd may not see the files that this process sees), it is a child in a session of its own.
func (s Spawn) Arm(ctx context.Context, j *Journal) (Watchdog, error) {
	if err := s.Lock.Disown(); err != nil {
		return nil, err
	}
	f, err := Follow(j.Path())
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	e, err := f.Now()
	if err != nil {
		return nil, err
	}
	before := e.Watchdog
	if underSystemd() && s.service(ctx, "vmnet-watchdog-"+e.ID) == nil {
		if dog, err := posted(f, before); err == nil {
			return dog, s.Lock.Inherit()
		}
	}
	if err := s.child(); err != nil {
		return nil, err
	}
	dog, err := posted(f, before)
	if err != nil {
		return nil, err
	}
	return dog, s.Lock.Inherit()
}

// posted waits until another watchdog than the one before says in the journal that it is on guard.
func posted(f *Follower, before Process) (Watchdog, error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		e, err := f.Now()
		if err != nil {
			return nil, err
		}
		if e.Watchdog != before && e.Watchdog.Alive() {
			return e.Watchdog, nil
		}
	}
	return nil, fmt.Errorf("it did not come to its post within %s", patience)
}

// child starts it in a session of its own, with nothing of ours open: a terminal that goes away takes nothing along.
func (s Spawn) child() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("start it: %w", err)
	}
	defer func() { _ = null.Close() }()                                           // it has its own
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", s.Args...) // also where the file was replaced meanwhile
	cmd.Args[0] = "vmnet"                                                         // by which also a test binary knows what it is
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, null, null
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start it: %w", err)
	}
	go func() { _ = cmd.Wait() }() // it must not be a zombie when it is killed: that would look alive
	return nil
}

// exitExec is what a unit ends with whose program cannot be executed (systemd.exec(5), EXIT_EXEC).
const exitExec = "203"

// service starts it as a transient unit of systemd, which starts it again when it is killed, but not for ever where its
// program is gone. It heeds no SIGTERM: without another signal for the end (systemd.kill(5)), a reboot, which is what people
// do who are locked out, would wait a minute and a half for it.
func (s Spawn) service(ctx context.Context, unit string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	args := []string{
		"--quiet", "--collect", "--unit=" + unit, "--description=vmnet undoes a change that is not confirmed",
		"--property=Restart=on-failure", "--property=RestartSec=100ms", "--property=StartLimitIntervalSec=0",
		"--property=RestartPreventExitStatus=" + exitExec, "--property=KillSignal=SIGKILL", "--", exe,
	}
	cmd := exec.CommandContext(ctx, systemdRun, append(args, s.Args...)...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %s: %w", systemdRun, out, err)
	}
	return nil
}

// underSystemd tells whether systemd is the manager of this host (sd_booted(3)) and of this network namespace, and we may ask it.
func underSystemd() bool {
	_, booted := os.Stat("/run/systemd/system")
	_, there := os.Stat(systemdRun)
	first, err := os.Readlink("/proc/1/ns/net")
	return errors.Join(booted, there, err) == nil && os.Geteuid() == 0 && first == namespace()
}
