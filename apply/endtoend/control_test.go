package endtoend_test

import (
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan"
)

// TestControlsKeepTheirSay: an accept ends its base chain, so that one in front of a culprit would lead packets past a ban or a
// kill switch behind it. No remedy does, and real packets show it.
func TestControlsKeepTheirSay(t *testing.T) {
	const banned = "192.0.2.1" // the LAN's router
	for name, c := range map[string]struct{ rules, control string }{
		"kill switch behind a rule": {"iptables-nft -A FORWARD -p tcp -j DROP; iptables-nft -A FORWARD -s 10.20.0.0/24 ! -o wg0 -j DROP", "vpn kill switch"},
		"ban behind a rule": {`nft 'table inet admin { chain f2b-x { ip saddr ` + banned + ` drop; }
			chain c { type filter hook forward priority 0; tcp dport 22 drop; jump f2b-x; }; }'`, "fail2ban"},
		"ban in DOCKER-USER": {`iptables-legacy -P FORWARD DROP; iptables-legacy -N DOCKER-USER; iptables-legacy -A FORWARD -j DOCKER-USER; iptables-legacy -N f2b-sshd
			iptables-legacy -A DOCKER-USER -p tcp -j f2b-sshd; iptables-legacy -A DOCKER-USER -j RETURN; iptables-legacy -A f2b-sshd -s ` + banned + " -j REJECT", "fail2ban"},
		"ban behind DOCKER-USER": {`iptables-nft -P FORWARD DROP; iptables-nft -N DOCKER-USER; iptables-nft -A FORWARD -j DOCKER-USER; iptables-nft -N f2b-sshd
			iptables-nft -A FORWARD -p tcp -j f2b-sshd; iptables-nft -A DOCKER-USER -j RETURN; iptables-nft -A f2b-sshd -s ` + banned + " -j REJECT", "fail2ban"},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				if err := b.Guest("db1").Serve(22); err != nil {
					b.Fatal(err)
				}
				if err := b.LAN().Serve(80); err != nil {
					b.Fatal(err)
				}
				b.sh(c.rules)
				p := b.plan(natLab)
				named := false
				for _, f := range p.Findings {
					named = named || f.Owner != nil && f.Owner.Name == c.control
				}
				if !named {
					b.Errorf("%s is not named in:\n%s", c.control, steps(p))
				}
				if _, err := b.carryOut(b.host, p); err != nil {
					b.Fatal(err)
				}
				if again := b.plan(natLab); !again.Empty() {
					b.Errorf("a second plan is not empty:\n%s", steps(again))
				}
				switch c.control {
				case "fail2ban":
					b.blocked("the forward from a banned address", tcp(b.LAN(), b.Host4.Addr(), 2222))
					b.passes("guest to guest", b.Guest("db1").Ping(addr("10.20.0.12")))
				default:
					b.blocked("guest to the internet past the tunnel", tcp(b.Guest("db1"), b.Server4, 80))
				}
				if strings.Contains(c.rules, "-P FORWARD DROP") { // others than the banned are let in, behind the ban
					b.passes("the forward from another address", b.asked(p, "203.0.113.77", "192.0.2.10", 2222))
				}
			})
		})
	}
}

// asked is an error unless a question passes on the host as it is.
func (b *bed) asked(p *plan.Plan, from, to string, port uint16) error {
	b.Helper()
	if got := plan.Ask(b.read(), p.Desired, question(from, to, port)); got.Verdict != "pass" {
		return errStopped
	}
	return nil
}

// TestPolicyBehindReturn: packets that return from a base chain before its end die at its policy; the accept stands in front of
// the rule that returns.
func TestPolicyBehindReturn(t *testing.T) {
	for name, rules := range map[string]string{
		"return": "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -p udp --dport 9 -j DROP; iptables-nft -A FORWARD -p tcp -j RETURN",
		"goto":   "nft 'table inet admin { chain own { udp dport 9 accept; }; chain c { type filter hook forward priority 5; policy drop; meta l4proto tcp goto own; }; }'",
		"end":    "iptables-legacy -P FORWARD DROP; iptables-legacy -A FORWARD -p udp --dport 9 -j ACCEPT; iptables-legacy -A FORWARD -j RETURN",
	} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				b.sh(rules)
				b.blocked("guest to the internet, broken", tcp(b.Guest("db1"), b.Server4, 80))
				p := b.apply(natLab)
				b.finding(p, "VN411")
				b.labWorks()
			})
		})
	}
}

