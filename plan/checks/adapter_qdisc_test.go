package checks

import (
	"slices"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestAdapterQdisc(t *testing.T) {
	slow := func(kind string) *schema.Link {
		return port(with(tap("vnet1", 4), func(l *schema.Link) { l.Facts.Qdisc = kind }), "virbr0")
	}
	f := found(t, adapterQdisc(), lab(slow("tbf")), "vnet1 sends through a tbf queue", "tc qdisc del dev vnet1 root")
	if !slices.Contains(f.Links, "virbr0") {
		t.Errorf("it concerns %v, and not its bridge", f.Links)
	}
	found(t, adapterQdisc(), lab(slow("netem")), "It plays a bad network")
	healthy(t, adapterQdisc(), "a limit of libvirt's", lab(slow("htb")))
}
