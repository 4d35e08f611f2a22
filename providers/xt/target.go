package xt

import (
	"fmt"
	"net/netip"

	"github.com/vmnet/vmnet/schema"
)

func targets() map[string][]decoder { return targetTable }

var targetTable = map[string][]decoder{
	"REJECT":     {{revs(0), 4, reject}},
	"LOG":        {{revs(0), 32, logTarget}},
	"NFLOG":      {{revs(0), 76, nflog}},
	"MASQUERADE": {{revs(0), 20, masquerade}},
	"REDIRECT":   {{revs(0), 20, redirect}},
	"SNAT":       {{revs(0), 20, nat("snat", "--to-source")}, {revs(1), 40, nat("snat", "--to-source")}, {revs(2), 42, nat("snat", "--to-source")}},
	"DNAT":       {{revs(0), 20, nat("dnat", "--to-destination")}, {revs(1), 40, nat("dnat", "--to-destination")}, {revs(2), 42, nat("dnat", "--to-destination")}},
	"NETMAP":     {{revs(0), 20, netmap}},
	"MARK":       {{revs(2), 8, markTarget}},
	"CONNMARK":   {{revs(1), 13, connmark}, {revs(2), 15, connmark}},
	"TCPMSS":     {{revs(0), 2, mssTarget}},
	"CHECKSUM":   {{revs(0), 1, checksum}},
	"CLASSIFY":   {{revs(0), 4, classify}},
	"DSCP":       {{revs(0), 1, dscpTarget}},
	"TOS":        {{revs(1), 2, tosTarget}},
	"TTL":        {{revs(0), 2, hopsTarget("ttl")}},
	"HL":         {{revs(0), 2, hopsTarget("hl")}},
	"TEE":        {{revs(1), 32, tee}},
	"AUDIT":      {{revs(0), 1, audit}},
	"TRACE":      {{revs(0), 0, trace}},
	"NOTRACK":    {{revs(0), 0, notrack}},
	"CT":         {{revs(0), 28, ctTarget}, {revs(1, 2), 60, ctTarget}},
	"NFQUEUE":    {{revs(0), 2, nfqueue}, {revs(1), 4, nfqueue}, {revs(2, 3), 6, nfqueue}},
	"TPROXY":     {{revs(1), 26, tproxy}},

	"CONNSECMARK": {{revs(0), 1, connsecmark}},
	"DNPT":        {{revs(0), 34, npt}},
	"ECN":         {{revs(0), 3, ecnTarget}},
	"HMARK":       {{revs(0), 60, hmark}},
	"IDLETIMER":   {{revs(0), 32, idletimer}, {revs(1), 34, idletimer}},
	"LED":         {{revs(0), 32, led}},
	"RATEEST":     {{revs(0), 18, rateestTarget}},
	"SECMARK":     {{revs(0), 264, secmark(8)}, {revs(1), 257, secmark(1)}},
	"SET":         {{revs(1), 8, setTarget}, {revs(2), 16, setTarget}, {revs(3), 20, setTarget}},
	"SNPT":        {{revs(0), 34, npt}},
	"SYNPROXY":    {{revs(0), 4, synproxy}},
	"TCPOPTSTRIP": {{revs(0), 32, tcpoptstrip}},
}

// noVerdict is the result of a target that lets the packet go on to the next rule, and changes nothing that rules ask for.
func (w *words) noVerdict(name string) result {
	text := join(name, w.String())
	return w.means(schema.Expr{Name: "log", Key: name, Text: text})
}

// rejects are the --reject-with of IPv4: type and code in nftables' terms, by number of enum ipt_reject_with.
func rejects(ip6 bool, with uint32) (name string, typ, code uint32, ok bool) {
	type reject struct {
		name      string
		typ, code uint32
	}
	list := []reject{
		{"icmp-net-unreachable", 0, 0},
		{"icmp-host-unreachable", 0, 1},
		{"icmp-proto-unreachable", 0, 2},
		{"icmp-port-unreachable", 0, 3},
		{},
		{"icmp-net-prohibited", 0, 9},
		{"icmp-host-prohibited", 0, 10},
		{"tcp-reset", 1, 0},
		{"icmp-admin-prohibited", 0, 13},
	}
	if ip6 {
		list = []reject{
			{"icmp6-no-route", 0, 0},
			{"icmp6-adm-prohibited", 0, 1},
			{},
			{"icmp6-addr-unreachable", 0, 3},
			{"icmp6-port-unreachable", 0, 4},
			{},
			{"tcp-reset", 1, 0},
			{"icmp6-policy-fail", 0, 5},
			{"icmp6-reject-route", 0, 6},
		}
	}
	if with >= uint32(len(list)) || list[with].name == "" {
		return "", 0, 0, false
	}
	r := list[with]
	return r.name, r.typ, r.code, true
}

