package xt

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// Matches and targets of ebtables (uapi/linux/netfilter_bridge/ebt_*.h). Some bear the name of one of iptables and are laid out otherwise.
// The texts are the options of ebtables(8).

func bridgeMatches() map[string][]decoder {
	return map[string][]decoder{
		"ip":      {{revs(0), 28, ebtIP}},
		"ip6":     {{revs(0), 76, ebtIP6}},
		"arp":     {{revs(0), 50, ebtARP}},
		"pkttype": {{revs(0), 2, ebtPktType}},
		"mark_m":  {{revs(0), 18, ebtMark}},
	}
}

func bridgeTargets() map[string][]decoder {
	return map[string][]decoder{
		"mark":  {{revs(0), 12, ebtMarkTarget}},
		"log":   {{revs(0), 0, func(blob) result { return new(words).noVerdict("log") }}},
		"nflog": {{revs(0), 0, func(blob) result { return new(words).noVerdict("nflog") }}},
	}
}

// ebtTest gathers the tests of one match.
type ebtTest struct {
	words
	exprs []schema.Expr
	dark  bool
}

func (t *ebtTest) add(e ...schema.Expr) { t.exprs = append(t.exprs, e...) }

func (t *ebtTest) result() result {
	if t.dark {
		return t.textOnly()
	}
	return t.means(t.exprs...)
}

// address tests an address under a mask.
func (t *ebtTest) address(not bool, option string, off uint32, addr, m []byte) {
	t.opt(not, option, "%s", addrMask(addrOf(addr), m))
	t.add(masked(payload("network", off, uint32(len(addr))), not, addr, m)...)
}

// ports tests a range of ports, which ebtables keeps in the order of the machine.
func (t *ebtTest) ports(not bool, option string, off uint32, from, to uint16) {
	t.opt(not, option, "%s", portRange(from, to))
	t.add(payload("transport", off, 2), in(not, net16(from), net16(to)))
}

// icmp tests ranges of type and code, negated both together.
func (t *ebtTest) icmp(not bool, option string, types, codes []byte) {
	t.opt(not, option, "%d:%d/%d:%d", types[0], types[1], codes[0], codes[1])
	switch {
	case types[0] == types[1]:
		t.add(payload("transport", 0, 2), in(not, []byte{types[0], codes[0]}, []byte{types[0], codes[1]}))
	case codes[0] == 0 && codes[1] == 0xff:
		t.add(payload("transport", 0, 1), in(not, types[:1], types[1:2]))
	case !not:
		t.add(payload("transport", 0, 1), in(false, types[:1], types[1:2]), payload("transport", 1, 1), in(false, codes[:1], codes[1:2]))
	default:
		t.dark = true
	}
}

// ebtIP is struct ebt_ip_info (ebt_ip_mt in net/bridge/netfilter/ebt_ip.c).
func ebtIP(b blob) result {
	var t ebtTest
	has, inv := b.u8(18), b.u8(19)
	not := func(bit byte) bool { return inv&bit != 0 }
	if has&0x01 != 0 {
		t.address(not(0x01), "--ip-src", 12, b.at(0, 4), b.at(8, 4))
	}
	if has&0x02 != 0 {
		t.address(not(0x02), "--ip-dst", 16, b.at(4, 4), b.at(12, 4))
	}
	if has&0x04 != 0 {
		t.opt(not(0x04), "--ip-tos", "0x%02X", b.u8(16))
		t.add(payload("network", 1, 1), cmp(not(0x04), []byte{b.u8(16)}))
	}
	if has&0x08 == 0 { // ports and types count with a protocol only
		return t.result()
	}
	t.opt(not(0x08), "--ip-proto", "%s", ProtocolName(b.u8(17)))
	t.add(payload("network", 9, 1), cmp(not(0x08), []byte{b.u8(17)}))
	if has&0x10 != 0 {
		t.ports(not(0x10), "--ip-sport", 0, b.u16(20), b.u16(22))
	}
	if has&0x20 != 0 {
		t.ports(not(0x20), "--ip-dport", 2, b.u16(24), b.u16(26))
	}
	if has&0x40 != 0 {
		t.icmp(not(0x40), "--ip-icmp-type", b.at(20, 2), b.at(22, 2))
	}
	if has&0x80 != 0 {
		t.opt(not(0x80), "--ip-igmp-type", "%d:%d", b.u8(20), b.u8(21))
		t.add(payload("transport", 0, 1), in(not(0x80), b.at(20, 1), b.at(21, 1)))
	}
	return t.result()
}

