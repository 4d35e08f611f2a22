package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestSysctlBoot(t *testing.T) {
	lone := func(more ...schema.Object) *schema.State { // a nat network of nobody's, which nobody switches forwarding on for
		s := lab(append(more, &schema.Table{Family: "ip", Name: "nat", Chains: []*schema.Chain{{Name: "post", Hook: "postrouting", Rules: []*schema.Rule{
			{Text: "ip saddr 192.168.122.0/24 masquerade", Exprs: []schema.Expr{{Name: "masq"}}},
		}}}})...)
		return without(s, schema.FileRef("/etc/libvirt/qemu/networks/default.xml"))
	}
	off := file("/etc/sysctl.d/60-hardening.conf", "# hardening\n-net/ipv4/ip_forward = 0\n")
	found(t, sysctlBoot(), lone(off), "net.ipv4.ip_forward is 1, and 0 at the next boot", "/etc/sysctl.d/60-hardening.conf:2 says")
	healthy(t, sysctlBoot(), "a file that is read later", lone(off, file("/usr/lib/sysctl.d/99-vm.conf", "net.ipv4.ip_forward=1\n")))
	healthy(t, sysctlBoot(), "a file that one in /etc hides", lone(file("/usr/lib/sysctl.d/60-x.conf", "net.ipv4.ip_forward=0\n"), file("/etc/sysctl.d/60-x.conf", "")))
	healthy(t, sysctlBoot(), "networks whose manager switches it on", lab(off))
	found(t, sysctlBoot(), lone(file("/etc/sysctl.conf", "net.ipv4.ip_forward=1\n"), file("/etc/ufw/ufw.conf", "ENABLED=yes\n"), file("/etc/ufw/sysctl.conf", "net/ipv4/ip_forward=0\n")),
		"/etc/ufw/sysctl.conf:1 says", "ufw")
	healthy(t, sysctlBoot(), "ufw that is off", lone(file("/etc/ufw/ufw.conf", "ENABLED=no\n"), file("/etc/ufw/sysctl.conf", "net/ipv4/ip_forward=0\n")))
	found(t, sysctlBoot(), lab(sysctl("net.bridge.bridge-nf-call-iptables", "1"), file("/etc/sysctl.d/50-x.conf", "net.bridge.bridge-nf-call-iptables = 0\n")), "bridge-nf-call-iptables is 1, and 0")
}
