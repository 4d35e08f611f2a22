package endtoend_test

import (
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// strays are rules of others that lead the packets of the file's forward elsewhere.
var strays = map[string]struct {
	rules, list string
	deleted     bool
	title       string
}{
	"nft, before ours, of two ports": {
		`nft 'table inet admin { chain p { type nat hook prerouting priority -101; fib daddr type local tcp dport { 2222, 2223 } dnat ip to 10.20.0.12:80; }; }'`,
		"nft list chain inet admin p", false, "inet admin p: ",
	},
	"nft, beside ours": {
		`nft 'table ip admin { chain p { type nat hook prerouting priority dstnat; ip daddr 192.0.2.10 tcp dport 2222 redirect to :80; }; }'`,
		"nft list chain ip admin p", true, "ip admin p: ",
	},
	"iptables-nft": {
		"iptables-nft -t nat -A PREROUTING -d 192.0.2.10 -p tcp --dport 2222 -j DNAT --to-destination 198.51.100.9:22",
		"iptables-nft -t nat -S PREROUTING", true, "ip nat PREROUTING: ",
	},
	"iptables-nft, by interface": {
		"iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport 2000:3000 -j DNAT --to-destination 10.20.0.12",
		"iptables-nft -t nat -S PREROUTING", false, "ip nat PREROUTING: ",
	},
	"iptables-legacy": {
		"iptables-legacy -t nat -A PREROUTING -d 192.0.2.10 -p tcp --dport 2222 -j REDIRECT --to-ports 80",
		"iptables-legacy -t nat -S PREROUTING", true, "ip nat PREROUTING: ",
	},
}

// TestStray: a rule that leads a forward's packets elsewhere is named, whatever they die of there, and gives way to the forward.
func TestStray(t *testing.T) {
	for name, c := range strays {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				b.sh(c.rules)
				before := b.sh(c.list)
				p := b.apply(natLab)
				f := b.finding(p, "VN451")
				if !strings.Contains(f.Title, c.title) || f.Owner == nil || f.Owner.Name != "unknown" || len(p.Unrequested) > 0 {
					b.Errorf("finding %+v, newly reachable %q", f, p.Unrequested)
				}
				b.labWorks()
				b.apply("")
				now := b.sh(c.list)
				if c.deleted && strings.Contains(now, "2222") || !c.deleted && now != before {
					b.Errorf("without the block the rules are\n%s\nthey were\n%s", now, before)
				}
			})
		})
	}
}

// TestStrayOfOthers: what Docker publishes stays so, and is named.
func TestStrayOfOthers(t *testing.T) {
	on(t, twoGuests(), func(b *bed) {
		b.apply(natLab)
		b.sh(`iptables-nft -P FORWARD DROP; iptables-nft -N DOCKER-USER; iptables-nft -A FORWARD -j DOCKER-USER; iptables-nft -A FORWARD -i virbr-lab -j ACCEPT
			iptables-nft -A FORWARD -o virbr-lab -j ACCEPT; iptables-nft -t nat -N DOCKER; iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
			iptables-nft -t nat -A DOCKER ! -i docker0 -p tcp --dport 2222 -j DNAT --to-destination 172.17.0.2:22; ip link add docker0 type bridge
			ip address add 172.17.0.1/16 dev docker0; ip link set docker0 up`)
		p := b.plan(natLab)
		f := b.finding(p, "VN451")
		if f.Owner == nil || f.Owner.Name != "docker" || !strings.Contains(f.Title, "ip nat DOCKER: ") {
			b.Errorf("finding %+v", f)
		}
		for _, x := range p.Findings {
			if x.Code == "VN411" {
				b.Errorf("the policy is blamed: %s breaks %q", x.Title, x.Breaks)
			}
		}
		for _, s := range p.Steps {
			if r, ok := s.Change.After.(*schema.ForeignRule); ok {
				b.Errorf("a step writes %s", r)
			}
		}
		if !fails(p, "forward.ssh_db1") {
			b.Errorf("the forward holds:\n%s", steps(p))
		}
	})
}

// fails tells whether an expectation of a block is not met after a plan.
func fails(p *plan.Plan, address string) bool {
	for _, c := range p.Checks {
		if c.Goal.Address == address && c.After.Status != "ok" {
			return true
		}
	}
	return false
}
