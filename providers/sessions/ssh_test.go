package sessions

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmnet/vmnet/providers/hosttest/neighbour"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// helper makes the test binary print, as JSON, who runs it.
const helper = "VMNET_SESSIONS_FIND"

func TestMain(m *testing.M) {
	if os.Getenv(helper) == "" {
		os.Exit(world.Main(m))
	}
	who, err := Find(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(who); err != nil {
		os.Exit(1)
	}
}

// find is the command line that does. It fits anywhere: no quotes.
func find(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	return "env " + helper + "=1 " + self
}

// shell is a login with a terminal that waits for commands.
type shell struct {
	*neighbour.Login
	pos  int
	Peer netip.AddrPort
}

func login(t *testing.T, sshd *neighbour.Running, from neighbour.Machine, to netip.Addr) *shell {
	t.Helper()
	s := &shell{Login: sshd.SSH(t, from, to, "", "-tt")}
	s.Send(t, "PS1= PS2=; set +m; stty -echo; bind 'set enable-bracketed-paste off' 2>/dev/null; echo re''ady\n")
	s.Until(t, "ready")
	e, ok := connection(map[string]string{"SSH_CONNECTION": s.run(t, "echo $SSH_CONNECTION")})
	if !ok {
		t.Fatalf("no SSH_CONNECTION:\n%s", s.Output())
	}
	s.Peer = e.peer
	return s
}

// run runs a command in the shell and returns what it printed.
func (s *shell) run(t *testing.T, command string) string {
	t.Helper()
	s.pos++
	from, to := fmt.Sprintf("<%d:", s.pos), fmt.Sprintf(":%d>", s.pos)
	s.Send(t, fmt.Sprintf("printf '<%%s:' %d; %s; printf ':%%s>' %d\n", s.pos, command, s.pos))
	_, out, _ := strings.Cut(s.Until(t, to), from)
	out, _, _ = strings.Cut(out, to)
	return strings.TrimSpace(strings.ReplaceAll(out, "\r\n", "\n"))
}

func (s *shell) who(t *testing.T, command string) Who {
	t.Helper()
	return decode(t, s.run(t, command))
}

func decode(t *testing.T, out string) Who {
	t.Helper()
	var w Who
	if err := json.Unmarshal([]byte(out[max(0, strings.Index(out, "{")):]), &w); err != nil { // a shell may speak of its jobs first
		t.Fatalf("%v:\n%s", err, out)
	}
	return w
}

func own(w Who) []netip.AddrPort {
	var peers []netip.AddrPort
	for _, s := range w.Login.Sessions {
		peers = append(peers, s.Peer)
	}
	slices.SortFunc(peers, netip.AddrPort.Compare)
	return peers
}

func peers(of ...*shell) []netip.AddrPort {
	var all []netip.AddrPort
	for _, s := range of {
		all = append(all, s.Peer)
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	return all
}

// TestSSH: a real sshd, logins of real clients, and the ways from them to a process.
func TestSSH(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		w, err := world.New(world.Spec{})
		must(t, err)
		defer w.Close()
		sshd := neighbour.Start(t, neighbour.SSHD, neighbour.Opts{})
		a, b := login(t, sshd, w.LAN(), w.Host4.Addr()), login(t, sshd, w.LAN(), w.Host6.Addr())
		ways(t, a, b)
		withoutTerminal(t, sshd, w, a, b)
		unprivileged(t, a)
		multiplexed(t, sshd, w, a, b)
	})
}

