package sim

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// firewalldRules makes or unmakes the rule that firewalld 1.3 has for a grant in its own table (nftables.py,
// build_policy_rich_..., with the priority 0 of rich rules). It has one only where it runs with the policy already: a new
// policy is on its disk until it is started again.
func (h *host) firewalldRules(g *schema.Grant, there bool) error {
	if err := firewalldTakes(g); err != nil {
		return err
	}
	t, _ := h.Get((&schema.Table{Family: "inet", Name: "firewalld"}).Ref()).(*schema.Table)
	if t == nil || t.Chain(firewalldChain(g)) == nil {
		return nil
	}
	rule := firewalldRule(g)
	f := &schema.ForeignRule{Family: t.Family, Table: t.Name, Chain: firewalldChain(g)}
	return h.editChain(f, func(c *schema.Chain) error {
		same := func(r *schema.Rule) bool { return schema.RulesEqual(r, rule) }
		i := slices.IndexFunc(c.Rules, same)
		switch {
		case there && i >= 0:
			return fmt.Errorf("firewalld has it: %s: %w", rule.Text, fs.ErrExist)
		case there:
			at := len(c.Rules)
			if g.Index > 1 {
				at = min(g.Place, at) // where it stood: all of these accept, so that the order says nothing
			}
			c.Rules = slices.Insert(c.Rules, at, rule)
		case i >= 0: // else somebody took it out: on the disk it is all the same
			c.Rules = slices.Delete(c.Rules, i, i+1)
		}
		return nil
	})
}

// firewalldTakes refuses what firewalld refuses.
func firewalldTakes(g *schema.Grant) error {
	switch {
	case g.Zone == "" || g.ToZone == "":
		return fmt.Errorf("a grant of firewalld is from one zone to another: %w", unix.EINVAL)
	case g.Forward != (g.Zone != schema.ZoneHost && g.ToZone != schema.ZoneHost):
		return fmt.Errorf("packets to and from the host are those of zone HOST: %w", unix.EINVAL)
	case g.Family == "" && (g.Src.IsValid() || g.Dst.IsValid() || g.Proto == ""):
		return fmt.Errorf("a rule of firewalld with addresses is of one family: %w", unix.EINVAL)
	case g.Ports != (schema.PortRange{}) && (g.Proto != "tcp" && g.Proto != "udp" || g.Ports.First == 0 || g.Ports.Last < g.Ports.First):
		return fmt.Errorf("firewalld does not take the ports %s of protocol %q: %w", g.Ports, g.Proto, unix.EINVAL)
	}
	if _, known := protoNumber(g); g.Proto != "" && !known {
		return fmt.Errorf("what firewalld makes of protocol %q: %w", g.Proto, ErrUnmodelled)
	}
	return nil
}

// firewalldChain is the chain that the accepting rules of the grant's policy are in.
func firewalldChain(g *schema.Grant) string {
	return "filter_" + map[string]string{"forward": "FWD", "input": "IN", "output": "OUT"}[g.Hook()] + "_policy_" + g.Policy() + "_allow"
}

// firewalldRule is the rule, as the reader returns it.
func firewalldRule(g *schema.Grant) *schema.Rule {
	return &schema.Rule{Text: firewalldText(g), Exprs: firewalldExprs(g)}
}

// firewalldText is the rule as nft(8) lists it.
func firewalldText(g *schema.Grant) string {
	word := map[string]string{"ip": "ip", "ip6": "ip6"}[g.Family]
	src := g.Src
	if !src.IsValid() && !g.Dst.IsValid() && g.Proto == "" {
		src = wholeFamily(g.Family)
	}
	var w []string
	if g.Dst.IsValid() {
		w = append(w, word, "daddr", shortPrefix(g.Dst))
	}
	if src.IsValid() {
		w = append(w, word, "saddr", shortPrefix(src))
	}
	if len(w) == 0 && word != "" && g.Proto != "icmp" { // of which nft knows the family
		w = append(w, "meta nfproto", map[string]string{"ip": "ipv4", "ip6": "ipv6"}[word])
	}
	switch {
	case g.Ports != (schema.PortRange{}):
		w = append(w, g.Proto, "dport", g.Ports.String())
	case g.Proto != "":
		w = append(w, "meta l4proto", protoWord(g))
	}
	return strings.Join(append(w, "accept"), " ")
}

