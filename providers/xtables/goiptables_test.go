package xtables

import (
	"testing"

	goiptables "github.com/coreos/go-iptables/iptables"

	"github.com/vmnet/vmnet/schema"
)

// TestOthersSeeOurRules: a rule of ours is one to go-iptables too, the library by which many programs manage
// theirs. It is no way to write here: it hands the caller's environment on to
// iptables and knows no context.
func TestOthersSeeOurRules(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		tool := map[bool]string{false: "iptables-nft", true: "iptables-legacy"}[legacy]
		t.Run(tool, func(t *testing.T) {
			newNamespace(t)
			theirs, err := goiptables.New(goiptables.Path("/usr/sbin/" + tool))
			if err != nil {
				t.Fatal(err)
			}
			if err := theirs.NewChain("filter", "DOCKER-USER"); err != nil {
				t.Fatal(err)
			}
			p := Open(Options{NFTables: nftables(t)})
			f := &schema.ForeignRule{Family: "ip", Table: "filter", Chain: "DOCKER-USER", Legacy: legacy, ByTool: true, Rule: schema.Rule{
				Text: `-s 10.20.0.0/24 -i virbr0 -m comment --comment "vmnet:nat.lab" -j ACCEPT`, Comment: "vmnet:nat.lab",
			}}
			spec := []string{"-s", "10.20.0.0/24", "-i", "virbr0", "-m", "comment", "--comment", "vmnet:nat.lab", "-j", "ACCEPT"}
			c := schema.Change{Ref: f.Ref(), After: f}
			for _, want := range []bool{true, false} {
				if err := p.Do(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				if there, err := theirs.Exists("filter", "DOCKER-USER", spec...); err != nil || there != want {
					t.Errorf("our rule: there %t, want %t, error %v", there, want, err)
				}
				c = c.Inverse()
			}
		})
	}
}
