package apply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vmnet/vmnet/plan"
)

// Save writes a plan as JSON, mode 0600 (it tells much about a host), whole or not at all.
func Save(path string, p *plan.Plan) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // the same bytes as plan --json: people look at "->" with jq and diff
	if err := e.Encode(p); err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	if err := WriteFile(path, b.Bytes()); err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	return nil
}

// WriteFile writes a file of mode 0600, whole or not at all: beside path, then renamed. A symbolic link at path is
// replaced, not followed.
func WriteFile(path string, b []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, withoutPath(err)) // nobody knows the file beside it
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error is the one that counts
		}
	}()
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// withoutPath takes the name of a file off an error.
func withoutPath(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &l):
		return l.Err
	}
	return err
}

// IsPlan tells a saved plan from a configuration or a snapshot: it is a JSON object with a plan_id. One that was cut short
// or is damaged is a plan, too, as long as its plan_id can be seen: Load says what is wrong with it.
func IsPlan(b []byte) bool {
	if !IsJSON(b) {
		return false
	}
	var head struct {
		ID *string `json:"plan_id"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return bytes.Contains(b[:min(len(b), 1024)], []byte(`"plan_id"`))
	}
	return head.ID != nil
}

// IsJSON tells a JSON object, whole or not, from a configuration: no block begins with a brace.
func IsJSON(b []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) }

// ErrDamaged is the error of a saved plan that was cut short or is not what Save wrote.
var ErrDamaged = errors.New("the saved plan is damaged")

// Load reads what Save wrote. A plan of another major version is refused; what a later minor version added is ignored.
func Load(b []byte) (*plan.Plan, error) {
	p := &plan.Plan{}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("load plan: %w (%w): plan again", ErrDamaged, err)
	}
	want, _, _ := strings.Cut(plan.FormatVersion, ".")
	if major, _, _ := strings.Cut(p.FormatVersion, "."); major != want {
		return nil, fmt.Errorf("load plan: format_version %q is not one this version reads (%s.x)", p.FormatVersion, want)
	}
	if err := sound(p); err != nil {
		return nil, fmt.Errorf("load plan: %w (%w): plan again", ErrDamaged, err)
	}
	return p, nil
}

// longestID bounds what becomes part of the names of files and of a unit of systemd; those have at most 255 bytes.
const longestID = 128

// sound tells whether a journal can be kept of a plan: by its ID, and the number of each step.
func sound(p *plan.Plan) error {
	if len(p.ID) > longestID {
		return fmt.Errorf("its plan_id has %d bytes", len(p.ID))
	}
	seen := map[int]bool{}
	for _, s := range p.Steps {
		if seen[s.ID] {
			return fmt.Errorf("it has two steps %d", s.ID)
		}
		seen[s.ID] = true
	}
	return nil
}

// MisfitError says why a saved plan is not for this host, or not for now.
type MisfitError struct {
	Reason string
	Cure   string
}

// Error says both.
func (e *MisfitError) Error() string { return e.Reason + ": " + e.Cure }

// Is makes a MisfitError an ErrStale.
func (e *MisfitError) Is(target error) bool { return target == ErrStale }

// Fits tells whether a saved plan is for this host, this boot of it, and this time; the error is a *MisfitError.
func Fits(p *plan.Plan, here plan.HostInfo, now time.Time) error {
	const again = "plan again on the host itself"
	switch {
	case p.Host.MachineID == "":
		return &MisfitError{"the plan was made from a snapshot, not on a host", again}
	case p.Host.MachineID != here.MachineID:
		return &MisfitError{fmt.Sprintf("the plan was made on another host (%s)", p.Host.Name), again}
	case p.Host.BootID != here.BootID:
		return &MisfitError{"the host was booted since the plan was made", "plan again"}
	case !p.Expires.IsZero() && now.After(p.Expires):
		return &MisfitError{"the plan expired " + p.Expires.UTC().Format("2006-01-02 15:04 MST"), "plan again"}
	}
	return nil
}
