package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestNeighbourFull(t *testing.T) {
	m := &schema.Machine{NeighbourMax: map[string]uint64{"ip": 2, "ip6": 2}}
	found(t, neighbourFull(), lab(m), "3 of at most 2 neighbours are known", "net.ipv4.neigh.default.gc_thresh3 = 2")
	healthy(t, neighbourFull(), "a few of many", lab())
	healthy(t, neighbourFull(), "a namespace that does not show the limit", lab(&schema.Machine{}))
}
