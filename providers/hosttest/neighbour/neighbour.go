package neighbour

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Name is that of a program that manages rules, or lets people in.
type Name string

// The neighbours.
const (
	Firewalld Name = "firewalld"
	UFW       Name = "ufw"
	Docker    Name = "docker"
	Libvirt   Name = "libvirt"
	Fail2ban  Name = "fail2ban"
	SSHD      Name = "sshd"
)

// Opts say how a neighbour is set up. The zero Opts are the package's own.
type Opts struct {
	// Legacy makes iptables mean iptables-legacy (update-alternatives(1)), for every neighbour of the host from then on.
	Legacy bool
	// Backend is firewalld's: "nftables" (the default) or "iptables".
	Backend string
	// Files are written before the start: content by path, below /etc, /var or /run.
	Files map[string]string
}

// Running is a neighbour at work.
type Running struct {
	Name Name

	daemon *daemon // nil for ufw, which has none
}

// patience is how long a neighbour may take to be ready. It takes two seconds on an idle machine.
const patience = 40 * time.Second

// Start starts a neighbour and returns when it is ready. It works on the host of the calling goroutine, which must be one of
// world.InNewHost. The neighbour ends with that host, or with Stop; it can be started again then. What it said is logged
// when the test fails.
func Start(t testing.TB, name Name, opts Opts) *Running {
	t.Helper()
	Prepare(t)
	k, ok := kinds[name]
	if !ok {
		t.Fatalf("start neighbour %q: no such neighbour", name)
	}
	for _, p := range k.programs {
		require(t, p)
	}
	if opts.Legacy {
		if err := choose("legacy"); err != nil {
			t.Fatalf("start %s: choose iptables-legacy: %v", name, err)
		}
	}
	files := k.files(opts)
	maps.Copy(files, opts.Files)
	for _, dir := range k.dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatalf("start neighbour: %v", err)
		}
	}
	for path, content := range files {
		write(t, path, content)
	}
	for _, before := range k.before {
		before(t)
	}
	r := &Running{Name: name}
	if len(k.daemon) > 0 {
		r.daemon = launch(t, string(name), k.daemon)
	}
	r.await(t, k.ready)
	return r
}

// await asks until the neighbour answers.
func (r *Running) await(t testing.TB, ready []string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		out, err := run(t, patience, ready...)
		switch {
		case err == nil:
			return
		case r.daemon == nil:
			t.Fatalf("start %s: %v: %v\n%s", r.Name, ready, err, out)
		case r.daemon.ended():
			t.Fatalf("start %s: it has ended", r.Name) // its own words follow
		case time.Now().After(deadline):
			t.Fatalf("start %s: not ready after %v: %v: %v\n%s", r.Name, patience, ready, err, out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Stop ends the neighbour as a shutdown would. Its files stay. From another goroutine than Start's it stops daemons only.
func (r *Running) Stop(t testing.TB) {
	t.Helper()
	if r.daemon != nil {
		r.daemon.stop()
		return
	}
	for _, cmd := range kinds[r.Name].stop {
		if out, err := run(t, patience, cmd...); err != nil {
			t.Fatalf("stop %s: %v: %v\n%s", r.Name, cmd, err, out)
		}
	}
}

// Log is what a daemon has said so far.
func (r *Running) Log() string {
	if r.daemon == nil {
		return ""
	}
	return r.daemon.log.String()
}

// Sh runs a command line on the host of the calling goroutine and returns what it printed. It may take 40 seconds.
func Sh(t testing.TB, line string) string {
	t.Helper()
	out, err := run(t, patience, "sh", "-ec", line)
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

func run(t testing.TB, limit time.Duration, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(argv[0]), argv[1:]...)
	cmd.Env = environ()
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// path is where programs are looked for.
const path = "/usr/sbin:/usr/bin:/sbin:/bin"

// bin has what is found before others.
const bin = base + "/bin"

// environ is the environment of everything run: a fixed one, with messages in English.
func environ() []string {
	return []string{"PATH=" + bin + ":" + path, "HOME=/run", "LANG=C.UTF-8", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + busSocket}
}

// program finds a program on the fixed path.
func program(name string) string {
	for _, dir := range filepath.SplitList(path) {
		if full := filepath.Join(dir, name); executable(full) {
			return full
		}
	}
	return name
}

func executable(path string) bool {
	s, err := os.Stat(path)
	return err == nil && s.Mode().IsRegular() && s.Mode()&0o111 != 0
}

func require(t testing.TB, name string) {
	t.Helper()
	if !executable(program(name)) {
		t.Fatalf("%s is missing: run \"make tools\" as root, which installs %s", name, packages)
	}
}

// packages are the Debian packages that the neighbours come from.
const packages = "docker.io ufw firewalld dbus fail2ban libvirt-daemon-system libvirt-clients libvirt-daemon-driver-qemu dnsmasq-base openssh-server openssh-client tmux"

func write(t testing.TB, path, content string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(content), 0o640)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("prepare neighbour: %w", err))
	}
}
