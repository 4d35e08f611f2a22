package xt

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// ctEvents are the names of libxt_CT, by the number of the event (IPCT_* in uapi/linux/netfilter/nf_conntrack_common.h).
var ctEvents = []string{"new", "related", "destroy", "reply", "assured", "protoinfo", "helper", "mark", "natseqinfo", "secmark"}

func eventNames(mask uint32, names []string) string {
	var list []string
	for i, name := range names {
		if mask&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, ",")
}

// connsecmark is struct xt_connsecmark_target_info.
func connsecmark(b blob) result {
	var w words
	w.flag(true, pick(b.u8(0), "", "--save", "--restore"))
	return w.noVerdict("CONNSECMARK")
}

// secmark is struct xt_secmark_target_info; the context stands at off.
func secmark(off int) func(b blob) result {
	return func(b blob) result {
		var w words
		w.opt(false, "--selctx", "%s", b.str(off, 256))
		return w.noVerdict("SECMARK")
	}
}

// npt is struct ip6t_npt_tginfo of SNPT and DNPT, which translate prefixes without conntrack (ip6t_NPT.c).
func npt(b blob) result {
	var w words
	for i, name := range []string{"--src-pfx", "--dst-pfx"} {
		prefix, ones := b.at(16*i, 16), b.u8(32+i)
		if len(bytes.Trim(prefix, "\x00")) > 0 || ones != 0 {
			w.opt(false, name, "%s/%d", addrOf(prefix), ones)
		}
	}
	return w.textOnly()
}

// ecnTarget is struct ipt_ECN_info.
func ecnTarget(b blob) result {
	var w words
	const setIP, setECE, setCWR = 0x01, 0x10, 0x20
	op, bits := b.u8(0), b.u8(2)
	var exprs []schema.Expr
	keep, set := byte(0xff), byte(0)
	if op == setECE|setCWR && bits&3 == 0 {
		w.flag(true, "--ecn-tcp-remove")
		return w.means(rewrite("transport", 13, 1, []byte{0x3f}, []byte{0})...)
	}
	if op&setECE != 0 {
		w.opt(false, "--ecn-tcp-ece", "%d", bits&1)
		keep, set = keep&^0x40, set|bits&1<<6
	}
	if op&setCWR != 0 {
		w.opt(false, "--ecn-tcp-cwr", "%d", bits>>1&1)
		keep, set = keep&^0x80, set|bits>>1&1<<7
	}
	if keep != 0xff {
		exprs = rewrite("transport", 13, 1, []byte{keep}, []byte{set})
	}
	if op&setIP != 0 {
		w.opt(false, "--ecn-ip-ect", "%d", b.u8(1))
		exprs = append(exprs, setDS(b, 0xfc, b.u8(1))...)
	}
	return w.means(exprs...)
}

// The flags of struct xt_hmark_info.
const (
	hmarkSrcMask = 1 << iota
	hmarkDstMask
	hmarkSPI
	hmarkSPIMask
	hmarkSport
	hmarkDport
	hmarkSportMask
	hmarkDportMask
	hmarkProtoMask
	hmarkRnd
	hmarkModulus
	hmarkOffset
	hmarkCT
)

