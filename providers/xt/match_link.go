package xt

import (
	"bytes"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// The bits of struct xt_physdev_info (uapi/linux/netfilter/xt_physdev.h).
const (
	physIn      = 1 << 0
	physOut     = 1 << 1
	physBridged = 1 << 2
	physIsIn    = 1 << 3
	physIsOut   = 1 << 4
)

// physdev is struct xt_physdev_info: ports of a bridge in the br_netfilter pass (physdev_mt in net/netfilter/xt_physdev.c).
func physdev(b blob) result {
	var w words
	inv, m := b.u8(64), b.u8(65)
	for _, o := range []struct {
		bit         byte
		name, value string
	}{
		{physIsIn, "--physdev-is-in", ""},
		{physIn, "--physdev-in", b.str(0, 16)},
		{physIsOut, "--physdev-is-out", ""},
		{physOut, "--physdev-out", b.str(32, 16)},
		{physBridged, "--physdev-is-bridged", ""},
	} {
		switch {
		case m&o.bit == 0:
		case o.value == "":
			w.opt(inv&o.bit != 0, o.name, "")
		default:
			w.opt(inv&o.bit != 0, o.name, "%s", o.value)
		}
	}
	var exprs []schema.Expr
	for _, o := range []struct {
		bit byte
		key string
	}{{physBridged, "physout"}, {physIsIn, "physin"}, {physIsOut, "physout"}} {
		if m&o.bit != 0 {
			exprs = append(exprs, meta(o.key), cmp(inv&o.bit == 0, make([]byte, 16)))
		}
	}
	if m&physIn != 0 {
		exprs = append(exprs, meta("physin"), cmp(inv&physIn != 0, pattern(b, 0)))
	}
	if m&physOut == 0 {
		return w.means(exprs...)
	}
	out := []schema.Expr{meta("physout"), cmp(inv&physOut != 0, pattern(b, 32))}
	leaves := m&^inv&(physBridged|physIsOut) != 0
	if leaves || inv&physOut != 0 {
		return w.means(append(exprs, out...)...)
	}
	// A packet that came through a bridge and is not about to leave by a port has no name to compare: it matches.
	routed := []schema.Expr{meta("physin"), cmp(true, make([]byte, 16)), meta("physout"), cmp(false, make([]byte, 16))}
	return w.any(append(slices.Clone(exprs), out...), append(slices.Clone(exprs), routed...))
}

// pattern is the name of a link, or as much of it as the mask behind it covers.
func pattern(b blob, off int) []byte {
	return b.at(off, 16)[:bytes.Count(b.at(off+16, 16), []byte{0xff})]
}

// rpfilter is struct xt_rpfilter_info: whether the route back leads to the link a packet came by, or anywhere. The kernel asks as fib
// does (net/ipv4/netfilter/ipt_rpfilter.c, net/ipv6/netfilter/ip6t_rpfilter.c); a source of :: passes.
func rpfilter(b blob) result {
	const loose, validMark, acceptLocal, invert = 1, 2, 4, 8
	var w words
	flags := b.u8(0)
	w.flag(flags&loose != 0, "--loose")
	w.flag(flags&validMark != 0, "--validmark")
	w.flag(flags&acceptLocal != 0, "--accept-local")
	w.flag(flags&invert != 0, "--invert")
	fib := schema.Expr{Name: "fib", Key: "saddr", Op: "oif", DReg: 1, Flags: 1 << 5}
	local := schema.Expr{Name: "fib", Key: "saddr", Op: "type", DReg: 1}
	if flags&validMark != 0 {
		fib.Key += " . mark"
	}
	if flags&loose == 0 {
		fib.Key += " . iif"
		if !b.ip6 { // of IPv6 an address of any link will do
			local.Key += " . iif"
		}
	}
	ways := [][]schema.Expr{{fib, cmp(false, []byte{1})}}
	if b.ip6 {
		ways = append(ways, []schema.Expr{payload("network", 8, 16), cmp(false, make([]byte, 16))})
	}
	if flags&acceptLocal != 0 {
		ways = append(ways, []schema.Expr{local, cmp(false, host32(2))}) // RTN_LOCAL
	}
	not := flags&invert != 0
	switch {
	case len(ways) == 1:
		return w.means(fib, cmp(not, []byte{1}))
	case not:
		return w.none(ways...)
	}
	return w.any(ways...)
}
