package endtoend_test

import (
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

// TestDenyPartOfTheOutside: what the file itself takes back of a mode is no broken expectation, and does not keep a repair
// from being applied.
func TestDenyPartOfTheOutside(t *testing.T) {
	on(t, twoGuests(), func(b *bed) {
		src := natLab + "\nfirewall \"lab\" {\n  deny {\n    from = nat.lab\n    to   = \"198.51.100.0/24\"\n  }\n}\n"
		b.apply(src)
		b.sh("nft delete table inet vmnet")
		b.apply(src)
		b.labWorks()
	})
}

// TestMoveNamesRulesOfThePort: rules that match the NIC do not match the bridge; the plan says which, and what is at stake.
func TestMoveNamesRulesOfThePort(t *testing.T) {
	for name, rule := range map[string]string{
		"iptables":        "iptables-nft -A INPUT -i eno1 -p tcp --dport 22 -j ACCEPT",
		"iptables-legacy": "iptables-legacy -A INPUT -i eno1 -p tcp --dport 22 -j ACCEPT",
		"nft by name":     `nft 'table inet f { chain in { type filter hook input priority 0; iifname { "eno1", "eno9" } accept; }; }'`,
		"nft by index":    `nft 'table inet f { chain in { type filter hook input priority 0; iif "eno1" tcp dport 22 accept; }; }'`,
		"nft wildcard":    `nft 'table inet f { chain in { type filter hook input priority 0; iifname "eno*" accept; }; }'`,
		"policy rule":     "ip rule add iif eno1 lookup 100",
	} {
		t.Run(name, func(t *testing.T) {
			on(t, world.Spec{Guests: []world.Guest{{Name: "db1", Device: "vnet0"}}}, func(b *bed) {
				b.sh(rule)
				p := b.plan(bridgeLAN)
				if f := b.finding(p, "VN903"); len(f.Evidence) != 1 {
					b.Errorf("evidence %q, want the one rule", f.Evidence)
				}
				if p.Summary.WorstRisk != plan.RiskCut || len(p.Unrequested) == 0 {
					b.Errorf("worst risk %v, opened %q: want cut, and a word of what opens", p.Summary.WorstRisk, p.Unrequested)
				}
			})
		})
	}
	on(t, world.Spec{Guests: []world.Guest{{Name: "db1", Device: "vnet0"}}}, func(b *bed) {
		b.sh("iptables-nft -A INPUT -i eth9 -j ACCEPT")
		if p := b.plan(bridgeLAN); p.Summary.WorstRisk == plan.RiskCut {
			b.Errorf("a rule about another link makes the move dangerous:\n%s", steps(p))
		}
	})
}

func TestMoveTakesNeighboursAlong(t *testing.T) {
	on(t, world.Spec{Guests: []world.Guest{{Name: "db1", Device: "vnet0"}}}, func(b *bed) {
		b.sh("ip neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev eno1 nud permanent")
		before := b.read()
		if _, err := b.carryOut(b.host, b.plan(bridgeLAN)); err != nil {
			b.Fatal(err)
		}
		if got := b.sh("ip neigh show dev br0 nud permanent"); !strings.Contains(got, "192.0.2.77") {
			b.Errorf("the neighbour did not move: %q", got)
		}
		if _, err := b.carryOut(b.host, b.plan("")); err != nil {
			b.Fatal(err)
		}
		for _, d := range schema.Diff(before, b.read()) {
			if !kernelMade(d) && !strings.Contains(d, "link/vnet0") {
				b.Errorf("there and back left: %s", d)
			}
		}
	})
}

func TestResetKeepsLinkLocalAndRefusesNexthopObjects(t *testing.T) {
	on(t, world.Spec{}, func(b *bed) {
		src := "adapter \"eno1\" {\n  mtu = 1500\n}\n"
		b.sh("ip -6 addr add fe80::99/64 dev eno1 nodad")
		b.apply(src, "adapter.eno1")
		if got := b.sh("ip -6 addr show dev eno1"); !strings.Contains(got, "fe80::99/64") {
			b.Errorf("the reset lost fe80::99:\n%s", got)
		}
		b.sh("ip nexthop add id 5 via 192.0.2.1 dev eno1; ip route add 10.7.0.0/16 nhid 5")
		p := b.plan(src, "adapter.eno1")
		b.finding(p, "VN310")
		if !p.Empty() {
			b.Errorf("a reset that cannot be undone is planned:\n%s", steps(p))
		}
	})
}

func TestSwitchesOfOneLink(t *testing.T) {
	on(t, twoGuests(), func(b *bed) {
		src := strings.Replace(natLab, `subnet = "10.20.0.0/24"`, "subnet = \"10.20.0.0/24\"\n  subnet6 = \"fd00:20::/64\"", 1)
		b.apply(src)
		b.sh("echo 1 > /proc/sys/net/ipv6/conf/virbr-lab/disable_ipv6; echo 0 > /proc/sys/net/ipv4/conf/virbr-lab/forwarding")
		b.apply(src)
		b.labWorks()
	})
}

func TestMissingUplinkIsNoNAT(t *testing.T) {
	on(t, twoGuests(), func(b *bed) {
		src := strings.Replace(natLab, `subnet = "10.20.0.0/24"`, "subnet = \"10.20.0.0/24\"\n  uplink = \"wan9\"", 1)
		p := b.plan(src)
		b.finding(p, "VN101")
		for _, c := range p.Checks {
			if strings.Contains(c.Goal.Name, "reach the outside") && c.After.Status == "ok" {
				b.Errorf("%q is promised without an uplink", c.Goal.Name)
			}
		}
	})
}

// TestForwardStoppedBeforeDNAT: a drop in raw or mangle sees the host's address and port, and its replies the guest's.
func TestForwardStoppedBeforeDNAT(t *testing.T) {
	for name, rule := range map[string]string{
		"raw request":    "iptables-nft -t raw -A PREROUTING -i eno1 -p tcp --dport 2222 -j DROP",
		"mangle reply":   "iptables-legacy -t mangle -A PREROUTING -s 10.20.0.11 -p tcp --sport 22 -j DROP",
		"native request": `nft 'table ip x { chain p { type filter hook prerouting priority -310; tcp dport 2222 drop; }; }'`,
	} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				if err := b.Guest("db1").Serve(22); err != nil {
					b.Fatal(err)
				}
				b.passes("the forward, healthy", tcp(patient(b.LAN()), b.Host4.Addr(), 2222))
				b.sh(rule)
				b.blocked("the forward, broken", tcp(b.LAN(), b.Host4.Addr(), 2222))
				b.apply(natLab)
				b.passes("the forward, repaired", tcp(patient(b.LAN()), b.Host4.Addr(), 2222))
			})
		})
	}
}

