package schema_test

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestVLANs(t *testing.T) {
	v := schema.NewVLANs(
		schema.VLANRange{First: 12, Last: 20}, schema.VLANRange{First: 1, Last: 1, PVID: true, Untagged: true},
		schema.VLANRange{First: 2, Last: 2, Untagged: true}, schema.VLANRange{First: 10, Last: 11},
		schema.VLANRange{First: 21, Last: 21, State: "blocking"},
	)
	if got, want := v.String(), "1 PVID Egress Untagged, 2 Egress Untagged, 10-20, 21 state blocking"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if v.PVID() != 1 {
		t.Errorf("PVID %d", v.PVID())
	}
	for id, want := range map[uint16]string{1: "1 PVID Egress Untagged", 9: "", 10: "10-20", 15: "10-20", 20: "10-20", 21: "21 state blocking", 22: ""} {
		r, ok := v.Find(id)
		if got := r.String(); ok != (want != "") || ok && got != want {
			t.Errorf("VLAN %d is in %q, want %q", id, got, want)
		}
	}
	if got := schema.NewVLANs(); got.String() != "none" || got.PVID() != 0 {
		t.Errorf("no VLANs: %s", got)
	}
}
