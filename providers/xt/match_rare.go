package xt

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// Matches that few hosts have: most look where bytecode cannot, so only their texts are made.

// tcpmss is struct xt_tcpmss_match_info. Negated it also matches segments without the option, which break an nft rule.
func tcpmss(b blob) result {
	var w words
	from, to, not := b.u16(0), b.u16(2), b.u8(4) != 0
	w.opt(not, "--mss", "%s", portRange(from, to))
	test := []schema.Expr{{Name: "exthdr", Op: "tcpopt", Type: 2, Offset: 2, Len: 2, DReg: 1}, in(false, net16(from), net16(to))}
	if not {
		return w.none(test)
	}
	return w.means(test...)
}

// cpu is struct xt_cpu_info.
func cpu(b blob) result {
	var w words
	w.opt(b.u32(4) != 0, "--cpu", "%d", b.u32(0))
	return w.means(meta("cpu"), cmp(b.u32(4) != 0, host32(b.u32(0))))
}

// realm is struct xt_realm_info: what the route brought along.
func realm(b blob) result {
	var w words
	w.opt(b.u8(8) != 0, "--realm", "%s", Mark(b.u32(0), b.u32(4)))
	return w.textOnly()
}

// ecn is struct xt_ecn_info.
func ecn(b blob) result {
	var w words
	op, inv := b.u8(0), b.u8(1)
	var exprs []schema.Expr
	for _, o := range []struct {
		bit  byte
		name string
		flag byte
	}{{0x10, "--ecn-tcp-ece", 0x40}, {0x20, "--ecn-tcp-cwr", 0x80}} {
		if op&o.bit == 0 {
			continue
		}
		w.opt(inv&o.bit != 0, o.name, "")
		exprs = append(exprs, payload("transport", 13, 1), mask([]byte{o.flag}), cmp(inv&o.bit == 0, []byte{0}))
	}
	if op&0x01 != 0 {
		w.opt(inv&0x01 != 0, "--ecn-ip-ect", "%d", b.u8(2))
		exprs = append(exprs, dsfield(b, inv&0x01 != 0, b.u8(2), 0x03)...)
	}
	return w.means(exprs...)
}

// The flags of struct xt_policy_info, and its size in elements.
const (
	policyIn     = 1
	policyNone   = 4
	policyStrict = 8

	policyElem = 76
	policyMost = 4
)

// policy is struct xt_policy_info. "none", and "ipsec" that asks for nothing more, are bytecode's "meta ipsec" and "rt ipsec".
func policy(b blob) result {
	var w words
	flags, n := b.u16(304), min(int(b.u16(306)), policyMost)
	load := meta("ipsec")
	if flags&policyIn != 0 {
		w.opt(false, "--dir", "in")
	} else {
		w.opt(false, "--dir", "out")
		load = schema.Expr{Name: "rt", Key: "ipsec", DReg: 1}
	}
	present := byte(1)
	if flags&policyNone != 0 {
		w.opt(false, "--pol", "none")
		present = 0
	} else {
		w.opt(false, "--pol", "ipsec")
	}
	w.flag(flags&policyStrict != 0, "--strict")
	asks := false
	for i := range n {
		asks = asks || b.u8(i*policyElem+74) != 0
		policyWords(&w, blob{b: b.at(i*policyElem, policyElem), ip6: b.ip6})
		w.flag(i+1 < n, "--next")
	}
	if asks || flags&policyStrict != 0 || n > 1 {
		return w.textOnly()
	}
	return w.means(load, cmp(false, []byte{present}))
}

// policyWords writes struct xt_policy_elem.
func policyWords(w *words, e blob) {
	match, inv := e.u8(74), e.u8(75)
	for _, o := range []struct {
		bit         byte
		name, value string
	}{
		{0x20, "--reqid", strconv.FormatUint(uint64(e.u32(68)), 10)},
		{0x10, "--spi", fmt.Sprintf("0x%x", e.u32(64))},
		{0x04, "--proto", ProtocolName(e.u8(72))},
		{0x08, "--mode", pick(e.u8(73), "transport", "tunnel")},
		{0x02, "--tunnel-dst", addrMask(e.addr(32), e.at(48, e.addrLen()))},
		{0x01, "--tunnel-src", addrMask(e.addr(0), e.at(16, e.addrLen()))},
	} {
		if match&o.bit != 0 {
			w.opt(inv&o.bit != 0, o.name, "%s", o.value)
		}
	}
}

