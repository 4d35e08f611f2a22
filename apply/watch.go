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
	Tell func(Announcement)
	// Options are for the rollback.
	Options Options
}

// Announcement is what everybody must know of a change.
type Announcement struct {
	ID   string // of the change
	Text string
	// Result is how it ended; "" while it has not.
	Result Result
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
	w := &vigil{Guard: g}
	if e.Phase == Applying && e.Confirm > 0 {
		g.Tell(Announcement{ID: e.ID, Text: fmt.Sprintf("vmnet: %s makes change %s (%d steps); it is undone unless somebody confirms it", e.Who.Text(), e.ID, len(e.Plan.Steps))})
	}
	for {
		e, err := f.Now()
		if err != nil {
			return err
		}
		if e.Phase == Ended && !w.trying || e.Watchdog != self() && e.Watchdog.Alive() { // or another was armed
			return nil
		}
		said.hear(e, e.Left())
		w.wake(e)
		if cause := e.due(); cause != nil && w.ready() {
			again, err := w.undo(ctx, f, e, cause)
			if !again {
				return err
			}
		}
		if e.Phase == Confirmed && w.ready() && w.complete(ctx, f) {
			return nil
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
	case Ended: // and something of it is left
		return errors.New(e.Cause)
	case Confirmed:
	}
	return nil
}

// vigil is a watchdog that has to act.
type vigil struct {
	Guard
	trying bool          // it has rolled back, and something is left that may go later
	tries  int           // so often
	next   time.Duration // when it tries again, on the clock since boot
	heard  int64         // how long the journal was
	since  time.Duration // since when it has not grown while the lock was held
	asleep time.Duration // since when the process that makes the change is stopped
}

// What holds the lock while a change is due to be undone is at work on it, and writes to the journal. One that does not, for longer
// than any step may take, hangs; one that somebody stopped (a job control stop, a debugger) is not waited for so long.
const (
	hung    = 90 * time.Second
	stopped = 3 * time.Second
)

// The watchdog tries again what may pass: soon at first, then each minute, for an hour.
const (
	soon     = 2 * time.Second
	later    = time.Minute
	soonTill = 60
	tryTill  = 120
)

// wake ends a process that makes a change and was stopped in the middle: half a change must not wait for somebody's fg.
func (w *vigil) wake(e *Entry) {
	if e.Phase != Applying || !e.Applier.Stopped() {
		w.asleep = 0
		return
	}
	if w.asleep == 0 {
		w.asleep = uptime()
	}
	if uptime()-w.asleep > stopped {
		_ = kill(e.Applier) // then it is dead, which is due
	}
}

// ready tells whether it is time to act.
func (w *vigil) ready() bool { return uptime() >= w.next }

// undo rolls back under the lock, unless it is too late for that; again: look again.
func (w *vigil) undo(ctx context.Context, f *Follower, e *Entry, cause error) (again bool, err error) {
	if e.Phase == Applying && e.Applier.Alive() {
		if err := kill(e.Applier); err != nil {
			return true, nil //nolint:nilerr // it is tried again
		}
	}
	l, err := take(ctx, w.Dirs, NewHolder("vmnet watchdog of "+e.ID), 0)
	if err != nil {
		w.overdue(err, f)
		return true, nil
	}
	defer func() { _ = l.Release() }() // the kernel releases it with the process at the latest
	now, err := f.Now()                // of the open file: a folder that somebody moved keeps nobody from undoing
	if err != nil {
		return false, err
	}
	if _, err := os.Lstat(w.Path); errors.Is(err, fs.ErrNotExist) && len(now.Remaining()) == 0 { // it was never begun
		return false, nil
	}
	if now.Phase == Confirmed || now.Phase == Ended && !w.trying || now.Phase != Ended && now.due() == nil {
		return true, nil
	}
	h, done, err := w.Open(now.Plan.Desired)
	if err != nil {
		return true, nil //nolint:nilerr // it is tried again: there is nobody else
	}
	defer func() { _ = done() }() // nothing is left to write
	if !w.trying {
		w.Tell(Announcement{ID: now.ID, Text: fmt.Sprintf("vmnet: change %s is being undone: %v", now.ID, cause)})
	}
	report, err := Rollback(ctx, l, now, h, w.Options, cause)
	failure, _ := errors.AsType[*Failure](err)
	w.trying = failure != nil && failure.Transient && w.tries < tryTill
	if w.trying {
		w.tries++
		w.next = uptime() + soon
		if w.tries > soonTill {
			w.next = uptime() + later
		}
		return true, nil
	}
	if report != nil {
		w.Tell(Announcement{now.ID, fmt.Sprintf("vmnet: change %s: %s: %d of %d facts as before", now.ID, report.Result, report.Held, report.Facts), report.Result})
	}
	return false, err
}

// complete writes what is to outlast a reboot where the process that confirmed the change died before it had: while it lives, it holds
// the lock. over: nothing is left to do.
func (w *vigil) complete(ctx context.Context, f *Follower) (over bool) {
	l, err := Acquire(ctx, w.Dirs, NewHolder("vmnet watchdog of "+f.entry.ID), 0)
	if err != nil {
		w.overdue(err, f)
		return false
	}
	defer func() { _ = l.Release() }() // the kernel releases it with the process at the latest
	now, err := f.Now()
	if err != nil || now.Phase != Confirmed {
		return false // the next look tells
	}
	report, _ := recoverOne(ctx, l, now, w.Open, w.Options)
	if report == nil { // the host, or the journal, could not be opened: there is nobody else
		w.tries++
		w.next = uptime() + later
		return w.tries > soonTill
	}
	w.Tell(Announcement{now.ID, fmt.Sprintf("vmnet: change %s is confirmed: %s", now.ID, report.Result), report.Result})
	return true
}

// overdue ends a process that holds the lock and hangs.
func (w *vigil) overdue(err error, f *Follower) {
	busy, ok := errors.AsType[*BusyError](err)
	if !ok || f.offset != w.heard || w.since == 0 {
		w.heard, w.since = f.offset, uptime()
		return
	}
	holder := Process{PID: busy.Holder.PID, Start: busy.Holder.Start}
	idle := uptime() - w.since
	if holder != self() && holder.Alive() && (idle > hung || idle > stopped && holder.Stopped()) {
		_ = kill(holder) // it is tried again
	}
}

// announcer says what everybody must know, each thing once.
type announcer struct {
	tell     func(Announcement)
	deadline time.Duration // of the wait that was announced
	half     bool
	last     bool
}

// lastCall is when the last warning comes; a wait shorter than brief has no warnings.
const (
	lastCall = 30 * time.Second
	brief    = 10 * time.Second
)

// hear is told of the change as it is, and how much time is left.
func (a *announcer) hear(e *Entry, left time.Duration) {
	if e.Phase != Waiting {
		return
	}
	say := func(what string) {
		a.tell(Announcement{ID: e.ID, Text: fmt.Sprintf("vmnet: change %s by %s %s %s unless somebody confirms it from a new login: vmnet confirm %s",
			e.ID, e.Who.Text(), what, left.Round(time.Second), e.ID)})
	}
	switch {
	case a.deadline != e.Deadline:
		a.deadline, a.half, a.last = e.Deadline, e.wait < brief, e.wait <= lastCall
		say("is made, and undone in")
	case !a.half && left <= e.wait/2:
		a.half, a.last = true, a.last || left <= lastCall
		say("is undone in")
	case !a.last && left <= lastCall:
		a.last = true
		say("is undone in")
	}
}
