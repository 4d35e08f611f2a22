package endtoend_test

import (
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/providers/hosttest/neighbour"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// TestDHCPBeside: a guest that has no address yet gets one, and names, whoever drops what is unknown.
func TestDHCPBeside(t *testing.T) {
	for _, name := range []neighbour.Name{neighbour.UFW, neighbour.Firewalld} {
		t.Run(string(name), func(t *testing.T) {
			beside(t, twoGuests(), []neighbour.Name{name}, func(b *bed) {
				b.apply(strings.Replace(natLab, "subnet =", "dhcp { range = \"10.20.0.100-10.20.0.199\" }\n  subnet =", 1))
				b.passes("a guest that asks for an address", asksForAddress(b.Guest("db1")))
				b.resolves(b.Guest("web1"), "10.20.0.1", "db1", "10.20.0.11")
				if name == neighbour.Firewalld {
					b.sh("firewall-cmd --reload")
					b.passes("a guest that asks for an address, after a reload", asksForAddress(b.Guest("db1")))
					b.resolves(b.Guest("web1"), "10.20.0.1", "db1", "10.20.0.11")
				}
			})
		})
	}
}

func asksForAddress(n *world.Node) error {
	_, err := n.Within(5 * time.Second).DHCP(world.DHCPClient{})
	return err
}
