package checks

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// BenchmarkAll makes every check on a host of a thousand networks with four guests each.
func BenchmarkAll(b *testing.B) {
	s := lab()
	for i := range 1000 {
		br := fmt.Sprintf("br%d", i)
		s.Put(with(bridge(br, 1), func(l *schema.Link) { l.Facts.Index = 100 + 10*i }))
		host := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 24)
		s.Put(address(br, host.String()))
		s.Put(kernelRoute(host.Masked().String(), br))
		for g := range 4 {
			name := fmt.Sprintf("tap%d-%d", i, g)
			s.Put(with(port(tap(name, 1), br), func(l *schema.Link) {
				l.Facts.Index, l.MAC = 101+10*i+g, new(fmt.Sprintf("fe:54:00:%02x:%02x:%02x", i>>8, i&255, g))
			}))
			s.Put(heardBy(name, br, fmt.Sprintf("52:54:00:%02x:%02x:%02x", i>>8, i&255, g)))
			s.Put(neighbour(br, fmt.Sprintf("10.%d.%d.%d", i>>8, i&255, 10+g), fmt.Sprintf("52:54:00:%02x:%02x:%02x", i>>8, i&255, g)))
		}
	}
	for b.Loop() {
		if found := Run(Look(s, nil), All()); len(found) > 1 {
			b.Fatal(len(found), found[1].Title)
		}
	}
}
