package trace_test

import (
	"errors"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// TestProxiesAsTheKernel pings machines whose addresses are of the network of one link, but which are behind another: who looks
// for them hears the host, or nobody. And machines behind a link on which ARP is off.
func TestProxiesAsTheKernel(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		l, err := newNeighbourLab()
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		on := func(line string) func() error { return func() error { return run(line) } }
		err = errors.Join(
			l.w.Guest("b").Do(on("ip addr add 192.0.2.77/32 dev lo")), run("ip route add 192.0.2.77/32 dev br0"),
			l.w.LAN().Do(on("ip addr add 10.20.0.200/32 dev lo")), run("ip route add 10.20.0.200/32 dev eno1"),
		)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ do, undo, from, to, want string }{
			{"", "", "world", "inside", "block request VN312"},
			{"sysctl net.ipv4.conf.eno1.proxy_arp=1", "sysctl net.ipv4.conf.eno1.proxy_arp=0", "world", "inside", "pass"},
			{"sysctl net.ipv4.conf.all.proxy_arp=1", "sysctl net.ipv4.conf.all.proxy_arp=0", "world", "inside", "pass"},
			{"ip neigh add proxy 192.0.2.77 dev eno1", "ip neigh del proxy 192.0.2.77 dev eno1", "world", "inside", "pass"},
			{"ip neigh add proxy 192.0.2.78 dev eno1", "ip neigh del proxy 192.0.2.78 dev eno1", "world", "inside", "block request VN312"},
			{"", "", "a", "outside", "block"},
			{"sysctl net.ipv4.conf.br0.proxy_arp=1", "sysctl net.ipv4.conf.br0.proxy_arp=0", "a", "outside", "pass"},
			{"ip neigh add proxy 10.20.0.200 dev br0", "ip neigh del proxy 10.20.0.200 dev br0", "a", "outside", "pass"},
			{"sysctl net.ipv4.conf.br0.proxy_arp=1", "sysctl net.ipv4.conf.br0.proxy_arp=0", "a", "b", "pass"},
			{"ip link set eno1 arp off", "ip link set eno1 arp on", "host", "world", "block request VN312"},
			{"ip link set eno1 arp off", "ip link set eno1 arp on", "world", "a", "block resolution VN312"},
			{"ip link set br0 arp off", "ip link set br0 arp on", "a", "host", "block resolution VN312"},
			{"ip link set br0 arp off", "ip link set br0 arp on", "host", "a", "block request VN312"},
			{"ip link set br0 arp off", "ip link set br0 arp on", "a", "b", "pass"},
		} {
			if c.do != "" {
				if err := do(c.do); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.flow(t, []string{c.do}, c.from, c.to, false, c.want); err != nil {
				t.Fatal(err)
			}
			if c.undo != "" {
				if err := do(c.undo); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
