package dnsmasq

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func lab() *schema.Dnsmasq {
	ip := netip.MustParseAddr
	return &schema.Dnsmasq{
		Device: "virbr-lab", Address: `nat.lab["a b"]`, Listen: []netip.Addr{ip("10.20.0.1"), ip("fd00:20::1")},
		DHCP: &schema.DHCP{
			First: ip("10.20.0.100"), Last: ip("10.20.0.199"), Lease: schema.LeaseInfinite,
			Options: []schema.DHCPOption{{Code: 3, Value: ""}, {Code: 26, Value: "1450"}, {Code: 119, Value: "a.test,b.test"}},
		},
		Reservations: []schema.Reservation{
			{MAC: "52:54:00:00:00:01", IP: ip("10.20.0.11"), Name: "db1"}, {MAC: "52:54:00:00:00:02", Name: "web"}, {MAC: "52:54:00:00:00:03", IP: ip("10.20.0.13")},
		},
		DNS: &schema.DNS{
			Domain: "lab.test", HostUpstream: true, Upstream: []netip.Addr{ip("192.0.2.53"), ip("2001:db8::53")},
			Records: []schema.DNSRecord{{Name: "db1.lab.test", IP: ip("10.20.0.11")}, {Name: "db1.lab.test", IP: ip("fd00:20::11")}, {Name: "www.lab.test", Target: "db1.lab.test"}},
		},
	}
}

func here() place { return (&Provider{root: "/root of it"}).place("virbr-lab") }

func TestConfiguration(t *testing.T) {
	got := write(here(), lab())
	want := `# vmnet:nat.lab["a b"]
# written by vmnet: what is changed here by hand is taken back by the next apply
# of the network namespace ` + here().namespace + `
interface=virbr-lab
except-interface=lo
bind-dynamic
no-hosts
domain-needed
bogus-priv
# listens on 10.20.0.1
# listens on fd00:20::1
addn-hosts=/root of it/run/vmnet/dnsmasq/virbr-lab/names
domain=lab.test
local=/lab.test/
server=192.0.2.53
server=2001:db8::53
cname=www.lab.test,db1.lab.test
dhcp-authoritative
dhcp-no-override
dhcp-leasefile=/root of it/var/lib/vmnet/dnsmasq/virbr-lab.leases
dhcp-hostsfile=/root of it/run/vmnet/dnsmasq/virbr-lab/reservations
dhcp-lease-max=65536
dhcp-range=10.20.0.100,10.20.0.199,infinite
dhcp-option=3
dhcp-option=26,1450
dhcp-option=119,a.test,b.test
`
	if got.conf != want {
		t.Errorf("the configuration is\n%s\nwant\n%s", got.conf, want)
	}
	if want := "52:54:00:00:00:01,10.20.0.11,db1\n52:54:00:00:00:02,web\n52:54:00:00:00:03,10.20.0.13\n"; got.reservations != want {
		t.Errorf("the reservations are %q, want %q", got.reservations, want)
	}
	if want := "10.20.0.11 db1.lab.test\nfd00:20::11 db1.lab.test\n"; got.names != want {
		t.Errorf("the names are %q, want %q", got.names, want)
	}
}

func TestConfigurationReadBack(t *testing.T) {
	variants := map[string]func(*schema.Dnsmasq){
		"everything": func(*schema.Dnsmasq) {},
		"no names":   func(d *schema.Dnsmasq) { d.DNS = nil },
		"names only": func(d *schema.Dnsmasq) { d.DHCP, d.Reservations = nil, nil },
		"checksums":  func(d *schema.Dnsmasq) { d.DHCP.Checksums = true },
		"alone":      func(d *schema.Dnsmasq) { d.DNS = &schema.DNS{} },
		"somebody else's words": func(d *schema.Dnsmasq) {
			d.Extra = []string{"log-queries", "names: # hand", "reservations: 52:54:00:00:00:09,ignore", "without: bind-dynamic", "dhcp-range=10.20.0.210,10.20.0.220,1h"}
		},
	}
	for name, change := range variants {
		d := lab()
		change(d)
		schema.NewState(d)
		if got := parse(here(), write(here(), d)); !schema.Equal(got, d) {
			t.Errorf("%s: read back it differs: %v", name, schema.Compare(got, d))
		}
	}
}

// FuzzConfiguration: whatever somebody writes into the files is read, and what is read can be written again, line for line.
func FuzzConfiguration(f *testing.F) {
	t := write(here(), lab())
	f.Add(t.conf, t.reservations, t.names)
	f.Add("port=0\n\nhello", "x,y,z", "10.0.0.1  two  words")
	f.Add(strings.Replace(t.conf, "dhcp-range", "dhcp-range=1.2.3.4,1.2.3.5,9\ndhcp-range", 1), "52:54:00:00:00:01,3600\n", "")
	f.Fuzz(func(t *testing.T, conf, reservations, names string) {
		read := parse(here(), texts{conf, reservations, names})
		written := write(here(), read)
		again := parse(here(), written)
		if !schema.Equal(read, again) {
			t.Errorf("%q %q %q: read %v, written and read again it differs: %v %v", conf, reservations, names, read, schema.Compare(read, again), schema.Compare(again, read))
		}
		for _, line := range split(conf) {
			if !slices.Contains(split(written.conf), line) {
				t.Errorf("%q: the line %q was lost", conf, line)
			}
		}
	})
}

func TestUnit(t *testing.T) {
	s := &server{place: (&Provider{}).place("br:0 é")}
	if got := s.unit(); got != "vmnet-dnsmasq-br_0__.service" {
		t.Errorf("the unit is %q", got)
	}
	got := s.unitArgs("/usr/sbin/dnsmasq", "/said", []string{confFlag + "c", pidFlag + "p"})
	for _, want := range []string{"--property=PIDFile=p", "--property=Restart=on-failure", "--property=Type=forking", "--unit=" + s.unit()} {
		if !slices.Contains(got, want) {
			t.Errorf("systemd-run %q lacks %s", got, want)
		}
	}
	if tail := got[len(got)-4:]; !slices.Equal(tail, []string{"--", "/usr/sbin/dnsmasq", confFlag + "c", pidFlag + "p"}) {
		t.Errorf("systemd-run ends with %q", tail)
	}
}
