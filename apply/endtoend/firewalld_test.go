package endtoend_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest"
	"github.com/vmnet/vmnet/providers/hosttest/neighbour"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

// beside runs fn on a host of its own beside real firewall managers, whose files are the host's own.
func beside(t *testing.T, spec world.Spec, names []neighbour.Name, fn func(b *bed)) {
	t.Helper()
	t.Parallel()
	world.InNewHost(t, func() {
		w, err := world.New(spec)
		if err != nil {
			t.Fatalf("build world: %v", err)
		}
		defer w.Close()
		for _, n := range names {
			neighbour.Start(t, n, neighbour.Opts{})
		}
		h, err := providers.Open(providers.Options{})
		if err != nil {
			t.Fatalf("open host: %v", err)
		}
		defer h.Close()
		defer func() {
			if err := hosttest.EndServices(h); err != nil {
				t.Errorf("end services: %v", err)
			}
		}()
		fn(&bed{T: t, World: w, host: h, root: "/", run: t.TempDir()})
	})
}

const natAndHost = `
nat "lab" {
  device = "virbr-lab"
  subnet = "10.20.0.0/24"
}
guest "db1" {
  network = nat.lab
  address = "10.20.0.11"
  device  = "vnet0"
}
guest "web1" {
  network = nat.lab
  address = "10.20.0.12"
  device  = "vnet1"
}
forward "ssh_db1" {
  tcp     = 2222
  to      = guest.db1
  to_port = 22
}
firewall "lab" {
  allow {
    from = nat.lab
    to   = host
    tcp  = 8080
  }
}
`

// TestFirewalld: what firewalld rejects is let through by a policy of its own that lasts, and by the same in front of its
// zones until it is started again. Nobody's rules are flushed for it.
func TestFirewalld(t *testing.T) {
	beside(t, twoGuests(), []neighbour.Name{neighbour.Firewalld}, func(b *bed) {
		b.sh("nft 'add table inet admin'; iptables-nft -A FORWARD -s 198.51.100.7 -p udp -j DROP; mkdir -p /etc/firewalld/policies /etc/firewalld/zones")
		tables, disk := b.sh("nft list ruleset"), b.sh("ls -R /etc/firewalld")
		p := b.plan(natAndHost)
		found := false
		for _, f := range p.Findings {
			found = found || f.Owner != nil && f.Owner.Name == "firewalld" && strings.Contains(f.Object, "reject")
		}
		if !found {
			b.Errorf("nothing is said about firewalld:\n%s", steps(p))
		}
		b.apply(natAndHost)
		if err := b.Host().Serve(8080, 9090); err != nil {
			b.Fatal(err)
		}
		works := func(when string) {
			b.Helper()
			b.labWorks()
			b.passes("guest to a port of the host "+when, tcp(b.Guest("db1"), addr("10.20.0.1"), 8080))
			b.blocked("guest to another port of the host "+when, tcp(b.Guest("db1"), addr("10.20.0.1"), 9090))
			b.blocked("the LAN to that port "+when, tcp(b.LAN(), b.Host4.Addr(), 8080))
		}
		works("after the apply")
		if got := b.sh("nft list ruleset"); !strings.Contains(got, "198.51.100.7") {
			b.Errorf("somebody else's rule is gone:\n%s", got)
		}
		if got := b.sh("cat /etc/firewalld/policies/*.xml"); !strings.Contains(got, "<short>vmnet:nat.lab</short>") {
			b.Errorf("the policy has no mark:\n%s", got)
		}

		// What the file no longer asks for goes, though its block stays and firewalld is not at work with it yet.
		const more = `port="8081"`
		b.apply(strings.Replace(natAndHost, "= 8080", "= [8080, 8081]", 1))
		if got := b.sh("cat /etc/firewalld/policies/*.xml"); !strings.Contains(got, more) {
			b.Errorf("the second port is not in the policies:\n%s", got)
		}
		b.apply(natAndHost)
		if got := b.sh("cat /etc/firewalld/policies/*.xml"); strings.Contains(got, more) {
			b.Errorf("the second port is still in the policies:\n%s", got)
		}

		b.sh("firewall-cmd --check-config; firewall-cmd --reload")
		if got := b.sh("nft list table inet firewalld"); strings.Contains(got, `comment "vmnet:`) {
			b.Errorf("the reload kept what is not firewalld's own:\n%s", got)
		}
		works("after a reload")
		b.settled(natAndHost)

		b.sh("iptables-nft -A FORWARD -s 198.51.100.7 -p udp -j DROP")
		b.apply("")
		if got := b.sh("ls -R /etc/firewalld"); got != disk {
			b.Errorf("taking the block out left on the disk\n%s\nwant\n%s", got, disk)
		}
		if got := b.sh("nft list table inet firewalld"); strings.Contains(got, "policy_vmnet") || strings.Contains(got, "iifname \"virbr-lab\"") {
			b.Errorf("taking the block out left in the kernel\n%s", got)
		}
		b.sh("firewall-cmd --reload; iptables-nft -A FORWARD -s 198.51.100.7 -p udp -j DROP")
		if d := differ(tables, b.sh("nft list ruleset")); d != "" {
			b.Errorf("taking the block out left\n%s", d)
		}
	})
}

