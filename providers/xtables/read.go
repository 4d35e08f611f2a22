package xtables

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/xt"
	"github.com/vmnet/vmnet/schema"
)

// The numbers of getsockopt(2) for both families (include/uapi/linux/netfilter_ipv4/ip_tables.h and netfilter_ipv6/).
const (
	soGetInfo    = 64 // IPT_SO_GET_INFO, IP6T_SO_GET_INFO
	soGetEntries = 65 // IPT_SO_GET_ENTRIES, IP6T_SO_GET_ENTRIES

	nameLen     = 32 // XT_TABLE_MAXNAMELEN
	infoLen     = nameLen + 4 + 5*4 + 5*4 + 4 + 4
	entriesHead = 40 // struct ipt_get_entries up to its entries, which are aligned to 8
)

// family is what differs between struct ipt_entry and struct ip6t_entry.
type family struct {
	name  string
	names string // the file that lists the tables
	af    int
	level int // of getsockopt
	addr  int // bytes of an address
	// Offsets in the entry.
	proto, flags, invflags, targetOffset, counters, size int
	gotoFlag                                             byte
}

var families = []family{
	{
		name: "ip", names: "ip_tables_names", af: unix.AF_INET, level: unix.SOL_IP, addr: 4,
		proto: 80, flags: 82, invflags: 83, targetOffset: 88, counters: 96, size: 112, gotoFlag: 2, // IPT_F_GOTO
	},
	{
		name: "ip6", names: "ip6_tables_names", af: unix.AF_INET6, level: unix.SOL_IPV6, addr: 16,
		proto: 128, flags: 131, invflags: 132, targetOffset: 140, counters: 152, size: 168, gotoFlag: 4, // IP6T_F_GOTO
	},
}

// errChanged says that a table changed between the question for its size and the one for its entries.
var errChanged = errors.New("the table changed while it was read")

// tries is how often a table that changes while it is read is read again.
const tries = 8

func (f family) read(ctx context.Context, sets *xt.Sets, names []string) ([]*schema.Table, error) {
	// Any socket will do: the question goes by its level (nf_getsockopt), and a raw one takes CAP_NET_RAW.
	fd, err := unix.Socket(f.af, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	var out []*schema.Table
	for _, name := range names {
		t, err := f.readTable(ctx, sets, fd, name)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
		out = append(out, t)
	}
	return out, nil
}

func (f family) readTable(ctx context.Context, sets *xt.Sets, fd int, name string) (*schema.Table, error) {
	for range tries {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read: %w", context.Cause(ctx))
		}
		info, entries, err := f.fetch(fd, name)
		if errors.Is(err, errChanged) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return f.decode(sets, name, info, entries)
	}
	return nil, errChanged
}

// fetch gets the table in one piece.
func (f family) fetch(fd int, name string) (info, entries []byte, err error) {
	info = make([]byte, infoLen)
	copy(info[:nameLen-1], name)
	if err := getsockopt(fd, f.level, soGetInfo, info); err != nil {
		return nil, nil, fmt.Errorf("ask for its size: %w", err)
	}
	size := binary.NativeEndian.Uint32(info[infoLen-4:])
	buf := make([]byte, entriesHead+int(size))
	copy(buf[:nameLen-1], name)
	binary.NativeEndian.PutUint32(buf[nameLen:], size)
	switch err := getsockopt(fd, f.level, soGetEntries, buf); {
	case errors.Is(err, unix.EAGAIN):
		return nil, nil, errChanged
	case err != nil:
		return nil, nil, fmt.Errorf("ask for its entries: %w", err)
	}
	return info, buf[entriesHead:], nil
}

