package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func neighbourFull() Check {
	return Check{
		Code: "VN328", Name: "neighbour-full", Layer: LayerIP, Title: "the neighbour table is nearly full", Run: runNeighbourFull,
		Doc: Doc{
			Means: "The host knows nearly as many neighbours as it may (gc_thresh3). Beyond that new guests cannot be reached: \"No buffer space available\", " +
				"dmesg: neighbour: arp_cache: neighbor table overflow!",
			Example: "1000 entries in ip neighbour with net.ipv4.neigh.default.gc_thresh3 = 1024.",
			Why:     "Many guests or containers, or a wide network that somebody scans. The limit holds for all network namespaces together.",
			Repair:  "sysctl blocks for gc_thresh1 to gc_thresh3 set them; which size fits is not for a snapshot to say.",
			ByHand:  "sysctl -w net.ipv4.neigh.default.gc_thresh3=16384 net.ipv4.neigh.default.gc_thresh2=8192 net.ipv4.neigh.default.gc_thresh1=4096, and the same for ipv6.",
			Lasting: "The same lines in /etc/sysctl.d/.",
		},
	}
}

func runNeighbourFull(h *Host) []Finding {
	m := h.Machine()
	if m == nil {
		return nil
	}
	known := map[string]uint64{}
	for n := range schema.Each[*schema.Neighbour](h.State) {
		if n.State != "permanent" && n.State != "noarp" && !n.Proxy {
			known[familyOf(n.IP)]++
		}
	}
	var out []Finding
	for _, family := range []string{"ip", "ip6"} {
		most := m.NeighbourMax[family]
		if most == 0 || known[family]*10 < most*9 {
			continue
		}
		key := "net." + map[string]string{"ip": "ipv4", "ip6": "ipv6"}[family] + ".neigh.default.gc_thresh3"
		out = append(out, Finding{
			Severity: Error, Title: fmt.Sprintf("%d of at most %d neighbours are known", known[family], most), Object: schema.SysctlRef(key),
			Detail:   "Beyond that no new guest can be reached.",
			Evidence: []string{fmt.Sprintf("%d entries in this network namespace alone", known[family]), fmt.Sprintf("%s = %d", key, most)},
			Cure:     []string{fmt.Sprintf("sysctl -w %s=%d, and gc_thresh2 and gc_thresh1 to a half and a quarter of it", key, most*8)},
		})
	}
	return out
}