// differ lists the lines that one text has more often than the other, whatever their order: tables are listed by when they
// were made.
func differ(before, after string) string {
	count := map[string]int{}
	for l := range strings.Lines(before) {
		count[l]--
	}
	for l := range strings.Lines(after) {
		count[l]++
	}
	var out strings.Builder
	for l, n := range count {
		if n != 0 {
			fmt.Fprintf(&out, "%+d %s", n, l)
		}
	}
	return out.String()
}

func sameLines(a, b string) bool { return differ(a, b) == "" }

// TestFirewalldUndone: whatever step fails, neither firewalld's table nor its files are other than before.
func TestFirewalldUndone(t *testing.T) {
	beside(t, twoGuests(), []neighbour.Name{neighbour.Firewalld}, func(b *bed) {
		b.sh("mkdir -p /etc/firewalld/policies /etc/firewalld/zones")
		disk := b.sh("ls -R /etc/firewalld")
		p := b.plan(natAndHost)
		for k := 1; k <= len(p.Steps); k++ {
			if kind := p.Steps[k-1].Change.Ref.Kind; kind != schema.KindGrant && k < len(p.Steps) && p.Steps[k].Change.Ref.Kind != schema.KindGrant {
				continue
			}
			before := b.read()
			rep, err := b.carryOut(&failing{Host: b.host, at: k}, b.plan(natAndHost))
			if !isRolledBack(err) {
				b.Errorf("fail at step %d: %v\n%+v", k, err, rep)
			}
			for _, d := range schema.Diff(before, b.read()) {
				b.Errorf("fail at step %d (%s) left: %s", k, p.Steps[k-1].Change, d)
			}
			if got := b.sh("ls -R /etc/firewalld"); got != disk {
				b.Errorf("fail at step %d left on the disk\n%s\nwant\n%s", k, got, disk)
			}
		}
	})
}

// TestFirewalldZones: a bridge that somebody has put into a zone stays there. The policy is for that zone where the bridge is
// alone in it, and nothing is asked where it is not: the policy would be for the others too.
func TestFirewalldZones(t *testing.T) {
	for name, others := range map[string]string{"alone": "", "shared": "; firewall-cmd --permanent --zone=internal --add-interface=eno7"} {
		t.Run(name, func(t *testing.T) {
			beside(t, twoGuests(), []neighbour.Name{neighbour.Firewalld}, func(b *bed) {
				b.sh("firewall-cmd --permanent --zone=internal --add-interface=virbr-lab" + others + "; firewall-cmd --reload")
				disk := b.sh("cat /etc/firewalld/zones/internal.xml")
				p := b.plan(natAndHost)
				f := b.finding(p, "VN410")
				why := ""
				for _, x := range f.Fixes {
					if strings.Contains(x.Title, "to last") {
						why = x.WhyNot
					}
				}
				if name == "shared" {
					if !strings.Contains(why, "shares firewalld's zone internal") {
						b.Errorf("the fixes do not say that the zone is shared: %+v", f.Fixes)
					}
					return
				}
				if why != "" {
					b.Fatalf("the road is closed: %s", why)
				}
				b.apply(natAndHost)
				b.labWorks()
				b.sh("firewall-cmd --reload")
				b.labWorks()
				b.settled(natAndHost)
				b.apply("")
				if got := b.sh("cat /etc/firewalld/zones/internal.xml; ls /etc/firewalld/policies"); got != disk {
					b.Errorf("taking the block out left\n%s\nwant\n%s", got, disk)
				}
			})
		})
	}
}
