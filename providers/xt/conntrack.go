package xt

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// The flags of struct xt_conntrack_mtinfo1 to 3 (uapi/linux/netfilter/xt_conntrack.h).
const (
	ctState       = 1 << 0
	ctProto       = 1 << 1
	ctOrigSrc     = 1 << 2
	ctOrigDst     = 1 << 3
	ctReplSrc     = 1 << 4
	ctReplDst     = 1 << 5
	ctStatus      = 1 << 6
	ctExpires     = 1 << 7
	ctOrigSrcPort = 1 << 8
	ctOrigDstPort = 1 << 9
	ctReplSrcPort = 1 << 10
	ctReplDstPort = 1 << 11
	ctDirection   = 1 << 12
	ctStateAlias  = 1 << 13

	ctNotrackAlias = 1 << 1 // XT_CT_NOTRACK_ALIAS
)

// The states of xt_conntrack. The first four are bits of nft's ct state too.
const (
	xtInvalid   = 1 << 0
	xtSNAT      = 1 << 6
	xtDNAT      = 1 << 7
	xtUntracked = 1 << 8

	nftUntracked = 1 << 6 // NF_CT_STATE_UNTRACKED_BIT
	ipsSrcNAT    = 1 << 4 // IPS_SRC_NAT
	ipsDstNAT    = 1 << 5 // IPS_DST_NAT
)

// ctMatch gathers one conntrack match.
type ctMatch struct {
	blob
	words
	match, invert uint16
	exprs         []schema.Expr // everything but the state
	// dark is true when a part has no equal in bytecode.
	dark bool
}

// conntrack is struct xt_conntrack_mtinfo1 to 3; the order is that of libxt_conntrack's output.
func conntrack(b blob) result {
	m := &ctMatch{blob: b, match: b.u16(146), invert: b.u16(148)}
	state, status := uint32(b.u16(150)), uint32(b.u16(152))
	if b.rev == 1 {
		state, status = uint32(b.u8(150)), uint32(b.u8(151))
	}
	m.stateWords(state)
	if m.match&ctProto != 0 {
		m.opt(m.not(ctProto), "--ctproto", "%d", b.u16(136))
		m.add(ct("protocol", "original"), cmp(m.not(ctProto), []byte{byte(b.u16(136))}))
	}
	m.addr(ctOrigSrc, "--ctorigsrc", "saddr", "original", 0)
	m.addr(ctOrigDst, "--ctorigdst", "daddr", "original", 32)
	m.addr(ctReplSrc, "--ctreplsrc", "saddr", "reply", 64)
	m.addr(ctReplDst, "--ctrepldst", "daddr", "reply", 96)
	m.port(ctOrigSrcPort, "--ctorigsrcport", "proto_src", "original", 138, 154)
	m.port(ctOrigDstPort, "--ctorigdstport", "proto_dst", "original", 140, 156)
	m.port(ctReplSrcPort, "--ctreplsrcport", "proto_src", "reply", 142, 158)
	m.port(ctReplDstPort, "--ctrepldstport", "proto_dst", "reply", 144, 160)
	if m.match&ctStatus != 0 {
		m.opt(m.not(ctStatus), "--ctstatus", "%s", ctStatusNames(status))
		m.add(anyBit(ct("status", ""), m.not(ctStatus), status)...)
	}
	m.rest()
	switch {
	case m.dark:
		return m.textOnly()
	case m.match&ctState == 0:
		return m.means(m.exprs...)
	}
	return m.withState(state)
}

func (m *ctMatch) not(flag uint16) bool { return m.invert&flag != 0 }

func (m *ctMatch) add(e ...schema.Expr) { m.exprs = append(m.exprs, e...) }

func (m *ctMatch) stateWords(mask uint32) {
	if m.match&ctState == 0 {
		return
	}
	option := "--ctstate"
	if m.match&ctStateAlias != 0 {
		option = "--state"
	}
	m.opt(m.not(ctState), option, "%s", ctStateNames(mask))
}

// withState lowers a match that asks for the state. SNAT and DNAT are bits of the status in nft, so together with others they are
// alternatives. A packet without conntrack entry is judged by its state alone, whatever else the match asks (conntrack_mt in
// net/netfilter/xt_conntrack.c), while those tests would break an nft rule: it is an alternative of its own.
func (m *ctMatch) withState(mask uint32) result {
	const without = xtInvalid | nftUntracked // the states of packets without an entry
	bits, status := nftState(mask)
	alone := m.match&^(ctState|ctStateAlias) == 0
	state, nat := anyBit(ct("state", ""), m.not(ctState), bits), anyBit(ct("status", ""), m.not(ctState), status)
	switch {
	case alone && status == 0:
		return m.means(state...)
	case alone && m.not(ctState):
		return m.none(anyBit(ct("state", ""), false, bits), anyBit(ct("status", ""), false, status))
	}
	var alternatives [][]schema.Expr
	add := func(parts ...[]schema.Expr) { alternatives = append(alternatives, slices.Concat(parts...)) }
	passes := bits & without
	switch {
	case m.not(ctState) && status != 0:
		add(state, nat, m.exprs)
		passes ^= without
	case m.not(ctState):
		add(state, m.exprs)
		passes ^= without
	default:
		if bits != 0 || status == 0 {
			add(state, m.exprs)
		}
		if status != 0 {
			add(nat, m.exprs)
		}
	}
	if passes != 0 && !alone {
		add(anyBit(ct("state", ""), false, passes))
	}
	if len(alternatives) == 1 {
		return m.means(alternatives[0]...)
	}
	return m.any(alternatives...)
}

