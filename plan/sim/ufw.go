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
	if g.Family == "ip6" && there && h.setting("/etc/default/ufw", "IPV6") == "no" {
		return fmt.Errorf("ufw has IPv6 turned off: %w", unix.EINVAL)
	}
	t, c, err := h.ufwChain(g)
	if err != nil {
		return err
	}
	if c != nil && h.setting("/etc/ufw/ufw.conf", "ENABLED") == "no" {
		return fmt.Errorf("ufw is turned off, and its rules are in the kernel all the same: %w", ErrUnmodelled)
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
		after.Content = ufwconf.Insert(file.Content, rules, g)
	} else {
		after.Content = ufwconf.Remove(file.Content, rules, g)
	}
	h.put(&after)
	h.moved(rules, g)
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

// moved brings the places of the grants behind g up to date.
func (h *host) moved(rules []ufwconf.Rule, g *schema.Grant) {
	for i := range rules {
		if rules[i].Flow.Index < g.Index {
			continue
		}
		is := rules[i].Grant()
		if is == nil {
			continue
		}
		if was, ok := h.Get(is.Ref()).(*schema.Grant); ok && *was != *is {
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
	at, chain := 0, "-A "+c.Name+" "
	for i := range rules {
		for _, l := range rules[i].Live {
			if !strings.HasPrefix(l, chain) {
				continue
			}
			if at < len(c.Rules) && !sameLive(&rules[i], l, c.Name, c.Rules[at].Text) {
				return fmt.Errorf("ufw has %q on its disk and %q is in the kernel, \"ufw reload\" puts it right: %w", l, chain+c.Rules[at].Text, ErrUnmodelled)
			}
			at++
		}
	}
	if at != len(c.Rules) {
		return fmt.Errorf("ufw has %d rules for chain %s on its disk and %d are in the kernel, \"ufw reload\" puts it right: %w", at, c.Name, len(c.Rules), ErrUnmodelled)
	}
	return nil
}

// sameLive tells whether a rule in the kernel is what a line of ufw's makes. The plain ones are compared by their text, for
// there may be many; limits are printed with defaults that ufw does not write.
func sameLive(r *ufwconf.Rule, line, chain, text string) bool {
	if r.Plain && len(r.Live) == 1 {
		match, _, _ := strings.Cut(text, "-j ")
		want, _, _ := strings.Cut(ufwText(&r.Flow), "-j ")
		_, end, _ := strings.Cut(line, " -j ")
		if match == want && (text == match+"-j "+end || end == "REJECT" && strings.HasPrefix(text, match+"-j REJECT ")) {
			return true
		}
	}
	return strings.Contains(line, "-m recent") || strings.Contains(line, "-m limit") || iptspec.Equal(line, "-A "+chain+" "+text)
}

// setting is a value of a file of ufw's, in lower case; "" when it is not known. What is not "yes" is "no" to ufw.
func (h *host) setting(path, key string) string {
	f, _ := h.Get(schema.FileRef(path)).(*schema.File)
	if f == nil {
		return ""
	}
	value := "no"
	for l := range strings.Lines(f.Content) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(l), key+"="); ok {
			value = strings.ToLower(strings.Trim(v, `"'`))
		}
	}
	if value != "yes" {
		return "no"
	}
	return value
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
