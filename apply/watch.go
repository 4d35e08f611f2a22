package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Follower reads a journal as it grows.
type Follower struct {
	file   *os.File
	offset int64
	entry  *Entry
}

// Follow opens a journal. It can be followed to its end wherever it is moved.
func Follow(path string) (*Follower, error) {
	f, err := openPrivate(path, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("follow journal: %w", err)
	}
	return &Follower{file: f, entry: &Entry{Path: path, steps: map[int]*progress{}}}, nil
}

// Now is what the journal says now.
func (f *Follower) Now() (*Entry, error) {
	var err error
	f.offset, err = readRecords(f.file, f.offset, f.entry.take)
	return f.entry, err
}

// Close closes the journal.
func (f *Follower) Close() error { return f.file.Close() }

// look is how often a journal is looked at.
const look = 100 * time.Millisecond

// Await follows a change until it has ended, or ctx has.
func Await(ctx context.Context, path string, each func(*Entry)) (*Entry, error) {
	f, err := Follow(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	for {
		e, err := f.Now()
		if err != nil || e.Phase == Ended {
			return e, err
		}
		each(e)
		select {
		case <-ctx.Done():
			return e, context.Cause(ctx)
		case <-time.After(look):
		}
	}
}

// Guard is what a watchdog needs.
type Guard struct {
	Dirs Dirs
	Path string // of the journal
	Open Opener
	// Tell speaks to everybody who is logged in.
	Tell func(string)
	// Options are for the rollback.
	Options Options
}

// Watch guards a change until it has ended: it undoes it when the process that makes it dies or takes longer than its
// budget, and when nobody confirms it in time. It needs nothing but the journal.
func Watch(ctx context.Context, g Guard) error {
	f, err := Follow(g.Path)
	if errors.Is(err, fs.ErrNotExist) { // it has ended: systemd would start a watchdog that fails again and again
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing was written
	e, err := f.Now()
	if err != nil {
		return err
	}
	if err := g.arm(e); err != nil {
		return err
	}
	said := &announcer{tell: g.Tell}
	if e.Phase == Applying && e.Confirm > 0 {
		g.Tell(fmt.Sprintf("vmnet: %s makes change %s (%d steps); it is undone unless somebody confirms it", e.Who.Text(), e.ID, len(e.Plan.Steps)))
	}
	for {
		e, err := f.Now()
		if err != nil {
			return err
		}
		if e.Phase == Ended || e.Watchdog != self() && e.Watchdog.Alive() { // or another was armed
			return nil
		}
		said.hear(e)
		if cause := e.due(); cause != nil {
			again, err := g.undo(ctx, e, cause)
			if !again {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(look):
		}
	}
}

// arm says in the journal that this process watches, and until when the change must be made.
func (g Guard) arm(e *Entry) error {
	j := &Journal{dirs: g.Dirs, path: g.Path}
	if err := j.reopen(); err != nil {
		return err
	}
	r := record{Type: recordArmed, By: new(self())}
	if e.Phase == Applying && e.Deadline == 0 {
		r.Deadline = uptime() + e.Budget
	}
	return errors.Join(j.write(r, true), j.close())
}

// due says why a change must be undone now; nil: it need not.
func (e *Entry) due() error {
	switch e.Phase {
	case Applying:
		if !e.Applier.Alive() {
			return e.left()
		}
		if e.Left() == 0 {
			return fmt.Errorf("process %d did not make the change within %s and was ended", e.Applier.PID, e.Budget)
		}
	case Waiting:
		if e.Left() == 0 {
			return e.left()
		}
	case Undoing: // by the process that made it, or by a rollback: when that dies, the lock is free
		return e.left()
	case Confirmed, Ended:
	}
	return nil
}

// undo rolls back under the lock, unless it is too late for that, or somebody else is at it; again: look again.
func (g Guard) undo(ctx context.Context, e *Entry, cause error) (again bool, err error) {
	if e.Phase == Applying && e.Applier.Alive() {
		if err := kill(e.Applier); err != nil {
			return true, nil //nolint:nilerr // it is tried again
		}
	}
	const wait = 2 * time.Second
	l, err := Acquire(ctx, g.Dirs, Holder{PID: os.Getpid(), Command: "vmnet watchdog of " + e.ID, Since: time.Now()}, wait)
	if err != nil {
		return true, nil //nolint:nilerr // whoever holds it is at work on this change
	}
	defer func() { _ = l.Release() }() // the kernel releases it with the process at the latest
	now, err := readEntry(g.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if now.Phase == Ended || now.Phase == Confirmed || now.due() == nil {
		return true, nil
	}
	h, done, err := g.Open(now.Plan.Desired)
	if err != nil {
		return true, nil //nolint:nilerr // it is tried again: there is nobody else
	}
	defer func() { _ = done() }() // nothing is left to write
	g.Tell(fmt.Sprintf("vmnet: change %s is being undone: %v", now.ID, cause))
	report, err := Rollback(ctx, l, now, h, g.Options, cause)
	if report != nil {
		g.Tell(fmt.Sprintf("vmnet: change %s: %s: %d of %d facts as before", now.ID, report.Result, report.Held, report.Facts))
	}
	return false, err
}

// announcer says what everybody must know, each thing once.
type announcer struct {
	tell     func(string)
	deadline time.Duration // of the wait that was announced
	half     bool
	last     bool
}

const lastCall = 30 * time.Second

func (a *announcer) hear(e *Entry) {
	if e.Phase != Waiting {
		return
	}
	left := e.Left()
	say := func(what string) {
		a.tell(fmt.Sprintf("vmnet: change %s by %s %s %s unless somebody confirms it from a new login: vmnet confirm %s",
			e.ID, e.Who.Text(), what, left.Round(time.Second), e.ID))
	}
	switch {
	case a.deadline != e.Deadline:
		a.deadline, a.half, a.last = e.Deadline, e.wait/2 <= lastCall, e.wait <= lastCall
		say("is made, and undone in")
	case !a.last && left <= lastCall:
		a.half, a.last = true, true
		say("is undone in")
	case !a.half && left <= e.wait/2:
		a.half = true
		say("is undone in")
	}
}
