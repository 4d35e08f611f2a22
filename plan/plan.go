package plan

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// FormatVersion is the version of the JSON form of a Plan: "MAJOR.MINOR". Minor versions only add.
const FormatVersion = "1.1"

// Plan leads a host from its live state to the desired one. Its JSON is the saved file, the machine output and the first
// record of the journal; text and Markdown are made from it alone.
type Plan struct {
	FormatVersion string      `json:"format_version"`
	Tool          Tool        `json:"tool"`
	ID            string      `json:"plan_id"`
	Created       time.Time   `json:"created"`
	Expires       time.Time   `json:"expires"`
	Host          HostInfo    `json:"host"`
	Configuration ConfigRef   `json:"configuration"`
	Observation   Observation `json:"observation"`
	// Findings are what is wrong, most harmful first.
	Findings []Finding `json:"findings"`
	// Steps in the order to run.
	Steps []Step `json:"resource_changes"`
	// Checks are the goals, before and after.
	Checks []Check `json:"checks"`
	// Unrequested lists what the plan would newly let through though the file does not ask for it. Empty: none.
	Unrequested []string `json:"unrequested_reachability"`
	// Reached lists networks of the host beside the file's that the plan lets them reach, because the file asks for the outside.
	Reached []string `json:"other_networks_reached,omitempty"`
	// Foreign lists objects of others that decide flows of the file and are left alone.
	Foreign []Foreign `json:"foreign"`
	Summary Summary   `json:"summary"`
	// Guarded says how sessions, protect blocks and default gateways fare after every step.
	Guarded []Guarded `json:"guarded"`
	// SessionsUnknown says why it is not known who is logged in, and so not followed; "" where it is.
	SessionsUnknown string `json:"sessions_unknown,omitempty"`
	// Basis is every object the plan relied on, with what it was: apply reads them again.
	Basis []Fact `json:"basis"`
	// Desired is the configuration the plan was made from, so that apply can verify without the files.
	Desired *schema.Desired `json:"desired,omitempty"`
	// Resets are the adapters whose reset was asked for on the command line.
	Resets []string `json:"resets,omitempty"`
}

// Tool says who made the plan.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// HostInfo says for which host, and which boot of it, the plan holds. Filled by the command, not by New.
type HostInfo struct {
	Name      string `json:"name"`
	MachineID string `json:"machine_id_sha256,omitempty"` // SHA-256 of /etc/machine-id, hexadecimal
	BootID    string `json:"boot_id,omitempty"`
	Kernel    string `json:"kernel,omitempty"`
}

// ConfigRef says which configuration the plan was made from.
type ConfigRef struct {
	Path   string   `json:"path,omitempty"`
	Digest string   `json:"digest,omitempty"`
	Files  []string `json:"files,omitempty"`
}

// Observation says how much was seen.
type Observation struct {
	Complete bool     `json:"complete"`
	Blind    []string `json:"blind,omitempty"`
	Objects  int      `json:"objects"`
	// Millis is how long reading took.
	Millis int64 `json:"ms,omitempty"`
	// Counts per kind: links, addresses …
	Counts map[schema.Kind]int `json:"counts,omitempty"`
}

// Risk is the worst that a step does to traffic. Worse is greater.
type Risk int

// The risks, in order.
const (
	RiskNone Risk = iota // nothing notices
	RiskBlip             // under a second, no flow dies
	RiskDrop             // flows die
	RiskCut              // the management path dies
)

// Finding is something wrong, with a stable code.
type Finding struct {
	Code     string `json:"code"`     // "VN402"
	Severity string `json:"severity"` // "error", "warning" or "info"
	Title    string `json:"title"`
	// Detail explains in full sentences: what, why, what follows.
	Detail string `json:"detail,omitempty"`
	// Address is the block concerned, Object the live object to blame (its Ref text, or a rule's place and text).
	Address string        `json:"address,omitempty"`
	Object  string        `json:"object,omitempty"`
	Owner   *Owner        `json:"owner,omitempty"`
	Origin  schema.Origin `json:"range,omitzero"`
	// Evidence lists the facts it rests on, one line each.
	Evidence []string `json:"evidence,omitempty"`
	// Breaks lists the goals it breaks.
	Breaks []string `json:"breaks,omitempty"`
	// Cure says what a person can do about it where no step does: a command or sentence each, the smallest first.
	Cure []string `json:"cure,omitempty"`
	// Fixes are the remedies: at most one chosen, the others with the reason why not.
	Fixes []Fix `json:"fixes,omitempty"`
}

