package endtoend_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers/hosttest/neighbour"
	"github.com/vmnet/vmnet/schema"
)

// natUFW asks of a host with ufw what ufw stops by default: everything routed, and everything to the host.
const natUFW = natLab + `
firewall "lab" {
  allow {
    from = nat.lab
    to   = host
    tcp  = 8080
  }
}
`

// loaded lets ufw write and load its files once: as they are installed they lack what it writes there later.
const loaded = "ufw allow 9; ufw delete allow 9; ufw reload; "

// ufwLab is what must work after natUFW, and what must not.
func (b *bed) ufwLab(when string) {
	b.Helper()
	if err := b.Host().Serve(8080, 9090); err != nil && !strings.Contains(err.Error(), "in use") {
		b.Fatal(err)
	}
	b.labWorks()
	db := patient(b.Guest("db1"))
	b.passes("guest to a port of the host "+when, tcp(db, addr("10.20.0.1"), 8080))
	b.blocked("guest to another port of the host "+when, tcp(b.Guest("db1"), addr("10.20.0.1"), 9090))
	b.blocked("the LAN to that port "+when, tcp(b.LAN(), b.Host4.Addr(), 8080))
	b.blocked("the LAN to a guest without a forward "+when, tcp(b.LAN(), addr("10.20.0.12"), 22))
}

// rules are all rules of the host, without what they have counted.
func (b *bed) rules() string {
	b.Helper()
	return b.sh("nft list ruleset | sed 's/counter packets [0-9]* bytes [0-9]*//'")
}

// TestUFW: what ufw stops is asked of ufw itself. It lasts over a reload, is shown by "ufw status", and goes with the block.
func TestUFW(t *testing.T) {
	beside(t, twoGuests(), []neighbour.Name{neighbour.UFW}, func(b *bed) {
		b.sh(loaded + "ufw allow from 198.51.100.7 to any port 25 proto tcp comment 'not ours'; ufw route deny from 198.51.100.8 to 198.51.100.9")
		tables, disk := b.rules(), b.sh("cat /etc/ufw/user.rules /etc/ufw/user6.rules")
		if err := b.LAN().Route(prefix("10.20.0.0/24"), b.Host4.Addr()); err != nil {
			b.Fatal(err)
		}
		p := b.plan(natUFW)
		b.ufwNamed(p)
		b.Log(steps(p))
		b.apply(natUFW)
		b.ufwLab("after the apply")
		status := b.sh("ufw status numbered")
		for _, want := range []string{"# vmnet:nat.lab", "# vmnet:forward.ssh_db1", "# vmnet:firewall.lab", "# not ours", "8080/tcp on virbr-lab"} {
			if !strings.Contains(status, want) {
				b.Errorf("ufw status: want %q in\n%s", want, status)
			}
		}

		b.sh("ufw reload")
		b.ufwLab("after a reload")
		b.settled(natUFW)

		b.apply("")
		if got := b.sh("cat /etc/ufw/user.rules /etc/ufw/user6.rules"); got != disk {
			b.Errorf("taking the block out left on ufw's disk\n%s\nwant\n%s", got, disk)
		}
		if got := b.rules(); !sameLines(got, tables) {
			b.Errorf("taking the block out left\n%s\nwant\n%s", got, tables)
		}
	})
}

// ufwNamed makes sure that a plan names ufw's policies with evidence, and asks ufw, not iptables.
func (b *bed) ufwNamed(p *plan.Plan) {
	b.Helper()
	named := map[string]bool{}
	for _, f := range p.Findings {
		if f.Owner != nil && f.Owner.Name == "ufw" && len(f.Owner.Evidence) > 0 && len(f.Evidence) > 0 {
			named[f.Object] = slices.ContainsFunc(f.Fixes, func(x plan.Fix) bool { return x.Chosen && strings.Contains(x.Title, "ask ufw") && len(x.Steps) > 0 })
		}
	}
	for _, want := range []string{"ip filter FORWARD: policy drop", "ip filter INPUT: policy drop"} {
		if !named[want] {
			b.Errorf("%s is not named as ufw's, or not healed by ufw: %v\n%s", want, named, steps(p))
		}
	}
	for _, s := range p.Steps {
		if k := s.Change.Ref.Kind; k == schema.KindNftRule || k == schema.KindXRule || k == schema.KindFile {
			b.Errorf("a step that is not ufw's: %s", s.Change)
		}
	}
}

// TestUFWUndone: whatever step fails, ufw's disk and the kernel are as before.
func TestUFWUndone(t *testing.T) {
	beside(t, twoGuests(), []neighbour.Name{neighbour.UFW}, func(b *bed) {
		b.sh(loaded + "ufw route deny from 198.51.100.8 to 198.51.100.9")
		undone := func(config string) {
			b.Helper()
			p := b.plan(config)
			for k := 1; k <= len(p.Steps); k++ {
				if kind := p.Steps[k-1].Change.Ref.Kind; kind != schema.KindGrant {
					continue
				}
				tables, disk := b.rules(), b.sh("cat /etc/ufw/user.rules /etc/ufw/user6.rules")
				rep, err := b.carryOut(&failing{Host: b.host, at: k}, b.plan(config))
				if !isRolledBack(err) {
					b.Errorf("fail at step %d: %v\n%+v", k, err, rep)
				}
				if got := b.sh("cat /etc/ufw/user.rules /etc/ufw/user6.rules"); got != disk {
					b.Errorf("fail at step %d left on ufw's disk\n%s\nwant\n%s", k, got, disk)
				}
				if got := b.rules(); !sameLines(got, tables) {
					b.Errorf("fail at step %d left\n%s\nwant\n%s", k, got, tables)
				}
			}
		}
		undone(natUFW)
		b.apply(natUFW)
		undone("")
	})
}