// ebtIP6 is struct ebt_ip6_info (ebt_ip6_mt in net/bridge/netfilter/ebt_ip6.c).
func ebtIP6(b blob) result {
	var t ebtTest
	has, inv := b.u8(66), b.u8(67)
	not := func(bit byte) bool { return inv&bit != 0 }
	if has&0x01 != 0 {
		t.address(not(0x01), "--ip6-src", 8, b.at(0, 16), b.at(32, 16))
	}
	if has&0x02 != 0 {
		t.address(not(0x02), "--ip6-dst", 24, b.at(16, 16), b.at(48, 16))
	}
	if has&0x04 != 0 {
		t.opt(not(0x04), "--ip6-tclass", "0x%02X", b.u8(64))
		b6 := b
		b6.ip6 = true
		t.add(dsfield(b6, not(0x04), b.u8(64), 0xff)...)
	}
	if has&0x08 == 0 {
		return t.result()
	}
	t.opt(not(0x08), "--ip6-proto", "%s", ProtocolName(b.u8(65)))
	t.add(meta("l4proto"), cmp(not(0x08), []byte{b.u8(65)}))
	if has&0x10 != 0 {
		t.ports(not(0x10), "--ip6-sport", 0, b.u16(68), b.u16(70))
	}
	if has&0x20 != 0 {
		t.ports(not(0x20), "--ip6-dport", 2, b.u16(72), b.u16(74))
	}
	if has&0x40 != 0 {
		t.icmp(not(0x40), "--ip6-icmp-type", b.at(68, 2), b.at(72, 2))
	}
	switch {
	case not(0x08):
		t.dark = true // what follows a fragment header in later fragments is not looked at: they have another protocol here
	case has&0x70 == 0 && !t.dark:
		whole := append(slices.Clone(t.exprs), schema.Expr{Name: "exthdr", Op: "ipv6", Type: headerFragment, Len: 1, Flags: 1, DReg: 1}, cmp(false, []byte{0}))
		head := append(slices.Clone(t.exprs), extension(headerFragment, 2, 2), mask(net16(0xfff8)), cmp(false, net16(0)))
		return t.any(whole, head)
	}
	return t.result()
}

