package torture_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// plain is a small host and a small configuration, for tests that are about something else.
func plain() scene {
	return scene{host: base, config: "vmnet {\n  required_version = \">= 0.1\"\n}\n" + lab + "host_only \"build\" {\n  device = \"br-build\"\n  subnet = \"10.30.0.0/24\"\n}\n"}
}

// TestTwoApplies: the second is refused, and names the first.
func TestTwoApplies(t *testing.T) {
	t.Parallel()
	try(t, plain(), func(x *trial) {
		hold := filepath.Join(x.run, "lock")
		x.must(os.MkdirAll(x.run, 0o700))
		f, err := os.OpenFile(hold, os.O_CREATE|os.O_RDWR, 0o600)
		x.must(err)
		x.must(unix.Flock(int(f.Fd()), unix.LOCK_EX))
		_, err = f.WriteString(`{"pid":4711,"command":"vmnet apply lab","since":"2026-01-02T03:04:05Z"}`)
		x.must(err)
		if code, out := x.vmnet("apply", x.config, "--auto-approve", "--confirm", "none", "--lock-timeout", "50ms"); code != 9 ||
			!strings.Contains(out, "4711") || !strings.Contains(out, "vmnet apply lab") {
			x.Errorf("while another holds the lock: code %d\n%s", code, out)
		}
		x.must(f.Close())
		a, b := x.start("apply", x.config, "--auto-approve", "--confirm", "10m", "--detach"), x.start("apply", x.config, "--auto-approve", "--confirm", "10m", "--detach")
		codes := map[int]string{}
		for _, v := range []*vmnet{a, b} {
			codes[x.code(v)] = v.out.String()
		}
		if _, ok := codes[0]; !ok || !strings.Contains(codes[9], "vmnet confirm") || !strings.Contains(codes[9], "vmnet rollback") {
			x.Errorf("two at once: %v", codes)
		}
		if code, out := x.vmnet("rollback"); code != 0 || len(x.changed()) > 0 {
			x.Errorf("rollback: code %d, %v\n%s", code, x.changed(), out)
		}
		x.quiet()
	})
}

// TestBusyRules: somebody rewrites rules of nftables a hundred times a second. Nothing of theirs is lost, and the change is
// made or taken back, or refused with their name.
func TestBusyRules(t *testing.T) {
	t.Parallel()
	s := plain()
	s.host += "nft add table inet busy\nnft add chain inet busy c\n"
	try(t, s, func(x *trial) {
		busy := exec.CommandContext(x.Context(), "sh", "-c", `while :; do echo 'flush chain inet busy c; add rule inet busy c counter'; sleep .01; done | nft -i >/dev/null`)
		busy.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
		x.must(busy.Start())
		defer func() {
			_ = unix.Kill(-busy.Process.Pid, unix.SIGKILL) // with all that it started
			_ = busy.Wait()
		}()
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		code, out := x.vmnet("apply", x.config, "--auto-approve", "--confirm", "none")
		took := time.Since(began)
		_ = unix.Kill(-busy.Process.Pid, unix.SIGKILL) // with all that it started
		x.quiet()
		x.Logf("code %d after %v", code, took)
		changed := x.changed()
		for _, d := range changed {
			if strings.Contains(d, "inet busy") && strings.HasPrefix(d, "- table") {
				x.Errorf("lost: %s", d)
			}
		}
		switch code {
		case 0, 8:
			if left := x.steps(); left != 0 {
				x.Errorf("code %d, and %d steps are left\n%s", code, left, out)
			}
		case 6, 9, 10: // not 4: nothing in the file rests on that table
			for _, d := range changed {
				if !strings.Contains(d, "busy") {
					x.Errorf("code %d, and the host is not as before: %s\n%s", code, d, out)
				}
			}
		default:
			x.Errorf("code %d\n%s", code, out)
		}
		x.converges(false)
	})
}

