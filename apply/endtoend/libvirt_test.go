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

// libvirtNative is what libvirt's nftables backend makes when it starts, and libvirtNet what it does when a network starts, in the
// words and the order of network_nftables.c (libvirt 10.4 and newer, which this host need not have).
const (
	libvirtNative = `nft -f - <<'X'
add table ip libvirt_network
add chain ip libvirt_network forward { type filter hook forward priority 0; policy accept; }
add chain ip libvirt_network guest_output
insert rule ip libvirt_network forward counter jump guest_output
add chain ip libvirt_network guest_input
insert rule ip libvirt_network forward counter jump guest_input
add chain ip libvirt_network guest_cross
insert rule ip libvirt_network forward counter jump guest_cross
add chain ip libvirt_network guest_nat { type nat hook postrouting priority 100; policy accept; }
X`
	libvirtNet = `nft -f - <<'X'
insert rule ip libvirt_network guest_output iif virbr7 counter reject
insert rule ip libvirt_network guest_input oif virbr7 counter reject
insert rule ip libvirt_network guest_cross iif virbr7 oif virbr7 counter accept
insert rule ip libvirt_network guest_output ip saddr 192.168.77.0/24 iif virbr7 counter accept
insert rule ip libvirt_network guest_input oif virbr7 ip daddr 192.168.77.0/24 ct state related,established counter accept
insert rule ip libvirt_network guest_nat ip saddr 192.168.77.0/24 ip daddr != 192.168.77.0/24 counter masquerade
X`
)

// TestLibvirtNativeTable: the same door in libvirt's own table.
func TestLibvirtNativeTable(t *testing.T) {
	on(t, twoGuests(), func(b *bed) {
		b.sh("ip link add virbr7 type bridge; ip address add 192.168.77.1/24 dev virbr7; ip link set virbr7 up")
		lv1, err := b.AddGuest(world.Guest{
			Name: "lv1", Device: "vnet7", Bridge: "virbr7",
			Addrs: []netip.Prefix{prefix("192.168.77.11/24")}, Gateways: []netip.Addr{addr("192.168.77.1")},
		})
		if err != nil {
			b.Fatal(err)
		}
		if err := lv1.Serve(22, 80); err != nil {
			b.Fatal(err)
		}
		b.apply(natLab)
		b.sh(libvirtNative + "\n" + libvirtNet)
		live := b.sh("nft -s list table ip libvirt_network")
		b.blocked("guest to libvirt's guest, broken", tcp(b.Guest("db1"), addr("192.168.77.11"), 22))
		p := b.apply(toLibvirt)
		if f := b.finding(p, "VN410"); f.Owner == nil || f.Owner.Name != "libvirt" {
			b.Errorf("owner %+v, want libvirt", f.Owner)
		}
		if len(p.Unrequested) > 0 {
			b.Errorf("newly reachable and not asked for: %q", p.Unrequested)
		}
		works := func(when string) {
			b.Helper()
			b.passes("guest to libvirt's guest "+when, tcp(patient(b.Guest("db1")), addr("192.168.77.11"), 22))
			b.blocked("guest to another port "+when, tcp(b.Guest("db1"), addr("192.168.77.11"), 80))
			b.passes("libvirt's guest to the internet "+when, patient(lv1).Ping(b.Server4))
		}
		works("after the apply")
		b.sh("for c in guest_output guest_input guest_cross guest_nat; do nft flush chain ip libvirt_network $c; done\n" + libvirtNet)
		works("after a restart of the network")
		b.settled(toLibvirt)
		b.apply(natLab)
		if got := b.sh("nft -s list table ip libvirt_network"); got != live {
			b.Errorf("taking the block out left\n%s\nwant\n%s", got, live)
		}
	})
}
