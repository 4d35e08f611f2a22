package sessions

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// journalTime is how long journald may take: its socket blocks when it is stuck.
const journalTime = time.Second

// Log writes an entry to the journal. The name of a field has capital letters, digits and underscores, and does not begin with
// an underscore (systemd.journal-fields(7)). A host without journald is no error.
func Log(ctx context.Context, message string, fields map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, journalTime)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		if !journal.Enabled() {
			done <- nil
			return
		}
		done <- journal.Send(message, journal.PriNotice, fields)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("write to the journal: %w", err)
	}
	return nil
}
