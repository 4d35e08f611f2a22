package apply

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/plan"
)

// Journal is a change of the host as JSON lines on disk: first what is needed to take it back (the steps with both sides of
// each, and what the host was), then a record of all that happens to it. It outlives the process: whoever reads it knows
// what was begun. Several processes append to it (the apply, its watchdog, a confirm), each a whole line at a time.
type Journal struct {
	dirs Dirs
	path string
	file *os.File // nil: not open
	torn bool     // the last line has no end: what is written next begins with one
}

// JournalVersion is the version of its lines: "MAJOR.MINOR".
const JournalVersion = "2.0"

// Head is the first record of a journal.
type Head struct {
	FormatVersion string    `json:"format_version"`
	ID            string    `json:"id"`
	Started       time.Time `json:"started"`
	// Boot and Namespace are where the change holds: a reboot undoes it, and another network namespace is another host.
	Boot      string `json:"boot_id,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	// Applier is the process that makes the change, and Who runs it.
	Applier Process `json:"applier"`
	Who     Who     `json:"who"`
	// Budget is how long making it may take, Confirm how long it then waits to be confirmed; 0: it does not wait.
	Budget  time.Duration `json:"budget"`
	Confirm time.Duration `json:"confirm"`
	// Plan is what is done. Its steps, inverted and from the last to the first, are the undo.
	Plan *plan.Plan `json:"plan"`
	// Before is what the host was.
	Before *past `json:"before"`
}

// record is one line of a journal.
type record struct {
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	Step int       `json:"step,omitempty"`
	// Head is that of the first record.
	Head *Head `json:"head,omitempty"`
	// Made says of a step that failed that it took place all the same.
	Made bool `json:"made,omitempty"`
	// By is who armed, confirmed or undoes.
	By  *Process `json:"by,omitempty"`
	Who *Who     `json:"who,omitempty"`
	// Deadline is on the clock of uptime.
	Deadline time.Duration `json:"deadline,omitempty"`
	Wait     time.Duration `json:"wait,omitempty"` // from this record to the deadline
	Error    string        `json:"error,omitempty"`
	Result   Result        `json:"result,omitempty"`
	// Report is that of the last record.
	Report *Report `json:"report,omitempty"`
}

// The types of a record.
const (
	recordHead       = "change"
	recordArmed      = "armed"
	recordBegin      = "begin" // written before the step is made
	recordDone       = "done"
	recordFailed     = "failed"
	recordWait       = "wait" // for a confirmation, or longer
	recordConfirmed  = "confirmed"
	recordRollback   = "rollback"
	recordUndo       = "undo" // written before the step is undone
	recordUndone     = "undone"
	recordUndoFailed = "undo_failed"
	recordEnd        = "end"
)

const journalSuffix = ".jsonl"

// Journal is the journal of an apply, which begins and ends with Run. The lock must be held. Nothing is on disk until Run
// begins.
func (l *Lock) Journal(id string) *Journal {
	name := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, id)
	return &Journal{dirs: l.dirs, path: filepath.Join(l.dirs.changes(), name+journalSuffix)}
}

// Path is the journal's file.
func (j *Journal) Path() string { return j.path }

// begin makes the file and writes the head, which is on disk when begin returns: undo before do.
func (j *Journal) begin(h *Head) error {
	f, err := openPrivate(j.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_APPEND)
	if err != nil {
		return fmt.Errorf("begin journal: %w", err)
	}
	j.file = f
	err = errors.Join(j.write(record{Type: recordHead, Head: h}, true), j.reserve(len(h.Plan.Steps)), syncDir(j.dirs.changes()))
	if err != nil {
		// Nothing was changed yet: a journal that could not even be begun must not look like a crash.
		return errors.Join(err, j.discard())
	}
	return nil
}

// reserve sets room aside for all that is to be written, so that a disk that fills up keeps nobody from undoing, or from
// saying so.
func (j *Journal) reserve(steps int) error {
	const perStep, once = 2 << 10, 64 << 10
	at, err := j.file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("begin journal: %w", err)
	}
	err = unix.Fallocate(int(j.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, at, int64(once+steps*perStep))
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) { // some file systems cannot
		return fmt.Errorf("begin journal: set room aside: %w", err)
	}
	return nil
}

// discard takes a journal away whose change was never begun.
func (j *Journal) discard() error {
	err := errors.Join(j.close(), os.Remove(j.path))
	if err != nil {
		return fmt.Errorf("remove journal: %w", err)
	}
	return nil
}

// reopen opens a journal that another process began.
func (j *Journal) reopen() error {
	f, err := openPrivate(j.path, os.O_RDWR|unix.O_APPEND)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	j.file = f
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return err
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, size-1)
	j.torn = err != nil || last[0] != '\n'
	return nil
}

// errClosed is the error of a journal that could not be opened.
var errClosed = errors.New("it is not open")

// write appends a record; with sync it is on disk when write returns. What only the death of this process could lose needs
// no sync: the kernel has it. After a loss of power nothing of a change is left but what it wrote to disk.
func (j *Journal) write(r record, sync bool) error {
	if j.file == nil {
		return fmt.Errorf("write journal: %w", errClosed)
	}
	r.Time = time.Now().UTC()
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if b = append(b, '\n'); j.torn {
		b = append([]byte("\n"), b...)
	}
	_, err = j.file.Write(b)
	if j.torn = err != nil; j.torn {
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

func (j *Journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}

// end writes how the change ended and makes it history. What needs a human stays where it is, so that it can be taken back
// later.
func (j *Journal) end(r *Report) error {
	werr := j.write(record{Type: recordEnd, Result: r.Result, Report: r}, true)
	if werr != nil { // what people must know is short
		short := *r
		short.Checks, short.Probes, short.Steps = nil, nil, nil
		werr = j.write(record{Type: recordEnd, Result: r.Result, Report: &short}, true)
	}
	cerr := j.close()
	if r.Result == NeedsHuman {
		return errors.Join(werr, cerr)
	}
	// What is in the history has ended, even where that could not be written.
	return errors.Join(werr, cerr, j.dirs.toHistory(j.path))
}

// readRecords calls f for each whole line from an offset on, and returns where the next begins. A last line without its end
// is still being written, or was cut short: it is left for the next time.
func readRecords(file io.ReaderAt, offset int64, f func(record)) (next int64, err error) {
	const most = 1 << 62
	r := bufio.NewReaderSize(io.NewSectionReader(file, offset, most), 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return offset, nil
		}
		if err != nil {
			return offset, fmt.Errorf("read journal: %w", err)
		}
		offset += int64(len(line))
		var rec record
		if json.Unmarshal(bytes.TrimSpace(line), &rec) == nil { // a line that was cut short says nothing
			f(rec)
		}
	}
}

// toHistory moves the journal of a change that has ended.
func (d Dirs) toHistory(path string) error {
	id := strings.TrimSuffix(filepath.Base(path), journalSuffix)
	name := d.stamp(time.Now()) + "-" + id + journalSuffix
	if err := os.Rename(path, filepath.Join(d.history(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("move journal to the history: %w", err)
	}
	return d.boundHistory(name)
}
