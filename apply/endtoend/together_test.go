package endtoend_test

import (
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/neighbour"
)

const everything = natAndHost + `
expect "lv1" {
  from  = nat.lab
  to    = "192.168.77.11"
  tcp   = 22
  allow = true
}
`

// everybody lists what all of them have. ufw adds another end to its chains for limits whenever a rule is deleted.
const everybody = `nft -s list ruleset 2>/dev/null | grep -vE '^\s+counter (accept|reject)$'; iptables-legacy -S; cat /etc/ufw/user.rules; ls -R /etc/firewalld`

// TestEverybodyAtOnce: Docker's FORWARD DROP, ufw, firewalld, libvirt, fail2ban, a stray rule of iptables-legacy and an admin's own table on one
// host. Each is named, each is asked by its own door, packets pass, and all goes away with the block.
func TestEverybodyAtOnce(t *testing.T) {
	beside(t, twoGuests(), []neighbour.Name{neighbour.Firewalld, neighbour.Docker, neighbour.Fail2ban, neighbour.UFW, neighbour.Libvirt}, func(b *bed) {
		lv1 := b.libvirtNetwork()
		b.sh("fail2ban-client set probe banip 198.51.100.66; iptables-legacy -A FORWARD -d 10.20.0.0/24 -p tcp --dport 22 -j DROP")
		b.sh("nft 'table inet admin { chain fw { type filter hook forward priority 5; udp dport 80 drop; }; }'")
		b.sh("mkdir -p /etc/firewalld/policies /etc/firewalld/zones")
		rules := b.sh(everybody)
		p := b.plan(everything)
		owners := map[string]bool{}
		for _, f := range p.Findings {
			if f.Owner != nil {
				owners[f.Owner.Name] = true
			}
		}
		for _, want := range []string{"firewalld", "ufw", "libvirt", "unknown"} {
			if !owners[want] {
				b.Errorf("%s is not named in:\n%s", want, steps(p))
			}
		}
		if len(p.Unrequested) > 0 {
			b.Errorf("newly reachable and not asked for: %q", p.Unrequested)
		}
		b.apply(everything)
		b.labWorks()
		b.passes("guest to libvirt's guest", tcp(patient(b.Guest("db1")), addr("192.168.77.11"), 22))
		b.blocked("guest to another port of libvirt's guest", tcp(b.Guest("db1"), addr("192.168.77.11"), 80))
		b.passes("libvirt's guest to the internet", lv1.Ping(b.Server4))
		for cmd, want := range map[string]string{
			"ufw status":                      "vmnet:firewall.lab",
			"iptables -S DOCKER-USER":         "vmnet:nat.lab",
			"nft list chain inet admin fw":    "vmnet:nat.lab",
			"cat /etc/firewalld/policies/*":   "vmnet:nat.lab",
			"iptables -S FORWARD | head -n 1": "-P FORWARD DROP",
		} {
			if got := b.sh(cmd); !strings.Contains(got, want) {
				b.Errorf("%s: want %q in\n%s", cmd, want, got)
			}
		}
		b.apply("")
		// The stray rule blocked nothing but what the file asked for: it is gone for good.
		stray := "-A FORWARD -d 10.20.0.0/24 -p tcp -m tcp --dport 22 -j DROP\n"
		if d := differ(strings.Replace(rules, stray, "", 1), b.sh(everybody)); d != "" {
			b.Errorf("taking the block out left\n%s", d)
		}
	})
}
