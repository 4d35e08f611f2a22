package managers_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/hosttest/neighbour"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/providers/managers"
	"github.com/vmnet/vmnet/schema"
)

// besideUFW runs fn on a host of its own beside the real program.
func besideUFW(t *testing.T, fn func(p *managers.Provider)) {
	t.Helper()
	t.Parallel()
	world.InNewHost(t, func() {
		neighbour.Start(t, neighbour.UFW, neighbour.Opts{})
		fn(managers.New(""))
	})
}

func ufwGrant() *schema.Grant {
	return &schema.Grant{Manager: schema.ManagerUFW, Address: "nat.lab", Family: "ip", Forward: true, In: "virbr-lab"}
}

func made(g *schema.Grant) schema.Change { return schema.Change{Ref: g.Ref(), After: g} }

func grantsOf(t *testing.T, p *managers.Provider) []schema.Object {
	t.Helper()
	all, err := p.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Where ufw is not installed there is nothing, and that is no error.
func TestUFWNotThere(t *testing.T) {
	if all := grantsOf(t, managers.New(t.TempDir())); len(all) > 0 {
		t.Errorf("read %v", all)
	}
}

// What may not be read is said, not taken for nothing.
func TestUFWUnreadable(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/ufw/user.rules"), 0o755); err != nil { // a directory: even root cannot read it
		t.Fatal(err)
	}
	if _, err := managers.New(root).Read(t.Context()); err == nil {
		t.Error("read a directory")
	}
}

// ufw waits for its lock without end. We do not, and nothing has changed then.
func TestUFWLocked(t *testing.T) {
	besideUFW(t, func(p *managers.Provider) {
		lock, err := os.OpenFile("/run/ufw.lock", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		if err := unix.FcntlFlock(lock.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Do(ctx, made(ufwGrant())); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("locked: %v", err)
		}
		if all := grantsOf(t, p); len(all) > 0 {
			t.Errorf("locked, and made %v", all)
		}
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
		if err := p.Do(t.Context(), made(ufwGrant())); err != nil {
			t.Errorf("unlocked: %v", err)
		}
	})
}

// What iptables refuses, ufw passes over with a rule on its disk and exit code 0. That is found out, and taken back.
func TestUFWRefusedByIptables(t *testing.T) {
	besideUFW(t, func(p *managers.Provider) {
		wrapper := "#!/bin/sh\ncase \"$*\" in *'-A ufw-user-forward'*) echo 'iptables: No chain/target/match by that name.' >&2; exit 1;; esac\nexec /usr/sbin/iptables-nft \"$@\"\n"
		for path, content := range map[string]string{"/run/iptables": wrapper} {
			if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		neighbour.Sh(t, "ln -sf /run/iptables /etc/alternatives/iptables")
		err := p.Do(t.Context(), made(ufwGrant()))
		if err == nil || !strings.Contains(err.Error(), "not in the kernel") {
			t.Errorf("refused by iptables: %v", err)
		}
		if all := grantsOf(t, p); len(all) > 0 {
			t.Errorf("refused by iptables, and on ufw's disk there is %v", all)
		}
	})
}

// While ufw is off, a grant is on its disk only, and comes with it.
func TestUFWOff(t *testing.T) {
	besideUFW(t, func(p *managers.Provider) {
		neighbour.Sh(t, "ufw disable")
		if err := p.Do(t.Context(), made(ufwGrant())); err != nil {
			t.Fatal(err)
		}
		if got := neighbour.Sh(t, "ufw --force enable; iptables -S ufw-user-forward"); !strings.Contains(got, "-A ufw-user-forward -i virbr-lab -j ACCEPT") {
			t.Errorf("ufw is on again, without the grant:\n%s", got)
		}
	})
}

// IPv6 that ufw has turned off is ufw's to refuse; its words are passed on.
func TestUFWWithoutIPv6(t *testing.T) {
	besideUFW(t, func(p *managers.Provider) {
		neighbour.Sh(t, "sed -i s/IPV6=yes/IPV6=no/ /etc/default/ufw; ufw reload")
		g := ufwGrant()
		g.Family = "ip6"
		if err := p.Do(t.Context(), made(g)); err == nil || !strings.Contains(err.Error(), "IPv6 support not enabled") {
			t.Errorf("without IPv6: %v", err)
		}
	})
}

// A rule of somebody's is never overwritten, whatever it does.
func TestUFWSomebodys(t *testing.T) {
	besideUFW(t, func(p *managers.Provider) {
		neighbour.Sh(t, "ufw route deny in on virbr-lab comment mine")
		before := neighbour.Sh(t, "cat /etc/ufw/user.rules")
		g := ufwGrant()
		if err := p.Do(t.Context(), made(g)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("over a deny: %v", err)
		}
		if err := p.Do(t.Context(), schema.Change{Ref: g.Ref(), Before: g}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("taken back what is not ours: %v", err)
		}
		if after := neighbour.Sh(t, "cat /etc/ufw/user.rules"); after != before {
			t.Errorf("now it has\n%s\nbefore\n%s", after, before)
		}
	})
}
