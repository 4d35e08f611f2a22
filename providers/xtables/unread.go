package xtables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// Unread is a chain at a hook whose rules cannot be read: one rule of which nobody knows what it does.
func Unread(name, hook string, priority int32, text string, devices ...string) *schema.Chain {
	return &schema.Chain{
		Name: name, Type: "filter", Hook: hook, Priority: priority, Policy: "accept", Devices: devices,
		Rules: []*schema.Rule{{Text: text, Exprs: []schema.Expr{{Name: "xttarget", Key: "unread", Text: text}}}},
	}
}

// unread finds who else decides on packets at netfilter's hooks: the legacy tables of ebtables and arptables, and BPF programs. Nothing is
// asked of them that would make them come into being; that they are there is said, so that nobody trusts a promise about their packets.
func unread() ([]*schema.Table, error) {
	modules, err := os.ReadFile("/proc/modules")
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	names, err := tableNames("arp_tables_names")
	if err != nil {
		return nil, err
	}
	var out []*schema.Table
	add := func(t *schema.Table) {
		if len(t.Chains) > 0 {
			t.Legacy = true
			out = append(out, t)
		}
	}
	add(ebtables(string(modules)))
	add(arptables(names))
	for _, t := range bpfPrograms() {
		add(t)
	}
	return out, nil
}

// ebtables looks for the modules of the tables of ebtables-legacy. The kernel has no list of them, and a question about one makes it
// (net/bridge/netfilter/ebtables.c, find_table_lock). Hooks and priorities are those of ebtable_*.c.
func ebtables(modules string) *schema.Table {
	t := &schema.Table{Family: "bridge", Name: "ebtables"}
	for line := range strings.Lines(modules) {
		name, _, _ := strings.Cut(line, " ")
		table, ok := strings.CutPrefix(name, "ebtable_")
		if !ok {
			continue
		}
		for _, h := range ebtablesHooks[table] {
			t.Chains = append(t.Chains, Unread(table+" "+strings.ToUpper(h.hook), h.hook, h.priority, "rules of ebtables-legacy, which cannot be read"))
		}
	}
	return t
}

type hookPriority struct {
	hook     string
	priority int32
}

var ebtablesHooks = map[string][]hookPriority{
	"broute": {{"prerouting", -1 << 31}},
	"nat":    {{"prerouting", -300}, {"output", 100}, {"postrouting", 300}},
	"filter": {{"input", -200}, {"forward", -200}, {"output", 200}},
}

// arptables names the tables of arptables-legacy.
func arptables(names []string) *schema.Table {
	t := &schema.Table{Family: "arp", Name: "arptables"}
	for _, table := range names {
		for _, hook := range []string{"input", "forward", "output"} {
			t.Chains = append(t.Chains, Unread(table+" "+strings.ToUpper(hook), hook, 0, "rules of arptables-legacy, which cannot be read"))
		}
	}
	return t
}

// Numbers of bpf(2): commands, and the kind of link that BPF programs at netfilter's hooks have since Linux 6.4.
const (
	bpfObjInfo  = 15 // BPF_OBJ_GET_INFO_BY_FD
	bpfLinkByID = 30 // BPF_LINK_GET_FD_BY_ID
	bpfNextLink = 31 // BPF_LINK_GET_NEXT_ID

	bpfLinkNetfilter = 10 // BPF_LINK_TYPE_NETFILTER
)

// bpfPrograms lists the BPF programs at netfilter's hooks. Only root of the whole machine may ask, and only he could put them there. In
// which network namespace a program runs is not told: it is taken to be this one.
func bpfPrograms() []*schema.Table {
	tables := map[uint32]*schema.Table{2: {Family: "ip", Name: "bpf"}, 10: {Family: "ip6", Name: "bpf"}}
	for id := uint32(0); ; {
		var attr [64]byte
		binary.NativeEndian.PutUint32(attr[:], id)
		if _, err := bpf(bpfNextLink, &attr); err != nil {
			break
		}
		id = binary.NativeEndian.Uint32(attr[4:])
		pf, hook, priority, program, ok := netfilterLink(id)
		if t := tables[pf]; ok && t != nil && hook < uint32(len(hookNames)) {
			text := fmt.Sprintf("BPF program %d, which cannot be read", program)
			t.Chains = append(t.Chains, Unread(fmt.Sprintf("program %d %s", program, hookNames[hook]), hookNames[hook], priority, text))
		}
	}
	return []*schema.Table{tables[2], tables[10]}
}

// netfilterLink reads struct bpf_link_info of a link; ok is false for one of another kind.
func netfilterLink(id uint32) (pf, hook uint32, priority int32, program uint32, ok bool) {
	var attr [64]byte
	binary.NativeEndian.PutUint32(attr[:], id)
	fd, err := bpf(bpfLinkByID, &attr)
	if err != nil {
		return 0, 0, 0, 0, false
	}
	defer unix.Close(fd)
	var info [256]byte
	attr = [64]byte{}
	binary.NativeEndian.PutUint32(attr[0:], uint32(fd))
	binary.NativeEndian.PutUint32(attr[4:], uint32(len(info)))
	*(*uintptr)(unsafe.Pointer(&attr[8])) = uintptr(unsafe.Pointer(&info[0]))
	if _, err := bpf(bpfObjInfo, &attr); err != nil {
		return 0, 0, 0, 0, false
	}
	return decodeLinkInfo(info[:])
}

// decodeLinkInfo reads struct bpf_link_info: kind, number, program, and for netfilter its family, hook, priority and flags.
func decodeLinkInfo(info []byte) (pf, hook uint32, priority int32, program uint32, ok bool) {
	u := func(off int) uint32 { return binary.NativeEndian.Uint32(info[off:]) }
	return u(16), u(20), int32(u(24)), u(8), u(0) == bpfLinkNetfilter
}

func bpf(cmd uintptr, attr *[64]byte) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
