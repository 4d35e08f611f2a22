package plan

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// ebtables prints the rule as ebtables-save does. It jumps to a chain of ours that accepts: ebtables knows no comments, so
// the name of the chain is the mark.
func (a accept) ebtables(mark string) string {
	var w []string
	add := func(flag, v string) {
		if v != "" {
			w = append(w, flag, v)
		}
	}
	option := "--ip-"
	if a.family() == "ip6" {
		option = "--ip6-"
	}
	if a.ofIP() {
		add("-p", map[string]string{"ip": "IPv4", "ip6": "IPv6"}[a.family()])
	}
	add("-i", a.in)
	add("-o", a.out)
	if prefixText(a.src) != "" {
		add(option+"src", shortPrefix(a.src))
	}
	if prefixText(a.dst) != "" {
		add(option+"dst", shortPrefix(a.dst))
	}
	add(option+"proto", a.protoWord())
	add(option+"sport", portText(a.sport, ":"))
	add(option+"dport", portText(a.dport, ":"))
	return strings.Join(append(w, "-j", mark), " ")
}

// ofIP tells whether the rule looks into the IP header.
func (a accept) ofIP() bool {
	return prefixText(a.src) != "" || prefixText(a.dst) != "" || a.proto != ""
}

// ebtExprs is the rule in bytecode, as ebtables-nft makes it: names first, then the protocol of the frame, and one match
// for all of the IP header.
func (a accept) ebtExprs(mark string) []schema.Expr {
	e := a.ebtDevices()
	if a.ofIP() {
		frame := []byte{0x08, 0x00} // ETH_P_IP
		if a.family() == "ip6" {
			frame = []byte{0x86, 0xdd} // ETH_P_IPV6
		}
		e = append(e, schema.Expr{Name: "payload", Base: "link", Offset: 12, Len: 2, DReg: reg1}, equals(frame))
		e = append(e, a.ebtHeader()...)
	}
	return append(e, jumpTo(mark)...)
}

// ebtDevices tests the devices as ebtables-nft and arptables-nft do: as long as their names are.
func (a accept) ebtDevices() []schema.Expr {
	var e []schema.Expr
	name := func(key, device string) {
		if device != "" {
			e = append(e, schema.Expr{Name: "meta", Key: key, DReg: reg1}, equals(append([]byte(device), 0)))
		}
	}
	name("iifname", a.in)
	name("oifname", a.out)
	return e
}

func jumpTo(chain string) []schema.Expr {
	return []schema.Expr{{Name: "counter"}, {Name: "immediate", Verdict: &schema.Verdict{Kind: "jump", Chain: chain}}}
}

// ebtHeader is the match "ip" or "ip6" (net/bridge/netfilter/ebt_ip.c, ebt_ip6.c).
func (a accept) ebtHeader() []schema.Expr {
	v6 := a.family() == "ip6"
	src, dst := uint32(12), uint32(16)
	if v6 {
		src, dst = 8, 24
	}
	e := append(ebtPrefix(a.src, src), ebtPrefix(a.dst, dst)...)
	switch {
	case a.proto == "":
		return e
	case v6:
		e = append(e, schema.Expr{Name: "meta", Key: "l4proto", DReg: reg1}, equals([]byte{protoNumber(a.protoWord())}))
	default:
		e = append(e, schema.Expr{Name: "payload", Base: "network", Offset: 9, Len: 1, DReg: reg1}, equals([]byte{protoNumber(a.protoWord())}))
	}
	if v6 && a.sport.First == 0 && a.dport.First == 0 {
		return firstFragment(e)
	}
	return append(append(e, ebtPort(a.sport, 0)...), ebtPort(a.dport, 2)...)
}

// firstFragment narrows a match of IPv6 to whole packets and first fragments: ebt_ip6 does not look for the protocol
// behind the header of a later one.
func firstFragment(e []schema.Expr) []schema.Expr {
	const fragment = 44 // IPPROTO_FRAGMENT
	whole := append(slices.Clone(e), schema.Expr{Name: "exthdr", Op: "ipv6", Type: fragment, Len: 1, Flags: 1, DReg: reg1}, equals([]byte{0}))
	first := append(slices.Clone(e), schema.Expr{Name: "exthdr", Op: "ipv6", Type: fragment, Offset: 2, Len: 2, DReg: reg1},
		schema.Expr{Name: "bitwise", SReg: reg1, DReg: reg1, Len: 2, Op: "bool", Data: []byte{0xff, 0xf8}, Data2: []byte{0, 0}}, equals([]byte{0, 0}))
	return []schema.Expr{{Name: "xtmatch", Key: "ip6", Any: [][]schema.Expr{whole, first}}}
}

func equals(data []byte) schema.Expr {
	return schema.Expr{Name: "cmp", SReg: reg1, Op: "eq", Data: data}
}

func ebtPrefix(p netip.Prefix, off uint32) []schema.Expr {
	if prefixText(p) == "" {
		return nil
	}
	addr := p.Masked().Addr().AsSlice()
	e := []schema.Expr{{Name: "payload", Base: "network", Offset: off, Len: uint32(len(addr)), DReg: reg1}}
	if !p.IsSingleIP() {
		mask := make([]byte, len(addr))
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		e = append(e, schema.Expr{Name: "bitwise", SReg: reg1, DReg: reg1, Len: uint32(len(addr)), Op: "bool", Data: mask, Data2: make([]byte, len(addr))})
	}
	return append(e, equals(addr))
}

func ebtPort(r schema.PortRange, off uint32) []schema.Expr {
	if r.First == 0 && r.Last == 0 {
		return nil
	}
	from, to := binary.BigEndian.AppendUint16(nil, r.First), binary.BigEndian.AppendUint16(nil, r.Last)
	load := schema.Expr{Name: "payload", Base: "transport", Offset: off, Len: 2, DReg: reg1}
	if bytes.Equal(from, to) {
		return []schema.Expr{load, equals(from)}
	}
	return []schema.Expr{load, {Name: "range", SReg: reg1, Op: "eq", Data: from, Data2: to}}
}
