package apply

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Phase says how far a change has come.
type Phase string

// The phases, in their order.
const (
	Applying  Phase = "applying"
	Waiting   Phase = "waiting"   // for a confirmation
	Confirmed Phase = "confirmed" // and what lasts is being written
	Undoing   Phase = "undoing"
	Ended     Phase = "ended"
)

// Entry is what a journal says: a change under way, or one of the history.
type Entry struct {
	Head
	Path  string `json:"path"`
	Phase Phase  `json:"phase"`
	// Deadline is when it is undone unless it is confirmed, on the clock since boot; that of the apply's budget while Applying.
	Deadline time.Duration `json:"-"`
	// Watchdog is the process that undoes it then; zero before it is armed.
	Watchdog Process `json:"watchdog"`
	// Confirmation is who confirmed it, and when.
	Confirmation *Confirmation `json:"confirmation,omitempty"`
	// Cause is why it is or was undone.
	Cause string `json:"cause,omitempty"`
	// Result is how it ended, Report what was done; of a change that has Ended.
	Result Result    `json:"result,omitempty"`
	Report *Report   `json:"report,omitempty"`
	Ended  time.Time `json:"ended,omitzero"`

	// Changed is when the host was as planned.
	Changed time.Time `json:"changed,omitzero"`

	changed time.Duration // the same on the clock since boot, 0 before: logins made later prove the way in
	steps   map[int]*progress
	wait    time.Duration // how long the wait for a confirmation is
}

// Confirmation is who said that a change may stay.
type Confirmation struct {
	Who  Who       `json:"who"`
	Time time.Time `json:"time"`
}

// progress is what the journal says about a step.
type progress struct {
	begun, done, failed bool
	undo, undone        bool
	made                bool // though it failed
	err                 string
}

// remains tells whether something of the step may be on the host.
func (p *progress) remains() bool { return p != nil && p.begun && !p.undone && (!p.failed || p.made) }

// unsure tells whether the step, or its undo, may be half made.
func (p *progress) unsure() bool { return !p.done || p.undo }

// take takes in a record of a journal.
func (e *Entry) take(r record) {
	p := e.steps[r.Step]
	if p == nil {
		p = &progress{}
		e.steps[r.Step] = p
	}
	switch r.Type {
	case recordHead:
		if r.Head != nil {
			e.Head, e.Phase = *r.Head, Applying
		}
	case recordArmed:
		if r.By != nil {
			e.Watchdog = *r.By
		}
		if r.Deadline > 0 {
			e.Deadline = r.Deadline
		}
	case recordBegin:
		p.begun = true
	case recordDone:
		p.done = true
	case recordFailed:
		p.failed, p.made, p.err = true, r.Made, r.Error
	case recordWait:
		if e.Phase != Applying && e.Phase != Waiting { // more time was asked for too late
			break
		}
		if e.Phase == Applying {
			e.Changed, e.changed = r.Time, r.Deadline-r.Wait
		}
		e.Phase, e.Deadline, e.wait = Waiting, r.Deadline, r.Wait
	case recordConfirmed:
		e.Phase = Confirmed
		if r.Who != nil {
			e.Confirmation = &Confirmation{*r.Who, r.Time}
		}
	case recordRollback:
		e.Phase, e.Cause = Undoing, r.Error
	case recordUndo:
		p.undo = true
	case recordUndone:
		p.undone = true
	case recordUndoFailed:
		p.err = r.Error
	case recordEnd:
		e.Phase, e.Result, e.Report, e.Ended = Ended, r.Result, r.Report, r.Time
	}
}

// ErrNoChange is the error of a change that is not there.
var ErrNoChange = errors.New("no such change")

// readEntry reads a whole journal.
func readEntry(path string) (*Entry, error) {
	f, err := openPrivate(path, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	e := &Entry{Path: path, steps: map[int]*progress{}}
	if _, err := readRecords(f, 0, e.take); err != nil {
		return nil, err
	}
	if e.Phase == "" || e.Plan == nil || e.Before == nil {
		return nil, fmt.Errorf("read journal %s: it has no head", path)
	}
	if major, _, _ := strings.Cut(e.FormatVersion, "."); major != "2" {
		return nil, fmt.Errorf("read journal %s: format_version %q is not one this version reads (2.x)", path, e.FormatVersion)
	}
	return e, nil
}

// Open lists the changes that have not ended, and those that need a human; oldest first.
func (d Dirs) Open() ([]*Entry, error) {
	paths, err := journals(d.changes())
	if err != nil {
		return nil, fmt.Errorf("look for changes: %w", err)
	}
	var out []*Entry
	for _, p := range paths {
		e, err := readEntry(p)
		if err != nil {
			e = &Entry{Path: p, Head: Head{ID: strings.TrimSuffix(filepath.Base(p), journalSuffix)}, Phase: Ended, Result: Damaged, Cause: err.Error()}
		}
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b *Entry) int { return a.Started.Compare(b.Started) })
	return out, nil
}

// Unreadable tells a change whose journal says nothing: whether it changed the host is not known.
func (e *Entry) Unreadable() bool { return e.Plan == nil }

// Pending is the change that is under way, or one that is Unreadable, nil when there is none. It needs no lock: what it says may be over a moment later.
func (d Dirs) Pending() (*Entry, error) {
	open, err := d.Open()
	for _, e := range open {
		if e.Unreadable() || e.Phase != Ended && !e.Elsewhere() {
			return e, err
		}
	}
	return nil, err
}

// Left is the time until the deadline, 0 when it is over, less than 0 where there is none. A reboot is the end of it: the
// clock of deadlines began anew.
func (e *Entry) Left() time.Duration {
	switch {
	case e.Deadline == 0:
		return -1
	case e.Rebooted():
		return 0
	}
	return max(0, e.Deadline-uptime())
}

// Rebooted tells whether the host was booted since: what was only in the kernel is gone. Where this boot cannot be named it is not
// said to be another: see whenUnknown.
func (e *Entry) Rebooted() bool {
	now := bootID()
	return e.Boot != "" && now != "" && e.Boot != now
}

// whenUnknown tells whether it cannot be told if the host was booted since.
func (e *Entry) whenUnknown() bool { return e.Boot != "" && bootID() == "" }

// Guarded tells whether its watchdog lives.
func (e *Entry) Guarded() bool { return !e.Rebooted() && e.Watchdog.Alive() }

// Elsewhere tells whether it was made in another network namespace: on another host, as it were.
func (e *Entry) Elsewhere() bool {
	here := namespace()
	return e.Namespace != "" && here != "" && e.Namespace != here
}
