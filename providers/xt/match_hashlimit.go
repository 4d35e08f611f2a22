package xt

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The bits of hashlimit's mode (uapi/linux/netfilter/xt_hashlimit.h).
const (
	hashlimitInvert = 1 << 4
	hashlimitBytes  = 1 << 5
	hashlimitRate   = 1 << 6
)

// hashlimitConfig is struct hashlimit_cfg1 to 3.
type hashlimitConfig struct {
	avg, burst, scale                       uint64
	mode, size, limit, gc, expire, interval uint32
	srcMask, dstMask                        byte
	name                                    string
}

func hashlimitOf(b blob) hashlimitConfig {
	if b.rev == 1 {
		return hashlimitConfig{
			avg: uint64(b.u32(20)), burst: uint64(b.u32(24)), scale: 10000, mode: b.u32(16), size: b.u32(28), limit: b.u32(32),
			gc: b.u32(36), expire: b.u32(40), srcMask: b.u8(44), dstMask: b.u8(45), name: b.str(0, 16), interval: 1,
		}
	}
	c := hashlimitConfig{
		avg: b.u64(256), burst: b.u64(264), scale: 1000000, mode: b.u32(272), size: b.u32(276), limit: b.u32(280),
		gc: b.u32(284), expire: b.u32(288), srcMask: b.u8(292), dstMask: b.u8(293), name: b.str(0, 255), interval: 1,
	}
	if b.rev == 3 {
		c.interval, c.srcMask, c.dstMask = b.u32(292), b.u8(296), b.u8(297)
	}
	return c
}

// hashlimit is struct xt_hashlimit_mtinfo1 to 3.
func hashlimit(b blob) result {
	var w words
	c := hashlimitOf(b)
	option := "--hashlimit-upto"
	if c.mode&hashlimitInvert != 0 {
		option = "--hashlimit-above"
	}
	quantum := c.rate(&w, option)
	c.modeWords(&w)
	w.opt(false, "--hashlimit-name", "%s", c.name)
	c.tableWords(&w, quantum)
	full := byte(8 * b.addrLen())
	if c.srcMask != full {
		w.opt(false, "--hashlimit-srcmask", "%d", c.srcMask)
	}
	if c.dstMask != full {
		w.opt(false, "--hashlimit-dstmask", "%d", c.dstMask)
	}
	if c.mode&hashlimitRate != 0 && b.rev == 3 {
		w.flag(true, "--hashlimit-rate-match")
		if c.interval != 1 {
			w.opt(false, "--hashlimit-rate-interval", "%d", c.interval)
		}
	}
	return w.textOnly()
}

// rate writes the rate and the burst, and returns the default of --hashlimit-htable-expire: one unit of the rate, in milliseconds.
func (c hashlimitConfig) rate(w *words, option string) (quantum uint32) {
	if c.mode&hashlimitBytes != 0 {
		return c.byteRate(w, option)
	}
	text := rate(c.avg, c.scale)
	w.opt(false, option, "%s", text)
	w.opt(false, "--hashlimit-burst", "%d", c.burst)
	_, unit, _ := strings.Cut(text, "/")
	for _, u := range rateUnits(c.scale) {
		if u.name == unit {
			return uint32(u.period / c.scale * 1000)
		}
	}
	return 0
}

// byteRate writes a rate in bytes. It is kept as a cost, 2^32 / (bytes / 16 + 1), from which the tool guesses the number that was asked
// for: the roundest that costs the same.
func (c hashlimitConfig) byteRate(w *words, option string) (quantum uint32) {
	const shift = 4 // XT_HASHLIMIT_BYTE_SHIFT
	perSecond := uint64(math.MaxUint32)
	if c.avg != 0 {
		perSecond = math.MaxUint32 / c.avg
	}
	perSecond = (perSecond - 1) << shift
	cost := func(n uint64) uint64 { return math.MaxUint32 / (n>>shift + 1) }
	w.opt(false, option, "%sb/s", byteUnit(perSecond, func(unit uint64) bool { return cost(perSecond&^(unit-1)) == c.avg }))
	if c.burst == 0 {
		return 15 * 1000 // XT_HASHLIMIT_BYTE_EXPIRE
	}
	w.opt(false, "--hashlimit-burst", "%sb", byteUnit(perSecond*c.burst, func(uint64) bool { return true }))
	return 60 * 1000 // XT_HASHLIMIT_BYTE_EXPIRE_BURST
}

// byteUnit writes n in the largest unit that fits.
func byteUnit(n uint64, fits func(unit uint64) bool) string {
	switch {
	case n >= 1<<20 && fits(1<<20):
		return fmt.Sprintf("%dm", n>>20)
	case n >= 1<<10 && fits(1<<10):
		return fmt.Sprintf("%dk", n>>10)
	}
	return strconv.FormatUint(n, 10)
}

func (c hashlimitConfig) modeWords(w *words) {
	var modes []string
	for _, m := range []struct {
		bit  uint32
		name string
	}{{4, "srcip"}, {8, "srcport"}, {1, "dstip"}, {2, "dstport"}} {
		if c.mode&m.bit != 0 {
			modes = append(modes, m.name)
		}
	}
	if len(modes) > 0 {
		w.opt(false, "--hashlimit-mode", "%s", strings.Join(modes, ","))
	}
}

func (c hashlimitConfig) tableWords(w *words, quantum uint32) {
	if c.size != 0 {
		w.opt(false, "--hashlimit-htable-size", "%d", c.size)
	}
	if c.limit != 0 {
		w.opt(false, "--hashlimit-htable-max", "%d", c.limit)
	}
	if c.gc != 1000 {
		w.opt(false, "--hashlimit-htable-gcinterval", "%d", c.gc)
	}
	if c.expire != quantum {
		w.opt(false, "--hashlimit-htable-expire", "%d", c.expire)
	}
}
