package checks

import (
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestUplinkRenamed(t *testing.T) {
	desired := &schema.Desired{State: schema.NewState(), Networks: []schema.Network{{Address: "bridge.lan", Device: "br0", Ports: []string{"eno9"}}}}
	find := func(s *schema.State) []Finding { return Run(Look(s, desired), []Check{uplinkRenamed()}) }
	found := func(t *testing.T, s *schema.State, card string) {
		t.Helper()
		if all := find(s); len(all) != 1 || !strings.Contains(all[0].Title, "eno9 is not there, and "+card+" is in no bridge") || all[0].Object != schema.LinkRef(card) {
			t.Errorf("want %s: %+v", card, all)
		}
	}
	healthy := func(t *testing.T, what string, s *schema.State) {
		t.Helper()
		if all := find(s); len(all) > 0 {
			t.Errorf("%s: %+v", what, all)
		}
	}
	spare := func(name string, index int) *schema.Link { return link(name, "device", index) }
	twin := with(spare("enp6s0", 9), func(l *schema.Link) { l.MAC = bridge("br0", 8).MAC })
	found(t, lab(bridge("br0", 8), spare("enp5s0", 7)), "enp5s0")
	found(t, lab(bridge("br0", 8), spare("enp5s0", 7), twin), "enp6s0") // it has the bridge's MAC address
	healthy(t, "two free cards", lab(bridge("br0", 8), spare("enp5s0", 7), spare("enp6s0", 9)))
	healthy(t, "a card that has a use", lab(bridge("br0", 8), spare("enp5s0", 7), address("enp5s0", "198.51.100.7/24")))
	healthy(t, "a port that is there", lab(bridge("br0", 8), spare("enp5s0", 7), spare("eno9", 9)))
	healthy(t, "no cable", lab(bridge("br0", 8), with(spare("enp5s0", 7), func(l *schema.Link) { l.Facts.NoCarrier = true })))
	if all := Run(Look(lab(spare("enp5s0", 7)), nil), []Check{uplinkRenamed()}); len(all) > 0 {
		t.Errorf("without a file nobody misses a card: %+v", all)
	}
}
