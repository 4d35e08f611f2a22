package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// What looks like a fault to people and is none must never be a finding, whichever check looks at it.
func TestLookAlikes(t *testing.T) {
	quiet := func(l *schema.Link) {
		l.Facts.Carrier, l.Facts.NoCarrier, l.Facts.OperState = false, true, "down"
	}
	linkdown := kernelRoute("10.9.0.0/24", "br9")
	linkdown.Facts = &schema.RouteFacts{LinkDown: true}
	stale := neighbour("virbr0", "192.168.122.11", "52:54:00:00:00:77")
	stale.State = "stale"
	isolated := port(tap("vnet1", 4), "virbr0")
	isolated.Port.Isolated = new(true)
	for what, s := range map[string]*schema.State{
		"a forward delay without a spanning tree":            lab(),
		"an empty bridge: no carrier, route linkdown":        lab(with(bridge("br9", 9), quiet), address("br9", "10.9.0.1/24"), linkdown),
		"an uplink with a smaller MTU":                       lab(with(link("eno1", "device", 2), func(l *schema.Link) { l.MTU = new(uint32(1452)) })),
		"nf_call_iptables 0 of the bridge, 1 of the host":    lab(sysctl("net.bridge.bridge-nf-call-iptables", "1")),
		"the host ignores pings":                             lab(sysctl("net.ipv4.icmp_echo_ignore_all", "1")),
		"FORWARD with policy DROP, as Docker has it":         lab(&schema.Table{Family: "ip", Name: "filter", Compat: true, Chains: []*schema.Chain{{Name: "FORWARD", Hook: "forward", Policy: "drop"}, {Name: "DOCKER-USER"}, {Name: "LIBVIRT_FWO"}}}),
		"isolated ports":                                     lab(isolated),
		"wg-quick's rules":                                   lab(link("wg0", "wireguard", 8), inTable(route("0.0.0.0/0", "wg0", ""), 51820), &schema.PolicyRule{Family: "ip", Priority: 32764, Table: schema.TableMain, SuppressPrefixLen: new(0)}, &schema.PolicyRule{Family: "ip", Priority: 32765, Invert: true, Mark: 0xca6c, Mask: 0xffffffff, Table: 51820}),
		"a stale neighbour of a guest that was made anew":    lab(stale),
		"a tap of a guest that is off":                       lab(port(with(tap("vnet2", 5), quiet), "virbr0")),
		"a guest that forwards for others behind it":         lab(neighbour("virbr0", "192.168.122.13", "52:54:00:00:00:01"), neighbour("virbr0", "192.168.122.14", "52:54:00:00:00:01")),
		"a bridge to the LAN with the address of its card":   lab(bridge("br0", 8), port(with(link("eno2", "device", 9), func(l *schema.Link) { l.MAC = bridge("br0", 8).MAC }), "br0"), address("br0", "198.51.100.10/24")),
		"a VPN with a wider route than the guests' network":  lab(link("tun0", "tun", 8), address("tun0", "10.8.0.2/24"), route("192.168.0.0/16", "tun0", "")),
		"a limit of the guest's bandwidth by its hypervisor": lab(port(with(tap("vnet1", 4), func(l *schema.Link) { l.Facts.Qdisc = "htb" }), "virbr0")),
	} {
		for _, f := range Run(Look(s, nil), All()) {
			t.Errorf("%s: %s %s: %v", what, f.Code, f.Title, f.Evidence)
		}
	}
}
