package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestAddressProxy(t *testing.T) {
	eno1 := func(proxy int) *schema.Link {
		return with(link("eno1", "device", 2), func(l *schema.Link) { l.Facts.IPv4.ProxyARP = proxy })
	}
	guest := route("192.0.2.50/32", "virbr0", "")
	s := lab(eno1(0), guest)
	f := found(t, addressProxy(), s, "nobody answers ARP for 192.0.2.50 on eno1", "net.ipv4.conf.eno1.proxy_arp = 0", "ip neighbour add proxy 192.0.2.50 dev eno1")
	heals(t, addressProxy(), s, f)
	healthy(t, addressProxy(), "proxy_arp", lab(eno1(1), guest))
	healthy(t, addressProxy(), "an address of no network of the host's", lab(eno1(0), route("198.51.100.50/32", "virbr0", "")))
	healthy(t, addressProxy(), "a guest of the bridge's own network", lab(eno1(0), route("192.168.122.50/32", "virbr0", "")))
}
