package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestBridgeSnooping(t *testing.T) {
	snooping := func(groups ...string) *schema.Link {
		return with(bridge("virbr0", 3), func(l *schema.Link) {
			l.Facts.BridgeFacts.OtherQuerier6, l.Facts.BridgeFacts.Groups = true, append([]string{}, groups...)
		})
	}
	guest := neighbour("virbr0", "fd00:1::11", "52:54:00:00:00:01")
	s := lab(snooping("vnet2 ff02::1:ff00:12"), guest)
	f := found(t, bridgeSnooping(), s, "fd00:1::11 is behind vnet1, where nobody listens to ff02::1:ff00:11", "mcast_snooping 0")
	heals(t, bridgeSnooping(), s, f)
	lost := neighbour("virbr0", "fd00:1::13", "")
	lost.State = "failed"
	found(t, bridgeSnooping(), lab(snooping(), lost), "fd00:1::13 is not found")
	healthy(t, bridgeSnooping(), "a guest that listens", lab(snooping("vnet1 ff02::1:ff00:11"), guest))
	healthy(t, bridgeSnooping(), "snooping while nobody asks", lab(guest))
	healthy(t, bridgeSnooping(), "a network without IPv6", lab(snooping()))
}