// RejectName is the --reject-with of an nftables reject, "" when iptables has none.
func RejectName(ip6 bool, typ, code uint32) string {
	for with := range uint32(9) {
		if name, t, c, ok := rejects(ip6, with); ok && t == typ && c == code {
			return name
		}
	}
	return ""
}

// reject is struct ipt_reject_info and ip6t_reject_info.
func reject(b blob) result {
	var w words
	name, typ, code, ok := rejects(b.ip6, b.u32(0))
	if !ok {
		return result{text: fmt.Sprintf("[%d]", b.u32(0))}
	}
	w.opt(false, "--reject-with", "%s", name)
	return w.means(schema.Expr{Name: "reject", Type: typ, Code: code})
}

// logTarget is struct xt_log_info.
func logTarget(b blob) result {
	var w words
	if p := b.str(2, 30); p != "" {
		w.quoted("--log-prefix", p)
	}
	if level := b.u8(0); level != 4 {
		w.opt(false, "--log-level", "%d", level)
	}
	flags := b.u8(1)
	w.flag(flags&0x01 != 0, "--log-tcp-sequence")
	w.flag(flags&0x02 != 0, "--log-tcp-options")
	w.flag(flags&0x04 != 0, "--log-ip-options")
	w.flag(flags&0x08 != 0, "--log-uid")
	w.flag(flags&0x20 != 0, "--log-macdecode")
	return w.noVerdict("LOG")
}

// nflog is struct xt_nflog_info.
func nflog(b blob) result {
	var w words
	if p := b.str(12, 64); p != "" {
		w.quoted("--nflog-prefix", p)
	}
	if g := b.u16(4); g != 0 {
		w.opt(false, "--nflog-group", "%d", g)
	}
	if n := b.u32(0); b.u16(8)&1 != 0 { // XT_NFLOG_F_COPY_LEN
		w.opt(false, "--nflog-size", "%d", n)
	} else if n != 0 {
		w.opt(false, "--nflog-range", "%d", n)
	}
	if t := b.u16(6); t != 0 {
		w.opt(false, "--nflog-threshold", "%d", t)
	}
	return w.noVerdict("NFLOG")
}

