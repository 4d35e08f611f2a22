package nft

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// TestTextLogical: a bridge's name is what --logical-in and --logical-out ask for, under the name that the reader gives it
// (NFT_META_BRI_IIFNAME); not every kernel has that expression, so it is not read from one.
func TestTextLogical(t *testing.T) {
	t.Parallel()
	name := func(key string) []schema.Expr {
		return []schema.Expr{{Name: "meta", Key: key, DReg: 1}, {Name: "cmp", SReg: 1, Op: "eq", Data: []byte("br0\x00")}}
	}
	drop := []schema.Expr{{Name: "counter"}, {Name: "immediate", Verdict: &schema.Verdict{Kind: "drop"}}}
	for want, exprs := range map[string][]schema.Expr{
		"--logical-in br0 -j DROP":  append(name("ibrname"), drop...),
		"--logical-out br0 -j DROP": append(name("obrname"), drop...),
	} {
		p := &printer{}
		if got, ok := p.ebtables(&schema.Rule{Exprs: exprs}); !ok || got != want {
			t.Errorf("got %q, %v, want %q", got, ok, want)
		}
	}
}
