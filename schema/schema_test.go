package schema_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// everyKind is one object of each kind, with most fields set.
func everyKind() []schema.Object {
	return []schema.Object{
		&schema.Link{
			Name: "br0", Type: "bridge", Alias: new("vmnet:bridge.lan"), MTU: new(uint32(1500)), MAC: new("02:00:00:00:00:01"),
			MACPinned: new(true), Master: new(""), Up: new(true), Bridge: &schema.Bridge{STP: new(false), ForwardDelay: new(uint32(0))},
			Facts: &schema.LinkFacts{Index: 3, Carrier: true, IPv4: &schema.LinkConf4{RPFilter: 2}},
		},
		&schema.Link{Name: "vnet0", Type: "tap", Master: new("br0"), Up: new(true), Port: &schema.Port{Isolated: new(true)}},
		&schema.Address{Link: "br0", Prefix: netip.MustParsePrefix("192.0.2.10/24"), Proto: new(uint8(schema.ProtoVMNET))},
		&schema.Route{Table: 254, Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Link: "br0", Metric: 100},
		&schema.Route{Table: 100, Dst: netip.MustParsePrefix("2001:db8::/64"), NextHops: []schema.NextHop{{Link: "br0", Weight: 2}}},
		&schema.PolicyRule{Family: "ip", Priority: 5270, Src: netip.MustParsePrefix("10.0.0.0/8"), Table: 52},
		&schema.Neighbour{Link: "br0", IP: netip.MustParseAddr("192.0.2.1"), MAC: new("02:00:00:00:00:02"), Permanent: new(true)},
		&schema.FDBEntry{Link: "vnet0", MAC: "52:54:00:00:00:01", Master: "br0"},
		&schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"},
		&schema.Table{
			Family: "ip", Name: "filter", Compat: true,
			Chains: []*schema.Chain{{
				Name: "FORWARD", Type: "filter", Hook: "forward", Policy: "drop",
				Rules: []*schema.Rule{{
					Handle: 7, Text: "-j DROP", Raw: schema.Bytes{1, 2},
					Exprs: []schema.Expr{{Name: "immediate", Verdict: &schema.Verdict{Kind: "drop"}}},
				}},
			}},
			Sets: []*schema.Set{{Name: "s", KeyLen: 4, Elements: []schema.Element{{Key: schema.Bytes{10, 0, 0, 1}}}}},
		},
		&schema.Table{Family: "ip", Name: "nat", Legacy: true},
		&schema.Grant{
			Manager: "ufw", Address: "nat.lab", Family: "ip", Forward: true, In: "br0", Src: netip.MustParsePrefix("10.20.0.0/24"),
			Proto: "tcp", Ports: schema.PortRange{First: 80, Last: 443}, Index: 2, Place: 1,
		},
		&schema.File{Path: "/etc/iptables/rules.v4", Mode: 0o640, Content: "*filter\nCOMMIT\n"},
		&schema.Listener{Proto: "tcp", Addr: netip.IPv4Unspecified(), Port: 22, Process: "sshd[1]"},
		&schema.Listener{Proto: "udp", Addr: netip.IPv4Unspecified(), Port: 67, Device: "br0"},
		server(),
	}
}

func TestStateJSONRoundTrip(t *testing.T) {
	s := schema.NewState(everyKind()...)
	s.Blind = []string{"iptables"}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back schema.State
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	for o := range s.All() {
		if got := back.Get(o.Ref()); !reflect.DeepEqual(got, o) {
			t.Errorf("%s came back as %+v, want %+v", o.Ref(), got, o)
		}
	}
	if back.Len() != s.Len() || !reflect.DeepEqual(back.Blind, s.Blind) {
		t.Errorf("came back with %d objects, blind %v", back.Len(), back.Blind)
	}
}

func TestChangeJSONRoundTripAndInverse(t *testing.T) {
	for _, o := range everyKind() {
		for _, c := range []schema.Change{{o.Ref(), nil, o}, {o.Ref(), o, nil}, {o.Ref(), o, o}} {
			b, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			var back schema.Change
			if err := json.Unmarshal(b, &back); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, c) {
				t.Errorf("%s came back as %+v", c, back)
			}
			if !reflect.DeepEqual(c.Inverse().Inverse(), c) {
				t.Errorf("the inverse of the inverse of %s is another change", c)
			}
		}
	}
}

