package managers

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// TestIdle: files that are closed matter only while their manager has rules in the kernel.
func TestIdle(t *testing.T) {
	t.Parallel()
	ufw := &ClosedError{schema.ManagerUFW, fs.ErrPermission}
	firewalld := &ClosedError{schema.ManagerFirewalld, fs.ErrPermission}
	with := func(family, name string, legacy bool, chains ...string) *schema.State {
		tab := &schema.Table{Family: family, Name: name, Legacy: legacy}
		for _, c := range chains {
			tab.Chains = append(tab.Chains, &schema.Chain{Name: c})
		}
		return schema.NewState(tab)
	}
	for _, tt := range []struct {
		name  string
		state *schema.State
		err   error
		want  bool
	}{
		{"no rules at all", schema.NewState(), errors.Join(ufw, firewalld), true},
		{"somebody else's", with("ip", "filter", false, "FORWARD", "DOCKER-USER"), errors.Join(ufw, firewalld), true},
		{"ufw's, by iptables-nft", with("ip", "filter", false, "FORWARD", "ufw-before-forward"), ufw, false},
		{"ufw's, by iptables-legacy", with("ip6", "filter", true, "ufw6-user-input"), errors.Join(ufw), false},
		{"ufw's, while only firewalld is closed", with("ip", "filter", false, "ufw-user-input"), firewalld, true},
		{"firewalld's table", with("inet", "firewalld", false), errors.Join(ufw, firewalld), false},
		{"firewalld's, by iptables", with("ip", "filter", true, "FORWARD_direct"), firewalld, false},
		{"another error", schema.NewState(), errors.Join(ufw, fs.ErrPermission), false},
		{"no manager's error", schema.NewState(), fs.ErrPermission, false},
	} {
		if got := Idle(tt.state, tt.err); got != tt.want {
			t.Errorf("%s: idle %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestReadClosed: the grants of a manager that can be read are there although another's files are closed.
func TestReadClosed(t *testing.T) {
	t.Parallel()
	p := &Provider{[]manager{&closed{}, &firewalld{root: t.TempDir()}}}
	if _, err := p.Read(t.Context()); !errors.Is(err, fs.ErrPermission) || !Idle(schema.NewState(), err) {
		t.Errorf("got %v, want what fs.ErrPermission is", err)
	}
}

// closed is a manager whose files nobody may read, not even root.
type closed struct{ ufw }

func (*closed) read(_ context.Context) ([]*schema.Grant, error) {
	return nil, &os.PathError{Op: "open", Path: "/etc/ufw/user.rules", Err: fs.ErrPermission}
}
