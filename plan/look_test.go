package plan_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/config"
)

// desired reads a configuration.
func desired(t *testing.T, text string) *schema.Desired {
	t.Helper()
	r, diags := config.Load("-", config.Options{Stdin: strings.NewReader("vmnet {\n  required_version = \">= 0.1\"\n}\n" + text)})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return r.Desired
}

// What a check finds on a network of the file is a finding of the plan; where the repair is safe it is a step, and after the
// steps nothing is left to do.
func TestCheckInPlan(t *testing.T) {
	live := schema.NewState(
		&schema.Link{
			Name: "br0", Type: "bridge", Alias: new(""), MTU: new(uint32(9000)), MAC: new("02:00:00:00:00:01"), MACPinned: new(true), Master: new(""), Up: new(true),
			Bridge: &schema.Bridge{STP: new(false), ForwardDelay: new(uint32(0))}, Facts: &schema.LinkFacts{Index: 2, Carrier: true},
		},
		&schema.Link{Name: "vnet1", Type: "tap", Alias: new(""), MTU: new(uint32(1500)), MAC: new("fe:54:00:00:00:01"), Master: new("br0"), Up: new(true), Facts: &schema.LinkFacts{Index: 3, Carrier: true}},
	)
	find := func(p *plan.Plan) *plan.Finding {
		i := slices.IndexFunc(p.Findings, func(f plan.Finding) bool { return f.Code == "VN220" })
		if i < 0 {
			return nil
		}
		return &p.Findings[i]
	}
	ours := desired(t, `bridge "lan" { device = "br0" }`)
	p, err := plan.New(live, ours, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := find(p)
	if f == nil || f.Address != "bridge.lan" || len(f.Fixes) != 1 || len(f.Fixes[0].Steps) != 1 || len(f.Cure) != 0 {
		t.Fatalf("finding %+v", f)
	}
	for _, s := range p.Steps {
		if s.ID == f.Fixes[0].Steps[0] && !slices.Contains(s.Codes, "VN220") {
			t.Errorf("step %+v heals VN220 and does not say so", s)
		}
		if err := sim.Do(live, s.Change); err != nil {
			t.Fatal(err)
		}
	}
	if l := live.Link("br0"); *l.MTU != 1500 {
		t.Errorf("MTU %d after the plan", *l.MTU)
	}
	if p, err = plan.New(live, ours, plan.Options{}); err != nil || !p.Empty() || find(p) != nil {
		t.Errorf("a second plan has %v and %v: %v", p.Steps, find(p), err)
	}

	live.Put(schema.Merge(live.Link("br0"), &schema.Link{Name: "br0", Type: "bridge", MTU: new(uint32(9000))}))
	other, err := plan.New(live, desired(t, `host_only "x" { subnet = "10.9.0.0/24" }`), plan.Options{})
	if err != nil || find(other) != nil {
		t.Errorf("a file that does not speak of br0 hears of it: %v, %v", find(other), err)
	}
	declared, err := plan.New(live, desired(t, "bridge \"lan\" {\n device = \"br0\"\n mtu = 9000\n}"), plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f := find(declared); f == nil || len(f.Fixes) != 0 || len(f.Cure) == 0 {
		t.Errorf("a file that wants this MTU: %+v", f)
	}
	for _, s := range declared.Steps {
		if slices.Contains(s.Codes, "VN220") {
			t.Errorf("step against the file: %+v", s)
		}
	}
}

// A file that needs IPv6 forwarding must not cost the host its own default route of IPv6: the link with router advertisements
// takes them in spite of forwarding before that is switched on.
func TestForwardingKeepsAdvertisedRoutes(t *testing.T) {
	uplink := &schema.Link{
		Name: "eno1", Type: "device", Alias: new(""), MTU: new(uint32(1500)), MAC: new("02:00:00:00:00:01"), Master: new(""), Up: new(true),
		Facts: &schema.LinkFacts{Index: 2, Carrier: true, IPv4: &schema.LinkConf4{}, IPv6: &schema.LinkConf6{AcceptRA: 1}},
	}
	live := schema.NewState(
		uplink, &schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"}, &schema.Sysctl{Key: "net.ipv6.conf.all.forwarding", Value: "0"},
		&schema.Route{Table: schema.TableMain, Dst: netip.MustParsePrefix("::/0"), Link: "eno1", Gateway: netip.MustParseAddr("fe80::1"), Metric: 1024, Proto: new(uint8(schema.ProtoRA))},
		&schema.Route{Table: schema.TableMain, Dst: netip.MustParsePrefix("0.0.0.0/0"), Link: "eno1", Gateway: netip.MustParseAddr("192.0.2.1")},
	)
	p, err := plan.New(live, desired(t, "nat \"lab\" {\n subnet = \"10.20.0.0/24\"\n subnet6 = \"fd00:20::/64\"\n}"), plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := func(key string) int {
		return slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Change.Ref == schema.SysctlRef(key) })
	}
	hears, forwards := at("net.ipv6.conf.eno1.accept_ra"), at("net.ipv6.conf.all.forwarding")
	if hears < 0 || forwards < 0 || hears > forwards {
		t.Fatalf("accept_ra is step %d, forwarding step %d", hears, forwards)
	}
	if !slices.Contains(p.Steps[hears].Codes, "VN323") {
		t.Errorf("step %+v does not say why", p.Steps[hears])
	}
}