// Owner is who writes a foreign object.
type Owner struct {
	Name       string   `json:"name"`       // "docker", "ufw", "iptables-persistent", "unknown"
	Confidence string   `json:"confidence"` // "high", "medium", "low"
	Evidence   []string `json:"evidence,omitempty"`
}

// Fix is one remedy of a finding.
type Fix struct {
	Title  string `json:"title"`
	Chosen bool   `json:"chosen"`
	WhyNot string `json:"why_not,omitempty"`
	Steps  []int  `json:"steps,omitempty"`
}

// Step is one Change with its reason, risk and inverse.
type Step struct {
	ID     int           `json:"step"`
	Change schema.Change `json:"change"`
	// Action is "create", "update", "delete", "move", "reset", "adopt".
	Action string `json:"action"`
	// Address is the block it serves: "nat.lab".
	Address string        `json:"address,omitempty"`
	Origin  schema.Origin `json:"range,omitzero"`
	// Lines say what changes, one attribute or rule each, in the style of a diff ("+ mtu 1500", "~ up false -> true").
	Lines []string `json:"lines,omitempty"`
	// Because is the reason: a sentence; Codes the findings it heals.
	Because string   `json:"because"`
	Codes   []string `json:"codes,omitempty"`
	Risk    Risk     `json:"risk"`
	// Hurts says who suffers and for how long; "" for nobody.
	Hurts string `json:"hurts,omitempty"`
	// Undo says how it is taken back; the undo itself is Change.Inverse().
	Undo string `json:"undo"`
	// Irreversible says that the undo does not bring back everything (schema.Lost); Undo says what not. Such steps need a
	// flag of their own.
	Irreversible bool `json:"irreversible,omitempty"`
	// Commands are what a person would type for the same.
	Commands []string `json:"commands,omitempty"`
}

// Check is a goal with its verdicts.
type Check struct {
	Goal   schema.Goal `json:"goal"`
	Before CheckResult `json:"before"`
	After  CheckResult `json:"after"`
}

// CheckResult is how a goal fares in one state.
type CheckResult struct {
	// Status is "ok", "fail", "depends" or "unknown" (a guest without device or address).
	Status string `json:"status"`
	// Why is one sentence: what decides. Empty for ok.
	Why string `json:"why,omitempty"`
	// NotAsked says what of the goal nobody asked about: "asked behind 8 links, and not behind 2 more: …".
	NotAsked string `json:"not_asked,omitempty"`
	// Traces are the flows that decide: those that fail, else none.
	Traces []trace.Result `json:"traces,omitempty"`
}

// Foreign is an object of somebody else's that stands on the way.
type Foreign struct {
	Object string `json:"object"`
	Owner  string `json:"owner"`
	Policy string `json:"policy"` // "left alone"
}

// Summary counts the steps by action.
type Summary struct {
	Create    int  `json:"create"`
	Update    int  `json:"update"`
	Move      int  `json:"move"`
	Reset     int  `json:"reset"`
	Adopt     int  `json:"adopt"`
	Delete    int  `json:"delete"`
	WorstRisk Risk `json:"worst_risk"`
	// ChecksOKBefore and ChecksOKAfter count goals that hold, of Checks.
	ChecksOKBefore int `json:"checks_ok_before"`
	ChecksOKAfter  int `json:"checks_ok_after"`
	Checks         int `json:"checks"`
}

// Fact is one object the plan relied on. A nil Value says that it was not there.
type Fact struct {
	Ref   schema.Ref
	Value schema.Object
}

// Empty tells whether there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Steps) == 0 }

// MarshalJSON writes {"ref": …, "before": null, "after": …}; a null after is an object that was not there.
func (f Fact) MarshalJSON() ([]byte, error) {
	c, err := json.Marshal(schema.Change{Ref: f.Ref, After: f.Value})
	if err != nil {
		return nil, fmt.Errorf("encode fact %s: %w", f.Ref, err)
	}
	return c, nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (f *Fact) UnmarshalJSON(b []byte) error {
	var c schema.Change
	if err := json.Unmarshal(b, &c); err != nil {
		return fmt.Errorf("decode fact: %w", err)
	}
	f.Ref, f.Value = c.Ref, c.After
	return nil
}
