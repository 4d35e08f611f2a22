package torture_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refusal makes the kernel say no: to some of the messages that a program, and all that it starts, send it. Each send is
// asked about by a seccomp filter (seccomp_unotify(2)).
type refusal struct {
	errno    unix.Errno
	from, to int // which sends, counting from 1; to is not one of them

	mutex sync.Mutex
	sent  int
	said  int // how often it said no
}

// The two structs of seccomp_unotify(2).
type notice struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type answer struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// refusedMark makes this binary the program under test, once its sends are asked about.
const refusedMark = "VMNET_TORTURE_REFUSED"

// beRefused installs the filter, says where its other end is, waits for that to be taken, and becomes the program.
func beRefused() error {
	runtime.LockOSThread() // the filter is this thread's
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // struct seccomp_data begins with the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: unix.SYS_SENDTO},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_SENDMSG},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	const pipe = 3
	if _, err := unix.Write(pipe, []byte{byte(fd)}); err != nil {
		return err
	}
	if _, err := unix.Read(pipe, make([]byte, 1)); err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return e == refusedMark+"=1" })
	return syscall.Exec(program(), append([]string{program()}, os.Args[1:]...), env)
}

// startRefused starts the program with r between it and the kernel.
func (x *trial) startRefused(r *refusal, args ...string) *vmnet {
	x.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	x.must(err)
	theirs := os.NewFile(uintptr(ends[1]), "pipe")
	v := x.begin(exec.Command("/proc/self/exe", args...), func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, refusedMark+"=1")
		cmd.ExtraFiles = []*os.File{theirs}
	})
	x.must(theirs.Close())
	defer func() { _ = unix.Close(ends[0]) }()
	b := make([]byte, 1)
	if n, err := unix.Read(ends[0], b); err != nil || n != 1 {
		x.Fatalf("no filter: %v\n%s", err, v.out)
	}
	pid, err := unix.PidfdOpen(v.cmd.Process.Pid, 0)
	x.must(err)
	defer func() { _ = unix.Close(pid) }()
	fd, err := unix.PidfdGetfd(pid, int(b[0]), 0)
	x.must(err)
	go r.serve(fd)
	_, err = unix.Write(ends[0], b)
	x.must(err)
	return v
}

// serve answers until nobody is left to ask.
func (r *refusal) serve(fd int) {
	defer func() { _ = unix.Close(fd) }()
	for {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, -1); err != nil && !errors.Is(err, unix.EINTR) || p[0].Revents&unix.POLLHUP != 0 {
			return
		}
		if p[0].Revents&unix.POLLIN == 0 {
			continue
		}
		var n notice
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); errno != 0 {
			continue // it was killed meanwhile
		}
		a := answer{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if r.errno == unix.EEXIST && !oursBy(n.pid) { // iptables takes it for a chain that is not there, and makes it anew
			r.passed()
		} else if r.no() {
			a.flags, a.errno = 0, -int32(r.errno)
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a))) // as before
	}
}

// oursBy tells whether a process is the program under test itself, and no program that it runs.
func oursBy(pid uint32) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && exe == program()
}

func (r *refusal) passed() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.sent++
}

func (r *refusal) no() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.sent++
	no := r.sent >= r.from && r.sent < r.to
	if no {
		r.said++
	}
	return no
}

func (r *refusal) count() (sent, said int) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.sent, r.said
}

// TestKernelSaysNo: the kernel refuses messages of an apply, of its watchdog, or of the programs that they run: one, or so
// many that the undo is refused, too. Afterwards the host is as before or as planned, which is what was said; or what is
// left is named, and taken back when the kernel says yes again.
func TestKernelSaysNo(t *testing.T) {
	t.Parallel()
	times := 8
	if s := os.Getenv("TORTURE"); s != "" {
		times = max(times, number(t, s)/5)
	}
	r := seeded(uint64(time.Now().UnixNano()))
	for i := range times {
		errno := []unix.Errno{unix.EPERM, unix.EBUSY, unix.ENOBUFS, unix.EEXIST}[i%4]
		from, long := 1+r.IntN(140), pick(r, 1, 1, 3, 10, 40)
		t.Run(fmt.Sprintf("%v at %d for %d", errno, from, long), func(t *testing.T) {
			t.Parallel()
			s := plain()
			s.host += "iptables-nft -P FORWARD DROP\n" // so that a program is run, too
			try(t, s, func(x *trial) { x.refused(&refusal{errno: errno, from: from, to: from + long}, long) })
		})
	}
}

func (x *trial) refused(r *refusal, long int) {
	x.Helper()
	f := x.follow()
	v := x.startRefused(r, "apply", x.config, "--auto-approve", "--confirm", "none")
	code := x.code(v)
	x.quiet()
	f.next()
	f.close()
	sent, said := r.count()
	changed, results := x.changed(), x.history()
	x.Logf("%d sends, %d refused: code %d, %v", sent, said, code, results)
	planned := func() bool { return x.steps() == 0 }
	switch {
	case len(results) == 0 && len(changed) == 0 && (code == 1 || code == 4 || code == 5 || code == 10):
	case (code == 0 || code == 8) && results[0] == "applied" && planned():
	case code == 6 && results[0] == "rolled back" && len(changed) == 0:
	case code == 7 && long > 1 && results[0] == "rolled back" && len(changed) == 0: // by the watchdog, a moment later
	case code == 7 && long > 1 && results[0] == "needs human":
		if code, out := x.vmnet("rollback"); code != 0 || len(x.changed()) > 0 {
			x.Errorf("rollback: code %d, %v\n%s", code, x.changed(), out)
		}
	default:
		x.Errorf("code %d, history %v, changed %v\n%s\n%s", code, results, changed, v.out, x.journals())
	}
	x.converges(false)
}