// TestUFWDeny: a deny that somebody told ufw stays in force but for what the file asks for, by a rule in front of it.
func TestUFWDeny(t *testing.T) {
	beside(t, twoGuests(), []neighbour.Name{neighbour.UFW}, func(b *bed) {
		b.sh("ufw route deny in on virbr-lab; ufw route allow from 198.51.100.0/24")
		p := b.apply(natLab)
		if !slices.ContainsFunc(p.Findings, func(f plan.Finding) bool {
			return f.Code == "VN410" && strings.Contains(f.Object, "-i virbr-lab -j DROP") && f.Owner != nil && f.Owner.Name == "ufw"
		}) {
			b.Errorf("the deny is not named:\n%s", steps(p))
		}
		b.labWorks()
		b.settled(natLab)
		status := b.sh("ufw status numbered")
		if deny, ours := strings.Index(status, "DENY FWD"), strings.Index(status, "vmnet:nat.lab"); deny < 0 || ours < 0 || ours > deny {
			b.Errorf("want ours in front of the deny, which stays:\n%s", status)
		}
		b.apply("")
		if got := b.sh("ufw status"); strings.Contains(got, "vmnet:") || !strings.Contains(got, "DENY FWD") {
			b.Errorf("the block is out of the file:\n%s", got)
		}
	})
}

// TestUFWBan: who somebody told ufw to keep out stays out, whatever the file lets in.
func TestUFWBan(t *testing.T) {
	beside(t, twoGuests(), []neighbour.Name{neighbour.UFW}, func(b *bed) {
		b.sh("ufw route deny from 203.0.113.10")
		p := b.plan(natLab)
		if !slices.ContainsFunc(p.Findings, func(f plan.Finding) bool {
			return slices.ContainsFunc(f.Fixes, func(x plan.Fix) bool { return strings.Contains(x.WhyNot, "keep out 203.0.113.10, ") })
		}) {
			b.Errorf("the ban is not named:\n%s", steps(p))
		}
		if _, err := b.carryOut(b.host, p); err != nil {
			b.Fatal(err)
		}
		if err := b.Guest("db1").Serve(22); err != nil {
			b.Fatal(err)
		}
		b.passes("the forward from the LAN's router", tcp(patient(b.LAN()), b.Host4.Addr(), 2222))
		again := b.plan(natLab)
		if !again.Empty() {
			b.Errorf("the second plan is not empty:\n%s", steps(again))
		}
	})
}

// TestUFWOutOfStep: while ufw's disk and the kernel disagree, nothing is asked of ufw: it would load what it has on its disk.
func TestUFWOutOfStep(t *testing.T) {
	beside(t, twoGuests(), []neighbour.Name{neighbour.UFW}, func(b *bed) {
		b.sh("iptables -A ufw-user-forward -s 198.51.100.9 -j ACCEPT")
		p := b.plan(natLab)
		said := slices.ContainsFunc(p.Findings, func(f plan.Finding) bool {
			return slices.ContainsFunc(f.Fixes, func(x plan.Fix) bool { return strings.Contains(x.WhyNot, "ufw reload") })
		})
		if !said || slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Change.Ref.Kind == schema.KindGrant }) {
			b.Errorf("want it said that ufw has to be reloaded, and nothing asked of it:\n%s", steps(p))
		}
	})
}

// TestUFWLegacy: the same by iptables-legacy, beside the nft tables of others.
func TestUFWLegacy(t *testing.T) {
	beside(t, twoGuests(), nil, func(b *bed) {
		neighbour.Start(b.T, neighbour.UFW, neighbour.Opts{Legacy: true})
		b.sh(loaded + "nft add table inet admin")
		rules := b.sh("iptables-legacy -S; ip6tables-legacy -S; nft list ruleset")
		p := b.plan(natUFW)
		if !slices.ContainsFunc(p.Findings, func(f plan.Finding) bool { return f.Object == "legacy ip filter FORWARD: policy drop" }) {
			b.Errorf("ufw's policy in iptables-legacy is not named:\n%s", steps(p))
		}
		b.apply(natUFW)
		b.ufwLab("after the apply")
		b.sh("ufw reload")
		b.settled(natUFW)
		b.apply("")
		if got := b.sh("iptables-legacy -S; ip6tables-legacy -S; nft list ruleset"); !sameLines(got, rules) {
			b.Errorf("taking the block out left\n%s\nwant\n%s", got, rules)
		}
	})
}
