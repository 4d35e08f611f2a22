package sessions

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestProcess(t *testing.T) {
	t.Parallel()
	self, err := Self()
	must(t, err)
	if !self.Alive() || (Process{self.PID, self.Start + 1}).Alive() || (Process{}).Alive() {
		t.Errorf("%+v", self)
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	must(t, cmd.Start())
	s, err := New(Options{}).stat(cmd.Process.Pid)
	must(t, err)
	if !s.Alive() {
		t.Errorf("%+v has just been started", s)
	}
	must(t, cmd.Process.Kill())
	for deadline := time.Now().Add(10 * time.Second); s.Alive(); time.Sleep(time.Millisecond) { // a zombie until it is waited for
		if time.Now().After(deadline) {
			t.Fatal("a killed process is alive")
		}
	}
	if err := cmd.Wait(); err == nil || s.Alive() {
		t.Errorf("%v, alive %v", err, s.Alive())
	}
}

func TestBoot(t *testing.T) {
	t.Parallel()
	a, err := BootID()
	must(t, err)
	if b, err := BootID(); err != nil || a != b || len(a) != 36 {
		t.Errorf("%q, then %q: %v", a, b, err)
	}
	before := SinceBoot()
	time.Sleep(2 * time.Millisecond)
	if d := SinceBoot() - before; d < 2*time.Millisecond || before <= 0 {
		t.Errorf("%v since boot, then %v more", before, d)
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"one":                 "\r\none\r\n",
		"one\ntwo\r\n":        "\r\none\r\ntwo\r\n",
		"a\x1b]0;x\x07\u009b": "\r\na?]0;x??\r\n",
		"Grüße\tan\xffalle":   "\r\nGrüße\tan?alle\r\n",
		"left\u202eright":     "\r\nleft?right\r\n", // turns what follows around
	} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q) = %q, want %q", text, got, want)
		}
	}
	if got := printable(strings.Repeat("ü\n", maxText)); len(got) > maxText {
		t.Errorf("%d bytes", len(got))
	}
}

// TestLog: without a journal nothing happens; one that is stuck does not hold anybody up. Only what the standard path leads to
// can be tested, so this is the machine's own if it has one.
func TestLog(t *testing.T) {
	t.Parallel()
	start := time.Now()
	if err := Log(t.Context(), "a test of vmnet", map[string]string{"VMNET_TEST": "1"}); err != nil {
		c, e := (&net.Dialer{}).DialContext(t.Context(), "unixgram", "/run/systemd/journal/socket")
		if e != nil {
			t.Errorf("no journal, and an error: %v", err)
		} else {
			_ = c.Close()
		}
	}
	if d := time.Since(start); d > journalTime+5*time.Second {
		t.Errorf("it took %v", d)
	}
}

// A login is as old as the youngest of what serves it: who attaches anew to an old tmux has come in.
func TestLoginBefore(t *testing.T) {
	t.Parallel()
	const at = 1000 * time.Second
	for _, c := range []struct {
		login Login
		want  bool
	}{
		{Login{Kind: SSH, Servers: []Process{{1, 99_999}}, Leader: Process{2, 100_500}}, true}, // another channel of an old connection
		{Login{Kind: SSH, Servers: []Process{{1, 100_001}}, Leader: Process{2, 100_002}}, false},
		{Login{Kind: SSH, Servers: []Process{{1, 500}, {3, 100_001}}, Leader: Process{2, 600}}, false},
		{Login{Kind: SSH, Leader: Process{2, 600}}, true},
		{Login{Kind: SSH, Leader: Process{2, 100_600}}, false},
		{Login{Kind: SSH}, false},
		{Login{Kind: Console, Leader: Process{2, 600}}, false},
		{Login{Kind: None, Leader: Process{2, 600}}, false},
	} {
		if got := c.login.Before(at); got != c.want {
			t.Errorf("%+v was there before: %t, want %t", c.login, got, c.want)
		}
	}
	self, err := Self()
	must(t, err)
	if l := (Login{Kind: SSH, Leader: self}); !l.Before(SinceBoot()) || l.Before(SinceBoot()-time.Hour) {
		t.Errorf("this process started %d ticks after boot, which was %v ago", self.Start, SinceBoot())
	}
}
