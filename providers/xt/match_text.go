package xt

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/vmnet/vmnet/schema"
)

// The matches here stay opaque: they count, remember, draw lots, ask the clock, or look where bytecode cannot. Only their
// texts are made.

// limit is struct xt_rateinfo.
func limit(b blob) result {
	var w words
	w.opt(false, "--limit", "%s", rate(uint64(b.u32(0)), 10000))
	if burst := b.u32(4); burst != 5 {
		w.opt(false, "--limit-burst", "%d", burst)
	}
	return w.textOnly()
}

// rate writes a period, in 1/scale seconds, in the largest unit that divides it well (print_rate in libxt_limit.c).
func rate(period, scale uint64) string {
	units := rateUnits(scale)
	if period == 0 {
		return "0/sec"
	}
	i := 1
	for ; i < len(units); i++ {
		if period > units[i].period || units[i].period/period < units[i].period%period {
			break
		}
	}
	return fmt.Sprintf("%d/%s", units[i-1].period/period, units[i-1].name)
}

type rateUnit struct {
	name   string
	period uint64
}

func rateUnits(scale uint64) []rateUnit {
	return []rateUnit{{"day", 86400 * scale}, {"hour", 3600 * scale}, {"min", 60 * scale}, {"sec", scale}}
}

// recent is struct xt_recent_mtinfo and _v1.
func recent(b blob) result {
	var w words
	m, not := b.u8(8), b.u8(9) != 0
	for _, o := range []struct {
		bit  byte
		name string
	}{{2, "--set"}, {1, "--rcheck"}, {4, "--update"}, {8, "--remove"}} {
		if m&o.bit != 0 {
			w.opt(not, o.name, "")
		}
	}
	if s := b.u32(0); s != 0 {
		w.opt(false, "--seconds", "%d", s)
	}
	w.flag(m&0x20 != 0, "--reap")
	if n := b.u32(4); n != 0 {
		w.opt(false, "--hitcount", "%d", n)
	}
	w.flag(m&0x10 != 0, "--rttl")
	if name := b.str(10, 200); name != "" {
		w.opt(false, "--name", "%s", name)
	}
	if b.rev == 1 {
		w.opt(false, "--mask", "%s", b.addr(212))
	}
	if b.u8(210) == 0 {
		w.flag(true, "--rsource")
	} else {
		w.flag(true, "--rdest")
	}
	return w.textOnly()
}

// statistic is struct xt_statistic_info.
func statistic(b blob) result {
	var w words
	not := b.u16(2)&1 != 0
	if b.u16(0) == 0 {
		w.opt(false, "--mode", "random")
		w.opt(not, "--probability", "%.11f", float64(b.u32(4))/0x80000000)
		return w.textOnly()
	}
	w.opt(false, "--mode", "nth")
	w.opt(not, "--every", "%d", uint64(b.u32(4))+1)
	w.opt(false, "--packet", "%d", b.u32(8))
	return w.textOnly()
}

// connlimit is struct xt_connlimit_info, revision 1.
func connlimit(b blob) result {
	var w words
	flags := b.u32(20)
	name := "--connlimit-above"
	if flags&1 != 0 {
		name = "--connlimit-upto"
	}
	w.opt(false, name, "%d", b.u32(16))
	ones := 0
	for _, x := range b.at(0, b.addrLen()) {
		ones += bits.OnesCount8(x)
	}
	w.opt(false, "--connlimit-mask", "%d", ones)
	if flags&2 != 0 {
		w.flag(true, "--connlimit-daddr")
	} else {
		w.flag(true, "--connlimit-saddr")
	}
	return w.textOnly()
}

// str is struct xt_string_info.
func str(b blob) result {
	var w words
	flags := b.u8(149)
	not := flags&1 != 0
	pattern := b.at(20, min(int(b.u8(148)), 128))
	if isText(pattern) {
		w.opt(not, "--string", "%s", `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(pattern))+`"`)
	} else {
		w.opt(not, "--hex-string", `"|%x|"`, pattern)
	}
	w.opt(false, "--algo", "%s", b.str(4, 16))
	if from := b.u16(0); from != 0 {
		w.opt(false, "--from", "%d", from)
	}
	if to := b.u16(2); to != 0xffff && to != 0 {
		w.opt(false, "--to", "%d", to)
	}
	w.flag(b.rev == 1 && flags&2 != 0, "--icase")
	return w.textOnly()
}

func isText(p []byte) bool {
	for _, c := range p {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return len(p) == 0 || p[len(p)-1] != '\\'
}

// timeOfDay is struct xt_time_info.
func timeOfDay(b blob) result {
	var w words
	start, stop := b.u32(8), b.u32(12)
	if start != 0 || stop != 24*60*60-1 {
		w.opt(false, "--timestart", "%s", clock(start))
		w.opt(false, "--timestop", "%s", clock(stop))
	}
	if days := b.u32(16); days != 0xfffffffe {
		var list []string
		for d := 1; d <= 31; d++ {
			if days&(1<<d) != 0 {
				list = append(list, strconv.Itoa(d))
			}
		}
		w.opt(false, "--monthdays", "%s", strings.Join(list, ","))
	}
	if days := b.u8(20); days != 0xfe {
		var list []string
		for i, name := range []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"} {
			if days&(2<<i) != 0 {
				list = append(list, name)
			}
		}
		w.opt(false, "--weekdays", "%s", strings.Join(list, ","))
	}
	const layout = "2006-01-02T15:04:05"
	if from := b.u32(0); from != 0 {
		w.opt(false, "--datestart", "%s", time.Unix(int64(from), 0).UTC().Format(layout))
	}
	if to := b.u32(4); to != 0 {
		w.opt(false, "--datestop", "%s", time.Unix(int64(to), 0).UTC().Format(layout))
	}
	w.flag(b.u8(21)&1 != 0, "--kerneltz")
	w.flag(b.u8(21)&2 != 0, "--contiguous")
	return w.textOnly()
}

func clock(s uint32) string { return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60) }

