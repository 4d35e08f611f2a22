package schema_test

import (
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func server() *schema.Dnsmasq {
	ip := netip.MustParseAddr
	return &schema.Dnsmasq{
		Device: "virbr-lab", Address: "nat.lab", Listen: []netip.Addr{ip("10.20.0.1")}, State: schema.ServiceRunning,
		DHCP:         &schema.DHCP{First: ip("10.20.0.100"), Last: ip("10.20.0.199"), Lease: 3600, Options: []schema.DHCPOption{{Code: 26, Value: "1450"}}},
		Reservations: []schema.Reservation{{MAC: "52:54:00:00:00:01", IP: ip("10.20.0.11"), Name: "db1"}},
		DNS: &schema.DNS{
			Domain: "lab.test", HostUpstream: true, Upstream: []netip.Addr{ip("192.0.2.53")},
			Records: []schema.DNSRecord{{Name: "db1.lab.test", IP: ip("10.20.0.11")}, {Name: "www.lab.test", Target: "db1.lab.test"}},
		},
		Facts: &schema.DnsmasqFacts{PID: 4711, Start: 99, Leases: []schema.Lease{{File: "/leases", Link: "virbr-lab", MAC: "52:54:00:00:00:01", IP: ip("10.20.0.11")}}},
	}
}

func TestDnsmasqIsComparedAsAWhole(t *testing.T) {
	tests := []struct {
		change func(*schema.Dnsmasq)
		want   string
	}{
		{func(d *schema.Dnsmasq) { d.Facts = nil }, ""},
		{func(d *schema.Dnsmasq) { d.State = "" }, ""},
		{func(d *schema.Dnsmasq) { d.Reservations = nil }, "reservations 52:54:00:00:00:01,10.20.0.11,db1 -> (none)"},
		{func(d *schema.Dnsmasq) { d.DHCP.Options = nil }, "dhcp.options 26=1450 -> (none)"},
		{func(d *schema.Dnsmasq) { d.DHCP.Lease = schema.LeaseInfinite }, "dhcp.lease 3600s -> infinite"},
		{func(d *schema.Dnsmasq) { d.DNS.HostUpstream = false }, "dns.upstream the host's 192.0.2.53 -> 192.0.2.53"},
		{func(d *schema.Dnsmasq) { d.State = schema.ServiceStopped }, "state running -> stopped"},
		{func(d *schema.Dnsmasq) { d.Extra = []string{"log-queries"} }, "extra (none) -> log-queries"},
	}
	for _, tt := range tests {
		want := server()
		tt.change(want)
		got := ""
		for _, d := range schema.Compare(server(), want) {
			got += d.String()
		}
		if got != tt.want {
			t.Errorf("Compare = %q, want %q", got, tt.want)
		}
		if d := schema.Compare(schema.Merge(server(), want), want); len(d) > 0 {
			t.Errorf("merged, it still differs: %v", d)
		}
	}
}

func TestDnsmasqSockets(t *testing.T) {
	var got []string
	for _, l := range server().Listeners() {
		got = append(got, l.Ref().Name)
	}
	want := []string{"udp 0.0.0.0%virbr-lab:67", "udp 10.20.0.1:53", "tcp 10.20.0.1:53"}
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("Listeners = %q, want %q", got, want)
	}
	if n := server().DHCP.Size(); n != 100 {
		t.Errorf("Size = %d, want 100", n)
	}
}
