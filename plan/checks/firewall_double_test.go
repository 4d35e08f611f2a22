package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestFirewallDouble(t *testing.T) {
	both := []schema.Object{
		file("/etc/ufw/ufw.conf", "# x\nENABLED=yes\n"), file("/run/firewalld.pid", "70"), &schema.Table{Family: "inet", Name: "firewalld"},
		&schema.Table{Family: "ip", Name: "filter", Compat: true, Chains: []*schema.Chain{{Name: "ufw-user-forward"}}},
	}
	found(t, firewallDouble(), lab(both...), "ufw and firewalld both decide", "ufw disable")
	healthy(t, firewallDouble(), "ufw that is installed and off", lab(append(both, file("/etc/ufw/ufw.conf", "ENABLED=no\n"))...))
	healthy(t, firewallDouble(), "ufw alone", lab(both[0], both[3]))
}
