package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestMacvlanPort(t *testing.T) {
	mv := func(mode string) *schema.Link {
		return port(with(link("mv0", "macvlan", 7), func(l *schema.Link) { l.Facts.ParentIndex, l.Facts.MacvlanMode = 2, mode }), "virbr0")
	}
	found(t, macvlanPort(), lab(mv("bridge")), "virbr0 leads out by the macvlan mv0", "mode bridge")
	healthy(t, macvlanPort(), "a macvlan of mode passthru", lab(mv("passthru")))
}