// TestSavedOnly: the article's rules on disk, not live, would come back at the next boot.
func TestSavedOnly(t *testing.T) {
	on(t, articleWorld(), func(b *bed) {
		b.apply(articleFile)
		b.file("/etc/iptables/rules.v4", article)
		p := b.apply(articleFile)
		b.finding(p, "VN413")
		want := strings.ReplaceAll(article, "-A INPUT -s 10.0.0.0/8 -p tcp --sport 22 -j DROP\n", "")
		want = strings.ReplaceAll(want, "-A FORWARD -d 192.168.1.100 -p tcp --dport 22 -j DROP\n", "")
		if got := b.content("/etc/iptables/rules.v4"); got != want {
			b.Errorf("the saved ruleset is now\n%s\nwant\n%s", got, want)
		}
	})
}

// TestNullRoutes: a route or a rule that says no to a network's own addresses, made while the network runs.
func TestNullRoutes(t *testing.T) {
	for name, cmd := range map[string]string{
		"route": "ip route add blackhole 10.20.0.8/29",
		"rule":  "ip rule add from 10.20.0.0/24 prohibit",
	} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				b.sh(cmd)
				b.blocked("the internet, broken", tcp(b.Guest("db1"), b.Server4, 80))
				f := b.finding(b.plan(natLab), "VN304")
				if len(f.Evidence) == 0 || f.Owner == nil {
					b.Errorf("the finding has no evidence or owner: %+v", f)
				}
				b.apply(natLab)
				b.labWorks()
			})
		})
	}
}

// TestForeignNullRoute: it says no to more than the file is about, so that it is only named.
func TestForeignNullRoute(t *testing.T) {
	const file = natLab + `
expect "updates" {
  from  = guest.db1
  to    = "203.0.113.10"
  tcp   = 80
  allow = true
}
`
	on(t, twoGuests(), func(b *bed) {
		b.apply(file)
		b.sh("ip rule add to 203.0.113.0/24 unreachable")
		p := b.plan(file)
		b.finding(p, "VN304")
		if !p.Empty() {
			b.Errorf("want no step, got\n%s", steps(p))
		}
	})
}

// TestCauses: what stops a flow and is no firewall's is named by its own code, with what it breaks.
func TestCauses(t *testing.T) {
	const file = natLab + `
expect "updates" {
  from  = guest.db1
  to    = "203.0.113.10"
  tcp   = 80
  allow = true
}
`
	for name, c := range map[string]struct{ fault, code string }{
		"no default route":   {"ip route del default", "VN302"},
		"the uplink is down": {"ip link set eno1 down", "VN302"},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(file)
				b.sh(c.fault)
				b.blocked("the internet, broken", tcp(b.Guest("db1"), b.Server4, 80))
				p := b.plan(file)
				f := b.finding(p, c.code)
				if len(f.Breaks) == 0 || len(f.Evidence) == 0 || len(f.Fixes) == 0 {
					b.Errorf("want what it breaks, evidence, and why nothing is done: %+v", f)
				}
				b.finding(p, "VN601")
			})
		})
	}
}

// TestForwardingOffOnTheUplink: nobody named the uplink in the file, so that it is found on the packets' way.
func TestForwardingOffOnTheUplink(t *testing.T) {
	on(t, twoGuests(), func(b *bed) {
		b.apply(natLab)
		b.sh("sysctl -qw net.ipv4.conf.eno1.forwarding=0")
		b.blocked("the internet, broken", tcp(b.Guest("db1"), b.Server4, 80))
		b.finding(b.plan(natLab), "VN301")
		b.apply(natLab)
		b.labWorks()
	})
}
