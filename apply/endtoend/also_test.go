package endtoend_test

import (
	"slices"
	"strings"
	"testing"
)

// TestAlsoReached: "outside" is everything but the host and the networks of the file. That Docker's network is part of it
// is said, and true; a deny keeps it apart, and is believed too.
func TestAlsoReached(t *testing.T) {
	const deny = `
firewall "lab" {
  deny {
    from = nat.lab
    to   = "172.17.0.0/16"
  }
}`
	for _, tt := range []struct {
		name, file string
		reached    bool
	}{{"outside", natLab, true}, {"denied", natLab + deny, false}} {
		t.Run(tt.name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.sh(`ip link add docker0 type bridge && ip address add 172.17.0.1/16 dev docker0 && ip link add dk0 type veth peer name dk1 &&
					ip link set dk0 master docker0 && ip link set dk0 up && ip link set dk1 up && ip link set docker0 up &&
					ip neighbour add 172.17.0.2 lladdr 02:42:ac:11:00:02 dev docker0`)
				b.sh(`iptables-nft -P FORWARD DROP; iptables-nft -N DOCKER-USER; iptables-nft -A FORWARD -j DOCKER-USER; iptables-nft -A DOCKER-USER -j RETURN`)
				b.sh(`iptables-nft -t mangle -A POSTROUTING -o docker0 -d 172.17.0.2 -p icmp`)
				p := b.apply(tt.file)
				said := slices.ContainsFunc(p.Reached, func(s string) bool { return strings.Contains(s, "nat.lab reaches also docker0 (172.17.0.0/16)") })
				if said != tt.reached || len(p.Unrequested) > 0 {
					b.Errorf("said %q, and unrequested %q", p.Reached, p.Unrequested)
				}
				_ = b.Guest("db1").Ping(addr("172.17.0.2")) // nobody answers there
				if got := b.sh("iptables-nft -t mangle -nvxL POSTROUTING | grep docker0"); strings.HasPrefix(strings.TrimSpace(got), "0 ") == tt.reached {
					b.Errorf("packets that reached docker0: %s", got)
				}
				if again := b.plan(tt.file); len(again.Reached) > 0 {
					b.Errorf("nothing is opened any more, and said is %q", again.Reached)
				}
			})
		})
	}
}
