package sessions

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process names a process for as long as the host runs: a number is used again, together with the start it is not.
type Process struct {
	// PID is the number in the process namespace of the /proc that was read.
	PID int `json:"pid"`
	// Start is when it started, in clock ticks since boot (field 22 of /proc/PID/stat).
	Start uint64 `json:"start"`
}

// Self is this process.
func Self() (Process, error) {
	h := New(Options{})
	pid, err := h.self()
	if err != nil {
		return Process{}, err
	}
	s, err := h.stat(pid)
	if err != nil {
		return Process{}, err
	}
	return s.Process, nil
}

// Alive tells whether the process runs. One that has ended and waits for its parent to notice (a zombie) does not.
func (p Process) Alive() bool {
	if p.PID <= 0 {
		return false
	}
	s, err := New(Options{}).stat(p.PID)
	return err == nil && s.Start == p.Start && s.state != 'Z' && s.state != 'X'
}

// Stopped tells whether the process runs no more until it is told to go on: by job control, or by a debugger (proc_pid_stat(5)).
func (p Process) Stopped() bool {
	s, err := New(Options{}).stat(p.PID)
	return err == nil && s.Start == p.Start && (s.state == 'T' || s.state == 't')
}

// BootID is a random name of the time since the kernel was started (random(4), boot_id).
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// SinceBoot is the time since the kernel was started, suspended or not: no clock that is set changes it (CLOCK_BOOTTIME,
// clock_gettime(2)).
func SinceBoot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("this is a bug in vmnet: CLOCK_BOOTTIME is older than what it runs on: " + err.Error())
	}
	return time.Duration(t.Nano())
}

// stat is a line of /proc/PID/stat.
type stat struct {
	Process
	comm       string
	state      byte
	parent     int
	session    int
	tty        uint64 // device number of the controlling terminal, 0: none
	foreground int    // process group in the foreground of it
}

// leads tells whether the process is the first of its session (setsid(2)).
func (s stat) leads() bool { return s.session == s.PID }

func (h *Host) stat(pid int) (stat, error) {
	b, err := os.ReadFile(h.path(pid, "stat"))
	if err != nil {
		return stat{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	s, err := parseStat(string(b))
	if err != nil {
		return stat{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	return s, nil
}

var errStat = errors.New("not a line of /proc/PID/stat")

// parseStat reads "pid (comm) state ppid pgrp session tty_nr tpgid … starttime …". The name is whatever the program likes,
// with brackets and spaces, so it ends at the last bracket.
func parseStat(line string) (stat, error) {
	open, closed := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || closed < open {
		return stat{}, errStat
	}
	f := strings.Fields(line[closed+1:])
	if len(f) < 20 || f[0] == "" {
		return stat{}, errStat
	}
	s := stat{comm: line[open+1 : closed], state: f[0][0]}
	var tty int32
	for _, field := range []struct {
		text string
		to   any
	}{{strings.TrimSpace(line[:open]), &s.PID}, {f[1], &s.parent}, {f[3], &s.session}, {f[4], &tty}, {f[5], &s.foreground}, {f[19], &s.Start}} {
		if _, err := fmt.Sscan(field.text, field.to); err != nil {
			return stat{}, fmt.Errorf("%w: %q: %w", errStat, field.text, err)
		}
	}
	s.tty = device(uint32(tty))
	return s, nil
}

// device turns the device number of /proc/PID/stat, packed into 32 bits (new_encode_dev in include/linux/kdev_t.h), into that
// of stat(2).
func device(packed uint32) uint64 {
	return unix.Mkdev((packed&0xfff00)>>8, packed&0xff|(packed>>12)&0xfff00)
}

// terminal is the name of a terminal below /dev, as ps(1) has it: major numbers from Documentation/admin-guide/devices.txt.
func terminal(dev uint64) string {
	major, minor := unix.Major(dev), unix.Minor(dev)
	switch {
	case dev == 0:
		return ""
	case major >= 136 && major <= 143:
		return fmt.Sprintf("pts/%d", (major-136)<<8+minor)
	case major == 4 && minor < 64:
		return fmt.Sprintf("tty%d", minor)
	case major == 4:
		return fmt.Sprintf("ttyS%d", minor-64)
	case major == 204 && minor >= 64 && minor < 80:
		return fmt.Sprintf("ttyAMA%d", minor-64)
	case major == 229:
		return fmt.Sprintf("hvc%d", minor)
	}
	return fmt.Sprintf("tty(%d,%d)", major, minor)
}

// self is the number of this process in the /proc that is read, which may be that of an outer process namespace.
func (h *Host) self() (int, error) {
	target, err := os.Readlink(filepath.Join(h.proc, "self"))
	if err != nil {
		return 0, fmt.Errorf("find this process: %w", err)
	}
	pid, err := strconv.Atoi(target)
	if err != nil {
		return 0, fmt.Errorf("find this process: %w", err)
	}
	return pid, nil
}

// all lists the processes. What ends meanwhile is left out.
func (h *Host) all() (map[int]stat, error) {
	dir, err := os.Open(h.proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make(map[int]stat, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if s, err := h.stat(pid); err == nil {
			all[pid] = s
		}
	}
	return all, nil
}

// files are the open files of a process. denied tells that they may not be seen.
func (h *Host) files(pid int) (sockets []uint64, terminals []string, denied bool) {
	fds, err := os.ReadDir(h.path(pid, "fd"))
	if err != nil {
		return nil, nil, !errors.Is(err, fs.ErrNotExist)
	}
	for _, fd := range fds {
		target, err := os.Readlink(h.path(pid, "fd/"+fd.Name()))
		if err != nil {
			denied = denied || errors.Is(err, fs.ErrPermission)
			continue
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			if n, err := strconv.ParseUint(strings.TrimSuffix(inode, "]"), 10, 64); err == nil {
				sockets = append(sockets, n)
			}
		} else if name, ok := strings.CutPrefix(target, "/dev/"); ok && isTerminal(name) {
			terminals = append(terminals, name)
		}
	}
	return sockets, terminals, denied
}

// isTerminal tells whether a name below /dev is one that terminal gives. A terminal that was closed, "pts/3 (deleted)", is not:
// its number may have been given to another.
func isTerminal(name string) bool {
	for _, prefix := range []string{"pts/", "ttyAMA", "ttyS", "tty", "hvc"} {
		if number, ok := strings.CutPrefix(name, prefix); ok {
			_, err := strconv.ParseUint(number, 10, 32)
			return err == nil
		}
	}
	return false
}

// environ is the environment that a process was started with, nil where it may not be read.
func (h *Host) environ(pid int) map[string]string {
	b, err := os.ReadFile(h.path(pid, "environ"))
	if err != nil {
		return nil
	}
	env := map[string]string{}
	for entry := range strings.SplitSeq(string(b), "\x00") {
		if k, v, ok := strings.Cut(entry, "="); ok {
			env[k] = v
		}
	}
	return env
}

// number reads a file with one number: sessionid, loginuid.
func (h *Host) number(pid int, name string) (uint32, bool) {
	b, err := os.ReadFile(h.path(pid, name))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil || n == unset {
		return 0, false
	}
	return uint32(n), true
}

// unset is the audit session and login of a process that nobody has logged in to start (AUDIT_SID_UNSET, audit.h).
const unset = 1<<32 - 1

// network names the network namespace of a process, "" where it may not be read.
func (h *Host) network(pid int) string {
	name, err := os.Readlink(h.path(pid, "ns/net"))
	if err != nil {
		return ""
	}
	return name
}

func (h *Host) path(pid int, name string) string {
	return filepath.Join(h.proc, strconv.Itoa(pid), name)
}