func TestCompareLooksAtManagedFieldsOnly(t *testing.T) {
	live := &schema.Link{Name: "br0", Type: "bridge", MTU: new(uint32(1400)), Up: new(true), Bridge: &schema.Bridge{STP: new(true)}, Facts: &schema.LinkFacts{Index: 5}}
	tests := []struct {
		want  *schema.Link
		diffs string
	}{
		{&schema.Link{Name: "br0"}, "[]"},
		{&schema.Link{Name: "br0", Up: new(true)}, "[]"},
		{&schema.Link{Name: "br0", MTU: new(uint32(1500))}, "[mtu 1400 -> 1500]"},
		{&schema.Link{Name: "br0", Bridge: &schema.Bridge{STP: new(false)}}, "[bridge.stp true -> false]"},
		{&schema.Link{Name: "br0", Facts: &schema.LinkFacts{Index: 9}}, "[]"},
		{&schema.Link{Name: "br0", Master: new("br1")}, "[master (none) -> br1]"},
	}
	for _, tt := range tests {
		got := ""
		if d := schema.Compare(live, tt.want); len(d) > 0 {
			got = "[" + d[0].String() + "]"
		} else {
			got = "[]"
		}
		if got != tt.diffs {
			t.Errorf("Compare(%v, %v) = %s, want %s", live, tt.want, got, tt.diffs)
		}
		if merged := schema.Merge(live, tt.want); len(schema.Compare(merged, tt.want)) != 0 {
			t.Errorf("Merge(%v, %v) = %v: still differs", live, tt.want, merged)
		}
	}
}

func TestForeignRuleIsAView(t *testing.T) {
	s := schema.NewState(everyKind()...)
	ref := schema.Ref{Kind: schema.KindNftRule, Name: "ip filter FORWARD -j DROP"}
	f, ok := s.Get(ref).(*schema.ForeignRule)
	if !ok || f.Rule.Handle != 7 || f.Index != 0 {
		t.Fatalf("Get(%s) = %+v", ref, f)
	}
	if s.Get(schema.Ref{Kind: schema.KindNftRule, Name: "ip filter FORWARD -j ACCEPT"}) != nil {
		t.Error("a rule that is not there was found")
	}
}

func TestLinkSysctlIsAView(t *testing.T) {
	s := schema.NewState(everyKind()...)
	if v, ok := s.Sysctl("net.ipv4.conf.br0.rp_filter"); !ok || v != "2" {
		t.Errorf("rp_filter of br0 = %q, %v", v, ok)
	}
	if _, ok := s.Sysctl("net.ipv4.conf.br9.rp_filter"); ok {
		t.Error("a link that is not there has a setting")
	}
}

func FuzzStateJSON(f *testing.F) {
	b, err := json.Marshal(schema.NewState(everyKind()...))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var s schema.State
		if json.Unmarshal(b, &s) != nil {
			return
		}
		if _, err := json.Marshal(&s); err != nil {
			t.Errorf("a state that was read cannot be written: %v", err)
		}
	})
}

// What is read only and of the moment never differs: a plan or an undo must not wait for it to stand still.
func TestFactsAreNotCompared(t *testing.T) {
	for _, pair := range [][2]schema.Object{
		{&schema.Machine{BacklogSeen: 1}, &schema.Machine{BacklogSeen: 2}},
		{&schema.Lease{File: "/x", IP: netip.MustParseAddr("10.0.0.1"), MAC: "a"}, &schema.Lease{File: "/x", IP: netip.MustParseAddr("10.0.0.1"), MAC: "b"}},
		{&schema.Holder{Link: "vnet0", PID: 7}, &schema.Holder{Link: "vnet0", PID: 7, Guest: "db1"}},
	} {
		if d := schema.Compare(pair[0], pair[1]); len(d) > 0 {
			t.Errorf("%v differ: %v", pair[0].Ref(), d)
		}
		if d := schema.Diff(schema.NewState(pair[0]), schema.NewState()); len(d) > 0 {
			t.Errorf("states differ by %v: %v", pair[0].Ref(), d)
		}
	}
}
