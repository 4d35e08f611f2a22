package rtnl

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// hasXDP reads IFLA_XDP: whether a program is attached, in whatever mode (include/uapi/linux/if_link.h, IFLA_XDP_ATTACHED).
func hasXDP(b []byte) bool {
	for t, v := range attrs(b) {
		if t == unix.IFLA_XDP_ATTACHED {
			return u8(v) != 0
		}
	}
	return false
}

// qdisc is struct tcmsg with TCA_KIND (include/uapi/linux/rtnetlink.h).
type qdisc struct {
	link           int
	handle, parent uint32
	kind           string
}

const (
	sizeofTcmsg = 20
	tcaKind     = 1 // TCA_KIND
)

func decodeQdisc(b []byte) (qdisc, bool) {
	if len(b) < sizeofTcmsg {
		return qdisc{}, false
	}
	q := qdisc{link: int(int32(u32(b[4:]))), handle: u32(b[8:]), parent: u32(b[12:])}
	for t, v := range attrs(b[sizeofTcmsg:]) {
		if t == tcaKind {
			q.kind = str(v)
		}
	}
	return q, q.kind != ""
}

// Parents of the filters of an ingress or clsact qdisc: TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), and _EGRESS.
const (
	parentIngress = 0xfffffff2
	parentEgress  = 0xfffffff3
)

// rootParent is TC_H_ROOT: what a link sends goes through this queue first.
const rootParent = 0xffffffff

// ordinary are the root qdiscs that the kernel or the distribution gives links (net.core.default_qdisc).
var ordinary = []string{"noqueue", "pfifo_fast", "mq", "fq", "fq_codel", "noop", "cake", "pfifo", "bfifo", "sfq", "codel"}

// classless are qdiscs that take no filters; hosts have one on every link.
var classless = []string{"noqueue", "pfifo_fast", "pfifo", "bfifo", "mq", "fq", "noop", "tbf", "cake"}

// readPrograms finds the filters of tc, and the programs of tcx: they see packets where netfilter's ingress and egress do, and may drop
// or redirect them. What they do is not read; that they are there is noted with the link.
func (p *Provider) readPrograms(ctx context.Context, links map[int]*schema.Link) error {
	qdiscs, err := dump(ctx, p.conn, unix.RTM_GETQDISC, make([]byte, sizeofTcmsg), decodeQdisc)
	if errors.Is(err, unix.EOPNOTSUPP) { // a kernel without CONFIG_NET_SCHED
		return nil
	}
	if err != nil {
		return err
	}
	for _, q := range qdiscs {
		l := links[q.link]
		if l != nil && q.parent == rootParent && !slices.Contains(ordinary, q.kind) {
			l.Facts.Qdisc = q.kind
		}
		if l == nil || slices.Contains(classless, q.kind) {
			continue
		}
		for _, at := range q.filterPlaces() {
			if err := p.readFilters(ctx, l, q.link, at.parent, at.hook); err != nil {
				return err
			}
		}
	}
	p.readTCX(links)
	return nil
}

type filterPlace struct {
	parent uint32
	hook   string
}

func (q qdisc) filterPlaces() []filterPlace {
	switch q.kind {
	case "clsact":
		return []filterPlace{{parentIngress, "ingress"}, {parentEgress, "egress"}}
	case "ingress":
		return []filterPlace{{parentIngress, "ingress"}}
	}
	return []filterPlace{{q.handle, "egress"}}
}

// readFilters notes the kinds of the filters at a place: "ingress: tc bpf".
func (p *Provider) readFilters(ctx context.Context, l *schema.Link, index int, parent uint32, hook string) error {
	req := make([]byte, sizeofTcmsg)
	native.PutUint32(req[4:], uint32(index))
	native.PutUint32(req[12:], parent)
	filters, err := dump(ctx, p.conn, unix.RTM_GETTFILTER, req, decodeQdisc)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENODEV) {
		return nil // this qdisc takes none, or the link is gone
	}
	if err != nil {
		return err
	}
	for _, f := range filters {
		note(l, hook+": tc "+f.kind)
	}
	return nil
}

func note(l *schema.Link, program string) {
	if !slices.Contains(l.Facts.Programs, program) {
		l.Facts.Programs = append(l.Facts.Programs, program)
	}
}

// tcxHooks are where programs hang without a qdisc since Linux 6.6 (BPF_TCX_*, BPF_NETKIT_* of include/uapi/linux/bpf.h).
var tcxHooks = []struct {
	attach  uint32
	netkit  bool
	program string
}{{46, false, "ingress: tcx"}, {47, false, "egress: tcx"}, {54, true, "egress: netkit"}, {55, true, "ingress: netkit"}}

// readTCX asks for programs of tcx, which rtnetlink does not list. The question is about the namespace of the thread, and takes
// privileges that only root of the whole machine has; nobody else can have put them there.
func (p *Provider) readTCX(links map[int]*schema.Link) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if namespace() != p.namespace {
		return
	}
	for index, l := range links {
		for _, h := range tcxHooks {
			if h.netkit != (l.Type == "netkit") {
				continue
			}
			n, err := programsAt(index, h.attach)
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) && !h.netkit {
				return // not for us to ask, or a kernel without tcx
			}
			if err == nil && n > 0 {
				note(l, h.program)
			}
		}
	}
}

// programsAt is BPF_PROG_QUERY of bpf(2).
func programsAt(index int, attach uint32) (n uint32, err error) {
	const bpfProgQuery = 16
	var attr [64]byte
	binary.NativeEndian.PutUint32(attr[0:], uint32(index))
	binary.NativeEndian.PutUint32(attr[4:], attach)
	_, _, errno := unix.Syscall(unix.SYS_BPF, bpfProgQuery, uintptr(unsafe.Pointer(&attr[0])), unsafe.Sizeof(attr))
	if errno != 0 && errno != unix.ENOSPC { // no room for their numbers, which nobody wants
		return 0, errno
	}
	return binary.NativeEndian.Uint32(attr[24:]), nil
}

// namespace names the network namespace of the thread.
func namespace() string {
	s, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return "unknown"
	}
	return s
}