// ipcomp is struct xt_ipcomp: the CPI, 16 bits wide.
func ipcomp(b blob) result {
	var w words
	from, to, not := b.u32(0), b.u32(4), b.u8(8)&1 != 0
	var exprs []schema.Expr
	if from != 0 || to != 0xffffffff {
		w.numRange(not, "--ipcompspi", from, to)
		exprs = []schema.Expr{payload("transport", 2, 2), in(not, net16(uint16(from)), net16(uint16(min(to, 0xffff))))}
	}
	w.flag(b.u8(9) != 0, "--compres")
	if from > 0xffff || b.u8(9) != 0 || len(exprs) == 0 && not {
		return w.textOnly()
	}
	return w.means(exprs...)
}

// bpf is struct xt_bpf_info and xt_bpf_info_v1: a program.
func bpf(b blob) result {
	var w words
	n, code := int(b.u16(0)), 4
	if b.rev == 1 {
		n, code = int(b.u16(2)), 8
		if mode := b.u16(0); mode != 0 {
			w.opt(false, "--object-pinned", "%s", b.str(code, 512))
			return w.textOnly()
		}
	}
	n = min(n, 64)
	list := []string{strconv.Itoa(n)}
	for i := range n {
		at := code + 8*i
		list = append(list, fmt.Sprintf("%d %d %d %d", b.u16(at), b.u8(at+2), b.u8(at+3), b.u32(at+4)))
	}
	w.opt(false, "--bytecode", `"%s"`, strings.Join(list, ","))
	return w.textOnly()
}

// cgroup is struct xt_cgroup_info_v0 to v2.
func cgroup(b blob) result {
	var w words
	if b.rev == 0 {
		w.opt(b.u32(4) != 0, "--cgroup", "%d", b.u32(0))
		return w.textOnly()
	}
	path, class := 512, 4
	if b.rev == 1 {
		path, class = 4096, 4100
	}
	if b.u8(0) != 0 {
		w.opt(b.u8(2) != 0, "--path", `"%s"`, b.str(4, path))
	}
	if b.u8(1) != 0 {
		w.opt(b.u8(3) != 0, "--cgroup", "%d", b.u32(class))
	}
	return w.textOnly()
}

// cluster is struct xt_cluster_match_info.
func cluster(b blob) result {
	var w words
	w.opt(b.u32(12)&1 != 0, "--cluster-local-nodemask", "0x%08x", b.u32(4))
	w.opt(false, "--cluster-total-nodes", "%d", b.u32(0))
	w.opt(false, "--cluster-hash-seed", "0x%08x", b.u32(8))
	return w.textOnly()
}

// connlabel is struct xt_connlabel_mtinfo.
func connlabel(b blob) result {
	var w words
	w.opt(b.u16(2)&1 != 0, "--label", `"%d"`, b.u16(0))
	w.flag(b.u16(2)&2 != 0, "--set")
	return w.textOnly()
}

// nfacct is struct nf_acct_info: it counts, and matches everything.
func nfacct(b blob) result {
	var w words
	w.opt(false, "--nfacct-name", "%s", b.str(0, 32))
	return w.means(schema.Expr{Name: "log", Key: "nfacct", Text: w.String()})
}

// osf is struct xt_osf_info.
func osf(b blob) result {
	var w words
	flags := b.u32(36)
	w.opt(flags&8 != 0, "--genre", "%s", b.str(0, 32))
	if flags&2 != 0 {
		w.opt(false, "--ttl", "%d", b.u32(44))
	}
	if flags&4 != 0 {
		w.opt(false, "--log", "%d", b.u32(40))
	}
	return w.textOnly()
}

// The flags of struct xt_rateest_match_info.
const (
	rateestInvert = 1 << 0
	rateestAbs    = 1 << 1
	rateestRel    = 1 << 2
	rateestDelta  = 1 << 3
	rateestBPS    = 1 << 4
	rateestPPS    = 1 << 5
)

