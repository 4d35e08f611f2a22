package apply

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/plan"
)

// There is no way back from a change that was confirmed, or is being undone, to one that waits: more time would undo the one, and keep
// the other half undone.
func TestExtendOnlyWhatWaits(t *testing.T) {
	t.Parallel()
	l, err := Acquire(t.Context(), DirsAt(t.TempDir(), ""), Holder{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Release() }()
	for _, records := range [][]record{{{Type: recordConfirmed}}, {{Type: recordRollback}}, {{Type: recordEnd}}} {
		e := &Entry{Head: Head{ID: "x", Plan: &plan.Plan{}}, Phase: Applying, steps: map[int]*progress{}}
		e.take(record{Type: recordWait, Deadline: time.Hour, Wait: time.Minute})
		for _, r := range records {
			e.take(r)
		}
		was := e.Phase
		var no *NotConfirmedError
		if err := Extend(l, e, time.Minute); !errors.As(err, &no) || strings.Contains(err.Error(), "journal") {
			t.Errorf("extend a change that is %s: %v, want a refusal", was, err)
		}
		e.take(record{Type: recordWait, Deadline: 2 * time.Hour, Wait: time.Minute})
		if e.Phase != was {
			t.Errorf("%s became %s by more time", was, e.Phase)
		}
	}
}
