package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/plan"
)

// Journal is what an apply is about to do and has done, as JSON lines on disk: the whole plan first, then a record before
// and after each step. It outlives the process, so that what was begun can be told and taken back.
type Journal struct {
	file *os.File
	path string
}

// record is one line of a journal.
type record struct {
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	Step int       `json:"step,omitempty"`
	// Plan is that of the first record.
	Plan   *plan.Plan `json:"plan,omitempty"`
	Error  string     `json:"error,omitempty"`
	Result string     `json:"result,omitempty"` // of the last record
}

// The types of a record.
const (
	recordPlan       = "plan"
	recordBegin      = "begin" // on disk before the step is made
	recordDone       = "done"
	recordFailed     = "failed"
	recordUndo       = "undo" // on disk before the step is undone
	recordUndone     = "undone"
	recordUndoFailed = "undo_failed"
	recordEnd        = "end"
)

const (
	journalPrefix = "journal-"
	journalSuffix = ".jsonl"
)

// LeftoverError names the journals of applies that did not end: the host may be half changed.
type LeftoverError struct {
	Paths []string
}

// Error says what to do.
func (e *LeftoverError) Error() string {
	return fmt.Sprintf("an earlier apply did not end, and the host may be half changed: its steps are in %s; "+
		"put right what they say, then remove the file", strings.Join(e.Paths, ", "))
}

// Is makes a LeftoverError an ErrNeedsHuman.
func (e *LeftoverError) Is(target error) bool { return target == ErrNeedsHuman }

// leftover looks for journals that nobody ended. The lock is held: none of them is being written.
func leftover(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, journalPrefix+"*"+journalSuffix))
	if err != nil {
		return fmt.Errorf("look for journals: %w", err)
	}
	if len(paths) == 0 {
		return nil
	}
	slices.Sort(paths)
	return &LeftoverError{paths}
}

// Journal opens the journal of an apply, which ends with Run. The lock must be held. Nothing is on disk until Run begins.
func (l *Lock) Journal(id string) *Journal {
	name := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, id)
	return &Journal{path: filepath.Join(l.dir, journalPrefix+name+journalSuffix)}
}

// Path is the journal's file.
func (j *Journal) Path() string { return j.path }

// begin makes the file and writes the plan: from here on a crash leaves a trace.
func (j *Journal) begin(p *plan.Plan) error {
	f, err := openPrivate(j.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_APPEND)
	if err != nil {
		return fmt.Errorf("begin journal: %w", err)
	}
	j.file = f
	if err := j.write(record{Type: recordPlan, Plan: p}, true); err != nil {
		// Nothing was changed yet: a journal that could not even be begun must not look like a crash.
		return errors.Join(err, f.Close(), os.Remove(j.path))
	}
	return syncDir(filepath.Dir(j.path))
}

// write appends a record; with sync it is on disk when write returns.
func (j *Journal) write(r record, sync bool) error {
	r.Time = time.Now().UTC()
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if _, err := j.file.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if !sync {
		return nil
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

// end closes the journal. It is removed unless the host needs a human: what it says is then true no more, and history
// (which people read) is kept elsewhere.
func (j *Journal) end(result string) error {
	if j.file == nil {
		return nil
	}
	werr := j.write(record{Type: recordEnd, Result: result}, true)
	cerr := j.file.Close()
	j.file = nil
	if result == string(NeedsHuman) {
		return errors.Join(werr, cerr)
	}
	// Writing the end failed, as on a full disk, or not: removed is ended.
	if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove journal: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	err = errors.Join(d.Sync(), d.Close())
	if err != nil && !errors.Is(err, unix.EINVAL) { // some file systems cannot
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