// rateest is struct xt_rateest_match_info: it compares measured rates with numbers, or with each other.
func rateest(b blob) result {
	var w words
	flags := b.u16(32)
	mode := func() {
		w.opt(flags&rateestInvert != 0, "--rateest-"+pick(byte(b.u16(34)), "", "eq", "lt", "gt"), "")
	}
	value := func(name, n string, text string) {
		if flags&(rateestAbs|rateestDelta) != 0 {
			w.opt(false, "--rateest-"+name+n, "%s", text)
			return
		}
		w.opt(false, "--rateest-"+name, "")
	}
	rates := func(name, first, second string) {
		if flags&rateestDelta != 0 {
			value(name, "1", first)
			mode()
			value(name, "2", second)
			return
		}
		mode()
		value(name, "", second)
	}
	both := func() {
		if flags&rateestBPS != 0 {
			rates("bps", bitRate(b.u32(36)), bitRate(b.u32(44)))
		}
		if flags&rateestPPS != 0 {
			rates("pps", strconv.FormatUint(uint64(b.u32(40)), 10), strconv.FormatUint(uint64(b.u32(48)), 10))
		}
	}
	if flags&rateestRel == 0 {
		w.flag(flags&rateestDelta != 0, "--rateest-delta")
		w.opt(false, "--rateest", "%s", b.str(0, 16))
		both()
		return w.textOnly()
	}
	w.flag(flags&rateestDelta != 0, "--rateest-delta")
	w.opt(false, "--rateest1", "%s", b.str(0, 16))
	both()
	w.opt(false, "--rateest2", "%s", b.str(16, 16))
	return w.textOnly()
}

// bitRate writes bytes per second as libxt_rateest does.
func bitRate(bytes uint32) string {
	bits := float64(bytes) * 8
	switch {
	case bits >= 1e9:
		return fmt.Sprintf("%.0fMbit", bits/1e6)
	case bits >= 1e6:
		return fmt.Sprintf("%.0fKbit", bits/1e3)
	}
	return fmt.Sprintf("%.0fbit", bits)
}

// sctpChunks are the names of libxt_sctp; the letters are the flags of those that have some.
var sctpChunks = map[int]string{
	0: "DATA", 1: "INIT", 2: "INIT_ACK", 3: "SACK", 4: "HEARTBEAT", 5: "HEARTBEAT_ACK", 6: "ABORT", 7: "SHUTDOWN", 8: "SHUTDOWN_ACK",
	9: "ERROR", 10: "COOKIE_ECHO", 11: "COOKIE_ACK", 12: "ECN_ECNE", 13: "ECN_CWR", 14: "SHUTDOWN_COMPLETE", 64: "I_DATA",
	128: "ASCONF_ACK", 130: "RE_CONFIG", 132: "PAD", 192: "FORWARD_TSN", 193: "ASCONF", 194: "I_FORWARD_TSN",
}

// chunkTypes writes what struct xt_sctp_info says of chunks: how they are matched, which, and their flags.
func chunkTypes(b blob) string {
	how := map[uint32]string{1: "any", 2: "all", 4: "only"}[b.u32(264)]
	var list []string
	all := true
	for typ := range 256 {
		if b.u32(8+typ/32*4)&(1<<(typ%32)) == 0 {
			all = false
			continue
		}
		name := sctpChunks[typ]
		if name == "" {
			name = fmt.Sprintf("[%d]", typ)
		}
		list = append(list, name+chunkFlags(b, typ))
	}
	switch {
	case all:
		return how + " ALL"
	case len(list) == 0:
		return how + " NONE"
	}
	return how + " " + strings.Join(list, ",")
}

// chunkFlags writes the flags of a type: a capital letter for one that must be set, a small one for one that must not.
func chunkFlags(b blob, typ int) string {
	letters := map[int]string{0: "EBUI", 6: "T", 14: "T"}[typ]
	var s strings.Builder
	for i := range min(int(b.u32(280)), 4) {
		at := 268 + 3*i
		if int(b.u8(at)) != typ {
			continue
		}
		for bit := len(letters) - 1; bit >= 0; bit-- {
			if b.u8(at+2)&(1<<bit) == 0 {
				continue
			}
			letter := letters[bit : bit+1]
			if b.u8(at+1)&(1<<bit) == 0 {
				letter = strings.ToLower(letter)
			}
			s.WriteString(letter)
		}
	}
	if s.Len() > 0 {
		return ":" + s.String()
	}
	return ""
}

// dccpTypes are the names of libxt_dccp.
func dccpTypes(mask uint16) string {
	var list []string
	for i, name := range []string{"REQUEST", "RESPONSE", "DATA", "ACK", "DATAACK", "CLOSEREQ", "CLOSE", "RESET", "SYNC", "SYNCACK", "INVALID"} {
		if mask&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, ",")
}
