package apply

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The history keeps the newest: not too many, and not too long ones, whatever else lies there; the last one always.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	dirs := Dirs{State: t.TempDir()}
	for _, dir := range []string{dirs.changes(), dirs.history()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dirs.history(), "note.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	end := func(id string, size int64) {
		path := filepath.Join(dirs.changes(), id+journalSuffix)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		if err := dirs.toHistory(path); err != nil {
			t.Fatal(err)
		}
	}
	ids := func() (ids []string) { // the newest first
		names, err := filepath.Glob(filepath.Join(dirs.history(), "*"+journalSuffix))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Backward(names) {
			ids = append(ids, idOf(name))
		}
		return ids
	}
	const more = 7
	for i := range maxHistory + more {
		end(fmt.Sprintf("change%d", i), 1)
	}
	if got := ids(); len(got) != maxHistory || got[0] != fmt.Sprintf("change%d", maxHistory+more-1) || got[maxHistory-1] != fmt.Sprintf("change%d", more) {
		t.Errorf("%d are left, from %s to %s; want the newest %d", len(got), got[0], got[len(got)-1], maxHistory)
	}
	end("long", maxHistoryBytes-10) // sparse
	if got := ids(); len(got) != 11 || got[0] != "long" {
		t.Errorf("%d are left beside a long one, want ten of one byte", len(got)-1)
	}
	end("longer", maxHistoryBytes+1)
	if got := ids(); len(got) != 1 || got[0] != "longer" {
		t.Errorf("left: %v, want the last, however long", got)
	}
	if _, err := os.Stat(filepath.Join(dirs.history(), "note.txt")); err != nil {
		t.Error("what is none of ours was removed:", err)
	}
}