func protoWord(g *schema.Grant) string {
	if g.Proto == "icmp" && g.Family == "ip6" {
		return "ipv6-icmp"
	}
	return g.Proto
}

func wholeFamily(family string) netip.Prefix {
	if family == "ip6" {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// shortPrefix leaves the length of a single address out, as nft does.
func shortPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.Masked().String()
}

// firewalldExprs is the rule in bytecode.
func firewalldExprs(g *schema.Grant) []schema.Expr {
	var e []schema.Expr
	match := func(x schema.Expr, data ...byte) {
		x.DReg = 1
		e = append(e, x, schema.Expr{Name: "cmp", SReg: 1, Op: "eq", Data: data})
	}
	if g.Family != "" {
		match(schema.Expr{Name: "meta", Key: "nfproto"}, map[string]byte{"ip": unix.NFPROTO_IPV4, "ip6": unix.NFPROTO_IPV6}[g.Family])
	}
	off := map[string][2]uint32{"ip": {12, 16}, "ip6": {8, 24}}[g.Family]
	e = append(e, firewalldPrefix(g.Dst, off[1])...)
	if g.Src.IsValid() || g.Dst.IsValid() || g.Proto != "" {
		e = append(e, firewalldPrefix(g.Src, off[0])...)
	} else {
		e = append(e, anyAddress(g.Family, off[0])...)
	}
	if n, ok := protoNumber(g); ok {
		match(schema.Expr{Name: "meta", Key: "l4proto"}, n)
	}
	e = append(e, firewalldPorts(g.Ports)...)
	return append(e, schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: "accept"}})
}

// anyAddress tests no bit of an address, as nft compiles "ip saddr 0.0.0.0/0".
func anyAddress(family string, off uint32) []schema.Expr {
	none := make([]byte, map[string]int{"ip": 4, "ip6": 16}[family])
	return []schema.Expr{
		{Name: "payload", Base: "network", Offset: off, Len: uint32(len(none)), DReg: 1},
		{Name: "bitwise", SReg: 1, DReg: 1, Len: uint32(len(none)), Op: "bool", Data: none, Data2: none},
		{Name: "cmp", SReg: 1, Op: "eq", Data: none},
	}
}

func protoNumber(g *schema.Grant) (byte, bool) {
	n, ok := map[string]byte{
		"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "icmp": unix.IPPROTO_ICMP, "ipv6-icmp": unix.IPPROTO_ICMPV6,
		"sctp": unix.IPPROTO_SCTP, "gre": unix.IPPROTO_GRE, "esp": unix.IPPROTO_ESP, "ah": unix.IPPROTO_AH,
	}[protoWord(g)]
	return n, ok
}

// firewalldPrefix tests an address, as nft compiles it: whole bytes are compared as they are.
func firewalldPrefix(p netip.Prefix, off uint32) []schema.Expr {
	if !p.IsValid() {
		return nil
	}
	addr := p.Masked().Addr().AsSlice()
	size := len(addr)
	var mask []byte
	switch {
	case p.Bits()%8 == 0:
		size = p.Bits() / 8
	default:
		mask = make([]byte, size)
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

// firewalldPorts tests the destination port, as nft 1.0 compiles a port or a range.
func firewalldPorts(r schema.PortRange) []schema.Expr {
	if r == (schema.PortRange{}) {
		return nil
	}
	cmp := func(op string, port uint16) schema.Expr {
		return schema.Expr{Name: "cmp", SReg: 1, Op: op, Data: []byte{byte(port >> 8), byte(port)}}
	}
	e := []schema.Expr{{Name: "payload", Base: "transport", Offset: 2, Len: 2, DReg: 1}}
	if r.First == r.Last {
		return append(e, cmp("eq", r.First))
	}
	return append(e, cmp("gte", r.First), cmp("lte", r.Last))
}