// quota is struct xt_quota_info.
func quota(b blob) result {
	var w words
	w.opt(b.u32(0)&1 != 0, "--quota", "%d", b.u64(8))
	return w.textOnly()
}

// helper is struct xt_helper_info.
func helper(b blob) result {
	var w words
	name := b.str(4, 30)
	w.opt(b.u32(0) != 0, "--helper", "%s", name)
	return w.textOnly()
}

// devgroup is struct xt_devgroup_info: numbers of groups of links.
func devgroup(b blob) result {
	var w words
	var exprs []schema.Expr
	flags := b.u32(0)
	add := func(option, key string, not bool, off int) {
		group, m := b.u32(off), b.u32(off+4)
		w.opt(not, option, "%s", Mark(group, m))
		exprs = append(exprs, masked(meta(key), not, host32(group), host32(m))...)
	}
	if flags&1 != 0 {
		add("--src-group", "iifgroup", flags&2 != 0, 4)
	}
	if flags&4 != 0 {
		add("--dst-group", "oifgroup", flags&8 != 0, 12)
	}
	return w.means(exprs...)
}

// connbytes is struct xt_connbytes_info; a range the wrong way round is a negation.
func connbytes(b blob) result {
	var w words
	from, to := b.u64(0), b.u64(8)
	not := from > to
	if not {
		from, to = to, from
	}
	if to == 1<<64-1 {
		w.opt(not, "--connbytes", "%d", from)
	} else {
		w.opt(not, "--connbytes", "%d:%d", from, to)
	}
	w.opt(false, "--connbytes-mode", "%s", pick(b.u8(16), "packets", "bytes", "avgpkt"))
	w.opt(false, "--connbytes-dir", "%s", pick(b.u8(17), "original", "reply", "both"))
	return w.textOnly()
}

// pick names the n-th of a list.
func pick(n byte, names ...string) string {
	if int(n) < len(names) {
		return names[n]
	}
	return strconv.FormatUint(uint64(n), 10)
}

// socket is struct xt_socket_mtinfo1 to 3.
func socket(b blob) result {
	var w words
	if b.rev == 0 {
		return w.textOnly()
	}
	flags := b.u8(0)
	w.flag(flags&1 != 0, "--transparent")
	w.flag(flags&2 != 0, "--nowildcard")
	w.flag(flags&4 != 0, "--restore-skmark")
	return w.textOnly()
}

// u32Match is struct xt_u32: up to 11 tests of 180 bytes each, their number and the negation.
func u32Match(b blob) result {
	const testSize, most = 180, 11
	var tests []string
	for i := range min(int(b.u8(most*testSize)), most) {
		tests = append(tests, u32Test(b, i*testSize, most))
	}
	var w words
	w.opt(b.u8(most*testSize+1) != 0, "--u32", `"%s"`, strings.Join(tests, "&&"))
	return w.textOnly()
}

// u32Test is struct xt_u32_test: where to look, eight bytes a step, and what to find there, eight bytes a range.
func u32Test(b blob, off, most int) string {
	var s strings.Builder
	fmt.Fprintf(&s, "0x%x", b.u32(off))
	for i := 1; i < min(int(b.u8(off+16*most)), most); i++ {
		s.WriteString(pick(b.u8(off+8*i+4), "&", "<<", ">>", "@") + fmt.Sprintf("0x%x", b.u32(off+8*i)))
	}
	values := off + 8*most
	for i := range min(int(b.u8(off+16*most+1)), most) {
		sep := ","
		if i == 0 {
			sep = "="
		}
		from, to := b.u32(values+8*i), b.u32(values+8*i+4)
		s.WriteString(sep + fmt.Sprintf("0x%x", from))
		if from != to {
			fmt.Fprintf(&s, ":0x%x", to)
		}
	}
	return s.String()
}