func addrOf(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// markTarget is struct xt_mark_tginfo2: mark = mark & ~mask ^ value.
func markTarget(b blob) result {
	var w words
	value, m := b.u32(0), b.u32(4)
	w.opt(false, "--set-xmark", "0x%x/0x%x", value, m)
	return w.means(setMark(meta("mark"), schema.Expr{Name: "meta", Key: "mark", SReg: 1, Write: true}, value, m)...)
}

func setMark(load, store schema.Expr, value, m uint32) []schema.Expr {
	if m == 0xffffffff {
		return []schema.Expr{{Name: "immediate", DReg: 1, Data: host32(value)}, store}
	}
	change := mask(host32(^m))
	change.Data2 = host32(value)
	return []schema.Expr{load, change, store}
}

// connmark is struct xt_connmark_tginfo1 and 2: new = (old & ~mask) ^ (other & mask), the other shifted (xt_connmark.c).
func connmark(b blob) result {
	var w words
	mark, ctMask, nfMask := b.u32(0), b.u32(4), b.u32(8)
	mode, shift, right := b.u8(12), byte(0), false
	if b.rev == 2 {
		mode, shift, right = b.u8(14), b.u8(13), b.u8(12) != 0
	}
	readCT, writeCT := ct("mark", ""), schema.Expr{Name: "ct", Key: "mark", SReg: 1, Write: true}
	readNF, writeNF := meta("mark"), schema.Expr{Name: "meta", Key: "mark", SReg: 1, Write: true}
	var exprs []schema.Expr
	switch mode {
	case 0:
		w.opt(false, "--set-xmark", "0x%x/0x%x", mark, ctMask)
		exprs = setMark(readCT, writeCT, mark, ctMask)
	case 1:
		w.opt(false, "--save-mark", "--nfmask 0x%x --ctmask 0x%x", nfMask, ctMask)
		exprs = mixMarks(readNF, nfMask, shifted(shift, right), readCT, ctMask, writeCT)
	case 2:
		w.opt(false, "--restore-mark", "--nfmask 0x%x --ctmask 0x%x", nfMask, ctMask)
		exprs = mixMarks(readCT, ctMask, shifted(shift, right), readNF, nfMask, writeNF)
	default:
		return result{text: fmt.Sprintf("[mode %d]", mode)}
	}
	if shift == 0 {
		return w.means(exprs...)
	}
	w.opt(false, pick(b.u8(12), "--left-shift-mark", "--right-shift-mark"), "%d", shift)
	if mode == 0 {
		return w.textOnly() // a shift of what is left of the old mark too
	}
	return w.means(exprs...)
}

// shifted moves a mark in register 1; nothing for no bits.
func shifted(bits byte, right bool) []schema.Expr {
	op := "lshift"
	if right {
		op = "rshift"
	}
	if bits == 0 {
		return nil
	}
	return []schema.Expr{{Name: "bitwise", SReg: 1, DReg: 1, Len: 4, Op: op, Data: host32(uint32(bits))}}
}

// mixMarks writes a mark from the masked bits of another and from what the mask leaves of its own.
func mixMarks(from schema.Expr, fromMask uint32, shift []schema.Expr, own schema.Expr, ownMask uint32, store schema.Expr) []schema.Expr {
	exprs := []schema.Expr{from}
	if fromMask != 0xffffffff {
		exprs = append(exprs, mask(host32(fromMask)))
	}
	exprs = append(exprs, shift...)
	if ownMask != 0xffffffff {
		own.DReg = 2
		keep := mask(host32(^ownMask))
		keep.SReg, keep.DReg = 2, 2
		exprs = append(exprs, own, keep, schema.Expr{Name: "bitwise", SReg: 1, SReg2: 2, DReg: 1, Len: 4, Op: "xor"})
	}
	return append(exprs, store)
}

// mssTarget is struct xt_tcpmss_info.
func mssTarget(b blob) result {
	var w words
	if mss := b.u16(0); mss == 0xffff {
		w.flag(true, "--clamp-mss-to-pmtu")
	} else {
		w.opt(false, "--set-mss", "%d", mss)
	}
	return w.noVerdict("TCPMSS")
}

func checksum(b blob) result {
	var w words
	w.flag(b.u8(0)&1 != 0, "--checksum-fill")
	return w.noVerdict("CHECKSUM")
}

func classify(b blob) result {
	var w words
	w.opt(false, "--set-class", "%04x:%04x", b.u32(0)>>16, b.u32(0)&0xffff)
	return w.noVerdict("CLASSIFY")
}

func dscpTarget(b blob) result {
	var w words
	w.opt(false, "--set-dscp", "0x%02x", b.u8(0))
	return w.means(setDS(b, 0x03, b.u8(0)<<2)...)
}

func tosTarget(b blob) result {
	var w words
	w.opt(false, "--set-tos", "0x%02x/0x%02x", b.u8(0), b.u8(1))
	return w.means(setDS(b, ^b.u8(1), b.u8(0))...)
}

// setDS writes TOS or traffic class: the old bits of keep, exclusive or set.
func setDS(b blob, keep, set byte) []schema.Expr {
	off, n, m, x := uint32(1), uint32(1), []byte{keep}, []byte{set}
	if b.ip6 {
		off, n, m, x = 0, 2, []byte{0xf0 | keep>>4, keep<<4 | 0x0f}, []byte{set >> 4, set << 4}
	}
	return rewrite("network", off, n, m, x)
}

// rewrite changes bytes of a header: the old bits of keep, exclusive or set. Checksums follow by themselves.
func rewrite(base string, off, n uint32, keep, set []byte) []schema.Expr {
	m := mask(keep)
	m.Data2 = set
	return []schema.Expr{payload(base, off, n), m, {Name: "payload_w", Base: base, Offset: off, Len: n, SReg: 1}}
}

// hopsTarget is struct ipt_TTL_info and ip6t_HL_info.
func hopsTarget(option string) func(b blob) result {
	return func(b blob) result {
		var w words
		op := pick(b.u8(0), "set", "inc", "dec")
		w.opt(false, "--"+option+"-"+op, "%d", b.u8(1))
		return w.means(schema.Expr{Name: "hops", Op: op, Data: []byte{b.u8(1)}})
	}
}

// tee is struct xt_tee_tginfo: a copy goes elsewhere, the packet goes on.
func tee(b blob) result {
	var w words
	w.opt(false, "--gateway", "%s", b.addr(0))
	if oif := b.str(16, 16); oif != "" {
		w.opt(false, "--oif", "%s", oif)
	}
	return w.noVerdict("TEE")
}

func audit(b blob) result {
	var w words
	w.opt(false, "--type", "%s", pick(b.u8(0), "accept", "drop", "reject"))
	return w.noVerdict("AUDIT")
}

func trace(blob) result { return new(words).noVerdict("TRACE") }

func notrack(blob) result { return new(words).means(schema.Expr{Name: "notrack"}) }

// ctTarget is struct xt_ct_target_info and _v1. A zone changes which connections are known: opaque.
func ctTarget(b blob) result {
	var w words
	flags, zone := b.u16(0), b.u16(2)
	if flags&ctNotrackAlias != 0 {
		return w.means(schema.Expr{Name: "notrack"})
	}
	if flags&1 != 0 {
		w.flag(true, "--notrack")
		return w.means(schema.Expr{Name: "notrack"})
	}
	if h := b.str(12, 16); h != "" {
		w.opt(false, "--helper", "%s", h)
	}
	if b.rev > 0 {
		if t := b.str(28, 32); t != "" {
			w.opt(false, "--timeout", "%s", t)
		}
	}
	if e := b.u32(4); e != 0 {
		w.opt(false, "--ctevents", "%s", eventNames(e, ctEvents))
	}
	if e := b.u32(8); e != 0 {
		w.opt(false, "--expevents", "%s", eventNames(e, []string{"new"}))
	}
	option := "--zone"
	switch {
	case flags&4 != 0:
		option = "--zone-orig"
	case flags&8 != 0:
		option = "--zone-reply"
	}
	switch {
	case flags&0x10 != 0:
		w.opt(false, option, "mark")
	case zone != 0:
		w.opt(false, option, "%d", zone)
	default:
		return w.noVerdict("CT")
	}
	return w.textOnly()
}

// nfqueue is struct xt_NFQ_info to _v3.
func nfqueue(b blob) result {
	var w words
	num, total, flags := b.u16(0), uint16(1), uint16(0)
	if b.rev > 0 {
		total = b.u16(2)
	}
	if b.rev > 1 {
		flags = b.u16(4)
	}
	if total > 1 {
		w.opt(false, "--queue-balance", "%d:%d", num, uint32(num)+uint32(total)-1)
	} else {
		w.opt(false, "--queue-num", "%d", num)
	}
	w.flag(flags&1 != 0, "--queue-bypass")
	w.flag(flags&2 != 0, "--queue-cpu-fanout")
	return w.means(schema.Expr{Name: "queue", Type: uint32(num), Code: uint32(total), Flags: uint32(flags)})
}

// tproxy is struct xt_tproxy_target_info_v1.
func tproxy(b blob) result {
	var w words
	w.opt(false, "--on-port", "%d", b.be16(24))
	if a := b.addr(8); !a.IsUnspecified() {
		w.opt(false, "--on-ip", "%s", a)
	}
	w.opt(false, "--tproxy-mark", "0x%x/0x%x", b.u32(4), b.u32(0))
	return w.textOnly()
}

// addrPort writes a NAT range: "1.2.3.4-1.2.3.9:100-200", "[fd00::1-fd00::9]:80", ":8080".
func addrPort(flags uint32, from, to netip.Addr, first, last uint16) string {
	var s string
	hasPort := flags&natProtoSpecified != 0
	if flags&natMapIPs != 0 {
		s = from.String()
		if from != to {
			s += "-" + to.String()
		}
		if hasPort && from.Is6() {
			s = "[" + s + "]"
		}
	}
	if hasPort {
		s += fmt.Sprintf(":%d", first)
		if first != last {
			s += fmt.Sprintf("-%d", last)
		}
	}
	return s
}
