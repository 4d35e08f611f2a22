package sim

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// ufwRules makes or unmakes the rules that ufw has for a grant (ufw 0.36, backend_iptables.py, set_rule). While ufw is off
// its chains are not there, and the grant is on its disk only.
func (h *host) ufwRules(g *schema.Grant, there bool) error {
	if err := ufwTakes(g); err != nil {
		return err
	}
	t, c, err := h.ufwChain(g)
	if err != nil || c == nil {
		return err
	}
	f := &schema.ForeignRule{Family: t.Family, Table: t.Name, Chain: c.Name, Legacy: t.Legacy}
	rules := ufwRules(t, g)
	if there {
		if like := likeRules(c, rules); like != "" {
			return fmt.Errorf("ufw keeps one rule for a flow, and has one: %s: %w", like, fs.ErrExist)
		}
		return h.editChain(f, func(c *schema.Chain) error {
			c.Rules = slices.Insert(c.Rules, grantPlace(g, len(c.Rules)), rules...)
			return nil
		})
	}
	for _, r := range rules {
		f.Rule = *r
		if _, standing := h.Get(f.Ref()).(*schema.ForeignRule); !standing {
			continue // somebody flushed it: on the disk it is all the same
		}
		if err := h.deleteRule(f); err != nil {
			return err
		}
	}
	return nil
}

// grantPlace is where the rules go in a chain of n: in front, at their place, or at the end.
func grantPlace(g *schema.Grant, n int) int {
	switch g.Index {
	case 0:
		return n
	case 1:
		return 0
	}
	return min(max(g.Place, 0), n)
}

// ufwTakes refuses what ufw refuses (common.py, UFWRule).
func ufwTakes(g *schema.Grant) error {
	for _, name := range []string{g.In, g.Out} {
		if strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(ufwName, r) }) {
			return fmt.Errorf("ufw does not take the interface name %q: %w", name, unix.EINVAL)
		}
	}
	v6 := g.Family == "ip6"
	switch {
	case g.Family != "ip" && !v6:
		return fmt.Errorf("a grant of ufw is of one family: %w", unix.EINVAL)
	case (g.Src.IsValid() && g.Src.Addr().Is6() != v6) || (g.Dst.IsValid() && g.Dst.Addr().Is6() != v6):
		return fmt.Errorf("its addresses are not of family %s: %w", g.Family, unix.EINVAL)
	case g.Proto != "" && g.Proto != "tcp" && g.Proto != "udp":
		return fmt.Errorf("ufw has no rules for protocol %s: %w", g.Proto, unix.EINVAL)
	case g.Ports != (schema.PortRange{}) && (g.Proto == "" || g.Ports.First == 0 || g.Ports.Last < g.Ports.First):
		return fmt.Errorf("ufw does not take the ports %s of protocol %q: %w", g.Ports, g.Proto, unix.EINVAL)
	case g.Out != "" && !g.Forward:
		return fmt.Errorf("packets to the host leave by no interface: %w", unix.EINVAL)
	case strings.ContainsAny(g.Address, "'\n"):
		return fmt.Errorf("ufw does not take a comment with a quote in it: %w", unix.EINVAL)
	}
	return nil
}

// ufwName are the characters of an interface name that ufw takes.
const ufwName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.+,=%@"

// ufwChain finds the chain that holds the rules of users, in whichever backend ufw uses; nil where ufw is off.
func (h *host) ufwChain(g *schema.Grant) (*schema.Table, *schema.Chain, error) {
	name := map[string]string{"ip": "ufw-user-", "ip6": "ufw6-user-"}[g.Family] + map[bool]string{true: "forward", false: "input"}[g.Forward]
	var table *schema.Table
	var chain *schema.Chain
	for _, legacy := range []bool{false, true} {
		t, _ := h.Get((&schema.Table{Family: g.Family, Name: "filter", Legacy: legacy}).Ref()).(*schema.Table)
		if t == nil || t.Chain(name) == nil {
			continue
		}
		if chain != nil {
			return nil, nil, fmt.Errorf("chain %s is in iptables-nft and in iptables-legacy, and which of them ufw writes to is not known: %w", name, ErrUnmodelled)
		}
		table, chain = t, t.Chain(name)
	}
	return table, chain, nil
}

// likeRules finds a rule in the chain that matches the same as one of rules, whatever it does then.
func likeRules(c *schema.Chain, rules []*schema.Rule) string {
	for _, r := range c.Rules {
		for _, w := range rules {
			if matchText(r.Text) == matchText(w.Text) {
				return r.Text
			}
		}
	}
	return ""
}

// matchText is the rule without what it does.
func matchText(text string) string {
	before, _, ok := strings.Cut(text, "-j ")
	if !ok {
		return text
	}
	return strings.TrimSpace(before)
}

