package xt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
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
	if b.setName != nil {
		name = b.setName(b.u16(off))
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

// set is struct xt_set_info_match_v1 to v4: what the set holds is not in the rule, so it stays opaque.
func set(b blob) result {
	var w words
	flags := uint32(b.u8(3))
	w.opt(flags&ipsetInvert != 0, "--match-set", "%s", ipset(b, 0))
	if b.rev >= 3 {
		flags = b.u32(40)
	}
	w.flag(flags&ipsetReturnNomatch != 0, "--return-nomatch")
	if b.rev < 3 {
		return w.textOnly()
	}
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
		switch n := b.u64(at + value); b.u8(at + op) {
		case 1, 2:
			w.opt(b.u8(at+op) == 2, "--"+name+"-eq", "%d", n)
		case 3:
			w.opt(false, "--"+name+"-lt", "%d", n)
		case 4:
			w.opt(false, "--"+name+"-gt", "%d", n)
		}
	}
	return w.textOnly()
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
	if maps {
		return w.textOnly()
	}
	return w.noVerdict("SET")
}

// SetNames asks the kernel for the names of ipsets, once each. The zero SetNames is ready; it must be used in one network namespace.
type SetNames struct{ known map[uint16]string }

// Name is the name of the set with that number; "" when there is none, or when it must not be asked for. Nothing is loaded: a kernel
// without sets does not know the question (getsockopt(2) SO_IP_SET, net/netfilter/ipset/ip_set_core.c).
func (n *SetNames) Name(index uint16) string {
	if name, ok := n.known[index]; ok {
		return name
	}
	if n.known == nil {
		n.known = map[uint16]string{}
	}
	n.known[index] = askSetName(index)
	return n.known[index]
}

func askSetName(index uint16) string {
	const soIPSet, opVersion, opByIndex, nameLen = 83, 0x100, 7, 32
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	ask := func(req []byte) bool {
		size := uint32(len(req))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_IP, soIPSet,
			uintptr(unsafe.Pointer(&req[0])), uintptr(unsafe.Pointer(&size)), 0)
		return errno == 0
	}
	version := make([]byte, 8)
	binary.NativeEndian.PutUint32(version, opVersion)
	if !ask(version) {
		return ""
	}
	req := make([]byte, 8+nameLen)
	binary.NativeEndian.PutUint32(req, opByIndex)
	copy(req[4:8], version[4:8])
	binary.NativeEndian.PutUint16(req[8:], index)
	if !ask(req) {
		return ""
	}
	name, _, _ := bytes.Cut(req[8:], []byte{0})
	return string(name)
}
