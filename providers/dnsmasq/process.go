package dnsmasq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/program"
	"github.com/vmnet/vmnet/providers/sockets"
)

// process is a dnsmasq of ours.
type process struct {
	pid   int
	start uint64
	sum   string // of the configuration that it was started with
}

// look is one look at the processes of the host. The zero look is ready.
type look struct {
	all   map[string]*process // by configuration; nil: not looked yet
	bound map[uint64]int      // sockets for DHCP with the index of the link that they are bound to; nil: not looked yet
}

// process finds a server's process: by its pid file, or, where that is gone or wrong, among all. last is the number that a pid file
// names when that process is no more.
func (k *look) process(l place) (p *process, last int) {
	files, _ := filepath.Glob(l.pid("*")) // an error is one of the pattern
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			continue
		}
		if p := identify(pid); p != nil && p.conf == l.conf() {
			return &p.process, 0
		}
		last = pid
	}
	if k.all == nil {
		k.all = everyServer()
	}
	return k.all[l.conf()], last
}

// identity is a process with the configuration that it was started for.
type identity struct {
	process
	conf string
}

// everyServer looks at every process of the host. Of several for one configuration the oldest counts: dnsmasq forks for questions by TCP.
func everyServer() map[string]*process {
	all := map[string]*process{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if p := identify(pid); p != nil && (all[p.conf] == nil || p.start < all[p.conf].start) {
			all[p.conf] = &p.process
		}
	}
	return all
}

// identify tells whether a process is a dnsmasq that vmnet started in this network namespace, by its command line. Nil when not.
func identify(pid int) *identity {
	dir := fmt.Sprintf("/proc/%d", pid)
	b, err := os.ReadFile(dir + "/cmdline")
	if err != nil || !bytes.Contains(b, []byte(confFlag)) {
		return nil
	}
	p := &identity{process: process{pid: pid}}
	for arg := range strings.SplitSeq(string(b), "\x00") {
		if v, ok := strings.CutPrefix(arg, confFlag); ok {
			p.conf = v
		}
		if v, ok := strings.CutPrefix(arg, pidFlag); ok {
			p.sum = strings.TrimSuffix(filepath.Base(v), ".pid")
		}
	}
	ours, err1 := os.Readlink("/proc/thread-self/ns/net")
	theirs, err2 := os.Readlink(dir + "/ns/net")
	start, alive := startOf(dir)
	if p.conf == "" || !alive || errors.Join(err1, err2) == nil && ours != theirs {
		return nil
	}
	p.start = start
	return p
}

// startOf is field 22 of /proc/PID/stat; alive is false for a process that has ended.
func startOf(dir string) (start uint64, alive bool) {
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0, false
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return 0, false
	}
	start, err = strconv.ParseUint(f[19], 10, 64)
	return start, err == nil
}

// deaf tells whether the process listens for DHCP on a link that is not the one of this name any more. What cannot be seen is no
// reason to say so.
func (k *look) deaf(p *process, device string) bool {
	if k.bound == nil {
		k.bound = sockets.BoundUDP(67)
	}
	index, ok := indexOf(device)
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
	if err != nil || len(k.bound) == 0 {
		return false
	}
	for _, fd := range fds {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", p.pid, fd.Name()))
		if err != nil || !strings.HasPrefix(target, "socket:[") {
			continue
		}
		inode, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]"), 10, 64)
		if on, is := k.bound[inode]; err == nil && is && on != 0 && (!ok || on != index) {
			return true
		}
	}
	return false
}

// indexOf is the interface index of a link of this namespace.
func indexOf(device string) (int, bool) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	r, err := unix.NewIfreq(device)
	if err != nil || unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r) != nil {
		return 0, false
	}
	return int(r.Uint32()), true
}

func linkThere(device string) bool {
	_, ok := indexOf(device)
	return ok
}

// How long a server may take to end: it writes nothing on its way.
const (
	patienceTerm = 3 * time.Second
	patienceKill = 3 * time.Second
)

// stop ends the server's process, if there is one, and the unit that would start it again.
func (s *server) stop(ctx context.Context) error {
	if unit := s.unit(); underSystemd() {
		// One that is not there is no error of ours; one that cannot be stopped shows below.
		_, _ = program.Run(ctx, program.Command{Name: "systemctl", Args: []string{"stop", unit}, Patience: patienceStart})
	}
	s.look = look{}
	for range 8 { // a fork that answers a question by TCP may be left
		p, _ := s.look.process(s.place)
		if p == nil {
			break
		}
		if err := end(p, s.conf()); err != nil {
			return err
		}
		s.look = look{}
	}
	files, _ := filepath.Glob(s.pid("*"))
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}

// end ends one process: first as it is asked to, then by force.
func end(p *process, conf string) error {
	fd, err := hold(p, conf)
	if fd < 0 {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	for _, by := range []struct {
		signal   unix.Signal
		patience time.Duration
	}{{unix.SIGTERM, patienceTerm}, {unix.SIGKILL, patienceKill}} {
		if err := unix.PidfdSendSignal(fd, by.signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end process %d: %w", p.pid, err)
		}
		if gone(fd, by.patience) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end", p.pid)
}

// hold opens a process so that its number stays its own; -1 when it is gone.
func hold(p *process, conf string) (int, error) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", p.pid, err)
	}
	now := identify(p.pid)
	if now == nil || now.start != p.start || now.conf != conf {
		return -1, unix.Close(fd)
	}
	return fd, nil
}

// gone waits for the end of a process (pidfd_open(2): it can be read then).
func gone(fd int, patience time.Duration) bool {
	deadline := time.Now().Add(patience)
	for left := patience; left > 0; left = time.Until(deadline) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
	return false
}

// reload lets the server read reservations and names again.
func (s *server) reload() error {
	s.look = look{}
	p, _ := s.look.process(s.place)
	if p == nil {
		return errors.New("it ended meanwhile")
	}
	fd, err := hold(p, s.conf())
	if fd < 0 {
		return errors.Join(err, errors.New("it ended meanwhile"))
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	return unix.PidfdSendSignal(fd, unix.SIGHUP, nil, 0)
}

// mapped tells whether a user or group can be taken on in this user namespace (user_namespaces(7)).
func mapped(file string, id int) bool {
	b, err := os.ReadFile(file)
	if err != nil {
		return true // a kernel without user namespaces
	}
	return slices.ContainsFunc(split(string(b)), func(line string) bool {
		var first, outside, n int64
		_, err := fmt.Sscan(line, &first, &outside, &n)
		return err == nil && first <= int64(id) && int64(id) < first+n
	})
}