// ebtARP is struct ebt_arp_info (ebt_arp_mt in net/bridge/netfilter/ebt_arp.c). Addresses count in ARP of IPv4 over Ethernet only.
func ebtARP(b blob) result {
	var t ebtTest
	has, inv := b.u8(48), b.u8(49)
	not := func(bit byte) bool { return inv&bit != 0 }
	for _, o := range []struct {
		bit    byte
		option string
		at     int
		off    uint32
	}{{0x01, "--arp-opcode", 4, 6}, {0x02, "--arp-htype", 0, 0}, {0x04, "--arp-ptype", 2, 2}} {
		if has&o.bit != 0 {
			t.opt(not(o.bit), o.option, "%d", b.be16(o.at))
			t.add(payload("network", o.off, 2), cmp(not(o.bit), b.at(o.at, 2)))
		}
	}
	if has&0x18 != 0 {
		t.add(payload("network", 5, 1), cmp(false, []byte{4}), payload("network", 2, 2), cmp(false, []byte{0x08, 0x00}))
	}
	if has&0x08 != 0 {
		t.address(not(0x08), "--arp-ip-src", 14, b.at(8, 4), b.at(12, 4))
	}
	if has&0x10 != 0 {
		t.address(not(0x10), "--arp-ip-dst", 24, b.at(16, 4), b.at(20, 4))
	}
	if has&0x60 != 0 {
		t.add(payload("network", 4, 1), cmp(false, []byte{6}), payload("network", 0, 2), cmp(false, []byte{0, unix.ARPHRD_ETHER}))
	}
	if has&0x20 != 0 {
		t.mac(not(0x20), "--arp-mac-src", 8, b.at(24, 6), b.at(30, 6))
	}
	if has&0x40 != 0 {
		t.mac(not(0x40), "--arp-mac-dst", 18, b.at(36, 6), b.at(42, 6))
	}
	if has&0x80 != 0 {
		t.opt(not(0x80), "--arp-gratuitous", "")
		t.dark = true // two addresses of the packet are compared with each other
	}
	// The addresses of ARP lie where they do when hardware addresses have six bytes; with others the kernel would look elsewhere.
	if has&0x18 != 0 && has&0x60 == 0 {
		t.add(payload("network", 4, 1), cmp(false, []byte{6}))
	}
	return t.result()
}

func (t *ebtTest) mac(not bool, option string, off uint32, addr, m []byte) {
	value := fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", addr[0], addr[1], addr[2], addr[3], addr[4], addr[5])
	if bytes.Count(m, []byte{0xff}) != len(m) {
		value += fmt.Sprintf("/%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
	}
	t.opt(not, option, "%s", value)
	t.add(masked(payload("network", off, 6), not, addr, m)...)
}

// ebtPktType is struct ebt_pkttype_info.
func ebtPktType(b blob) result {
	var w words
	w.opt(b.u8(1) != 0, "--pkttype-type", "%s", pick(b.u8(0), "host", "broadcast", "multicast", "otherhost", "outgoing", "loopback", "fastroute"))
	return w.means(meta("pkttype"), cmp(b.u8(1) != 0, []byte{b.u8(0)}))
}

// ebtMark is struct ebt_mark_m_info: marks are unsigned long.
func ebtMark(b blob) result {
	const or = 2
	var w words
	value, m, not := uint32(b.u64(0)), uint32(b.u64(8)), b.u8(16) != 0
	if b.u8(17)&or != 0 {
		w.opt(not, "--mark", "/0x%x", m)
		return w.means(anyBit(meta("mark"), not, m)...)
	}
	w.opt(not, "--mark", "%s", Mark(value, m))
	return w.means(masked(meta("mark"), not, host32(value), host32(m))...)
}

// ebtMarkTarget is struct ebt_mark_t_info: what is done to the mark stands in the upper bits of the verdict.
func ebtMarkTarget(b blob) result {
	var w words
	value, target := uint32(b.u64(0)), int32(b.u32(8))
	keep, set := uint32(0), value
	action := "--mark-set"
	switch target & -16 {
	case -16:
	case -32:
		action, keep = "--mark-or", ^value
	case -48:
		action, keep, set = "--mark-and", value, 0
	case -64:
		action, keep = "--mark-xor", 0xffffffff
	default:
		return result{text: fmt.Sprintf("[target %d]", target)}
	}
	w.opt(false, action, "0x%x", value)
	change := mask(host32(keep))
	change.Data2 = host32(set)
	exprs := []schema.Expr{meta("mark"), change, {Name: "meta", Key: "mark", SReg: 1, Write: true}}
	verdicts := map[int32]string{-1: "accept", -2: "drop", -3: "continue", -4: "return"}
	kind := verdicts[target|^0xf]
	w.opt(false, "--mark-target", "%s", strings.ToUpper(kind))
	if kind == "" {
		return w.textOnly()
	}
	if kind != "continue" {
		exprs = append(exprs, schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: kind}})
	}
	return w.means(exprs...)
}
