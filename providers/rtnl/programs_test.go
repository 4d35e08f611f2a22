package rtnl

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestPrograms: filters of tc are named with their link, and what stands on every link is not.
func TestPrograms(t *testing.T) {
	inHost(t, "link add v0 type veth peer name v1\nlink set v0 up\nlink set v1 up", func(h *host) {
		h.out("tc qdisc add dev v0 clsact")
		h.out("tc filter add dev v0 egress protocol ip u32 match ip src 192.0.2.1 flowid 1:1")
		h.out("tc qdisc add dev v1 ingress")
		if got := h.read().Link("v1").Facts.Programs; got != nil {
			t.Errorf("an ingress qdisc without filters: %q", got)
		}
		h.out("tc filter add dev v1 parent ffff: protocol all u32 match u32 0 0 flowid 1:1")
		for name, want := range map[string][]string{"v0": {"egress: tc u32"}, "v1": {"ingress: tc u32"}, "lo": nil} {
			if got := h.read().Link(name).Facts.Programs; !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	})
}

// TestBPFPrograms: XDP and tcx. Only root of the whole machine may attach programs, so others see the attributes alone tested.
func TestBPFPrograms(t *testing.T) {
	if !hasXDP([]byte{5, 0, unix.IFLA_XDP_ATTACHED, 0, 2, 0, 0, 0}) || hasXDP([]byte{5, 0, unix.IFLA_XDP_ATTACHED, 0, 0, 0, 0, 0}) {
		t.Error("IFLA_XDP is not understood")
	}
	const progXDP, progSchedCLS, attachXDP, attachTCX = 6, 3, 37, 46
	inHost(t, "link add v0 type veth peer name v1\nlink set v0 up\nlink set v1 up", func(h *host) {
		xdp, err := bpfProgram(progXDP, 2) // XDP_PASS
		if errors.Is(err, unix.EPERM) {
			t.Logf("programs are not attached here: loading one takes CAP_BPF of the whole machine: %v", err)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(xdp)
		cls, err := bpfProgram(progSchedCLS, 0) // TC_ACT_OK
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(cls)
		for _, l := range []struct {
			fd, attach int
			want       []string
		}{{xdp, attachXDP, []string{"ingress: XDP"}}, {cls, attachTCX, []string{"ingress: XDP", "ingress: tcx"}}} {
			link, err := bpfAttach(l.fd, h.read().Link("v1").Facts.Index, l.attach)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(link)
			if got := h.read().Link("v1").Facts.Programs; !slices.Equal(got, l.want) {
				t.Errorf("%q, want %q", got, l.want)
			}
		}
	})
}

// bpfProgram loads "return n" (bpf(2), BPF_PROG_LOAD).
func bpfProgram(typ, n uint32) (int, error) {
	code := []uint64{0xb7 | uint64(n)<<32, 0x95} // r0 = n; exit
	license := []byte("GPL\x00")
	var attr [128]byte
	binary.NativeEndian.PutUint32(attr[0:], typ)
	binary.NativeEndian.PutUint32(attr[4:], uint32(len(code)))
	*(*uintptr)(unsafe.Pointer(&attr[8])) = uintptr(unsafe.Pointer(&code[0]))
	*(*uintptr)(unsafe.Pointer(&attr[16])) = uintptr(unsafe.Pointer(&license[0]))
	return bpfCall(5, &attr)
}

// bpfAttach attaches a program to a link (bpf(2), BPF_LINK_CREATE).
func bpfAttach(fd, index, attach int) (int, error) {
	var attr [128]byte
	binary.NativeEndian.PutUint32(attr[0:], uint32(fd))
	binary.NativeEndian.PutUint32(attr[4:], uint32(index))
	binary.NativeEndian.PutUint32(attr[8:], uint32(attach))
	return bpfCall(28, &attr)
}

func bpfCall(cmd uintptr, attr *[128]byte) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