// hmark is struct xt_hmark_info: a mark from a hash of the addresses and ports.
func hmark(b blob) result {
	var w words
	flags := b.u32(40)
	be32 := func(off int) uint32 { return uint32(b.be16(off))<<16 | uint32(b.be16(off+2)) }
	srcBits, _ := maskBits(b.at(0, b.addrLen()))
	dstBits, _ := maskBits(b.at(16, b.addrLen()))
	for _, o := range []struct {
		bit         uint32
		name, value string
	}{
		{hmarkSrcMask, "src-prefix", strconv.Itoa(srcBits)},
		{hmarkDstMask, "dst-prefix", strconv.Itoa(dstBits)},
		{hmarkSportMask, "sport-mask", fmt.Sprintf("0x%04x", b.be16(32))},
		{hmarkDportMask, "dport-mask", fmt.Sprintf("0x%04x", b.be16(34))},
		{hmarkSPIMask, "spi-mask", fmt.Sprintf("0x%08x", be32(32))},
		{hmarkSport, "sport", fmt.Sprintf("0x%04x", b.be16(36))},
		{hmarkDport, "dport", fmt.Sprintf("0x%04x", b.be16(38))},
		{hmarkSPI, "spi", fmt.Sprintf("0x%08x", be32(36))},
		{hmarkProtoMask, "proto-mask", fmt.Sprintf("0x%02x", b.u16(44))},
		{hmarkRnd, "rnd", fmt.Sprintf("0x%08x", b.u32(48))},
		{hmarkModulus, "mod", strconv.FormatUint(uint64(b.u32(52)), 10)},
		{hmarkOffset, "offset", strconv.FormatUint(uint64(b.u32(56)), 10)},
		{hmarkCT, "tuple", "ct"},
	} {
		if flags&o.bit != 0 {
			w.opt(false, "--hmark-"+o.name, "%s", o.value)
		}
	}
	return w.textOnly()
}

// idletimer is struct idletimer_tg_info and _v1.
func idletimer(b blob) result {
	var w words
	w.opt(false, "--timeout", "%d", b.u32(0))
	w.opt(false, "--label", "%s", b.str(4, 28))
	w.flag(b.rev == 1 && b.u8(33)&1 != 0, "--alarm")
	return w.noVerdict("IDLETIMER")
}

// led is struct xt_led_info.
func led(b blob) result {
	var w words
	id := strings.TrimPrefix(b.str(0, 27), "netfilter-")
	w.opt(false, "--led-trigger-id", `"%s"`, strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(id))
	switch delay := int32(b.u32(28)); {
	case delay > 0:
		w.opt(false, "--led-delay", "%d", delay)
	case delay == -1:
		w.opt(false, "--led-delay", "inf")
	}
	w.flag(b.u8(27) != 0, "--led-always-blink")
	return w.noVerdict("LED")
}

// rateestTarget is struct xt_rateest_target_info: it measures. The times are powers of two of a quarter of a second.
func rateestTarget(b blob) result {
	var w words
	interval := float64(1000) / 4 * pow2(int(int8(b.u8(16)))+2)
	w.opt(false, "--rateest-name", "%s", b.str(0, 16))
	w.opt(false, "--rateest-interval", "%s", milliseconds(interval))
	w.opt(false, "--rateest-ewmalog", "%s", milliseconds(interval*pow2(int(b.u8(17)))))
	return w.noVerdict("RATEEST")
}

func pow2(n int) float64 {
	v := 1.0
	for ; n > 0; n-- {
		v *= 2
	}
	return v
}

func milliseconds(ms float64) string {
	if ms >= 1000 {
		return fmt.Sprintf("%.1fs", ms/1000)
	}
	return fmt.Sprintf("%.1fms", ms)
}

// synproxy is struct xt_synproxy_info: it answers in the server's place.
func synproxy(b blob) result {
	var w words
	options := b.u8(0)
	w.flag(options&0x04 != 0, "--sack-perm")
	w.flag(options&0x08 != 0, "--timestamp")
	if options&0x02 != 0 {
		w.opt(false, "--wscale", "%d", b.u8(1))
	}
	if options&0x01 != 0 {
		w.opt(false, "--mss", "%d", b.u16(2))
	}
	w.flag(options&0x10 != 0, "--ecn")
	return w.textOnly()
}

// tcpoptstrip is struct xt_tcpoptstrip_target_info: a bit for each option.
func tcpoptstrip(b blob) result {
	var w words
	var list []string
	for i := range 256 {
		if b.u32(i/32*4)&(1<<(i%32)) != 0 {
			list = append(list, strconv.Itoa(i))
		}
	}
	if len(list) > 0 {
		w.opt(false, "--strip-options", "%s", strings.Join(list, ","))
	}
	return w.noVerdict("TCPOPTSTRIP")
}