// ways are those that keep nothing but the connection in common.
func ways(t *testing.T, a, b *shell) {
	t.Helper()
	plain := a.who(t, find(t))
	other := b.who(t, find(t))
	if plain.Login.Same(other.Login) || other.Login.Same(plain.Login) {
		t.Errorf("two logins are the same:\n%+v\n%+v", plain.Login, other.Login)
	}
	if len(plain.Sessions) != 2 || plain.Sessions[1].Own || plain.Sessions[1].Peer != b.Peer || !plain.Sessions[1].Certain {
		t.Errorf("sessions: %+v", plain.Sessions)
	}
	lines := map[string]string{
		"plain":                         find(t),
		"setsid":                        "setsid -w " + find(t),
		"nothing in the environment":    "env -i PATH=$PATH " + find(t),
		"a terminal of its own":         "env -i PATH=$PATH script -qec '" + find(t) + "' /dev/null",
		"orphan with a terminal":        "rm -f /run/o1; (nohup " + find(t) + " >/run/o1.new 2>/dev/null; mv /run/o1.new /run/o1) & wait; cat /run/o1",
		"orphan in a session of itself": "rm -f /run/o2; env -i PATH=$PATH setsid -f sh -c 'sleep .2; " + find(t) + " >/run/o2.new; mv /run/o2.new /run/o2'; while ! test -f /run/o2; do sleep .02; done; cat /run/o2",
		"daemon that remembers":         "rm -f /run/o3; setsid -f sh -c 'sleep .2; " + find(t) + " >/run/o3.new; mv /run/o3.new /run/o3' </dev/null >/dev/null 2>&1; while ! test -f /run/o3; do sleep .02; done; cat /run/o3",
	}
	if _, err := exec.LookPath("sudo"); err == nil {
		lines["sudo"] = "sudo " + find(t)
	}
	for name, line := range lines {
		got := a.who(t, line)
		if !slices.Equal(own(got), peers(a)) || !got.Login.Same(plain.Login) || got.Login.Same(other.Login) {
			t.Errorf("%s: %+v", name, got.Login)
			continue
		}
		s := got.Login.Sessions[0]
		if got.Login.Kind != SSH || s.Server != "sshd" && s.Server != "sshd-session" || !s.Certain || !s.Own || s.PID == 0 ||
			s.Local.Port() != 22 || got.Login.From != a.Peer.Addr().String() {
			t.Errorf("%s: %+v", name, got.Login)
		}
	}
	for name, line := range map[string]string{
		"another network": "unshare -n " + find(t),
		"nobody's":        "rm -f /run/o4; env -i PATH=$PATH setsid -f sh -c 'sleep .2; " + find(t) + " >/run/o4.new; mv /run/o4.new /run/o4' </dev/null >/dev/null 2>&1; while ! test -f /run/o4; do sleep .02; done; cat /run/o4",
	} {
		if got := a.who(t, line); len(got.Login.Sessions) > 0 {
			t.Errorf("%s: %+v", name, got.Login)
		}
	}
}