func getsockopt(fd, level, name int, buf []byte) error {
	size := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// hookNames in the order of the kernel (NF_INET_PRE_ROUTING …), and the chains of iptables for them.
var (
	hookNames  = []string{"prerouting", "input", "forward", "output", "postrouting"}
	chainNames = []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
)

// priority is where a table hangs at a hook (NF_IP_PRI_*, include/uapi/linux/netfilter_ipv4.h).
func priority(table string, hook int) (typ string, prio int32) {
	switch table {
	case "raw":
		return "filter", -300
	case "mangle":
		if hookNames[hook] == "output" {
			return "route", -150
		}
		return "filter", -150
	case "nat":
		if hookNames[hook] == "prerouting" || hookNames[hook] == "output" {
			return "nat", -100
		}
		return "nat", 100
	case "security":
		return "filter", 50
	}
	return "filter", 0
}

// decode takes the entries apart: a builtin chain lies between its hook_entry and its underflow, which is its policy; a
// user's chain follows an entry with target ERROR that bears its name, and ends with a RETURN that nobody wrote.
func (f family) decode(sets *xt.Sets, name string, info, blob []byte) (*schema.Table, error) {
	entries, err := f.split(blob)
	if err != nil {
		return nil, err
	}
	d := &decoder{family: f, sets: sets, table: &schema.Table{Family: f.name, Name: name, Legacy: true}, entries: entries, userChain: map[uint32]string{}}
	d.nameChains()
	valid := binary.NativeEndian.Uint32(info[nameLen:])
	for hook := range hookNames {
		if valid&(1<<hook) == 0 {
			continue
		}
		from := binary.NativeEndian.Uint32(info[nameLen+4+4*hook:])
		underflow := binary.NativeEndian.Uint32(info[nameLen+24+4*hook:])
		if err := d.builtin(hook, from, underflow); err != nil {
			return nil, err
		}
	}
	d.users()
	return d.table, nil
}

// entry is one rule of the blob.
type entry struct {
	at, next uint32
	b        []byte
}

func (f family) split(blob []byte) ([]entry, error) {
	var out []entry
	for at := 0; at < len(blob); {
		if len(blob)-at < f.size {
			return nil, fmt.Errorf("decode entry at %d: it is cut off", at)
		}
		next := int(binary.NativeEndian.Uint16(blob[at+f.targetOffset+2:]))
		target := int(binary.NativeEndian.Uint16(blob[at+f.targetOffset:]))
		if next < f.size || at+next > len(blob) || target < f.size || target+32 > next {
			return nil, fmt.Errorf("decode entry at %d: its sizes (%d, %d) do not fit", at, target, next)
		}
		out = append(out, entry{uint32(at), uint32(at + next), blob[at : at+next]})
		at += next
	}
	return out, nil
}

type decoder struct {
	family
	table     *schema.Table
	entries   []entry
	userChain map[uint32]string // by the offset of its first rule
	sets      *xt.Sets

	// What rules are made of, in larger pieces, and the one that is being made.
	rules   []schema.Rule
	exprs   []schema.Expr
	packets []uint64
	writer  writer
}

func cstring(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

// target is the target of an entry: its name, revision and data.
func (d *decoder) target(e entry) (name string, revision byte, data []byte) {
	t := e.b[binary.NativeEndian.Uint16(e.b[d.targetOffset:]):]
	return cstring(t[2:31]), t[31], t[32:]
}

func (d *decoder) nameChains() {
	for _, e := range d.entries {
		if name, _, data := d.target(e); name == "ERROR" {
			d.userChain[e.next] = cstring(data)
		}
	}
}

func (d *decoder) builtin(hook int, from, underflow uint32) error {
	c := &schema.Chain{Name: chainNames[hook], Hook: hookNames[hook], Policy: "accept"}
	c.Type, c.Priority = priority(d.table.Name, hook)
	d.table.Chains = append(d.table.Chains, c)
	for _, e := range d.entries {
		switch {
		case e.at == underflow:
			if _, _, data := d.target(e); len(data) >= 4 && int32(binary.NativeEndian.Uint32(data)) == -nfDrop-1 {
				c.Policy = "drop"
			}
			return nil
		case e.at >= from:
			c.Rules = append(c.Rules, d.rule(e))
		}
	}
	return fmt.Errorf("decode chain %s: it has no end", c.Name)
}

func (d *decoder) users() {
	var c *schema.Chain
	for _, e := range d.entries {
		if name, ok := d.userChain[e.at]; ok && name != "ERROR" {
			c = &schema.Chain{Name: name}
			d.table.Chains = append(d.table.Chains, c)
		}
		if name, _, _ := d.target(e); name == "ERROR" {
			if c != nil {
				c.Rules = c.Rules[:max(len(c.Rules)-1, 0)] // the RETURN that ends it
			}
			c = nil
			continue
		}
		if c != nil {
			c.Rules = append(c.Rules, d.rule(e))
		}
	}
}
