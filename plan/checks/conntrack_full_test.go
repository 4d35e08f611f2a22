package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestConntrackFull(t *testing.T) {
	m := func(n uint64) *schema.Machine { return &schema.Machine{Conntrack: n, ConntrackMax: 65536} }
	found(t, conntrackFull(), lab(m(65000)), "65000 of at most 65536 connections", "nf_conntrack_max=262144")
	healthy(t, conntrackFull(), "a table that is half full", lab(m(30000)))
	healthy(t, conntrackFull(), "a host that tracks nothing", lab(&schema.Machine{}))
}