func withoutTerminal(t *testing.T, sshd *neighbour.Running, w *world.World, a, b *shell) {
	t.Helper()
	out, err := sshd.SSH(t, w.LAN(), w.Host4.Addr(), "echo $SSH_CONNECTION; "+find(t)).Wait(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	line, rest, _ := strings.Cut(out, "\n")
	e, _ := connection(map[string]string{"SSH_CONNECTION": line})
	got := decode(t, rest)
	if !slices.Equal(own(got), []netip.AddrPort{e.peer}) || got.Login.Kind != SSH || got.Login.TTY != "" || len(got.Sessions) != 3 {
		t.Errorf("own %v, want %v of 3: %+v", own(got), e.peer, got)
	}
	for _, s := range []*shell{a, b} {
		if got.Login.Same(s.who(t, find(t)).Login) {
			t.Errorf("the same login as that of %v: %+v", s.Peer, got.Login)
		}
	}
}

// unprivileged: a process that lacks one capability of sshd's may not look into it (cap_ptrace_access_check in
// security/commoncap.c).
func unprivileged(t *testing.T, a *shell) {
	t.Helper()
	got := a.who(t, "setpriv --bounding-set -sys_ptrace --inh-caps -sys_ptrace "+find(t))
	if !slices.Equal(own(got), peers(a)) || got.Login.Sessions[0].Certain || len(got.Sessions) != 2 {
		t.Errorf("without privileges: %+v", got)
	}
	if !got.Login.Same(a.who(t, find(t)).Login) {
		t.Errorf("without privileges another login: %+v", got.Login)
	}
}

// multiplexed: who is attached to a tmux counts, whoever started it; and nobody who is not attached any more.
func multiplexed(t *testing.T, sshd *neighbour.Running, w *world.World, a, b *shell) {
	t.Helper()
	const tmux = "tmux -S /run/test.tmux -f /dev/null"
	c := login(t, sshd, w.LAN(), w.Host4.Addr())
	c.run(t, tmux+" new-session -d -s x sh; "+tmux+" set -g window-size largest")
	inside := func() Who { // a while after: send-keys is a client itself
		c.run(t, "rm -f /run/t; "+tmux+" send-keys -t x 'sleep .3; "+find(t)+" >/run/t.new; mv /run/t.new /run/t' Enter")
		return c.who(t, "while ! test -f /run/t; do sleep .02; done; cat /run/t")
	}
	clients := func(n int) {
		c.run(t, fmt.Sprintf("until [ $(%s list-clients | wc -l) = %d ]; do sleep .02; done", tmux, n))
	}
	if got := inside(); !slices.Equal(own(got), peers(c)) { // its environment says so, and the connection lives
		t.Errorf("detached: %+v", got.Login)
	}
	a.Send(t, tmux+" attach -t x\n")
	clients(1)
	alone := inside()
	if !slices.Equal(own(alone), peers(a)) || alone.Login.Sessions[0].Via != "tmux" || alone.Login.Same(c.who(t, find(t)).Login) {
		t.Errorf("one attached: %+v", alone.Login)
	}
	b.Send(t, "exec "+tmux+" attach -t x\n")
	clients(2)
	if got := inside(); !slices.Equal(own(got), peers(a, b)) || !got.Login.Same(alone.Login) || len(got.Sessions) != 3 {
		t.Errorf("two attached: own %v, want %v: %+v", own(got), peers(a, b), got)
	}
	tells(t, w, a, c)
	a.Close() // the client goes, as when its machine loses power it would after a while
	clients(1)
	if got := inside(); !slices.Equal(own(got), peers(b)) || got.Login.Same(alone.Login) {
		t.Errorf("the other attached: %+v", got.Login)
	}
}

// tells: who is at a terminal of this network is told, also in a tmux; who is at one of another network is not.
func tells(t *testing.T, w *world.World, a, c *shell) {
	t.Helper()
	elsewhere := &lockedBuffer{}
	cmd := exec.CommandContext(t.Context(), "script", "-qec", "echo here; cat", "/dev/null")
	cmd.Stdout = elsewhere
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, w.LAN().Do(cmd.Start))
	defer func() {
		_ = in.Close() // ends script, and that ends cat
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for !strings.Contains(elsewhere.String(), "here") {
		time.Sleep(10 * time.Millisecond)
	}
	terminals, err := Terminals(t.Context())
	must(t, err)
	told, err := Tell(t.Context(), "the network changes\x1b[31m in 30 s\n")
	if err != nil || told != len(terminals) || told != 2 { // the window of the tmux, and c
		t.Errorf("told %d of %v: %v", told, terminals, err)
	}
	a.Until(t, "the network changes?[31m in 30 s")
	c.Until(t, "the network changes?[31m in 30 s")
	if strings.Contains(elsewhere.String(), "network") {
		t.Errorf("told who is elsewhere: %q", elsewhere)
	}
	except := terminals[0].Name
	if told, err := Tell(t.Context(), "again", except); err != nil || told != 1 {
		t.Errorf("except %s: told %d: %v", except, told, err)
	}
}

// lockedBuffer is written by one goroutine and read by another.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
