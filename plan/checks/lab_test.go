package checks

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// lab is a healthy host: eno1 with a default route, libvirt's default network on virbr0, and two guests behind vnet1 and vnet2.
// Objects given replace those of the same name.
func lab(more ...schema.Object) *schema.State {
	s := schema.NewState(
		link("lo", "loopback", 1), link("eno1", "device", 2), bridge("virbr0", 3), port(tap("vnet1", 4), "virbr0"), port(tap("vnet2", 5), "virbr0"),
		address("eno1", "192.0.2.10/24"), address("virbr0", "192.168.122.1/24"),
		route("0.0.0.0/0", "eno1", "192.0.2.1"), kernelRoute("192.0.2.0/24", "eno1"), kernelRoute("192.168.122.0/24", "virbr0"),
		rule("ip", 0, schema.TableLocal), rule("ip", 32766, schema.TableMain), rule("ip", 32767, 253),
		rule("ip6", 0, schema.TableLocal), rule("ip6", 32766, schema.TableMain),
		heardBy("vnet1", "virbr0", "52:54:00:00:00:01"), heardBy("vnet2", "virbr0", "52:54:00:00:00:02"),
		neighbour("virbr0", "192.168.122.11", "52:54:00:00:00:01"), neighbour("virbr0", "192.168.122.12", "52:54:00:00:00:02"),
		neighbour("eno1", "192.0.2.1", "52:54:00:aa:00:01"),
		sysctl("net.ipv4.ip_forward", "1"), sysctl("net.ipv6.conf.all.forwarding", "0"),
		listener("udp", "192.168.122.1", 53, ""), listener("udp", "0.0.0.0", 67, ""),
		file("/etc/libvirt/qemu/networks/default.xml", `<network><name>default</name><forward mode='nat'/><bridge name='virbr0' stp='on' delay='0'/>
<ip address='192.168.122.1' netmask='255.255.255.0'><dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>`),
		file("/run/libvirtd.pid", "27"), &schema.Table{Family: "ip", Name: "libvirt_network"},
		&schema.Machine{Release: "6.12.1", Modules: []string{"bridge", "tun"}, Conntrack: 100, ConntrackMax: 65536, NeighbourMax: map[string]uint64{"ip": 1024, "ip6": 1024}},
	)
	for _, o := range more {
		s.Put(o)
	}
	return s
}

func link(name, typ string, index int) *schema.Link {
	return &schema.Link{
		Name: name, Type: typ, Alias: new(""), MTU: new(uint32(1500)), MAC: new("02:00:00:00:00:0" + string(rune('0'+index))), Master: new(""), Up: new(true),
		Facts: &schema.LinkFacts{Index: index, Carrier: true, OperState: "up", IPv4: &schema.LinkConf4{Forwarding: 1}, IPv6: &schema.LinkConf6{AcceptRA: 1}},
	}
}

func bridge(name string, index int) *schema.Link {
	l := link(name, "bridge", index)
	l.Bridge = &schema.Bridge{STP: new(false), ForwardDelay: new(uint32(1500)), McastSnoop: new(true), VLANFilter: new(false), NfCallIP: new(false), NfCallIP6: new(false)}
	l.Facts.BridgeFacts = &schema.BridgeFacts{}
	return l
}

func tap(name string, index int) *schema.Link {
	l := link(name, "tap", index)
	l.MAC = new("fe:54:00:00:00:0" + name[len(name)-1:])
	return l
}

func port(l *schema.Link, master string) *schema.Link {
	l.Master, l.Port = &master, &schema.Port{State: new("forwarding"), Isolated: new(false), Hairpin: new(false), Learning: new(true), Flood: new(true)}
	return l
}

// with changes a link of the lab.
func with(l *schema.Link, change func(*schema.Link)) *schema.Link {
	change(l)
	return l
}

func address(dev, prefix string) *schema.Address {
	return &schema.Address{Link: dev, Prefix: netip.MustParsePrefix(prefix), Facts: &schema.AddressFacts{}}
}

func route(dst, dev, via string) *schema.Route {
	r := &schema.Route{Table: schema.TableMain, Dst: netip.MustParsePrefix(dst), Link: dev, Proto: new(uint8(schema.ProtoStatic))}
	if via != "" {
		r.Gateway = netip.MustParseAddr(via)
	}
	return r
}

func kernelRoute(dst, dev string) *schema.Route {
	r := route(dst, dev, "")
	r.Proto = new(uint8(schema.ProtoKernel))
	return r
}

func inTable(r *schema.Route, table uint32) *schema.Route { r.Table = table; return r }

func rule(family string, priority, table uint32) *schema.PolicyRule {
	return &schema.PolicyRule{Family: family, Priority: priority, Table: table, Proto: new(uint8(schema.ProtoKernel))}
}

func heardBy(port, bridge, mac string) *schema.FDBEntry {
	return &schema.FDBEntry{Link: port, Master: bridge, MAC: mac}
}

func neighbour(dev, ip, mac string) *schema.Neighbour {
	return &schema.Neighbour{Link: dev, IP: netip.MustParseAddr(ip), MAC: &mac, Permanent: new(false), State: "reachable"}
}

func sysctl(key, value string) *schema.Sysctl { return &schema.Sysctl{Key: key, Value: value} }

func listener(proto, addr string, port uint16, process string) *schema.Listener {
	return &schema.Listener{Proto: proto, Addr: netip.MustParseAddr(addr), Port: port, Process: process}
}

func file(path, content string) *schema.File { return &schema.File{Path: path, Content: content} }

// without takes objects out of a state.
func without(s *schema.State, refs ...schema.Ref) *schema.State {
	for _, r := range refs {
		s.Delete(r)
	}
	return s
}

// found holds that a check finds exactly one thing in a state, whose text, evidence and cure contain all of words.
func found(t *testing.T, c Check, s *schema.State, words ...string) Finding {
	t.Helper()
	all := Run(Look(s, nil), []Check{c})
	if len(all) != 1 {
		t.Fatalf("%s: %d findings, want 1: %+v", c.Name, len(all), all)
	}
	f := all[0]
	text := strings.Join(append([]string{f.Severity, f.Title, f.Detail, f.Object.String(), f.Owner}, append(f.Evidence, f.Cure...)...), "\n")
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: no %q in\n%s", c.Name, w, text)
		}
	}
	if len(f.Evidence) == 0 || f.Object == (schema.Ref{}) || f.Detail == "" {
		t.Errorf("%s: a finding needs an object, evidence and a detail: %+v", c.Name, f)
	}
	return f
}

// healthy holds that a check finds nothing in a state.
func healthy(t *testing.T, c Check, what string, s *schema.State) {
	t.Helper()
	if all := Run(Look(s, nil), []Check{c}); len(all) > 0 {
		t.Errorf("%s: %s is no fault: %+v", c.Name, what, all)
	}
}

// heals holds that what a finding wants is its cure: with it, nothing is found.
func heals(t *testing.T, c Check, s *schema.State, f Finding) {
	t.Helper()
	if len(f.Want) == 0 {
		t.Fatalf("%s: nothing is wanted", c.Name)
	}
	for _, o := range f.Want {
		if k, ok := o.(*schema.Sysctl); ok && s.SetLinkSysctl(k.Key, k.Value) {
			continue
		}
		s.Put(schema.Merge(s.Get(o.Ref()), o))
	}
	healthy(t, c, "the repaired host", s)
}
