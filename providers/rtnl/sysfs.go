package rtnl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// netAddrSet is NET_ADDR_SET of addr_assign_type (include/uapi/linux/netdevice.h): set on purpose.
const netAddrSet = 3

// queueLook is the time between two looks at a transmit queue: a working one drains many times over.
const queueLook = 20 * time.Millisecond

// sysfs reads the few facts about links that rtnetlink does not tell, from /sys/class/net. A sysfs shows the network
// namespace it was mounted in, which need not be ours.
type sysfs struct {
	dir int // of sysfs; -1 for none
	// own says that dir is a sysfs of our namespace; else each link has to prove that it is the one meant.
	own bool
}

// openSysfs makes a sysfs of the calling thread's network namespace that is mounted nowhere (fsopen(2), fsmount(2),
// Linux 5.2) and disappears with its descriptor. Where that is not allowed, what is mounted on /sys must do.
func openSysfs() sysfs {
	if dir, err := mountSysfs(); err == nil {
		return sysfs{dir, true}
	}
	dir, err := unix.Open("/sys", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return sysfs{dir: -1}
	}
	return sysfs{dir: dir}
}

func mountSysfs() (dir int, err error) {
	fs, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open sysfs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("configure sysfs: %w", err)
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
}

func (s sysfs) close() error {
	if s.dir < 0 {
		return nil
	}
	return unix.Close(s.dir)
}

// read returns a small file of a link, without the newline.
func (s sysfs) read(link, name string) (string, error) {
	fd, err := unix.Openat(s.dir, "class/net/"+link+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var b [128]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b[:n])), nil
}

// has tells whether a link has an entry of that name.
func (s sysfs) has(link, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(s.dir, "class/net/"+link+"/"+name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

func (s sysfs) number(link, name string) (uint64, bool) {
	text, err := s.read(link, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil
}

// shows tells whether this sysfs shows that very link, not one of the same name in another namespace.
func (s sysfs) shows(l *schema.Link) bool {
	if s.dir < 0 {
		return false
	}
	if s.own {
		return true
	}
	if n, ok := s.number(l.Name, "ifindex"); !ok || n != uint64(l.Facts.Index) {
		return false
	}
	mac, err := s.read(l.Name, "address")
	return err == nil && mac == *l.MAC
}

// pinned fills MACPinned of a bridge: nil where it cannot be known.
func (s sysfs) pinned(l *schema.Link) {
	if l.Type != "bridge" || !s.shows(l) {
		return
	}
	if n, ok := s.number(l.Name, "addr_assign_type"); ok {
		l.MACPinned = new(n == netAddrSet)
	}
}

// queues fills the facts about transmit queues of hardware.
func (s sysfs) queues(ctx context.Context, links []*schema.Link) {
	var suspects []suspect
	for _, l := range links {
		if l.Type != "device" || !s.shows(l) {
			continue
		}
		l.Facts.Wireless = s.has(l.Name, "phy80211")
		for _, q := range s.txQueues(l.Name) {
			timeouts, _ := s.number(l.Name, q+"/tx_timeout")
			l.Facts.TxTimeouts += timeouts
			if inflight := s.inflight(l, q); inflight > 0 {
				sent, _ := s.number(l.Name, "statistics/tx_packets")
				suspects = append(suspects, suspect{l, q, inflight, sent})
			}
		}
	}
	s.lookAgain(ctx, suspects)
}

// suspect is a transmit queue that held bytes at the first look.
type suspect struct {
	link           *schema.Link
	queue          string
	inflight, sent uint64
}

// lookAgain marks the queues that made no progress: the same bytes in flight, nothing sent.
func (s sysfs) lookAgain(ctx context.Context, suspects []suspect) {
	if len(suspects) == 0 {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(queueLook):
	}
	for _, q := range suspects {
		sent, ok := s.number(q.link.Name, "statistics/tx_packets")
		if ok && sent == q.sent && s.inflight(q.link, q.queue) >= q.inflight {
			q.link.Facts.TxQueueStopped = true
		}
	}
}

// inflight is what byte queue limits know to be handed to the hardware and not confirmed; 0 without carrier.
func (s sysfs) inflight(l *schema.Link, queue string) uint64 {
	if !l.Facts.Carrier {
		return 0
	}
	n, _ := s.number(l.Name, queue+"/byte_queue_limits/inflight")
	return n
}

// txQueues lists "queues/tx-0" ….
func (s sysfs) txQueues(link string) []string {
	fd, err := unix.Openat(s.dir, "class/net/"+link+"/queues", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	dir := os.NewFile(uintptr(fd), "queues")
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var queues []string
	for _, n := range names {
		if strings.HasPrefix(n, "tx-") {
			queues = append(queues, "queues/"+n)
		}
	}
	return queues
}
