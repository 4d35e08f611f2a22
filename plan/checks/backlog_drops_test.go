package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestBacklogDrops(t *testing.T) {
	m := func(seen, dropped uint64) *schema.Machine {
		return &schema.Machine{BacklogSeen: seen, BacklogDropped: dropped}
	}
	found(t, backlogDrops(), lab(m(100000, 500)), "500 of 100500 packets were dropped", "netdev_max_backlog=10000")
	healthy(t, backlogDrops(), "a few in many", lab(m(100000000, 12)))
}
