package providers_test

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bareLegacy gets the filter table by getsockopt(2), and throws it away (IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES of
// uapi/linux/netfilter_ipv4/ip_tables.h).
func bareLegacy(b *testing.B) {
	b.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	ask := func(option uintptr, buf []byte) {
		size := uint32(len(buf))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_IP, option,
			uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			b.Fatal(errno)
		}
	}
	info := make([]byte, 84)
	copy(info, "filter")
	ask(64, info)
	size := binary.NativeEndian.Uint32(info[80:])
	entries := make([]byte, 40+size)
	copy(entries, "filter")
	binary.NativeEndian.PutUint32(entries[32:], size)
	ask(65, entries)
}
