package sessions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// TTY is a terminal at which somebody can be told something.
type TTY struct {
	// Name is "pts/3".
	Name string
	// Leader is the first process there.
	Leader Process

	device uint64
}

// The bounds of Tell.
const (
	maxTerminals = 512
	maxText      = 4096            // bytes, of which a terminal takes as many at once
	tellTime     = 2 * time.Second // for all terminals together
)

// Terminals lists the terminals of this network namespace at which somebody may sit. One inside another that is listed too (of
// script or sudo) is left out, and one that a multiplexer draws on: its windows are terminals of their own.
func Terminals(ctx context.Context) ([]TTY, error) { return New(Options{}).Terminals(ctx) }

// Tell writes a text to the terminals that Terminals lists, like wall(1), except for those named, and returns how many took
// it. Only root can write to other users' terminals. A terminal that does not take the text at once is passed over; the error
// says why the first of these did not. Characters that would do something else than print are written as question marks.
func Tell(ctx context.Context, text string, except ...string) (int, error) {
	return New(Options{}).Tell(ctx, text, except...)
}

// Terminals is the function of that name, for h.
func (h *Host) Terminals(ctx context.Context) ([]TTY, error) {
	all, err := h.all()
	if err != nil {
		return nil, fmt.Errorf("list terminals: %w", err)
	}
	own, err := h.ownNetwork()
	if err != nil {
		return nil, fmt.Errorf("list terminals: %w", err)
	}
	var found []TTY
	for _, s := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if s.leads() && s.tty != 0 && h.network(s.PID) == own && !nested(all, s) && !drawnOn(all, s) {
			found = append(found, TTY{Name: terminal(s.tty), Leader: s.Process, device: s.tty})
		}
	}
	slices.SortFunc(found, func(a, b TTY) int {
		return cmp.Or(cmp.Compare(a.device, b.device), cmp.Compare(a.Leader.PID, b.Leader.PID))
	})
	return found, nil
}

// nested tells whether a process above has another terminal, which then shows what this one shows.
func nested(all map[int]stat, s stat) bool {
	for up, ok := all[s.parent]; ok && up.PID > 1; up, ok = all[up.parent] {
		if up.tty != 0 && up.tty != s.tty && !strings.HasPrefix(terminal(up.tty), "tty") { // a desktop does not show it
			return true
		}
	}
	return false
}

// drawnOn tells whether a client of a multiplexer has the terminal.
func drawnOn(all map[int]stat, leader stat) bool {
	for _, s := range all {
		if s.tty == leader.tty && s.session == leader.PID && s.PID != leader.PID && (s.comm == "tmux: client" || s.comm == "screen") {
			return true
		}
	}
	return leader.comm == "tmux: client" || leader.comm == "screen"
}

// Tell is the function of that name, for h.
func (h *Host) Tell(ctx context.Context, text string, except ...string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	terminals, err := h.Terminals(ctx)
	if err != nil {
		return 0, err
	}
	message := []byte(printable(text))
	told := 0
	var first error
	for _, t := range terminals[:min(len(terminals), maxTerminals)] {
		if err := ctx.Err(); err != nil {
			return told, cmp.Or(first, err)
		}
		if slices.Contains(except, t.Name) {
			continue
		}
		if err := h.tell(t, message); err != nil {
			first = cmp.Or(first, fmt.Errorf("tell %s: %w", t.Name, err))
			continue
		}
		told++
	}
	return told, first
}

var errOther = errors.New("none of its leader's files is this terminal")

// tell writes to one terminal. It is opened through the files of its leader and never by its name: what stands below /dev in a
// container is the container's choice. It is looked at before it is opened for writing (O_PATH, open(2)), which never blocks,
// neither here nor in the write.
func (h *Host) tell(t TTY, message []byte) error {
	reason := errOther
	for _, fd := range []int{0, 1, 2, 255} { // 255 is bash's own
		path := h.path(t.Leader.PID, filepath.Join("fd", strconv.Itoa(fd)))
		f, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			if errors.Is(err, unix.EACCES) {
				reason = err
			}
			continue
		}
		var s unix.Stat_t
		if err := unix.Fstat(f, &s); err == nil && s.Mode&unix.S_IFMT == unix.S_IFCHR && s.Rdev == t.device {
			err = write(f, message)
			_ = unix.Close(f) // it was not written to
			return err
		}
		_ = unix.Close(f) // it was only looked at
	}
	return reason
}

func write(path int, message []byte) error {
	f, err := unix.Open("/proc/self/fd/"+strconv.Itoa(path), unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	n, err := unix.Write(f, message)
	if e := unix.Close(f); err == nil {
		err = e
	}
	if err == nil && n < len(message) {
		err = os.ErrDeadlineExceeded
	}
	return err
}

// printable makes a text that only prints, with line ends for a terminal in whatever mode.
func printable(text string) string {
	var b strings.Builder
	b.WriteString("\r\n")
	for line := range strings.Lines(text) {
		for _, r := range strings.TrimRight(line, "\r\n") {
			if r != '\t' && !unicode.IsPrint(r) || r == unicode.ReplacementChar {
				r = '?'
			}
			if b.Len() < maxText-8 {
				b.WriteRune(r)
			}
		}
		if b.Len() < maxText-8 {
			b.WriteString("\r\n")
		}
	}
	return strings.TrimRight(b.String(), "\r\n") + "\r\n"
}
