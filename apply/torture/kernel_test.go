package torture_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/hosttest/guest"
)

// TestOnAKernelOfItsOwn: what cannot be tried on a kernel that others use, too: systemd as the first process, and a clock
// that somebody sets.
func TestOnAKernelOfItsOwn(t *testing.T) {
	t.Parallel()
	guest.Run(t, func() {
		t.Run("clock", clockJumps)
		t.Run("systemd", withSystemd)
	})
}

// clockJumps: while a change waits, the clock of the host is set to yesterday, and then to a day in ten years. The change is
// taken back at its deadline, not before, and nothing is stale, expired or busy after that.
func clockJumps(t *testing.T) {
	try(t, plain(), func(x *trial) {
		const wait = 15 * time.Second
		code, out := x.vmnet("apply", x.config, "--auto-approve", "--confirm", wait.String(), "--detach")
		if code != 0 || len(x.open()) != 1 {
			x.Fatalf("apply: code %d\n%s", code, out)
		}
		made := boottime(x)
		for _, jump := range []time.Duration{-24 * time.Hour, 10 * 365 * 24 * time.Hour} {
			now := unix.NsecToTimeval(time.Now().Add(jump).UnixNano())
			x.must(unix.Settimeofday(&now))
			time.Sleep(time.Second)
			if len(x.open()) != 1 {
				x.Errorf("the clock was set by %v: the change is over %v after it was made\n%s", jump, boottime(x)-made, x.journals())
			}
		}
		for len(x.open()) > 0 && boottime(x)-made < 4*wait {
			time.Sleep(10 * time.Millisecond)
		}
		if took := boottime(x) - made; took < wait-2*time.Second || took > 2*wait {
			x.Errorf("it ended after %v, not %v", took, wait)
		}
		x.quiet()
		if h, changed := x.history(), x.changed(); len(h) != 1 || h[0] != "rolled back" || len(changed) > 0 {
			x.Errorf("history %v, changed %v", h, changed)
		}
		x.converges(false)
	})
}

// boottime is a clock that nobody can set.
func boottime(x *trial) time.Duration {
	var t unix.Timespec
	x.must(unix.ClockGettime(unix.CLOCK_BOOTTIME, &t))
	return time.Duration(t.Nano())
}

// systemdScript makes systemd the first process of a host of its own, with no unit but its own targets.
const systemdScript = `set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/units /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for t in default basic sysinit; do printf '[Unit]\nDescription=%s\n' $t >/run/units/$t.target; done
printf '[Unit]\nDescription=the end\nDefaultDependencies=no\n' >/run/units/shutdown.target
export container=test SYSTEMD_UNIT_PATH=/run/units
exec /lib/systemd/systemd --system --unit=default.target --log-target=null --show-status=no
`

// booted is a host whose first process is systemd.
type booted struct {
	*testing.T
	pid int
	dir string
}

func withSystemd(t *testing.T) {
	b := &booted{T: t, dir: t.TempDir()}
	cmd := exec.CommandContext(t.Context(), "unshare", "--pid", "--fork", "--kill-child", "--mount", "--net", "--ipc", "--cgroup", "sh", "-c", systemdScript)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill() // with all that it started
		_ = cmd.Wait()
	}()
	b.pid = b.child(cmd.Process.Pid)
	b.until("systemd answers", func() bool { _, err := b.try("systemctl list-units"); return err == nil })
	config := filepath.Join(b.dir, "host.vmnet.hcl")
	if err := os.WriteFile(config, []byte(plain().config), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(base)
	apply := fmt.Sprintf("%s apply %s --auto-approve --detach --runtime-dir %s/run --confirm ", program(), config, b.dir)
	b.restarted(apply)
	b.stopped(apply)
	b.unseen(apply)
}

// restarted: the watchdog is a service of systemd; killed, it is started again, and takes the change back.
func (b *booted) restarted(apply string) {
	b.Helper()
	b.run(apply + "1m")
	first := b.main()
	if got := b.run("ps -o cgroup= -p " + first); !strings.Contains(got, "vmnet-watchdog-") {
		b.Errorf("the watchdog runs in %q", got)
	}
	b.run("kill -9 " + first)
	b.until("it is started again", func() bool { m := b.main(); return m != "0" && m != "" && m != first })
	b.run(program() + " confirm --extend 1s --runtime-dir " + b.dir + "/run")
	b.until("it has taken the change back", func() bool { _, err := b.try("ip link show virbr-lab"); return err != nil })
	b.until("its unit is gone", func() bool { return b.unit() == "" })
}

// stopped: systemd ends it at once when the host is shut down.
func (b *booted) stopped(apply string) {
	b.Helper()
	b.run(apply + "10m")
	began := time.Now()
	b.run("systemctl stop " + b.unit())
	if took := time.Since(began); took > 30*time.Second {
		b.Errorf("a reboot would have to wait %v for the watchdog", took)
	}
	b.run(program() + " rollback --runtime-dir " + b.dir + "/run")
}

// unseen: a vmnet in a mount namespace whose files systemd does not see has a watchdog all the same.
func (b *booted) unseen(apply string) {
	b.Helper()
	hidden := fmt.Sprintf("mount -t tmpfs tmpfs /mnt && cp %s /mnt/vmnet && cp %s/host.vmnet.hcl /mnt/ && ", program(), b.dir)
	mine := strings.ReplaceAll(strings.ReplaceAll(apply, program(), "/mnt/vmnet"), b.dir, "/mnt")
	b.run("unshare --mount sh -ec '" + hidden + mine + "3s; grep -l __watch[d]og /proc/[0-9]*/cmdline >&2; while ip link show virbr-lab >/dev/null 2>&1; do sleep .1; done'")
}

// unit is the watchdog's unit, "" for none; main the process of it that systemd started.
func (b *booted) unit() string {
	b.Helper()
	name, _, _ := strings.Cut(b.run("systemctl list-units --all --plain --no-legend 'vmnet-watchdog-*'"), " ")
	return name
}

func (b *booted) main() string {
	b.Helper()
	return strings.TrimSpace(b.run("systemctl show --property=MainPID --value '" + b.unit() + "'"))
}

func (b *booted) try(script string) (string, error) {
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "-t", strconv.Itoa(b.pid), "--all", "sh", "-ec", script)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (b *booted) run(script string) string {
	b.Helper()
	out, err := b.try(script)
	if err != nil {
		b.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

func (b *booted) until(what string, so func() bool) {
	b.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("waited in vain: %s", what)
		}
	}
}

// child is the process that another has started.
func (b *booted) child(parent int) (pid int) {
	b.Helper()
	b.until("there is a first process", func() bool {
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
		if err != nil {
			return false
		}
		_, err = fmt.Sscan(string(list), &pid)
		return err == nil
	})
	return pid
}
