package apply_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// A plan that was written and read again does the same.
func TestSavedPlanApplies(t *testing.T) {
	t.Parallel()
	h, want := drifted(t)
	path := filepath.Join(t.TempDir(), "fix.vmplan")
	if err := os.Symlink("/dev/null", path); err != nil {
		t.Fatal(err)
	}
	if err := apply.Save(path, newPlan(t, h, want)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("saved plan: mode %v, error %v; want a file of mode 0600", info.Mode(), err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !apply.IsPlan(b) {
		t.Error("IsPlan(saved plan) = false")
	}
	p, err := apply.Load(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := apply.Run(t.Context(), h, p, journal(t), quick); err != nil {
		t.Errorf("apply the loaded plan: %v", err)
	}
}

func TestLoadRefusesAnotherMajorVersion(t *testing.T) {
	t.Parallel()
	if _, err := apply.Load([]byte(`{"format_version":"2.0","plan_id":"x"}`)); err == nil {
		t.Error("format_version 2.0 was loaded")
	}
	if _, err := apply.Load([]byte(`{"format_version":"1.99","plan_id":"x","new_thing":1}`)); err != nil {
		t.Errorf("a later minor version: %v", err)
	}
}

func TestIsPlan(t *testing.T) {
	t.Parallel()
	snapshot, err := schema.NewState().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		`{"plan_id":"a"}`: true, "\n {\"plan_id\":\"a\"}": true, string(snapshot): false, `bridge "lan" {}`: false, "": false, "{": false,
	} {
		if got := apply.IsPlan([]byte(text)); got != want {
			t.Errorf("IsPlan(%q) = %t, want %t", text, got, want)
		}
	}
}

// A plan that was cut short while it was copied is a plan still, and not a configuration with a syntax error.
func TestDamagedPlan(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"format_version":"1.0","tool":{},"plan_id":"x","resource_chan`, `{"plan_id":"x"} }`, `{"plan_id":7}`} {
		_, err := apply.Load([]byte(text))
		if !apply.IsPlan([]byte(text)) || !errors.Is(err, apply.ErrDamaged) {
			t.Errorf("IsPlan(%q) = %t, Load: %v", text, apply.IsPlan([]byte(text)), err)
		}
	}
}

// The journal of a change tells its steps by their numbers, and is named by the ID of the plan.
func TestLoadRefusesWhatNoJournalCanTell(t *testing.T) {
	t.Parallel()
	for what, damage := range map[string]func(*plan.Plan){
		"two steps":       func(p *plan.Plan) { p.Steps[1].ID = p.Steps[0].ID },
		"plan_id has 300": func(p *plan.Plan) { p.ID = strings.Repeat("x", 300) },
		"":                func(*plan.Plan) {},
	} {
		h, want := drifted(t)
		p := newPlan(t, h, want)
		damage(p)
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		_, err = apply.Load(b)
		if what == "" && err != nil || what != "" && (!errors.Is(err, apply.ErrDamaged) || !strings.Contains(err.Error(), what)) {
			t.Errorf("%q: %v", what, err)
		}
	}
}

// The name of the file beside the target is nobody's business.
func TestWriteFileNamesTheTarget(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "no", "x.vmplan")
	err := apply.Save(path, &plan.Plan{})
	if want := "save plan: write " + path + ": no such file or directory"; err == nil || err.Error() != want || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Save = %v, want %s", err, want)
	}
	if err := apply.WriteFile(t.TempDir(), nil); err == nil || strings.Contains(err.Error(), "rename") {
		t.Errorf("WriteFile over a directory: %v", err)
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)
	here := plan.HostInfo{Name: "kvm-07", MachineID: "9a", BootID: "b1"}
	for name, c := range map[string]struct {
		host    plan.HostInfo
		expires time.Time
		want    string
	}{
		"fits":          {here, now.Add(time.Hour), ""},
		"expired":       {here, now.Add(-time.Hour), "the plan expired 2026-11-22 12:00 UTC: plan again"},
		"other host":    {plan.HostInfo{Name: "kvm-08", MachineID: "9b", BootID: "b1"}, now.Add(time.Hour), "the plan was made on another host (kvm-08): plan again on the host itself"},
		"other boot":    {plan.HostInfo{Name: "kvm-07", MachineID: "9a", BootID: "b2"}, now.Add(time.Hour), "the host was booted since the plan was made: plan again"},
		"of a snapshot": {plan.HostInfo{}, now.Add(time.Hour), "the plan was made from a snapshot, not on a host: plan again on the host itself"},
	} {
		err := apply.Fits(&plan.Plan{Host: c.host, Expires: c.expires}, here, now)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want || (err != nil && !errors.Is(err, apply.ErrStale)) {
			t.Errorf("%s: Fits = %v, want %q", name, err, c.want)
		}
	}
}
