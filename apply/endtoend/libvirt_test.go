package endtoend_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/neighbour"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// libvirtNetwork makes a NAT network of libvirt's with one guest.
func (b *bed) libvirtNetwork() *world.Node {
	b.Helper()
	b.sh(`cat > /run/n.xml <<X
<network><name>lvnat</name><forward mode='nat'/><bridge name='virbr7' stp='off' delay='0'/><ip address='192.168.77.1' netmask='255.255.255.0'/></network>
X
virsh -q net-define /run/n.xml; virsh -q net-start lvnat`)
	n, err := b.AddGuest(world.Guest{
		Name: "lv1", Device: "vnet7", Bridge: "virbr7",
		Addrs: []netip.Prefix{prefix("192.168.77.11/24")}, Gateways: []netip.Addr{addr("192.168.77.1")},
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := n.Serve(22, 80); err != nil {
		b.Fatal(err)
	}
	return n
}

const toLibvirt = natLab + `
expect "lv1" {
  from  = nat.lab
  to    = "192.168.77.11"
  tcp   = 22
  allow = true
}
`

// TestLibvirt: what libvirt rejects is let through in front of its chains, with and without Docker; that outlives a restart
// of the network and of libvirt.
func TestLibvirt(t *testing.T) {
	for name, also := range map[string][]neighbour.Name{
		"alone":        {neighbour.Libvirt},
		"after Docker": {neighbour.Docker, neighbour.Libvirt},
		"legacy":       {neighbour.Libvirt},
	} {
		t.Run(name, func(t *testing.T) {
			beside(t, twoGuests(), nil, func(b *bed) {
				var libvirt *neighbour.Running
				for _, n := range also {
					libvirt = neighbour.Start(t, n, neighbour.Opts{Legacy: name == "legacy"})
				}
				lv1 := b.libvirtNetwork()
				b.apply(natLab)
				live := b.sh("iptables -S")
				b.blocked("guest to libvirt's guest, broken", tcp(b.Guest("db1"), addr("192.168.77.11"), 22))
				p := b.apply(toLibvirt)
				if f := b.finding(p, "VN410"); f.Owner == nil || f.Owner.Name != "libvirt" {
					b.Errorf("owner %+v, want libvirt", f.Owner)
				}
				works := func(when string) {
					b.Helper()
					db := patient(b.Guest("db1"))
					b.passes("guest to libvirt's guest "+when, tcp(db, addr("192.168.77.11"), 22))
					b.blocked("guest to another port "+when, tcp(b.Guest("db1"), addr("192.168.77.11"), 80))
					b.passes("libvirt's guest to the internet "+when, lv1.Ping(b.Server4))
				}
				works("after the apply")
				b.sh("virsh -q net-destroy lvnat; virsh -q net-start lvnat; ip link set vnet7 master virbr7")
				b.passes("the network is up again", b.eventually(func() error { return lv1.Ping(addr("192.168.77.1")) }))
				works("after a restart of the network")
				b.settled(toLibvirt)
				libvirt.Stop(t)
				neighbour.Start(t, neighbour.Libvirt, neighbour.Opts{})
				works("after a restart of libvirt")
				b.settled(toLibvirt)
				b.apply(natLab)
				if got := b.sh("iptables -S"); !sameLines(got, live) || strings.Contains(got, "192.168.77.11") {
					b.Errorf("taking the block out left\n%s", differ(live, got))
				}
			})
		})
	}
}
