package hosttest

import (
	"io/fs"
	"net/netip"
	"syscall"

	"github.com/vmnet/vmnet/schema"
)

// server is a DHCP and DNS server on br0, with changes made to it.
func server(changes ...func(*schema.Dnsmasq)) *schema.Dnsmasq {
	d := &schema.Dnsmasq{
		Device: "br0", Address: "nat.lab", Listen: []netip.Addr{ip("10.20.0.1")}, State: schema.ServiceRunning,
		DHCP: &schema.DHCP{
			First: ip("10.20.0.100"), Last: ip("10.20.0.199"), Lease: 3600,
			Options: []schema.DHCPOption{{Code: 3, Value: ""}, {Code: 6, Value: "10.20.0.1"}, {Code: 26, Value: "1450"}},
		},
		Reservations: []schema.Reservation{{MAC: "52:54:00:00:00:01", IP: ip("10.20.0.11"), Name: "db1"}},
		DNS: &schema.DNS{
			Domain: "lab.test", Upstream: []netip.Addr{ip("192.0.2.53")},
			Records: []schema.DNSRecord{{Name: "db1.lab.test", IP: ip("10.20.0.11")}, {Name: "www.lab.test", Target: "db1.lab.test"}},
		},
	}
	for _, change := range changes {
		change(d)
	}
	return d
}

// lab is a bridge for a server.
func lab() []change {
	return []change{bridge("br0", "02:00:00:00:00:01"), up("br0"), create(address("br0", "10.20.0.1/24"))}
}

func serviceRows() []row {
	served := with(lab(), create(server()))
	stopped := func(d *schema.Dnsmasq) { d.State = schema.ServiceStopped }
	return []row{
		{name: "start one", given: lab(), do: create(server())},
		{name: "start one for names only", given: lab(), do: create(server(func(d *schema.Dnsmasq) { d.DHCP, d.Reservations = nil, nil }))},
		{name: "start one for addresses only", given: lab(), do: create(server(func(d *schema.Dnsmasq) { d.DNS = nil }))},
		{name: "start one without a link", do: create(server()), fails: fs.ErrNotExist},
		{name: "start one twice", given: served, do: func(*schema.State) schema.Change {
			return schema.Change{Ref: server().Ref(), After: server()}
		}, fails: fs.ErrExist},
		{
			name: "start one whose port is taken", given: with(served,
				create(&schema.Link{Name: "br1", Type: "bridge"}), up("br1"), create(address("br1", "10.20.0.1/24"))),
			do:    create(server(func(d *schema.Dnsmasq) { d.Device = "br1" })),
			fails: syscall.EADDRINUSE,
		},
		{
			name: "two at once", given: with(served,
				create(&schema.Link{Name: "br1", Type: "bridge"}), up("br1"), create(address("br1", "10.20.1.1/24"))),
			do: create(server(func(d *schema.Dnsmasq) {
				d.Device, d.Listen = "br1", []netip.Addr{ip("10.20.1.1")}
				d.DHCP.First, d.DHCP.Last = ip("10.20.1.100"), ip("10.20.1.199")
			})),
		},
		{name: "another range", given: served, do: set(server(func(d *schema.Dnsmasq) { d.DHCP.Last = ip("10.20.0.150") }))},
		{name: "no more reservations and names", given: served, do: set(server(func(d *schema.Dnsmasq) { d.Reservations, d.DNS.Records = nil, nil }))},
		{name: "no DHCP any more", given: served, do: set(server(func(d *schema.Dnsmasq) { d.DHCP, d.Reservations = nil, nil }))},
		{name: "with words of somebody else", given: served, do: set(server(func(d *schema.Dnsmasq) {
			d.Extra = []string{"log-queries", "names: # by hand", "reservations: 52:54:00:00:00:0a,ignore", "without: bogus-priv"}
		}))},
		{name: "whole checksums", given: served, do: set(server(func(d *schema.Dnsmasq) { d.DHCP.Checksums = true }))},
		{name: "end one and keep it", given: served, do: set(server(stopped))},
		{name: "start one again", given: with(served, set(server(stopped))), do: set(server())},
		{name: "end one for good", given: served, do: remove(server())},
	}
}
