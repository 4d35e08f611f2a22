package apply_test

import (
	"strings"
	"testing"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// A table that is not as it was is told with who changed it, as far as that was seen; links and legacy tables have no such witness.
func TestStaleNamesTheWriter(t *testing.T) {
	filter := func(policy string) *schema.Table {
		return &schema.Table{Family: "ip", Name: "filter", Chains: []*schema.Chain{{Name: "FORWARD", Hook: "forward", Policy: policy}}}
	}
	legacy := filter("accept")
	legacy.Legacy = true
	p := &plan.Plan{Basis: []plan.Fact{
		{Ref: filter("").Ref(), Value: filter("accept")},
		{Ref: legacy.Ref(), Value: legacy},
		{Ref: schema.LinkRef("br0"), Value: &schema.Link{Name: "br0", Type: "bridge"}},
	}}
	stale := apply.Stale(schema.NewState(filter("drop")), p)
	if stale == nil || len(stale.Changed) != 3 {
		t.Fatalf("stale: %v", stale)
	}
	stale.Name([]schema.Writer{
		{Gen: 4, PID: 4711, Name: "nft", Command: "nft -f /etc/nftables.conf", Tables: []schema.Ref{filter("").Ref()}},
		{Gen: 5, PID: 1, Name: "vmnet", Tables: []schema.Ref{filter("").Ref()}, Own: true},
		{Gen: 6, PID: 4712, Name: "dockerd", Tables: []schema.Ref{schema.TableRef("ip", "nat")}},
	})
	if got, want := stale.Changed[0].By, "nft (pid 4711: nft -f /etc/nftables.conf)"; got != want {
		t.Errorf("table: by %q, want %q", got, want)
	}
	if stale.Changed[1].By != "" || stale.Changed[2].By != "" {
		t.Errorf("by %q and %q, which nobody saw", stale.Changed[1].By, stale.Changed[2].By)
	}
	if !strings.Contains(stale.Error(), ", by nft (pid 4711: nft -f /etc/nftables.conf);") {
		t.Errorf("the error does not tell: %v", stale)
	}
}