// TestReboot: a journal of an earlier boot undoes nothing of this kernel, and is history.
func TestReboot(t *testing.T) {
	t.Parallel()
	try(t, plain(), func(x *trial) {
		x.killed()
		path := x.open()[0]
		b, err := os.ReadFile(path)
		x.must(err)
		boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		x.must(err)
		id := strings.TrimSpace(string(boot))
		x.must(os.WriteFile(path, []byte(strings.ReplaceAll(string(b), id, "00000000"+id[8:])), 0o600))
		x.remember()
		if code, out := x.vmnet("plan", x.config); code != 0 || !strings.Contains(out, "booted") || strings.Contains(out, "is undone in") {
			x.Errorf("plan after a reboot: code %d\n%s", code, out)
		}
		if code, out := x.json("history", "--json"); code != 0 || !strings.Contains(out, `"seconds_left":0`) {
			x.Errorf("history after a reboot: code %d\n%s", code, out)
		}
		if code, out := x.vmnet("rollback"); code != 0 {
			x.Errorf("rollback after a reboot: code %d\n%s", code, out)
		}
		if changed := x.changed(); len(changed) > 0 {
			x.Errorf("something of this boot was undone: %v", changed)
		}
		if h := x.history(); len(h) != 1 || h[0] != "gone" || len(x.open()) > 0 {
			x.Errorf("history %v, open %v", h, x.open())
		}
		x.converges(false)
	})
}

// TestNobodyLeft: the watchdog of a change that waits was killed, and nobody is there to arm another. The next command says so;
// the next apply, or more time, arms one, and it takes the change back.
func TestNobodyLeft(t *testing.T) {
	t.Parallel()
	for _, next := range [][]string{{"apply", "--auto-approve"}, {"confirm", "--extend", "2s"}} {
		try(t, plain(), func(x *trial) {
			x.killed()
			if code, out := x.vmnet("plan", x.config); code != 0 || !strings.Contains(strings.Join(strings.Fields(out), " "), "its watchdog was killed") {
				x.Errorf("plan: code %d\n%s", code, out)
			}
			if next[0] == "apply" {
				next = append(next, x.config)
			}
			code, out := x.vmnet(next...)
			if want := map[string]int{"apply": 9}[next[0]]; code != want || len(x.ours()) != 1 {
				x.Errorf("%v: code %d, processes %v, want a watchdog\n%s", next, code, x.ours(), out)
			}
			if _, out := x.vmnet("plan", x.config); strings.Contains(out, "killed") {
				x.Errorf("plan with a watchdog again\n%s", out)
			}
			if next[0] == "apply" {
				x.vmnet("confirm", "--extend", "1s")
			}
			x.quiet()
			if h, changed := x.history(), x.changed(); len(h) != 1 || h[0] != "rolled back" || len(changed) > 0 {
				x.Errorf("history %v, changed %v", h, changed)
			}
		})
	}
}

// killed makes a change that waits, and kills its watchdog: nobody is left.
func (x *trial) killed() {
	x.Helper()
	code, out := x.vmnet("apply", x.config, "--auto-approve", "--confirm", "10m", "--detach")
	if code != 0 || len(x.open()) != 1 {
		x.Fatalf("apply: code %d\n%s", code, out)
	}
	x.reap()
	x.quiet()
}

// TestClock: the wall clock decides nothing. It cannot be set here without setting everybody's, so the times in the journal
// are moved instead, which is the same to whoever compares them with the clock: no deadline moves with them.
func TestClock(t *testing.T) {
	t.Parallel()
	try(t, plain(), func(x *trial) {
		x.killed()
		path := x.open()[0]
		b, err := os.ReadFile(path)
		x.must(err)
		var moved strings.Builder
		for l := range strings.Lines(string(b)) {
			var rec map[string]json.RawMessage
			x.must(json.Unmarshal([]byte(l), &rec))
			rec["time"] = json.RawMessage(`"1999-01-01T00:00:00Z"`)
			text, err := json.Marshal(rec)
			x.must(err)
			moved.Write(append(text, '\n'))
		}
		x.must(os.WriteFile(path, []byte(moved.String()), 0o600))
		if code, out := x.vmnet("apply", x.config, "--auto-approve"); code != 9 || !strings.Contains(out, "VN808") {
			x.Errorf("a change that waits ten minutes more: code %d\n%s", code, out)
		}
		if code, out := x.vmnet("rollback"); code != 0 || len(x.changed()) > 0 {
			x.Errorf("rollback: code %d, %v\n%s", code, x.changed(), out)
		}
	})
}
