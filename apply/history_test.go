package apply

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The history keeps the newest: not too many, and not too long ones, whatever else lies there; the last one always.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	dirs := Dirs{State: filepath.Join(t.TempDir(), "a[1]*")} // no pattern
	for _, dir := range []string{dirs.State, dirs.changes(), dirs.history()} {
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
		entries, err := dirs.History()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			ids = append(ids, e.ID)
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
	ahead := time.Now().Add(1000 * time.Hour) // the clock was, and was set back
	for i := range maxHistory {
		end(fmt.Sprintf("early%d", i), 1)
		name := filepath.Join(dirs.history(), ahead.Add(time.Duration(i)*time.Second).UTC().Format("20060102T150405.000000Z")+fmt.Sprintf("-ahead%d", i)+journalSuffix)
		if err := os.WriteFile(name, []byte{0}, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range more {
		end(fmt.Sprintf("back%d", i), 1)
	}
	if got := ids(); len(got) != maxHistory || got[0] != fmt.Sprintf("back%d", more-1) || got[more-1] != "back0" || got[more] != fmt.Sprintf("ahead%d", maxHistory-1) {
		t.Errorf("%d are left, first %v; want the last to end first, whatever the clock says", len(got), got[:more+1])
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
