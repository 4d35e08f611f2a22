package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func labServer(device string) *schema.Dnsmasq {
	ip := netip.MustParseAddr
	return &schema.Dnsmasq{
		Device: device, Address: "nat.lab", Listen: []netip.Addr{ip("10.20.0.1")}, State: schema.ServiceRunning,
		DHCP:         &schema.DHCP{First: ip("10.20.0.100"), Last: ip("10.20.0.101"), Lease: 3600},
		Reservations: []schema.Reservation{{MAC: "52:54:00:00:00:01", IP: ip("10.20.0.11"), Name: "db1"}}, DNS: &schema.DNS{},
	}
}

// servedHost is a host whose bridge has its address and whose server is d, with more beside it.
func servedHost(d *schema.Dnsmasq, more ...schema.Object) *schema.State {
	s := schema.NewState(&schema.Link{Name: d.Device, Type: "bridge", Alias: new("vmnet:nat.lab"), Up: new(true), Facts: &schema.LinkFacts{Index: 3}},
		&schema.Address{Link: d.Device, Prefix: netip.MustParsePrefix("10.20.0.1/24"), Proto: new(uint8(schema.ProtoVMNET))}, d)
	for _, o := range more {
		s.Put(o)
	}
	return s
}

func wanting(d *schema.Dnsmasq) *schema.Desired {
	return &schema.Desired{State: schema.NewState(
		&schema.Link{Name: d.Device, Type: "bridge", Alias: new("vmnet:nat.lab"), Up: new(true)},
		&schema.Address{Link: d.Device, Prefix: netip.MustParsePrefix("10.20.0.1/24"), Proto: new(uint8(schema.ProtoVMNET))}, d,
	), Addresses: map[schema.Ref]string{d.Ref(): "nat.lab"}}
}

func TestServiceFindings(t *testing.T) {
	ip := netip.MustParseAddr
	lease := func(mac, addr, id string) schema.Lease { return schema.Lease{MAC: mac, IP: ip(addr), ClientID: id} }
	tests := []struct {
		name  string
		live  func(*schema.Dnsmasq)
		more  []schema.Object
		want  string // the code, "" for none
		steps int
	}{
		{"nothing wrong", func(*schema.Dnsmasq) {}, nil, "", 0},
		{"one lease of two", func(d *schema.Dnsmasq) {
			d.Facts.Leases = []schema.Lease{lease("52:54:00:00:00:05", "10.20.0.100", "")}
		}, nil, "", 0},
		{"dead", func(d *schema.Dnsmasq) { d.State, d.Facts.LastPID = schema.ServiceStopped, 7 }, nil, "VN502", 1},
		{"stale", func(d *schema.Dnsmasq) { d.State = schema.ServiceStale }, nil, "VN503", 1},
		{"edited", func(d *schema.Dnsmasq) { d.Extra = []string{"log-queries"} }, nil, "VN503", 1},
		{"deaf", func(d *schema.Dnsmasq) { d.Facts.Deaf = true }, nil, "VN509", 1},
		{"full", func(d *schema.Dnsmasq) {
			d.Facts.Leases = []schema.Lease{lease("52:54:00:00:00:05", "10.20.0.100", ""), lease("52:54:00:00:00:06", "10.20.0.101", "")}
		}, nil, "VN505", 0},
		{"an old lease of the guest", func(d *schema.Dnsmasq) {
			d.Facts.Leases = []schema.Lease{lease("52:54:00:00:00:01", "10.20.0.100", "")}
		}, nil, "VN506", 0},
		{"somebody else has it", func(d *schema.Dnsmasq) { d.Facts.Leases = []schema.Lease{lease("52:54:00:00:00:05", "10.20.0.11", "")} }, nil, "VN506", 0},
		{
			"clones",
			func(d *schema.Dnsmasq) {
				d.Facts.Leases = []schema.Lease{lease("52:54:00:00:00:05", "10.20.0.100", "ff:01")}
			},
			[]schema.Object{
				&schema.Neighbour{Link: "virbr-lab", IP: ip("10.20.0.100"), MAC: new("52:54:00:00:00:06")},
				&schema.FDBEntry{Link: "vnet0", Master: "virbr-lab", MAC: "52:54:00:00:00:05"}, &schema.FDBEntry{Link: "vnet1", Master: "virbr-lab", MAC: "52:54:00:00:00:06"},
			},
			"VN507", 0,
		},
		{
			"one machine with a new card",
			func(d *schema.Dnsmasq) {
				d.Facts.Leases = []schema.Lease{lease("52:54:00:00:00:05", "10.20.0.100", "ff:01")}
			},
			[]schema.Object{
				&schema.Neighbour{Link: "virbr-lab", IP: ip("10.20.0.100"), MAC: new("52:54:00:00:00:06")},
				&schema.FDBEntry{Link: "vnet1", Master: "virbr-lab", MAC: "52:54:00:00:00:06"},
			},
			"", 0,
		},
	}
	for _, tt := range tests {
		live := labServer("virbr-lab")
		live.Facts = &schema.DnsmasqFacts{PID: 9, Config: "/run/vmnet/dnsmasq/virbr-lab/dnsmasq.conf"}
		tt.live(live)
		p, err := New(servedHost(live, tt.more...), wanting(labServer("virbr-lab")), Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range p.Findings {
			if strings.HasPrefix(f.Code, "VN50") {
				got = append(got, f.Code)
			}
		}
		if strings.Join(got, " ") != tt.want || len(p.Steps) != tt.steps {
			t.Errorf("%s: findings %v and %d steps, want %q and %d", tt.name, got, len(p.Steps), tt.want, tt.steps)
		}
	}
}

// A server gives up its address before another takes it over, and comes up behind the address of its bridge.
func TestServiceOrder(t *testing.T) {
	p, err := New(servedHost(labServer("old0")), wanting(labServer("new0")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) int {
		return slices.IndexFunc(p.Steps, func(st Step) bool { return strings.HasPrefix(st.Change.String(), s) })
	}
	order := []int{at("create link/new0"), at("create address/new0"), at("create service/dnsmasq new0"), len(p.Steps)}
	if !slices.IsSorted(order) || order[0] < 0 || at("delete service/dnsmasq old0") < 0 || at("delete service/dnsmasq old0") > order[2] || at("delete link/old0") < at("delete service/dnsmasq old0") {
		for _, s := range p.Steps {
			t.Log(s.Change)
		}
		t.Errorf("the steps are in the wrong order: %v", order)
	}
}
