package xt

import (
	"fmt"
	"strings"
)

// Flags of uapi/linux/netfilter/ipset/ip_set.h.
const (
	ipsetInvert        = 1 << 0 // IPSET_INV_MATCH, in struct xt_set_info
	ipsetReturnNomatch = 1 << 7 // IPSET_FLAG_RETURN_NOMATCH; in struct xt_set_info before revision 3

	ipsetExist       = 1 << 0
	ipsetSkipCounter = 1 << 3
	ipsetSkipSub     = 1 << 4
	ipsetMapMark     = 1 << 8
	ipsetMapPrio     = 1 << 9
	ipsetMapQueue    = 1 << 10

	ipsetNone = 0xffff // IPSET_INVALID_ID
)

// ipset writes struct xt_set_info: the name and the directions. The struct holds the number of the set; where its name is not known,
// "#3" stands for it, which iptables would not take for a name.
func ipset(b blob, off int) string {
	name := ""
	if b.sets != nil {
		name = b.sets.Name(b.u16(off))
	}
	if name == "" {
		name = fmt.Sprintf("#%d", b.u16(off))
	}
	flags := b.u8(off + 3)
	var dirs []string
	for i := range min(int(b.u8(off+2)), 6) {
		if flags&(1<<(i+1)) != 0 {
			dirs = append(dirs, "src")
		} else {
			dirs = append(dirs, "dst")
		}
	}
	return name + " " + strings.Join(dirs, ",")
}

// set is struct xt_set_info_match_v1 to v4. What the set holds is not in the rule; where it can be asked for, and does not come and go,
// the match has an equal.
func set(b blob) result {
	var w words
	not, flags := b.u8(3)&ipsetInvert != 0, uint32(b.u8(3))
	w.opt(not, "--match-set", "%s", ipset(b, 0))
	if b.rev >= 3 {
		flags = b.u32(40)
	}
	w.flag(flags&ipsetReturnNomatch != 0, "--return-nomatch")
	plain := flags&ipsetReturnNomatch == 0
	if b.rev >= 3 {
		plain = setCounters(&w, b, flags) && plain
	}
	members, ok := setMembers(b)
	switch {
	case !plain || !ok:
		return w.textOnly()
	case not:
		return w.none(members...)
	case len(members) == 1:
		return w.means(members[0]...)
	}
	return w.any(members...)
}

// setCounters writes what revisions 3 and 4 say of counters, and tells whether none is asked.
func setCounters(w *words, b blob, flags uint32) (none bool) {
	none = true
	if flags&ipsetSkipCounter != 0 {
		w.opt(true, "--update-counters", "")
	}
	if flags&ipsetSkipSub != 0 {
		w.opt(true, "--update-subcounters", "")
	}
	op, value := 0, 8 // struct ip_set_counter_match0
	if b.rev >= 4 {
		op, value = 8, 0 // struct ip_set_counter_match
	}
	for i, name := range []string{"packets", "bytes"} {
		at := 8 + 16*i
		n, how := b.u64(at+value), b.u8(at+op)
		none = none && how == 0
		switch how {
		case 1, 2:
			w.opt(how == 2, "--"+name+"-eq", "%d", n)
		case 3:
			w.opt(false, "--"+name+"-lt", "%d", n)
		case 4:
			w.opt(false, "--"+name+"-gt", "%d", n)
		}
	}
	return none
}

// setTarget is struct xt_set_info_target_v1 to v3: it writes into sets, and the packet goes on. Where it maps, it sets the mark.
func setTarget(b blob) result {
	var w words
	flags, timeout, maps := uint32(0), uint32(0xffffffff), false
	switch b.rev {
	case 2:
		flags, timeout = b.u32(8), b.u32(12)
	case 3:
		flags, timeout, maps = b.u32(12), b.u32(16), b.u16(8) != ipsetNone
	}
	if b.u16(0) != ipsetNone {
		w.opt(false, "--add-set", "%s", ipset(b, 0))
	}
	w.flag(flags&ipsetExist != 0, "--exist")
	if timeout != 0xffffffff {
		w.opt(false, "--timeout", "%d", timeout)
	}
	if b.u16(4) != ipsetNone {
		w.opt(false, "--del-set", "%s", ipset(b, 4))
	}
	if maps {
		w.opt(false, "--map-set", "%s", ipset(b, 8))
	}
	w.flag(flags&ipsetMapMark != 0, "--map-mark")
	w.flag(flags&ipsetMapPrio != 0, "--map-prio")
	w.flag(flags&ipsetMapQueue != 0, "--map-queue")
	if b.sets != nil {
		b.sets.write(b.u16(0))
		b.sets.write(b.u16(4))
	}
	if maps {
		return w.textOnly()
	}
	return w.noVerdict("SET")
}
