package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestBridgeDown(t *testing.T) {
	off := func(l *schema.Link) *schema.Link { l.Up = new(false); return l }
	s := lab(off(bridge("virbr0", 3)))
	f := found(t, bridgeDown(), s, "virbr0 is down: its guests have no network", "port vnet2 is up", "ip link set virbr0 up")
	heals(t, bridgeDown(), s, f)
	found(t, bridgeDown(), lab(off(port(tap("vnet1", 4), "virbr0"))), "vnet1 is down: its guest has no network")
	quiet := off(port(with(tap("vnet1", 4), func(l *schema.Link) { l.Facts.NoCarrier, l.Facts.Carrier = true, false }), "virbr0"))
	healthy(t, bridgeDown(), "a tap that is down and nobody holds", lab(quiet))
	empty := with(bridge("br9", 8), func(l *schema.Link) { l.Facts.Carrier, l.Facts.NoCarrier, l.Facts.OperState = false, true, "down" })
	healthy(t, bridgeDown(), "an empty bridge without a carrier", lab(empty))
}
