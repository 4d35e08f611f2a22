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

// AcceptChain is a chain of ours that bears a mark, as the tool of the table makes it: of ebtables without rules and with the
// policy ACCEPT, which the kernel has as a last rule; of arptables, whose own chains have no policy, with that rule.
func (t *Table) AcceptChain(name string) *Chain {
	var e []Expr
	if t.Family == "arp" {
		e = ArptablesFrame()
	}
	e = append(e, Expr{Name: "counter"}, Expr{Name: "immediate", Verdict: &Verdict{Kind: "accept"}})
	return &Chain{Name: name, Rules: []*Rule{{Text: "-j ACCEPT", Packets: new(uint64), Exprs: e}}}
}

// OnlyAccepts tells whether a chain does what an AcceptChain does, and nothing else.
func (t *Table) OnlyAccepts(c *Chain) bool {
	return len(c.Rules) == 1 && RulesEqual(c.Rules[0], t.AcceptChain(c.Name).Rules[0])
}

// ArptablesFrame is what arptables-nft puts into every rule (iptables/nft-arp.c, nft_arp_add): ARP for addresses of Ethernet
// and IPv4.
func ArptablesFrame() []Expr {
	var e []Expr
	is := func(off uint32, data ...byte) {
		e = append(e, Expr{Name: "payload", Base: "network", Offset: off, Len: uint32(len(data)), DReg: 1}, Expr{Name: "cmp", SReg: 1, Op: "eq", Data: data})
	}
	is(0, 0, 1) // ARPHRD_ETHER
	is(4, 6)
	is(5, 4)
	return e
}
