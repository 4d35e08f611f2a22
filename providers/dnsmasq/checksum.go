package dnsmasq

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtoolIfreq is struct ifreq with a pointer to a struct ethtool_value (netdevice(7), linux/ethtool.h).
type ethtoolIfreq struct {
	name [unix.IFNAMSIZ]byte
	data *ethtoolValue
	_    [16]byte
}

type ethtoolValue struct{ cmd, data uint32 }

// leavesChecksums tells whether the kernel leaves the checksums of what it sends on a link to the hardware behind it: of a bridge with
// virtual machines there is none, and a packet comes to them with half a checksum.
func leavesChecksums(device string) (bool, error) {
	v := &ethtoolValue{cmd: unix.ETHTOOL_GTXCSUM}
	err := ethtool(device, v)
	return v.data != 0, err
}

// leaveChecksums switches it.
func leaveChecksums(device string, on bool) error {
	v := &ethtoolValue{cmd: unix.ETHTOOL_STXCSUM}
	if on {
		v.data = 1
	}
	if err := ethtool(device, v); err != nil {
		return fmt.Errorf("set tx-checksumming of %s: %w", device, err)
	}
	return nil
}

func ethtool(device string, v *ethtoolValue) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	r := &ethtoolIfreq{data: v}
	copy(r.name[:unix.IFNAMSIZ-1], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(r)))
	err = unix.Close(fd)
	if errno != 0 {
		return errors.Join(errno, err)
	}
	return err
}
