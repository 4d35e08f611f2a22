package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestBridgeSTP(t *testing.T) {
	slow := func(delay uint32) *schema.Link {
		return with(bridge("virbr0", 3), func(l *schema.Link) { l.Bridge.STP, l.Bridge.ForwardDelay = new(true), &delay })
	}
	listening := port(tap("vnet2", 5), "virbr0")
	listening.Port.State = new("listening")
	found(t, bridgeSTP(), lab(slow(1500), listening), "no network for their first 30 seconds", "vnet2 is in state listening", "stp_state 0")
	healthy(t, bridgeSTP(), "a forward delay of 15 s without a spanning tree", lab())
	healthy(t, bridgeSTP(), "the delay that libvirt's bridges have", lab(slow(200)))
	healthy(t, bridgeSTP(), "a bridge with two ways to the LAN", lab(slow(1500), port(link("eno2", "device", 7), "virbr0"), port(link("eno3", "device", 8), "virbr0")))
}
