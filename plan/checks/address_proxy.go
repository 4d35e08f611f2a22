package checks

import (
	"fmt"
	"net/netip"

	"github.com/vmnet/vmnet/schema"
)

func addressProxy() Check {
	return Check{
		Code: "VN325", Name: "address-proxy", Layer: LayerIP, Title: "nobody answers ARP for a routed guest", Run: runAddressProxy,
		Doc: Doc{
			Means: "The host routes a single address of its LAN to a guest. Machines of the LAN take the address for one of their neighbours and ask for its MAC address by ARP, " +
				"and nobody answers: the guest is behind another link of the host, which keeps silent unless proxy_arp is on.",
			Example: "ip route add 203.0.113.50/32 dev virbr0 with 203.0.113.2/24 on eth0 and net.ipv4.conf.eth0.proxy_arp = 0.",
			Why:     "A hoster gives further addresses of the same network, and the guide's line for proxy_arp was left out, or not made lasting.",
			Repair:  "vmnet adds a proxy entry for exactly that address (ip neighbour add proxy), for networks of the file.",
			ByHand:  "ip neighbour add proxy 203.0.113.50 dev eth0; or sysctl -w net.ipv4.conf.eth0.proxy_arp=1, which answers for everything that is routed elsewhere.",
			Lasting: "net.ipv4.conf.eth0.proxy_arp = 1 in /etc/sysctl.d/; IPv4ProxyARP=yes in the .network file; up ip neigh add proxy … in /etc/network/interfaces.",
		},
	}
}

func runAddressProxy(h *Host) []Finding {
	var out []Finding
	for r := range schema.Each[*schema.Route](h.State) {
		n := h.Network(r.Link)
		if r.Table != schema.TableMain || !r.Dst.IsSingleIP() || !r.Dst.Addr().Is4() || r.Gateway.IsValid() || n == nil || n.Mode == ModeBridge || r.KernelMade() {
			continue
		}
		lan := h.lanOf(r.Dst.Addr(), r.Link)
		if lan == nil || h.sysctl("net.ipv4.conf.all.proxy_arp") == "1" || lan.Facts == nil || lan.Facts.IPv4 == nil || lan.Facts.IPv4.ProxyARP != 0 {
			continue
		}
		entry := &schema.Neighbour{Link: lan.Name, IP: r.Dst.Addr(), MAC: new(""), Permanent: new(false), Proxy: true}
		if e, ok := h.Get(entry.Ref()).(*schema.Neighbour); ok && e.Proxy {
			continue
		}
		out = append(out, Finding{
			Severity: Error, Title: fmt.Sprintf("nobody answers ARP for %s on %s", r.Dst.Addr(), lan.Name), Object: r.Ref(), Links: []string{r.Link, lan.Name},
			Detail:   "The LAN takes the guest for a neighbour and asks for its MAC address; the host is silent for what is behind another link.",
			Evidence: []string{"route " + r.String(), fmt.Sprintf("%s is in the network of %s", r.Dst.Addr(), lan.Name), schema.LinkSysctl("ipv4", lan.Name, "proxy_arp") + " = 0"},
			Cure:     []string{fmt.Sprintf("ip neighbour add proxy %s dev %s", r.Dst.Addr(), lan.Name)},
			Want:     []schema.Object{entry},
		})
	}
	return out
}

// lanOf is another link than dev whose network an address is of, nil for none.
func (h *Host) lanOf(ip netip.Addr, dev string) *schema.Link {
	for a := range schema.Each[*schema.Address](h.State) {
		if a.Link != dev && a.Prefix.Masked().Contains(ip) && !a.Prefix.IsSingleIP() && a.Link != "lo" && up(h.Link(a.Link)) {
			return h.Link(a.Link)
		}
	}
	return nil
}
