package apply

import (
	"time"

	"github.com/vmnet/vmnet/plan"
)

// EventKind says what happened.
type EventKind string

// The kinds of Event, in the order in which they can occur.
const (
	EventChecked     EventKind = "checked"      // every fact of the plan still holds
	EventArmed       EventKind = "armed"        // the watchdog is on guard
	EventBegin       EventKind = "begin"        // a step is about to be made
	EventDone        EventKind = "done"         // it was made
	EventFailed      EventKind = "failed"       // it was not
	EventVerify      EventKind = "verify"       // the host is read and planned again
	EventSettling    EventKind = "settling"     // the host is not there yet; another look follows
	EventVerified    EventKind = "verified"     // the host is as planned
	EventRollback    EventKind = "rollback"     // the steps that were made are being undone
	EventUndone      EventKind = "undone"       // one of them was
	EventUndoFailed  EventKind = "undo_failed"  // one of them could not be
	EventRestored    EventKind = "restored"     // the host is as before
	EventNotRestored EventKind = "not_restored" // it is not
)

// Event is progress, for people to watch. Nothing depends on it.
type Event struct {
	Kind EventKind
	// Step is the step concerned, nil where none is.
	Step *plan.Step
	// Total is the number of steps of the plan.
	Total int
	// Elapsed is how long it took: the step, or the verification.
	Elapsed time.Duration
	// Facts and Held count facts: of the plan (checked), or compared with the start (restored, not_restored).
	Facts, Held int
	// Err is the reason of a failure, or what is still missing.
	Err error
}
