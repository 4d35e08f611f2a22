package schema_test

import (
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestChainMark(t *testing.T) {
	for address, want := range map[string]string{
		"nat.lab":                          "vmnet:nat.lab",
		"expect.db1_updates":               "vmnet:expect.db1_updates",
		`guest.db["a b"]`:                  "vmnet:guest.dbab~",
		"firewall.a-very-long-name-for-it": "vmnet:firewall.a-ve~",
	} {
		got := schema.ChainMark(address)
		if !strings.HasPrefix(got, want) || len(got) > 28 || got != schema.ChainMark(address) {
			t.Errorf("ChainMark(%q) = %q (%d characters), want %q…", address, got, len(got), want)
		}
		if _, ours := schema.Mark(got); !ours || strings.ContainsAny(got, `[]" `) {
			t.Errorf("ChainMark(%q) = %q is no mark", address, got)
		}
	}
	if a, b := schema.ChainMark(`guest.db["a"]`), schema.ChainMark(`guest.db["a "]`); a == b {
		t.Errorf("two addresses have the mark %s", a)
	}
}