// TestForwardStoppedAfterDNAT: where a chain sees a forward's packets with the guest's address already.
func TestForwardStoppedAfterDNAT(t *testing.T) {
	for name, rules := range map[string]string{
		"from outside":      "nft 'table inet admin { chain c { type filter hook prerouting priority 5; tcp dport 22 drop; }; }'",
		"from the host":     "iptables-nft -A OUTPUT -p tcp --dport 22 -j DROP",
		"from the host raw": "iptables-legacy -t raw -A OUTPUT -p tcp --dport 2222 -j DROP",
	} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				b.sh(rules)
				p := b.plan(natLab)
				if len(p.Unrequested) > 0 {
					b.Errorf("newly reachable and not asked for: %q", p.Unrequested)
				}
				b.apply(natLab)
				b.labWorks()
			})
		})
	}
}

// TestPartOfAFlow: a rule may go by what the file says nothing of, a packet's length or TTL: what it stops of a flow is let
// through. One that goes by what nobody can foresee is only named.
func TestPartOfAFlow(t *testing.T) {
	for name, rules := range map[string]string{
		"length": "iptables-nft -t mangle -A POSTROUTING -p udp -m length --length 0:1400 -j DROP",
		"TTL":    "nft 'table inet admin { chain c { type filter hook forward priority 5; ip ttl > 60 udp dport 80 drop; }; }'",
		"limit":  "nft 'table inet admin { chain c { type filter hook forward priority 5; meta l4proto udp limit rate over 100/second drop; }; }'",
	} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				b.sh(rules)
				p := b.plan(natLab)
				if name == "limit" {
					b.finding(p, "VN412")
					if !p.Empty() {
						b.Errorf("a rate limit is passed by:\n%s", steps(p))
					}
					return
				}
				b.blocked("guest to the internet, broken", udp(b.Guest("db1"), b.Server4, 80))
				b.finding(p, "VN410")
				if len(p.Unrequested) > 0 {
					b.Errorf("newly reachable and not asked for: %q", p.Unrequested)
				}
				b.apply(natLab)
				b.labWorks()
			})
		})
	}
}

// TestControlComesLater: a ban that comes to stand behind an accept of ours is named with it; once that is gone, the next one goes
// behind the ban.
func TestControlComesLater(t *testing.T) {
	for name, c := range map[string]struct{ drop, ban string }{
		"in Docker's door": {
			"iptables-legacy -P FORWARD DROP; iptables-legacy -N DOCKER-USER; iptables-legacy -A FORWARD -j DOCKER-USER",
			"iptables-legacy -N f2b-sshd; iptables-legacy -A f2b-sshd -s 192.0.2.1 -j REJECT; iptables-legacy -A DOCKER-USER -p tcp -j f2b-sshd",
		},
		"behind a rule": {"iptables-nft -A FORWARD -p tcp -j DROP", "iptables-nft -N f2b-sshd; iptables-nft -A f2b-sshd -s 192.0.2.1 -j REJECT; iptables-nft -A FORWARD -p tcp -j f2b-sshd"},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				b.sh(c.drop)
				b.apply(natLab)
				b.sh(c.ban)
				p := b.plan(natLab)
				if f := b.finding(p, "VN415"); !strings.Contains(f.Title, "fail2ban") {
					b.Errorf("whose control it is, is not told: %s", f.Title)
				}
				if !p.Empty() {
					b.Errorf("want no step, got\n%s", steps(p))
				}
				if _, err := b.carryOut(b.host, b.plan("")); err != nil {
					b.Fatal(err)
				}
				if _, err := b.carryOut(b.host, b.plan(natLab)); err != nil {
					b.Fatal(err)
				}
				if err := b.Guest("db1").Serve(22); err != nil {
					b.Fatal(err)
				}
				b.blocked("the forward from a banned address", tcp(b.LAN(), b.Host4.Addr(), 2222))
				if again := b.plan(natLab); !again.Empty() {
					b.Errorf("a second plan is not empty:\n%s", steps(again))
				}
			})
		})
	}
}

// TestEndOfChain: an accept for the end of a chain goes there, however many rules of ours that nobody needs stand in front.
func TestEndOfChain(t *testing.T) {
	on(t, twoGuests(), func(b *bed) {
		b.sh("iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -i eth9 -j DROP; iptables-nft -I FORWARD -p udp --dport 7 -m comment --comment vmnet:nat.gone -j ACCEPT")
		b.apply(natLab)
		b.labWorks()
		rules := strings.Fields(strings.ReplaceAll(b.sh("iptables-nft -S FORWARD"), "\n", " | "))
		if got := strings.Join(rules, " "); !strings.HasPrefix(got, "-P FORWARD DROP | -A FORWARD -i eth9 -j DROP | -A") {
			b.Errorf("the accepts are not at the end: %s", got)
		}
	})
}
