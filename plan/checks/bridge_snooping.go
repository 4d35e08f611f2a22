package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func bridgeSnooping() Check {
	return Check{
		Code: "VN228", Name: "bridge-snooping", Layer: LayerBridges, Title: "multicast snooping keeps IPv6 neighbours apart", Run: runBridgeSnooping,
		Doc: Doc{
			Means: "The bridge sends multicast only to ports that asked for it, since somebody on the network asks who listens (a querier); and guests are not on its list. " +
				"IPv6 asks for a neighbour's MAC address by multicast (ff02::1:ff…): guests become unreachable when their entries run out, and come back for a while when they speak themselves.",
			Example: "mcast_snooping 1, a router that sends MLD queries, and bridge mdb show without the guest's ff02::1:ff00:11: ping -6 to the guest fails after a few minutes.",
			Why:     "The guest's reports are filtered (a firewall in the guest, nwfilter, ip6tables with br_netfilter), or its kernel sends none for what it got statically.",
			Repair:  "vmnet switches snooping off on the bridge of a network of the file: multicast then goes to every port.",
			ByHand:  "ip link set br0 type bridge mcast_snooping 0",
			Lasting: "nmcli: bridge.multicast-snooping no; ifupdown: bridge-mcsnoop 0; networkd: MulticastSnooping=no. Or let MLD reports (ICMPv6 131, 132, 143) pass.",
		},
	}
}

func runBridgeSnooping(h *Host) []Finding {
	var out []Finding
	for _, n := range h.Networks {
		b := h.Link(n.Device)
		if b == nil || b.Bridge == nil || b.Bridge.McastSnoop == nil || !*b.Bridge.McastSnoop || b.Facts == nil || b.Facts.BridgeFacts == nil {
			continue
		}
		facts := b.Facts.BridgeFacts
		if facts.Groups == nil || !facts.OtherQuerier6 && !facts.Querier {
			continue
		}
		f := Finding{
			Severity: Error, Object: b.Ref(), Links: append([]string{n.Device}, n.Ports...),
			Title:    n.Device + " keeps multicast of IPv6 from guests that need it",
			Detail:   "Who looks for the guest's MAC address by multicast is not heard by it.",
			Evidence: []string{"mcast_snooping is on, and " + map[bool]string{true: "another machine", false: "the bridge"}[facts.OtherQuerier6] + " asks for listeners"},
			Cure:     []string{"ip link set " + n.Device + " type bridge mcast_snooping 0"},
			Want:     []schema.Object{&schema.Link{Name: n.Device, Type: "bridge", Bridge: &schema.Bridge{McastSnoop: new(false)}}},
		}
		f.Evidence = append(f.Evidence, h.unheard(n, facts.Groups)...)
		if len(f.Evidence) > 1 {
			out = append(out, f)
		}
	}
	return out
}

// unheard are the guests with an IPv6 address whose solicited-node group (RFC 4291, 2.7.1) is not listed behind their port.
func (h *Host) unheard(n *Network, groups []string) []string {
	var out []string
	for _, r := range h.Dependents(schema.LinkRef(n.Device)) {
		x, ok := h.Get(r).(*schema.Neighbour)
		if !ok || !x.IP.Is6() || x.IP.IsMulticast() || x.State == "noarp" || x.Proxy {
			continue
		}
		port := ""
		if mac(x.MAC) != "" {
			port = h.behind(n.Device, *x.MAC)
		}
		group := solicited(x.IP)
		if port != "" && slices.Contains(n.Ports, port) && !slices.Contains(groups, port+" "+group) {
			out = append(out, fmt.Sprintf("%s is behind %s, where nobody listens to %s", x.IP, port, group))
		}
		if port == "" && !slices.ContainsFunc(groups, func(g string) bool { return strings.HasSuffix(g, " "+group) }) && x.State == "failed" {
			out = append(out, fmt.Sprintf("%s is not found, and nobody listens to %s", x.IP, group))
		}
	}
	return out
}

func solicited(a netip.Addr) string {
	b := a.As16()
	g := netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(g[13:], b[13:])
	return netip.AddrFrom16(g).String()
}
