package schema_test

import (
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestLost(t *testing.T) {
	t.Parallel()
	one := schema.VLANRange{First: 1, Last: 1, PVID: true, Untagged: true}
	ten := schema.VLANRange{First: 10, Last: 12}
	bridge := func(name string, f schema.BridgeFacts, vlans *schema.VLANs, programs ...string) *schema.Link {
		return &schema.Link{
			Name: name, Type: "bridge", Bridge: &schema.Bridge{VLANFilter: new(vlans != nil)},
			Facts: &schema.LinkFacts{BridgeFacts: &f, VLANs: vlans, Programs: programs},
		}
	}
	port := func(master string, f *schema.PortFacts, vlans *schema.VLANs) *schema.Link {
		return &schema.Link{Name: "vnet3", Type: "tap", Master: &master, Facts: &schema.LinkFacts{PortFacts: f, VLANs: vlans}}
	}
	usual := schema.BridgeFacts{VLANProto: "802.1Q", DefaultPVID: 1}
	none := schema.BridgeFacts{VLANProto: "802.1Q"} // as of a kernel without VLAN filtering, too
	live := schema.NewState(bridge("br0", usual, schema.NewVLANs(one)), bridge("br9", none, schema.NewVLANs()))
	free := &schema.Link{Name: "vnet3", Type: "tap", Master: new("")}
	set := func(flags uint32) *schema.Table {
		return &schema.Table{Family: "inet", Name: "vmnet", Sets: []*schema.Set{{Name: "s", Flags: flags}}}
	}
	for name, c := range map[string]struct {
		before, after schema.Object
		want          string
	}{
		"a plain port leaves":              {port("br-plain", nil, nil), free, ""},
		"a port with the bridge's VLAN":    {port("br0", nil, schema.NewVLANs(one)), free, ""},
		"a port with VLANs of its own":     {port("br0", nil, schema.NewVLANs(one, ten)), free, "its VLANs (1 PVID Egress Untagged, 10-12)"},
		"it goes with its link":            {port("br0", nil, schema.NewVLANs(ten)), nil, "its VLANs (10-12)"},
		"no VLAN, where all get one":       {port("br0", nil, schema.NewVLANs()), free, "its VLANs (none)"},
		"no VLAN, where none gets one":     {port("br9", nil, schema.NewVLANs()), free, ""},
		"it stays":                         {port("br0", nil, schema.NewVLANs(ten)), &schema.Link{Name: "vnet3", Type: "tap", Up: new(true)}, ""},
		"a locked port leaves":             {port("br-plain", &schema.PortFacts{Locked: true, Backup: true}, nil), free, "its port setting locked; its port setting backup_port"},
		"a bridge is deleted":              {bridge("b", usual, schema.NewVLANs(one)), nil, ""},
		"one that does not filter":         {bridge("b", none, nil), nil, ""},
		"a bridge with settings":           {bridge("b", schema.BridgeFacts{VLANProto: "802.1ad", DefaultPVID: 7, MST: true}, schema.NewVLANs(one)), nil, "its vlan_default_pvid 7; its vlan_protocol 802.1ad; its setting mst_enabled"},
		"a bridge that was set by hand":    {bridge("b", schema.BridgeFacts{Settings: "ageing_time 0"}, nil), nil, "its settings ageing_time 0"},
		"a port with a priority":           {port("br-plain", &schema.PortFacts{Settings: "priority 8"}, nil), free, "its port settings priority 8"},
		"a bridge with VLANs and programs": {bridge("b", usual, schema.NewVLANs(one, ten), "ingress: tc bpf"), nil, "its own VLANs (1 PVID Egress Untagged, 10-12); a program at ingress: tc bpf"},
		"a bridge with programs is changed": {
			bridge("b", usual, schema.NewVLANs(one), "ingress: XDP"), &schema.Link{Name: "b", Type: "bridge", Up: new(true)}, "",
		},
		"a table":                 {set(schema.SetInterval), set(0), ""},
		"a table that learns":     {set(schema.SetEval | schema.SetTimeout), nil, "timeouts, rules or objects of set s"},
		"a table that will learn": {nil, set(schema.SetTimeout), ""},
		"a setting":               {&schema.Sysctl{Key: "a", Value: "0"}, &schema.Sysctl{Key: "a", Value: "1"}, ""},
		"a link that is made":     {nil, free, ""},
	} {
		live := live.Clone()
		if c.before != nil {
			live.Put(c.before)
		}
		if got := strings.Join(schema.Lost(live, schema.Change{Before: c.before, After: c.after}), "; "); got != c.want {
			t.Errorf("%s: Lost = %q, want %q", name, got, c.want)
		}
	}
}
