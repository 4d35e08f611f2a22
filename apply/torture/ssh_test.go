package torture_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/providers/hosttest/neighbour"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// remote is a host that people reach over ssh, as is usual.
type remote struct {
	*testing.T
	*world.World
	sshd *neighbour.Running
	dir  string
}

// overSSH runs fn with a real sshd on a host of its own; clients come from another machine of its LAN.
func overSSH(t *testing.T, fn func(*remote)) {
	t.Helper()
	t.Parallel()
	world.InNewHost(t, func() {
		w, err := world.New(world.Spec{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		fn(&remote{T: t, World: w, sshd: neighbour.Start(t, neighbour.SSHD, neighbour.Opts{}), dir: t.TempDir()})
	})
}

// file writes a configuration and returns its path.
func (r *remote) file(name, text string) string {
	r.Helper()
	path := filepath.Join(r.dir, name+".vmnet.hcl")
	if err := os.WriteFile(path, []byte("vmnet {\n  required_version = \">= 0.1\"\n  risk_limit = \"cut\"\n}\n"+text), 0o600); err != nil {
		r.Fatal(err)
	}
	return path
}

// shell is a login with a terminal.
type shell struct {
	*neighbour.Login
	r   *remote
	pos int
}

func (r *remote) login() *shell {
	r.Helper()
	s := &shell{Login: r.sshd.SSH(r.T, r.LAN(), r.Host4.Addr(), "", "-tt"), r: r}
	s.Send(r.T, fmt.Sprintf("PS1= PS2=; set +m; stty -echo; bind 'set enable-bracketed-paste off' 2>/dev/null; "+
		"export VMNET_RUNTIME_DIR=%s/run VMNET_FILE_ROOT=%s/root; vmnet() { %s \"$@\"; }; echo re''ady\n", r.dir, r.dir, program()))
	s.Until(r.T, "ready")
	return s
}

// run runs a command line, which must end with a code.
func (s *shell) run(code int, line string) string {
	s.r.Helper()
	s.pos++
	from, to := fmt.Sprintf("<%d:", s.pos), fmt.Sprintf(":%d>", s.pos)
	s.Send(s.r.T, fmt.Sprintf("printf '<%%s:' %d; %s; printf ':code %%s:%%s>' $? %d\n", s.pos, line, s.pos))
	_, out, _ := strings.Cut(s.Until(s.r.T, to), from)
	out, _, _ = strings.Cut(out, to)
	if !strings.HasSuffix(out, fmt.Sprintf(":code %d", code)) {
		s.r.Errorf("%s: want code %d\n%s", line, code, out)
	}
	return out
}

func (r *remote) wants(out string, want ...string) {
	r.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			r.Errorf("want %q in\n%s", w, out)
		}
	}
}

const lab = "nat \"lab\" {\n  device = \"virbr-lab\"\n  subnet = \"10.20.0.0/24\"\n}\n"

// TestSSHConfirm: over ssh a change waits by itself; the login that made it cannot confirm it, nor one from before; a new one can.
func TestSSHConfirm(t *testing.T) {
	overSSH(t, func(r *remote) {
		a, old := r.login(), r.login()
		r.wants(a.run(0, "vmnet apply "+r.file("lab", lab)+" --auto-approve --detach"), "not confirmed")
		r.wants(old.run(5, "vmnet confirm"), "VN809", "before the change")
		r.wants(a.run(5, "vmnet confirm"), "VN809")
		r.wants(a.run(5, "setsid -w env -i "+program()+" confirm --runtime-dir "+r.dir+"/run"), "VN809")
		r.wants(a.run(9, "vmnet apply "+r.file("none", "")+" --auto-approve"), "VN808")
		r.wants(r.login().run(0, "vmnet confirm"), "stays")
		r.wants(a.run(0, "vmnet history; ip -br link show virbr-lab"), "applied", "virbr-lab")
	})
}

// TestSSHKilled: the connection dies while the change waits; it is taken back at its deadline, and a new login hears of it.
func TestSSHKilled(t *testing.T) {
	overSSH(t, func(r *remote) {
		a := r.login()
		a.Send(r.T, "vmnet apply "+r.file("lab", lab)+" --auto-approve --confirm 4s\n")
		a.Until(r.T, "vmnet confirm")
		a.Close()
		b := r.login()
		r.wants(b.run(0, "ip -br link show virbr-lab"), "virbr-lab")
		r.wants(b.run(1, "while ip link show virbr-lab; do sleep .2; done >/dev/null 2>&1; ip -br link show virbr-lab"), "does not exist")
		r.wants(b.run(0, "while ! vmnet history | grep rolled; do sleep .2; done; vmnet history show $(vmnet history --json | sed 's/.*\"id\":\"\\([^\"]*\\)\".*/\\1/')"),
			"rolled back", "nobody confirmed it within 4s")
	})
}

// lan moves the address that the session goes to onto a bridge.
const lan = "bridge \"lan\" {\n  device = \"br0\"\n  ports = [\"eno1\"]\n  addresses = [\"192.0.2.10/24\"]\n  gateway = \"192.0.2.1\"\n}\n"

// TestSSHBridgeMove: the connection over the NIC that becomes a port lives through the move and through its rollback.
func TestSSHBridgeMove(t *testing.T) {
	overSSH(t, func(r *remote) {
		a := r.login()
		r.wants(a.run(0, "vmnet apply "+r.file("lan", lan)+" --auto-approve --detach; ip -br address show br0"), "192.0.2.10/24")
		r.wants(a.run(0, "echo a$((40+2))"), "a42")
		r.wants(r.login().run(0, "vmnet history"), "unconfirmed")
		r.wants(a.run(0, "vmnet rollback; ip -br address show eno1"), "Rolled back", "192.0.2.10/24")
		r.wants(a.run(0, "echo a$((40+2))"), "a42")
		r.wants(r.login().run(0, "vmnet history"), "rolled back")
	})
}

// TestSSHCut: a plan that cuts the connection is refused; forced through with a time to confirm, it comes back by itself.
func TestSSHCut(t *testing.T) {
	overSSH(t, func(r *remote) {
		a := r.login()
		// Somebody's firewall lets ssh in by the name of the NIC, which the move takes away.
		a.run(0, `nft 'table inet gate { chain in { type filter hook input priority 0; policy drop; iifname "lo" accept; iifname "eno1" accept; }; }'`)
		file := r.file("lan", lan)
		r.wants(a.run(5, "vmnet apply "+file+" --auto-approve --detach"), "VN905")
		r.wants(a.run(64, "vmnet apply "+file+" --auto-approve --accept-lockout --confirm none"), "--accept-lockout needs")
		a.Send(r.T, "vmnet apply "+file+" --auto-approve --accept-lockout --confirm 3s --detach; echo came''back\n")
		cut := time.Now()
		if _, err := r.sshd.SSH(r.T, r.LAN(), r.Host4.Addr(), "true", "-o", "ConnectTimeout=1").Wait(r.T); err == nil && time.Since(cut) < time.Second {
			r.Log("a new login got in before the change was made")
		}
		a.Until(r.T, "cameback") // the old connection lives again
		b := r.login()
		r.wants(b.run(0, "while ! vmnet history | grep 'rolled back'; do sleep .2; done; ip -br address show eno1"), "rolled back", "192.0.2.10/24")
		r.wants(a.run(0, "echo a$((40+2))"), "a42")
	})
}
