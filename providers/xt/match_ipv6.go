package xt

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// Matches of the extension headers of IPv6 (uapi/linux/netfilter_ipv6/ip6t_*.h).

// Next header numbers of extension headers, as exthdr names them.
const (
	headerHops        = 0
	headerRouting     = 43
	headerFragment    = 44
	headerESP         = 50
	headerAuth        = 51
	headerNone        = 59
	headerDestination = 60
)

// extension loads n bytes of an extension header; a packet without the header breaks the rule.
func extension(header, off, n uint32) schema.Expr {
	return schema.Expr{Name: "exthdr", Op: "ipv6", Type: header, Offset: off, Len: n, DReg: 1}
}

// has tells whether a packet has an extension header.
func has(header uint32) []schema.Expr {
	return []schema.Expr{
		{Name: "exthdr", Op: "ipv6", Type: header, Len: 1, Flags: 1, DReg: 1}, cmp(false, []byte{1}),
	}
}

// numRange adds a number or a range of numbers.
func (w *words) numRange(not bool, name string, from, to uint32) {
	if from == to {
		w.opt(not, name, "%d", from)
	} else {
		w.opt(not, name, "%d:%d", from, to)
	}
}

// frag is struct ip6t_frag; the kernel does not look at the length (ip6t_frag.c).
func frag(b blob) result {
	var w words
	flags, inv := b.u8(12), b.u8(13)
	exprs := has(headerFragment)
	if from, to := b.u32(0), b.u32(4); from != 0 || to != 0xffffffff {
		w.numRange(inv&1 != 0, "--fragid", from, to)
		exprs = append(exprs, extension(headerFragment, 4, 4), in(inv&1 != 0, net32(from), net32(to)))
	} else if inv&1 != 0 {
		exprs = append(exprs, never()...)
	}
	if flags&2 != 0 {
		w.opt(inv&2 != 0, "--fraglen", "%d", b.u32(8))
	}
	offset := func(not bool, bits uint16) []schema.Expr {
		return []schema.Expr{extension(headerFragment, 2, 2), mask(net16(bits)), cmp(not, net16(0))}
	}
	for _, o := range []struct {
		bit  byte
		name string
		not  bool
		bits uint16
	}{{0x04, "--fragres", false, 6}, {0x08, "--fragfirst", false, 0xfff8}, {0x10, "--fragmore", true, 1}, {0x20, "--fraglast", false, 1}} {
		if flags&o.bit == 0 {
			continue
		}
		w.flag(true, o.name)
		exprs = append(exprs, offset(o.not, o.bits)...)
		if o.bit == 0x04 {
			exprs = append(exprs, extension(headerFragment, 1, 1), cmp(false, []byte{0}))
		}
	}
	return w.means(exprs...)
}

// rt is struct ip6t_rt. Tests of the type and of the segments left are lowered, those of lengths and addresses are not.
func rt(b blob) result {
	var w words
	flags, inv := b.u8(16), b.u8(17)
	exprs := has(headerRouting)
	if flags&0x01 != 0 {
		w.opt(inv&0x01 != 0, "--rt-type", "%d", b.u32(0))
		exprs = append(exprs, extension(headerRouting, 2, 1), cmp(inv&0x01 != 0, []byte{byte(b.u32(0))}))
	}
	if from, to := b.u32(4), b.u32(8); from != 0 || to != 0xffffffff {
		w.numRange(inv&0x02 != 0, "--rt-segsleft", from, to)
		if from > 0xff {
			return rtRest(&w, b).textOnly()
		}
		exprs = append(exprs, extension(headerRouting, 3, 1), in(inv&0x02 != 0, []byte{byte(from)}, []byte{byte(min(to, 0xff))}))
	}
	rtRest(&w, b)
	if flags&^0x03 != 0 {
		return w.textOnly()
	}
	return w.means(exprs...)
}

func rtRest(w *words, b blob) *words {
	flags, inv := b.u8(16), b.u8(17)
	if flags&0x04 != 0 {
		w.opt(inv&0x04 != 0, "--rt-len", "%d", b.u32(12))
	}
	w.flag(flags&0x08 != 0, "--rt-0-res")
	if flags&0x10 != 0 {
		var list []string
		for i := range min(int(b.u8(276)), 16) {
			list = append(list, blob{b: b.at(20+16*i, 16), ip6: true}.addr(0).String())
		}
		w.opt(false, "--rt-0-addrs", "%s", strings.Join(list, ","))
	}
	w.flag(flags&0x20 != 0, "--rt-0-not-strict")
	return w
}

