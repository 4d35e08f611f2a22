package plan

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func drafted(objs ...[2]schema.Object) []*draft {
	var out []*draft
	for _, o := range objs {
		out = append(out, newDraft(o[0], o[1]))
	}
	return out
}

func TestOrder(t *testing.T) {
	bridge := &schema.Link{Name: "br0", Type: "bridge", Up: new(true)}
	port := &schema.Link{Name: "vnet0", Type: "tap", Master: new("")}
	attached := &schema.Link{Name: "vnet0", Type: "tap", Master: new("br0")}
	address := &schema.Address{Link: "br0", Prefix: netip.MustParsePrefix("10.0.0.1/24")}
	route := &schema.Route{Table: 254, Dst: netip.MustParsePrefix("10.9.0.0/16"), Gateway: netip.MustParseAddr("10.0.0.9"), Link: "br0"}
	table := &schema.Table{Family: "inet", Name: "vmnet"}
	forwarding := [2]schema.Object{&schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "0"}, &schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"}}
	tests := []struct {
		name   string
		drafts []*draft
		want   string
	}{
		{
			"parents first, rules before forwarding",
			drafted(forwarding, [2]schema.Object{nil, route}, [2]schema.Object{nil, address}, [2]schema.Object{port, attached}, [2]schema.Object{nil, bridge}, [2]schema.Object{nil, table}),
			"table/inet vmnet, link/br0, address/br0 10.0.0.1/24, link/vnet0, route/main 10.9.0.0/16 via 10.0.0.9 dev br0, sysctl/net.ipv4.ip_forward",
		},
		{
			"children first",
			drafted([2]schema.Object{bridge, nil}, [2]schema.Object{address, nil}, [2]schema.Object{route, nil}, [2]schema.Object{attached, port}),
			"link/vnet0, route/main 10.9.0.0/16 via 10.0.0.9 dev br0, address/br0 10.0.0.1/24, link/br0",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ordered, err := order(tt.drafts)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range ordered {
				got = append(got, d.change.Ref.String())
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("order is\n %s, want\n %s", s, tt.want)
			}
		})
	}
}

func TestOrderNamesACircle(t *testing.T) {
	a := newDraft(nil, &schema.Link{Name: "a", Master: new("b")})
	b := newDraft(nil, &schema.Link{Name: "b", Master: new("a")})
	if _, err := order([]*draft{a, b}); err == nil || !strings.Contains(err.Error(), "link/a") {
		t.Errorf("order = %v, want an error that names the steps", err)
	}
}

func TestNarrowKeepsOnlyWhatChanges(t *testing.T) {
	before := &schema.Link{Name: "vnet0", Type: "tap", MTU: new(uint32(1500)), Up: new(false), Master: new("br0"), Port: &schema.Port{State: new("disabled"), Isolated: new(true)}}
	after := schema.Clone(before).(*schema.Link)
	after.Up = new(true)
	d := newDraft(before, after)
	if got := d.change.String(); got != "update link/vnet0 up false -> true" {
		t.Errorf("change is %q", got)
	}
	if l := d.change.Before.(*schema.Link); l.MTU != nil || l.Port != nil {
		t.Errorf("before holds what does not change: %v", l)
	}
	after = schema.Clone(before).(*schema.Link)
	after.Master, after.Port = new(""), nil
	back := newDraft(before, after).change.Inverse().After.(*schema.Link)
	if back.Port == nil || back.Port.Isolated == nil || !*back.Port.Isolated || back.Port.State != nil {
		t.Errorf("the way back loses the port's settings: %+v", back.Port)
	}
}

func TestAcceptText(t *testing.T) {
	a := accept{
		in: "br0", src: netip.MustParsePrefix("10.20.0.0/24"), dst: netip.MustParsePrefix("10.20.0.11/32"), proto: "tcp",
		dport: schema.PortRange{First: 22, Last: 25}, state: ctEstablished, address: "nat.lab",
	}
	want := `-s 10.20.0.0/24 -d 10.20.0.11/32 -i br0 -p tcp -m tcp --dport 22:25 -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment "vmnet:nat.lab" -j ACCEPT`
	if got := a.iptables("ip"); got != want {
		t.Errorf("iptables text is\n %s, want\n %s", got, want)
	}
	want = `iifname "br0" ip saddr 10.20.0.0/24 ip daddr 10.20.0.11 tcp dport 22-25 ct state established,related accept`
	if got := a.nft("ip"); got != want {
		t.Errorf("nft text is\n %s, want\n %s", got, want)
	}
}

func TestSavedLine(t *testing.T) {
	content := "*nat\n-A FORWARD -d 192.168.1.100 -j DROP\nCOMMIT\n*filter\n-A FORWARD -d 192.168.1.100 -p tcp --dport 22 -j DROP\nCOMMIT\n"
	if got := savedLine(content, "filter", "-A FORWARD -d 192.168.1.100/32 -p tcp -m tcp --dport 22 -j DROP"); got != 4 {
		t.Errorf("found at %d, want 4", got)
	}
	if got := savedLine(content, "filter", "-A FORWARD -d 192.168.1.100/32 -j DROP"); got != -1 {
		t.Errorf("found a rule of another table at %d", got)
	}
}
