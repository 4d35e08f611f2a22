package plan_test

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// lanHost is a host with a VLAN-aware bridge br0: an uplink eno1, guests vnet0 and vnet1, each link in the one VLAN given.
func lanHost(uplink, guests, self uint16) *schema.State {
	in := func(vid uint16) *schema.VLANs {
		return &schema.VLANs{Ranges: []schema.VLANRange{{First: vid, Last: vid, PVID: true, Untagged: true}}}
	}
	port := func(name, kind string, index int, vid uint16) *schema.Link {
		return &schema.Link{
			Name: name, Type: kind, Alias: new(""), MTU: new(uint32(1500)), MAC: new("fe:54:00:00:00:0" + string(rune('0'+index))), Master: new("br0"), Up: new(true),
			Facts: &schema.LinkFacts{Index: index, Carrier: true, VLANs: in(vid)},
		}
	}
	return schema.NewState(
		&schema.Link{Name: "lo", Type: "loopback", Up: new(true), Facts: &schema.LinkFacts{Index: 1, Carrier: true}},
		&schema.Link{
			Name: "br0", Type: "bridge", Alias: new(""), MTU: new(uint32(1500)), MAC: new("02:00:00:00:00:01"), MACPinned: new(true), Master: new(""), Up: new(true),
			Bridge: &schema.Bridge{STP: new(false), ForwardDelay: new(uint32(0)), VLANFilter: new(true)},
			Facts:  &schema.LinkFacts{Index: 2, Carrier: true, VLANs: in(self)},
		},
		port("eno1", "device", 3, uplink),
		port("vnet0", "tap", 4, guests),
		port("vnet1", "tap", 5, guests),
		&schema.Address{Link: "br0", Prefix: netip.MustParsePrefix("192.0.2.10/24")},
		&schema.Route{Table: schema.TableMain, Dst: netip.MustParsePrefix("192.0.2.0/24"), Link: "br0"},
		&schema.Route{Table: schema.TableMain, Dst: netip.MustParsePrefix("0.0.0.0/0"), Link: "br0", Gateway: netip.MustParseAddr("192.0.2.1")},
	)
}

// An uplink that does not carry the guests' VLAN keeps them from the LAN: a check of it must not be called ok.
func TestUplinkOutsideTheVLAN(t *testing.T) {
	t.Parallel()
	ours := desired(t, `
bridge "lan" {
  device    = "br0"
  ports     = ["eno1"]
  addresses = ["192.0.2.10/24"]
  gateway   = "192.0.2.1"
}
guest "db1" {
  network = bridge.lan
  mac     = "52:54:00:00:00:01"
  address = "192.0.2.11"
  device  = "vnet0"
}
guest "web1" {
  network = bridge.lan
  mac     = "52:54:00:00:00:02"
  address = "192.0.2.12"
  device  = "vnet1"
}`)
	status := func(live *schema.State) map[string]string {
		p, err := plan.New(live, ours, plan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, c := range p.Checks {
			out[c.Goal.Name] = c.Before.Status
		}
		named := slices.ContainsFunc(p.Findings, func(f plan.Finding) bool {
			return f.Code == "VN209" && strings.Contains(f.Title, "eno1 is not in VLAN 100")
		})
		out["eno1 named"] = strconv.FormatBool(named)
		return out
	}
	// The host alone is in another VLAN: guests reach the LAN, and each other.
	for name, want := range map[string]string{"guests of bridge.lan reach the LAN and beyond": "ok", "the host reaches guests of bridge.lan": "fail", "guests of bridge.lan reach each other": "ok"} {
		if got := status(lanHost(100, 100, 1))[name]; got != want {
			t.Errorf("%s, with the host in another VLAN: %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string][2]string{
		"guests of bridge.lan reach each other":         {"ok", "ok"},
		"the host reaches guests of bridge.lan":         {"ok", "ok"},
		"guests of bridge.lan reach the LAN and beyond": {"ok", "fail"},
		"the LAN reaches guests of bridge.lan":          {"ok", "fail"},
		"eno1 named":                                    {"false", "true"},
	} {
		if got := [2]string{status(lanHost(100, 100, 100))[name], status(lanHost(1, 100, 100))[name]}; got != want {
			t.Errorf("%s, with the uplink in the VLAN and without: %q, want %q", name, got, want)
		}
	}
}
