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
	"github.com/vmnet/vmnet/schema/iptspec"
	"github.com/vmnet/vmnet/schema/ufwconf"
)

// ufwRules makes or unmakes what ufw has for a grant (ufw 0.36, backend_iptables.py, set_rule): its file, from which the
// places of all grants follow, and while ufw is on the rule in the kernel.
func (h *host) ufwRules(g *schema.Grant, there bool) error {
	if err := ufwconf.Check(g); err != nil {
		return err
	}
	file, _ := h.Get(schema.FileRef(ufwconf.Path(g.Family))).(*schema.File)
	if file == nil {
		return fmt.Errorf("what ufw has on its disk is not known: %w", ErrUnmodelled)
	}
	if v6 := h.Get(schema.FileRef("/etc/default/ufw")); g.Family == "ip6" && there && v6 != nil && !ipv6On(v6.(*schema.File).Content) {
		return fmt.Errorf("ufw has IPv6 turned off: %w", unix.EINVAL)
	}
	t, c, err := h.ufwChain(g)
	if err != nil {
		return err
	}
	rules := ufwconf.Parse(file.Content, g.Family)
	if err := inStep(rules, c); err != nil {
		return err
	}
	after := *file
	if there {
		for _, r := range rules {
			if r.Same(g) {
				return fmt.Errorf("ufw keeps one rule for a flow, and has one: %s: %w", r.Text, fs.ErrExist)
			}
		}
		after.Content = ufwconf.Insert(file.Content, g)
	} else {
		after.Content = ufwconf.Remove(file.Content, g)
	}
	h.put(&after)
	h.numbered(after.Content, g)
	if c == nil {
		return nil
	}
	return h.editChain(&schema.ForeignRule{Family: t.Family, Table: t.Name, Chain: c.Name, Legacy: t.Legacy}, func(c *schema.Chain) error {
		if there {
			c.Rules = slices.Insert(c.Rules, g.Place, ufwRule(t, g))
		} else {
			c.Rules = slices.Delete(c.Rules, g.Place, g.Place+1)
		}
		return nil
	})
}

// numbered brings the places of all grants up to date with ufw's file; of g as well, when it is there.
func (h *host) numbered(content string, g *schema.Grant) {
	for _, r := range ufwconf.Parse(content, g.Family) {
		is := r.Grant()
		if is == nil {
			continue
		}
		if is.Ref() == g.Ref() {
			g.Index, g.Place = is.Index, is.Place
		} else if was, ok := h.Get(is.Ref()).(*schema.Grant); ok && *was != *is {
			h.put(is)
		}
	}
}

// inStep refuses to foresee anything while the kernel does not have the rules that ufw has on its disk: ufw would load the
// latter.
func inStep(rules []ufwconf.Rule, c *schema.Chain) error {
	if c == nil {
		return nil
	}
	var want []string
	for _, r := range rules {
		for _, l := range r.Live {
			if strings.HasPrefix(l, "-A "+c.Name+" ") {
				want = append(want, l)
			}
		}
	}
	if len(want) != len(c.Rules) {
		return fmt.Errorf("ufw has %d rules for chain %s on its disk and %d are in the kernel, \"ufw reload\" puts it right: %w", len(want), c.Name, len(c.Rules), ErrUnmodelled)
	}
	for i, l := range want {
		// Limits are printed with defaults that ufw does not write.
		if live := "-A " + c.Name + " " + c.Rules[i].Text; !strings.Contains(l, "-m recent") && !strings.Contains(l, "-m limit") && !iptspec.Equal(l, live) {
			return fmt.Errorf("ufw has %q on its disk and %q is in the kernel, \"ufw reload\" puts it right: %w", l, live, ErrUnmodelled)
		}
	}
	return nil
}

func ipv6On(settings string) bool {
	for l := range strings.Lines(settings) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(l), "IPV6="); ok {
			return strings.EqualFold(strings.Trim(v, `"'`), "yes")
		}
	}
	return false
}

// ufwChain finds the chain that holds the rules of users, in whichever backend ufw uses; nil where ufw is off.
func (h *host) ufwChain(g *schema.Grant) (*schema.Table, *schema.Chain, error) {
	name := ufwconf.Chain(g.Family, g.Hook())
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

// ufwRule is the rule that ufw makes of a grant (common.py, format_rule), as the reader of either backend returns it.
func ufwRule(t *schema.Table, g *schema.Grant) *schema.Rule {
	return &schema.Rule{Text: ufwText(g), Exprs: ufwExprs(t, g), Packets: new(uint64)}
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