// ipv6header is struct ip6t_ipv6header_info.
func ipv6header(b blob) result {
	var w words
	var names []string
	for i, name := range []string{"proto", "ipv6-nonxt", "esp", "ah", "ipv6-frag", "ipv6-route", "ipv6-opts", "hop-by-hop"} {
		if b.u8(0)&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	not, soft := b.u8(1), b.u8(2) != 0
	w.opt(not != 0, "--header", "%s", strings.Join(names, ","))
	w.flag(soft, "--soft")
	asked := b.u8(0)
	var exprs []schema.Expr
	for i, header := range []uint32{headerNone, headerESP, headerAuth, headerFragment, headerRouting, headerDestination, headerHops} {
		bit := byte(2) << i
		if asked&bit != 0 || !soft {
			exprs = append(exprs, hasOrNot(header, asked&bit != 0 && !(soft && not&bit != 0))...)
		}
	}
	// The first bit is whether a protocol follows: any but ESP and none at all, which end the chain too.
	esp, none := hasOrNot(headerESP, true), hasOrNot(headerNone, true)
	switch protocol := asked&1 != 0; {
	case soft && !protocol:
	case soft && not&1 != 0:
		return w.any(slices.Concat(exprs, esp), slices.Concat(exprs, none))
	case soft:
		exprs = slices.Concat(exprs, hasOrNot(headerESP, false), hasOrNot(headerNone, false))
	case protocol == (asked&6 != 0):
		exprs = append(exprs, never()...)
	}
	if not != 0 && !soft {
		return w.none(exprs)
	}
	return w.means(exprs...)
}

// hasOrNot tells whether a packet has an extension header, or has it not.
func hasOrNot(header uint32, there bool) []schema.Expr {
	exprs := has(header)
	exprs[1] = cmp(!there, []byte{1})
	return exprs
}

// ah6 is struct ip6t_ah: an extension header here.
func ah6(b blob) result {
	var w words
	inv := b.u8(13)
	if from, to := b.u32(0), b.u32(4); from != 0 || to != 0xffffffff {
		w.numRange(inv&1 != 0, "--ahspi", from, to)
	}
	if n := b.u32(8); n != 0 || inv&2 != 0 {
		w.opt(inv&2 != 0, "--ahlen", "%d", n)
	}
	w.flag(b.u8(12) != 0, "--ahres")
	exprs := has(headerAuth)
	switch from, to := b.u32(0), b.u32(4); {
	case from != 0 || to != 0xffffffff:
		exprs = append(exprs, extension(headerAuth, 4, 4), in(inv&1 != 0, net32(from), net32(to)))
	case inv&1 != 0:
		exprs = append(exprs, never()...)
	}
	if n := b.u32(8); n != 0 { // the field counts words, without two of them (ipv6_authlen)
		if n%4 != 0 || n < 8 || n > 8+4*0xff {
			return w.textOnly()
		}
		exprs = append(exprs, extension(headerAuth, 1, 1), cmp(inv&2 != 0, []byte{byte(n/4 - 2)}))
	}
	if b.u8(12) != 0 {
		exprs = append(exprs, extension(headerAuth, 2, 2), cmp(false, net16(0)))
	}
	return w.means(exprs...)
}

// options6 is struct ip6t_opts of hop-by-hop and destination options.
func options6(name string) func(b blob) result {
	return func(b blob) result {
		var w words
		flags, inv := b.u8(4), b.u8(5)
		if flags&1 != 0 {
			w.opt(inv&1 != 0, "--"+name+"-len", "%d", b.u32(0))
		}
		if flags&2 != 0 {
			var list []string
			for i := range min(int(b.u8(38)), 16) {
				o := b.u16(6 + 2*i)
				s := strconv.Itoa(int(o >> 8))
				if o&0xff != 0xff {
					s += fmt.Sprintf(":%d", o&0xff)
				}
				list = append(list, s)
			}
			w.opt(false, "--"+name+"-opts", "%s", strings.Join(list, ","))
		}
		return w.textOnly()
	}
}

// eui64 asks whether the source address is made of the MAC address; it has no options.
func eui64(blob) result { return new(words).textOnly() }

// mh is struct ip6t_mh: types of the mobility header.
func mh(b blob) result {
	var w words
	if from, to := b.u8(0), b.u8(1); from != 0 || to != 0xff {
		w.numRange(b.u8(2)&1 != 0, "--mh-type", uint32(from), uint32(to))
	}
	return w.textOnly()
}

// srh is struct ip6t_srh and ip6t_srh1: the segment routing header.
func srh(b blob) result {
	var w words
	at := 6
	if b.rev > 0 {
		at = 104
	}
	flags, inv := b.u16(at), b.u16(at+2)
	for i, o := range []struct {
		name  string
		value uint16
	}{
		{"next-hdr", uint16(b.u8(0))},
		{"hdr-len-eq", uint16(b.u8(1))},
		{"hdr-len-gt", uint16(b.u8(1))},
		{"hdr-len-lt", uint16(b.u8(1))},
		{"segs-left-eq", uint16(b.u8(2))},
		{"segs-left-gt", uint16(b.u8(2))},
		{"segs-left-lt", uint16(b.u8(2))},
		{"last-entry-eq", uint16(b.u8(3))},
		{"last-entry-gt", uint16(b.u8(3))},
		{"last-entry-lt", uint16(b.u8(3))},
		{"tag", b.u16(4)},
	} {
		if flags&(1<<i) != 0 {
			w.opt(inv&(1<<i) != 0, "--srh-"+o.name, "%d", o.value)
		}
	}
	for i, name := range []string{"psid", "nsid", "lsid"} {
		if bit := uint16(1) << (11 + i); b.rev > 0 && flags&bit != 0 {
			ones, _ := maskBits(b.at(56+16*i, 16))
			w.opt(inv&bit != 0, "--srh-"+name, "%s/%d", blob{b: b.at(8+16*i, 16), ip6: true}.addr(0), ones)
		}
	}
	return w.textOnly()
}
