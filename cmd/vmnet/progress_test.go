package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

// Whatever takes long is heard of every five seconds: a step, looking whether the host is there yet, and taking back.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		told := (&app{err: &out}).teller(view.Options{})
		defer told.stop()
		step := &plan.Step{ID: 2, Action: "create", Change: schema.Change{Ref: schema.LinkRef("br0")}}
		hear := func(wait time.Duration, e apply.Event) {
			e.Step, e.Total = step, 3
			told.hear(e)
			time.Sleep(wait)
			synctest.Wait()
		}
		hear(11*time.Second, apply.Event{Kind: apply.EventBegin})
		hear(time.Minute, apply.Event{Kind: apply.EventArmed})
		hear(time.Second, apply.Event{Kind: apply.EventVerify})
		for range 7 {
			hear(time.Second, apply.Event{Kind: apply.EventSettling})
		}
		hear(6*time.Second, apply.Event{Kind: apply.EventRollback, Err: errors.New("no")})
		var beats []string
		for line := range strings.Lines(out.String()) {
			if strings.Contains(line, "still") {
				beats = append(beats, strings.TrimSpace(line))
			}
		}
		want := []string{
			"still at step 2 of 3, link br0 (5s)", "still at step 2 of 3, link br0 (10s)", "still reading the host back (5s)", "still taking back (5s)",
		}
		if strings.Join(beats, "; ") != strings.Join(want, "; ") {
			t.Errorf("heard %q, want %q", beats, want)
		}
	})
}

// stuck is a terminal that was stopped: whoever writes waits for ever.
type stuck struct{ release chan struct{} }

func (s stuck) Write(b []byte) (int, error) {
	if len(b) > 0 {
		<-s.release
	}
	return len(b), nil
}

// A terminal that takes nothing more stops neither an apply nor what takes it back.
func TestStoppedTerminal(t *testing.T) {
	t.Parallel()
	for confirm, want := range map[string]struct {
		code  code
		there bool // the bridge
	}{
		"none": {exitOK, true},
		"2s":   {exitRolledBack, false},
	} {
		t.Run(confirm, func(t *testing.T) {
			t.Parallel()
			world.InNewHost(t, func() {
				environ, file := lab(t)
				terminal := stuck{make(chan struct{})}
				defer close(terminal.release)
				var out bytes.Buffer
				got := code(run([]string{"apply", "--auto-approve", "--confirm", confirm, file}, streams{nil, &out, terminal}, environ))
				there := exec.CommandContext(t.Context(), "ip", "link", "show", "virbr-lab").Run() == nil
				if got != want.code || there != want.there {
					t.Errorf("code %d and the bridge is there: %t; want %d, %t\n%s", got, there, want.code, want.there, out.String())
				}
			})
		})
	}
}

// lab makes a host with a way out, and a file that has a network more.
func lab(t *testing.T) (environ []string, file string) {
	t.Helper()
	dir := t.TempDir()
	const host = "ip link add eno1 type veth peer name lan0; ip link set lan0 up; ip link set eno1 up; ip address add 192.0.2.10/24 dev eno1; ip route add default via 192.0.2.1"
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", host).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	file = filepath.Join(dir, "lab.vmnet.hcl")
	const text = "vmnet {\n  required_version = \">= 0.1\"\n}\nnat \"lab\" {\n  device = \"virbr-lab\"\n  subnet = \"10.20.0.0/24\"\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(), "VMNET_RUNTIME_DIR="+filepath.Join(dir, "run"), "VMNET_FILE_ROOT="+filepath.Join(dir, "root")), file
}
