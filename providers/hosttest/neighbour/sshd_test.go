package neighbour_test

import (
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/neighbour"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// TestSSH: root logs in from another machine, with a terminal and without, and is on the host of the sshd there.
func TestSSH(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		w, err := world.New(world.Spec{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		sshd := neighbour.Start(t, neighbour.SSHD, neighbour.Opts{})
		out, err := sshd.SSH(t, w.LAN(), w.Host4.Addr(), "id -u; tty; ip -br link show eno1; echo $SSH_CONNECTION").Wait(t)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{"0\n", "not a tty\n", "eno1", "192.0.2.1 "} {
			if !strings.Contains(out, want) {
				t.Errorf("want %q in\n%s", want, out)
			}
		}
		shell := sshd.SSH(t, w.LAN(), w.Host6.Addr(), "", "-tt")
		shell.Send(t, "tty; echo $((40+2))\n")
		if out := shell.Until(t, "42"); !strings.Contains(out, "/dev/pts/") {
			t.Errorf("want a terminal in\n%s", out)
		}
		if shell.Ended() {
			t.Error("the shell has ended by itself")
		}
		shell.Send(t, "exit 3\n")
		if out, err := shell.Wait(t); err == nil || !strings.Contains(err.Error(), "exit status 3") {
			t.Errorf("exit 3: %v\n%s", err, out)
		}
		if out, err := sshd.SSH(t, w.LAN(), w.Router4, "true").Wait(t); err == nil {
			t.Errorf("where no sshd listens a login succeeded:\n%s", out)
		}
	})
}
