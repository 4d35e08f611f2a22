package config

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

const liveConfig = header + `nat "lab" {
  device = "virbr-lab"
  subnet = "10.20.0.0/24"
}

host_only "six" {
  subnet  = "10.30.0.0/24"
  subnet6 = "fd00:30::/64"
}

bridge "lan" {
  device    = "br0"
  ports     = ["eno1"]
  addresses = ["192.0.2.10/24"]
}

guest "a" {
  network = nat.lab
  address = "10.20.0.11"
}

forward "web" {
  tcp = "8000-8010"
  to  = guest.a
}
`

func TestCheckLive(t *testing.T) {
	t.Parallel()
	r, diags := Load("-", Options{Stdin: strings.NewReader(liveConfig)})
	if diags.HasErrors() {
		t.Fatal(render(diags, r.Files))
	}
	address := func(link, p string) *schema.Address {
		return &schema.Address{Link: link, Prefix: netip.MustParsePrefix(p)}
	}
	route := func(link, p string) *schema.Route {
		return &schema.Route{Table: schema.TableMain, Dst: netip.MustParsePrefix(p), Link: link}
	}
	listener := func(proto, addr string, port uint16) *schema.Listener {
		return &schema.Listener{Proto: proto, Addr: netip.MustParseAddr(addr), Port: port, Process: "nginx[7]"}
	}
	link := func(name, alias, master string) *schema.Link {
		return &schema.Link{Name: name, Type: "bridge", Alias: &alias, Master: &master}
	}
	tests := []struct {
		name string
		live []schema.Object
		want string // "code line", … of what is said
	}{
		{"nothing", nil, ""},
		{"our device is a network card", []schema.Object{&schema.Link{Name: "virbr-lab", Type: "device"}}, "VN752 3"},
		{"and a dummy by another network's label", []schema.Object{&schema.Link{Name: "six", Type: "dummy"}, &schema.Link{Name: "br0", Type: "bond"}}, "VN752 7, VN752 13"},
		{"our device is a bridge already", []schema.Object{&schema.Link{Name: "virbr-lab", Type: "bridge"}}, ""},
		{"an address in our subnet", []schema.Object{address("docker0", "10.20.0.7/32")}, "VN750 4"},
		{"our subnet in the network of an address", []schema.Object{address("wg0", "10.0.0.1/8")}, "VN750 4, VN750 8"},
		{"the same network; its route is not told again", []schema.Object{address("virbr0", "10.20.0.1/24"), route("virbr0", "10.20.0.0/24")}, "VN750 4"},
		{"a route into our subnet", []schema.Object{route("wg0", "10.30.0.128/25")}, "VN750 8"},
		{"a route around our subnet", []schema.Object{route("wg0", "10.20.0.0/16")}, "VN750 4"},
		{"IPv6", []schema.Object{address("wg0", "fd00:30::5/128")}, "VN750 9"},
		{"the far end of a tunnel", []schema.Object{&schema.Address{Link: "tun0", Prefix: netip.MustParsePrefix("172.31.0.1/32"), Peer: new(netip.MustParsePrefix("10.20.0.2/32"))}}, "VN750 4"},
		{"everywhere is nowhere", []schema.Object{route("wg0", "0.0.0.0/0"), route("wg0", "0.0.0.0/1"), route("eno1", "::/0")}, ""},
		{"a null route around us", []schema.Object{&schema.Route{Table: 254, Dst: netip.MustParsePrefix("10.0.0.0/8"), Type: "unreachable"}}, ""},
		{"a null route inside", []schema.Object{&schema.Route{Table: 254, Dst: netip.MustParsePrefix("10.20.0.64/26"), Type: "blackhole"}}, "VN750 4"},
		{"our own device", []schema.Object{address("virbr-lab", "10.20.0.1/24"), route("virbr-lab", "10.20.0.0/24")}, ""},
		{"a port whose address moves", []schema.Object{address("eno1", "192.0.2.10/24"), route("eno1", "192.0.2.0/24")}, ""},
		{"the LAN by another NIC: a warning", []schema.Object{address("wlan0", "192.0.2.77/24")}, "warning VN750 15"},
		{"a device of ours that was renamed", []schema.Object{link("old", "vmnet:nat.old", ""), address("old", "10.20.0.1/24")}, ""},
		{"a device on our bridge", []schema.Object{link("vnet0", "", "virbr-lab"), address("vnet0", "10.20.0.9/24")}, ""},
		{"an address beside", []schema.Object{address("docker0", "10.21.0.1/24"), address("eno2", "10.19.255.1/24")}, ""},
		{"a program on a forwarded port", []schema.Object{listener("tcp", "0.0.0.0", 8080), listener("tcp", "0.0.0.0", 8005)}, "VN751 24"},
		{"on every address of both families", []schema.Object{listener("tcp", "::", 8000)}, "VN751 24"},
		{"of another family or protocol", []schema.Object{listener("tcp", "::1", 8000), listener("udp", "0.0.0.0", 8000)}, ""},
		{"on localhost only", []schema.Object{listener("tcp", "127.0.0.1", 8010)}, "VN751 24"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			diags := r.CheckLive(schema.NewState(tt.live...))
			checkShape(t, diags)
			var got []string
			for _, d := range diags {
				s := string(d.Extra.(Code)) + " " + schema.Origin{File: "x", Line: d.Subject.Start.Line}.String()[2:]
				if d.Severity != 1 {
					s = "warning " + s
				}
				got = append(got, s)
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("got %q, want %q\n%s", got, tt.want, render(diags, r.Files))
			}
		})
	}
	text := render(r.CheckLive(schema.NewState(address("docker0", "10.20.0.7/16"), link("docker0", "", ""), &schema.Link{Name: "br0", Type: "device"}, route("wg0", "10.30.0.128/25"), address("wlan0", "192.0.2.77/24"), listener("tcp", "0.0.0.0", 8005))), r.Files)
	golden(t, "testdata/live.golden", text)
	// A bridge is proposed only where the machines of the subnet are on it.
	virbr0 := link("virbr0", "", "")
	for _, tt := range []struct {
		name    string
		live    []schema.Object
		propose bool
	}{
		{"an address of a bridge", []schema.Object{virbr0, address("virbr0", "10.20.0.1/24")}, true},
		{"an on-link route of a bridge", []schema.Object{virbr0, route("virbr0", "10.20.0.0/24")}, true},
		{"a route by a router behind a bridge", []schema.Object{virbr0, &schema.Route{Table: 254, Dst: netip.MustParsePrefix("10.20.0.0/24"), Link: "virbr0", Gateway: netip.MustParseAddr("192.0.2.1")}}, false},
		{"an address of a network card", []schema.Object{&schema.Link{Name: "eno9", Type: "device"}, address("eno9", "10.20.0.1/24")}, false},
		{"an address of a tunnel", []schema.Object{&schema.Link{Name: "wg0", Type: "wireguard"}, address("wg0", "10.20.0.1/24")}, false},
	} {
		if text := render(r.CheckLive(schema.NewState(tt.live...)), r.Files); strings.Contains(text, "write device = ") != tt.propose || !strings.Contains(text, "VN750") {
			t.Errorf("%s: proposed is not %t:\n%s", tt.name, tt.propose, text)
		}
	}
}

func TestCheckLiveOfNothing(t *testing.T) {
	t.Parallel()
	r, _ := Load("-", Options{Stdin: strings.NewReader("nat {")})
	if diags := r.CheckLive(schema.NewState()); diags != nil {
		t.Errorf("a configuration with errors gives %v", diags)
	}
}