// ufwRules are the rules that ufw makes of a grant (common.py, format_rule), as the readers of either backend return them.
func ufwRules(t *schema.Table, g *schema.Grant) []*schema.Rule {
	return []*schema.Rule{{Text: ufwText(g), Exprs: ufwExprs(t, g), Packets: new(uint64)}}
}

// ufwText is the rule as iptables -S prints it.
func ufwText(g *schema.Grant) string {
	var w []string
	add := func(flag, v string) {
		if v != "" {
			w = append(w, flag, v)
		}
	}
	add("-s", prefixText(g.Src))
	add("-d", prefixText(g.Dst))
	add("-i", g.In)
	add("-o", g.Out)
	add("-p", g.Proto)
	switch {
	case g.Ports == (schema.PortRange{}):
	case g.Ports.First == g.Ports.Last:
		w = append(w, "-m", g.Proto, "--dport", g.Ports.String())
	default:
		w = append(w, "-m multiport --dports", strings.ReplaceAll(g.Ports.String(), "-", ":"))
	}
	return strings.Join(append(w, "-j ACCEPT"), " ")
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.Masked().String()
}

// ufwExprs is the rule in bytecode. iptables-nft 1.8 puts the protocol in front of the addresses, and the legacy reader
// loads names and addresses whole.
func ufwExprs(t *schema.Table, g *schema.Grant) []schema.Expr {
	var e []schema.Expr
	load := func(x schema.Expr, data []byte) {
		x.DReg = 1
		e = append(e, x, schema.Expr{Name: "cmp", SReg: 1, Op: "eq", Data: data})
	}
	names := func() {
		for _, n := range []struct{ key, name string }{{"iifname", g.In}, {"oifname", g.Out}} {
			if n.name != "" {
				load(schema.Expr{Name: "meta", Key: n.key}, nameData(n.name, t.Legacy))
			}
		}
	}
	addresses := func() {
		off := map[string][2]uint32{"ip": {12, 16}, "ip6": {8, 24}}[t.Family]
		e = append(e, prefixExprs(g.Src, off[0], t.Legacy)...)
		e = append(e, prefixExprs(g.Dst, off[1], t.Legacy)...)
	}
	proto := func() {
		if g.Proto != "" {
			load(schema.Expr{Name: "meta", Key: "l4proto"}, []byte{map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}[g.Proto]})
		}
	}
	order := []func(){names, proto, addresses}
	if t.Legacy {
		order = []func(){addresses, names, proto}
	}
	for _, f := range order {
		f()
	}
	e = append(e, portExprs(g.Ports)...)
	return append(e, schema.Expr{Name: "counter"}, schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: "accept"}})
}

// nameData is the name with its terminator. A "+" at its end is iptables' wildcard: the stem without it.
func nameData(name string, legacy bool) []byte {
	if stem, ok := strings.CutSuffix(name, "+"); ok {
		return []byte(stem)
	}
	if legacy {
		return append([]byte(name), make([]byte, unix.IFNAMSIZ-len(name))...)
	}
	return append([]byte(name), 0)
}

func prefixExprs(p netip.Prefix, off uint32, legacy bool) []schema.Expr {
	if !p.IsValid() {
		return nil
	}
	addr := p.Masked().Addr().AsSlice()
	size, mask := len(addr), []byte(nil)
	switch {
	case p.Bits() == len(addr)*8:
	case p.Bits()%8 == 0 && !legacy:
		size = p.Bits() / 8
	default:
		mask = make([]byte, len(addr))
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
	}
	e := []schema.Expr{{Name: "payload", Base: "network", Offset: off, Len: uint32(size), DReg: 1}}
	if mask != nil {
		e = append(e, schema.Expr{Name: "bitwise", SReg: 1, DReg: 1, Len: uint32(size), Op: "bool", Data: mask, Data2: make([]byte, size)})
	}
	return append(e, schema.Expr{Name: "cmp", SReg: 1, Op: "eq", Data: addr[:size]})
}

func portExprs(r schema.PortRange) []schema.Expr {
	if r == (schema.PortRange{}) {
		return nil
	}
	from, to := binary.BigEndian.AppendUint16(nil, r.First), binary.BigEndian.AppendUint16(nil, r.Last)
	e := []schema.Expr{{Name: "payload", Base: "transport", Offset: 2, Len: 2, DReg: 1}}
	if r.First == r.Last {
		return append(e, schema.Expr{Name: "cmp", SReg: 1, Op: "eq", Data: from})
	}
	return append(e, schema.Expr{Name: "in", SReg: 1, Len: 2, Ranges: [][2]schema.Bytes{{from, to}}})
}