// nftState gives the bits of ct state, and those of ct status, that a mask of xt states stands for.
func nftState(mask uint32) (state, status uint32) {
	state = mask & 0x0f
	if mask&xtUntracked != 0 {
		state |= nftUntracked
	}
	if mask&xtSNAT != 0 {
		status |= ipsSrcNAT
	}
	if mask&xtDNAT != 0 {
		status |= ipsDstNAT
	}
	return state, status
}

func ctStateNames(mask uint32) string {
	var names []string
	for _, s := range []struct {
		bit  uint32
		name string
	}{
		{xtInvalid, "INVALID"},
		{1 << 3, "NEW"},
		{1 << 2, "RELATED"},
		{1 << 1, "ESTABLISHED"},
		{xtUntracked, "UNTRACKED"},
		{xtSNAT, "SNAT"},
		{xtDNAT, "DNAT"},
	} {
		if mask&s.bit != 0 {
			names = append(names, s.name)
		}
	}
	return strings.Join(names, ",")
}

func ctStatusNames(mask uint32) string {
	var names []string
	for i, name := range []string{"EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED"} {
		if mask&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "NONE"
	}
	return strings.Join(names, ",")
}

func (m *ctMatch) addr(flag uint16, option, key, dir string, off int) {
	if m.match&flag == 0 {
		return
	}
	n := m.addrLen()
	value, mask := m.at(off, n), m.at(off+16, n)
	m.opt(m.not(flag), option, "%s", addrMask(m.blob.addr(off), mask))
	load := ct(key, dir)
	load.Family = "ip"
	if m.ip6 {
		load.Family = "ip6"
	}
	m.add(masked(load, m.not(flag), value, mask)...)
}

// addrMask writes an address as libxt_conntrack does: a mask of all ones is left out.
func addrMask(a netip.Addr, mask []byte) string {
	if bytes.Count(mask, []byte{0xff}) == len(mask) {
		return a.String()
	}
	if ones, ok := maskBits(mask); ok {
		return fmt.Sprintf("%s/%d", a, ones)
	}
	m, _ := netip.AddrFromSlice(mask)
	return fmt.Sprintf("%s/%s", a, m)
}

// maskBits counts the ones of a mask; ok is false when they are not all in front.
func maskBits(mask []byte) (ones int, ok bool) {
	done := false
	for _, b := range mask {
		for bit := 7; bit >= 0; bit-- {
			set := b&(1<<bit) != 0
			if set && done {
				return 0, false
			}
			if set {
				ones++
			} else {
				done = true
			}
		}
	}
	return ones, true
}

// port lowers a test of a port: revision 3 has ranges in host order, the others one port in network order.
func (m *ctMatch) port(flag uint16, option, key, dir string, off, offHigh int) {
	if m.match&flag == 0 {
		return
	}
	from := m.be16(off)
	to := from
	if m.rev == 3 {
		from, to = m.u16(off), m.u16(offHigh)
	}
	m.opt(m.not(flag), option, "%s", portRange(from, to))
	m.add(ct(key, dir), in(m.not(flag), net16(from), net16(to)))
}

// rest are the time left, which runs, and the direction.
func (m *ctMatch) rest() {
	if m.match&ctExpires != 0 {
		from, to := m.u32(128), m.u32(132)
		if from == to {
			m.opt(m.not(ctExpires), "--ctexpire", "%d", from)
		} else {
			m.opt(m.not(ctExpires), "--ctexpire", "%d:%d", from, to)
		}
		m.dark = true
	}
	if m.match&ctDirection != 0 {
		dir, name := byte(0), "ORIGINAL"
		if m.not(ctDirection) {
			dir, name = 1, "REPLY"
		}
		m.opt(false, "--ctdir", "%s", name)
		m.add(ct("direction", ""), cmp(false, []byte{dir}))
	}
}

// state is struct xt_state_info, the match of old kernels. Its untracked bit is another one (1 << 6 is XT_STATE_UNTRACKED,
// IP_CT_NUMBER + 1).
func state(b blob) result {
	var w words
	mask := b.u32(0)
	xt := mask & 0x0f
	if mask&(1<<6) != 0 {
		xt |= xtUntracked
	}
	w.opt(false, "--state", "%s", ctStateNames(xt))
	bits, _ := nftState(xt)
	return w.means(anyBit(ct("state", ""), false, bits)...)
}
