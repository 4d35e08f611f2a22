package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestAdapterWifi(t *testing.T) {
	wlan := with(link("wlan0", "device", 7), func(l *schema.Link) { l.Facts.Wireless = true })
	healthy(t, adapterWifi(), "a card of its own", lab(wlan))
	found(t, adapterWifi(), lab(port(wlan, "virbr0")), "error", "wlan0 is a Wi-Fi card and a port of virbr0", "phy80211")
}
