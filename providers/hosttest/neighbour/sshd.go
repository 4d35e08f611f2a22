package neighbour

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sshFiles set up an sshd that lets root in with a key of the test's.
func sshFiles(Opts) map[string]string {
	return map[string]string{"/etc/shadow": "root:*:20000::::::\n", "/etc/ssh/sshd_config": `Port 22
PasswordAuthentication no
HostKey ` + sshFolder + `/host
AuthorizedKeysFile ` + sshFolder + `/id.pub
PermitRootLogin yes
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
PidFile none
SetEnv PATH=` + bin + ":" + path + `
`}
}

// sshFolder has the keys of the host, and those of its clients.
const sshFolder = base + "/ssh"

// sshKeys makes the keys, once.
func sshKeys(t testing.TB) {
	t.Helper()
	if err := os.MkdirAll(sshFolder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"host", "id"} {
		key := filepath.Join(sshFolder, name)
		if _, err := os.Stat(key); err == nil {
			continue
		}
		if out, err := run(t, patience, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key); err != nil {
			t.Fatalf("make key %s: %v\n%s", name, err, out)
		}
	}
}

// rootAlone makes sshd work where root is the only user there is, as in the user namespace of an ordinary user: the user it
// becomes before authentication is root by another name, the group of terminals root's, and to drop the other groups succeeds
// without effect (it is denied there: user_namespaces(7), setgroups).
func rootAlone(t testing.TB) {
	t.Helper()
	allowed, err := os.ReadFile("/proc/self/setgroups")
	if err != nil || strings.TrimSpace(string(allowed)) != "deny" {
		return
	}
	write(t, "/etc/passwd", "root:x:0:0:root:/run:/bin/sh\nsshd:x:0:0::/run/sshd:/usr/sbin/nologin\n")
	write(t, "/etc/group", "root:x:0:\ntty:x:0:\n")
	if err := ignoreSetgroups(); err != nil {
		t.Fatalf("start sshd: ignore setgroups: %v", err)
	}
}

// ignoreSetgroups makes setgroups(2) of the calling thread, and of all that it starts from now on, do nothing successfully.
func ignoreSetgroups() error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // struct seccomp_data begins with the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_SETGROUPS},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO}, // errno 0: success
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// Machine is where a client runs: a *world.Node.
type Machine interface{ Do(fn func() error) error }

// Login is a command line that a real ssh client on another machine runs on the host of an sshd.
type Login struct {
	daemon *daemon
	in     io.WriteCloser
}

// SSH logs in as root at an address of the host where r, an sshd, was started from the calling goroutine, and runs a command
// line there by sh; "" is an interactive shell. Options are those of ssh(1): "-tt" for a terminal. It does not wait: see Wait,
// Until. The client is ended with the test.
func (r *Running) SSH(t testing.TB, from Machine, to netip.Addr, command string, options ...string) *Login {
	t.Helper()
	require(t, "ssh")
	key, err := os.ReadFile(filepath.Join(sshFolder, "id"))
	if err != nil {
		t.Fatalf("ssh: %v (call it inside the host's world.InNewHost)", err)
	}
	identity := filepath.Join(t.TempDir(), "id") // the client's machine has another /run
	if err := os.WriteFile(identity, key, 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{
		"-F", "/dev/null", "-i", identity, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
		"-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=12",
	}, options...)
	args = append(args, "root@"+to.String())
	if command != "" {
		args = append(args, command)
	}
	return dial(t, from, args)
}

func dial(t testing.TB, from Machine, args []string) *Login {
	t.Helper()
	l := &Login{daemon: &daemon{log: &output{}, done: make(chan struct{})}}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program("ssh"), args...)
	cmd.Env = append(environ(), "TERM=xterm")
	cmd.Stdout, cmd.Stderr = l.daemon.log, l.daemon.log
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // or it would ask for passwords on the test's terminal
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.in, l.daemon.cmd = in, cmd
	if err := from.Do(cmd.Start); err != nil {
		t.Fatalf("start ssh: %v", err)
	}
	go func() {
		defer close(l.daemon.done)
		_ = cmd.Wait() // Wait asks the state
	}()
	t.Cleanup(l.Close)
	return l
}

// Wait waits until the command has ended and returns what it printed. The error is of a command or a login that failed.
func (l *Login) Wait(t testing.TB) (string, error) {
	t.Helper()
	select {
	case <-l.daemon.done:
	case <-time.After(patience):
		t.Fatalf("ssh: not ended after %v:\n%s", patience, l.daemon.log.tail())
	}
	if s := l.daemon.cmd.ProcessState; !s.Success() {
		return l.Output(), fmt.Errorf("ssh: %v", s)
	}
	return l.Output(), nil
}

// Output is what the command has printed so far, on both outputs.
func (l *Login) Output() string { return l.daemon.log.String() }

// Ended tells whether the client has ended: the command is done, or the connection lost.
func (l *Login) Ended() bool { return l.daemon.ended() }

// Until waits until the output holds the text, and returns the output.
func (l *Login) Until(t testing.TB, text string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		ended := l.Ended() // before the output is read
		out := l.Output()
		switch {
		case strings.Contains(out, text):
			return out
		case ended || time.Now().After(deadline):
			t.Fatalf("ssh: no %q in what it printed (ended: %v):\n%s", text, ended, out)
		}
	}
}

// Send types text, which should end with a newline.
func (l *Login) Send(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(l.in, text); err != nil {
		t.Fatalf("ssh: send %q: %v", text, err)
	}
}

// Close ends the client, if it has not ended: a terminal that is closed.
func (l *Login) Close() { l.daemon.stop() }
