package schema

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// longestTarget is how long the name of a chain may be that a rule of ebtables jumps to: XT_EXTENSION_MAXNAMELEN less the
// zero (ebtables-nft 1.8 refuses more).
const longestTarget = 28

// Commentless tells whether the tool that manages the table knows no comments: ebtables-nft(8) and arptables-nft(8). A rule
// of ours there bears its mark as the name of the chain that it jumps to, whose one rule accepts.
func (t *Table) Commentless() bool { return t.Compat && (t.Family == "bridge" || t.Family == "arp") }

// ChainMark is the mark of an address as the name of a chain: "vmnet:nat.lab". An address that is too long, or has
// characters that ebtables-restore(8) would take apart, is told by its beginning and a digest.
func ChainMark(address string) string {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return -1
	}, address)
	if plain == address && len(markPrefix)+len(address) <= longestTarget {
		return markPrefix + address
	}
	sum := sha256.Sum256([]byte(address))
	tail := "~" + hex.EncodeToString(sum[:4])
	return markPrefix + plain[:min(len(plain), longestTarget-len(markPrefix)-len(tail))] + tail
}

// MarkChain is the chain that a rule of ours brings along and takes with it, because its tool knows no comments; "" for
// every other rule.
func (f *ForeignRule) MarkChain() string {
	if _, ours := Mark(f.Rule.Comment); !ours || !f.ByTool || f.Family != "bridge" && f.Family != "arp" {
		return ""
	}
	return f.Rule.Comment
}

// Refers tells whether a rule of the table leads to a chain.
func (t *Table) Refers(chain string) bool {
	return slices.ContainsFunc(t.Chains, func(c *Chain) bool {
		return slices.ContainsFunc(c.Rules, func(r *Rule) bool {
			return slices.ContainsFunc(r.Exprs, func(e Expr) bool { return e.Verdict != nil && e.Verdict.Chain == chain })
		})
	})
}

// OnlyAccepts tells whether a chain does nothing but accept.
func (c *Chain) OnlyAccepts() bool {
	return len(c.Rules) == 1 && !slices.ContainsFunc(c.Rules[0].Exprs, func(e Expr) bool {
		return e.Name != "counter" && (e.Verdict == nil || e.Verdict.Kind != "accept")
	})
}
