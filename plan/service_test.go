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

// servedHost is a host whose bridge has its address and whose server is d.
func servedHost(d *schema.Dnsmasq) *schema.State {
	return schema.NewState(&schema.Link{Name: d.Device, Type: "bridge", Alias: new("vmnet:nat.lab"), Up: new(true), Facts: &schema.LinkFacts{Index: 3}},
		&schema.Address{Link: d.Device, Prefix: netip.MustParsePrefix("10.20.0.1/24"), Proto: new(uint8(schema.ProtoVMNET))}, d)
}

func wanting(d *schema.Dnsmasq) *schema.Desired {
	return &schema.Desired{State: schema.NewState(
		&schema.Link{Name: d.Device, Type: "bridge", Alias: new("vmnet:nat.lab"), Up: new(true)},
		&schema.Address{Link: d.Device, Prefix: netip.MustParsePrefix("10.20.0.1/24"), Proto: new(uint8(schema.ProtoVMNET))}, d,
	), Addresses: map[schema.Ref]string{d.Ref(): "nat.lab"}}
}

func TestServiceFindings(t *testing.T) {
	tests := []struct {
		name  string
		live  func(*schema.Dnsmasq)
		want  string // the code, "" for none
		steps int
	}{
		{"nothing wrong", func(*schema.Dnsmasq) {}, "", 0},
		{"dead", func(d *schema.Dnsmasq) { d.State, d.Facts.LastPID = schema.ServiceStopped, 7 }, "VN512", 1},
		{"stale", func(d *schema.Dnsmasq) { d.State = schema.ServiceStale }, "VN513", 1},
		{"edited", func(d *schema.Dnsmasq) { d.Extra = []string{"log-queries"} }, "VN513", 1},
		{"deaf", func(d *schema.Dnsmasq) { d.Facts.Deaf = true }, "VN515", 1},
	}
	for _, tt := range tests {
		live := labServer("virbr-lab")
		live.Facts = &schema.DnsmasqFacts{PID: 9, Config: "/run/vmnet/dnsmasq/virbr-lab/dnsmasq.conf"}
		tt.live(live)
		p, err := New(servedHost(live), wanting(labServer("virbr-lab")), Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range p.Findings {
			if strings.HasPrefix(f.Code, "VN5") {
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
