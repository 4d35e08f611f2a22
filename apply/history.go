package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The history is bounded: the newest stay.
const (
	maxHistory      = 200
	maxHistoryBytes = 128 << 20
)

// journals lists those in a directory by their names, which in the history begin with the time; none where it is missing.
func journals(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), journalSuffix) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, err
}

// stamp is what a name in the history begins with: the time, but later than that of the newest where the clock was set back, for the
// names are in the order of the ends.
func (d Dirs) stamp(now time.Time) string {
	const layout = "20060102T150405.000000Z"
	paths, _ := journals(d.history()) // then there is none to be later than
	for _, path := range slices.Backward(paths) {
		text, _, _ := strings.Cut(filepath.Base(path), "-")
		if newest, err := time.Parse(layout, text); err == nil {
			if !now.After(newest) {
				now = newest.Add(time.Microsecond)
			}
			break
		}
	}
	return now.UTC().Format(layout)
}

// History lists the changes that have ended, the newest first. One that cannot be read is there with its Cause.
func (d Dirs) History() ([]*Entry, error) {
	paths, err := journals(d.history())
	if err != nil {
		return nil, fmt.Errorf("look for the history: %w", err)
	}
	slices.Reverse(paths)
	var out []*Entry
	for _, p := range paths {
		e, err := readEntry(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			e = &Entry{Path: p, Head: Head{ID: idOf(p)}, Phase: Ended, Result: Damaged, Cause: err.Error()}
		}
		out = append(out, e)
	}
	return out, nil
}

// idOf is the ID in the name of a file of the history.
func idOf(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), journalSuffix)
	if _, id, ok := strings.Cut(name, "-"); ok {
		return id
	}
	return name
}

// Find reads a change by its ID, or the beginning of one: under way, or of the history, where the newest counts. The error
// is ErrNoChange when there is none, or more than one that begins so.
func (d Dirs) Find(id string) (*Entry, error) {
	var found []string
	for _, dir := range []string{d.changes(), d.history()} {
		paths, err := journals(dir)
		if err != nil {
			return nil, fmt.Errorf("look for change %s: %w", id, err)
		}
		slices.Reverse(paths)
		for _, p := range paths {
			name := strings.TrimSuffix(filepath.Base(p), journalSuffix)
			if dir == d.history() {
				name = idOf(p)
			}
			if name == id {
				return readEntry(p)
			}
			if id != "" && strings.HasPrefix(name, id) {
				found = append(found, p)
			}
		}
	}
	if len(found) == 1 {
		return readEntry(found[0])
	}
	if len(found) > 1 {
		return nil, fmt.Errorf("%w: %d begin with %s", ErrNoChange, len(found), id)
	}
	return nil, fmt.Errorf("%w: %s", ErrNoChange, id)
}

// boundHistory removes the oldest, never the one named.
func (d Dirs) boundHistory(keep string) error {
	entries, err := os.ReadDir(d.history())
	if err != nil {
		return fmt.Errorf("bound the history: %w", err)
	}
	var bytes int64
	kept := 0
	for _, e := range slices.Backward(entries) { // sorted by name, which begins with the time
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), journalSuffix) {
			continue
		}
		bytes += info.Size()
		if kept++; e.Name() == keep || kept <= maxHistory && bytes <= maxHistoryBytes {
			continue
		}
		if err := os.Remove(filepath.Join(d.history(), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("bound the history: %w", err)
		}
	}
	return nil
}
