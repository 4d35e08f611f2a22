package apply

import (
	"errors"
	"fmt"
	"time"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// ErrRolledBack is the error of a Run that failed and left the host as it was before.
var ErrRolledBack = errors.New("rolled back: the host is as before")

// ErrNeedsHuman is the error of a Run that failed and could not take everything back.
var ErrNeedsHuman = errors.New("not fully rolled back: the host needs a human")

// Result says how a Run ended.
type Result string

// The results. Refused means that nothing was touched.
const (
	Refused     Result = "refused"
	Applied     Result = "applied"
	Unconfirmed Result = "unconfirmed" // made, and undone at the deadline unless somebody confirms
	RolledBack  Result = "rolled back"
	NeedsHuman  Result = "needs human"
	Rebooted    Result = "gone"    // the host was booted before it was confirmed, which undid it
	Damaged     Result = "damaged" // its journal cannot be read
)

// StepState says what became of a step.
type StepState string

// The states of a step.
const (
	StepPending  StepState = "pending"  // not begun
	StepDone     StepState = "done"     // made
	StepFailed   StepState = "failed"   // tried, and not made
	StepUndone   StepState = "undone"   // made, and taken back
	StepRemained StepState = "remained" // made, and could not be taken back
)

// ReportVersion is the version of the JSON form of a Report: "MAJOR.MINOR".
const ReportVersion = "1.0"

// Report is what Run did. Its JSON is the machine output of apply.
type Report struct {
	FormatVersion string `json:"format_version"`
	PlanID        string `json:"plan_id"`
	Result        Result `json:"result"`
	// Steps are those of the plan, in its order.
	Steps []StepResult `json:"steps"`
	// Facts and Held count what was compared and what was as expected: at first the facts of the plan with the host;
	// after a rollback those facts, and every object a step touched, with the host before.
	Facts int `json:"facts"`
	Held  int `json:"facts_held"`
	// Changed are the facts of a plan that is stale.
	Changed []ChangedFact `json:"changed_facts,omitempty"`
	// Confirmed says that somebody confirmed the change: it stays, whatever Error says.
	Confirmed bool `json:"confirmed,omitempty"`
	// Differences lists what is not as before after a rollback.
	Differences []string `json:"differences,omitempty"`
	// Meanwhile lists what somebody else changed during the rollback or before it, which was left alone.
	Meanwhile []string `json:"meanwhile,omitempty"`
	// Checks are the goals as verified on the host: Before is the verdict now.
	Checks []plan.Check `json:"checks,omitempty"`
	// Probes are what real packets said, of the goals that ask for them.
	Probes []schema.ProbeResult `json:"probes,omitempty"`
	// Deadline is when an unconfirmed change is undone.
	Deadline time.Time `json:"deadline,omitzero"`
	// Code is that of Error, for vmnet explain; "" for none.
	Code string `json:"code,omitempty"`
	// Error is why it failed.
	Error string `json:"error,omitempty"`
	// Journal is the file that was kept for whoever repairs the host.
	Journal string `json:"journal,omitempty"`
	Millis  int64  `json:"ms"`
}

// StepResult is what became of one step.
type StepResult struct {
	Step   int       `json:"step"`
	State  StepState `json:"state"`
	Millis int64     `json:"ms"`
	Error  string    `json:"error,omitempty"`
}

func newReport(p *plan.Plan) *Report {
	r := &Report{FormatVersion: ReportVersion, PlanID: p.ID, Result: Refused, Steps: make([]StepResult, len(p.Steps))}
	for i, s := range p.Steps {
		r.Steps[i] = StepResult{Step: s.ID, State: StepPending}
	}
	return r
}

// Count is the number of steps in one of the given states.
func (r *Report) Count(states ...StepState) int {
	n := 0
	for _, s := range r.Steps {
		for _, want := range states {
			if s.State == want {
				n++
			}
		}
	}
	return n
}

// Failure is the error of a Run that began to change the host and did not succeed. It is ErrRolledBack or ErrNeedsHuman,
// and also whatever caused it.
type Failure struct {
	Outcome error // ErrRolledBack or ErrNeedsHuman
	Cause   error
	// Transient says that what could not be taken back may be, a little later: a lock was held, the kernel was short of memory.
	Transient bool
}

// Error says the cause, then the outcome.
func (f *Failure) Error() string { return fmt.Sprintf("%v; %v", f.Cause, f.Outcome) }

// Unwrap lets errors.Is and errors.As find both.
func (f *Failure) Unwrap() []error { return []error{f.Outcome, f.Cause} }
