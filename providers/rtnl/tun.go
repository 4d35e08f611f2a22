package rtnl

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// tunDevice is where tun and tap links come from (Documentation/networking/tuntap.rst): netlink cannot make them.
const tunDevice = "/dev/net/tun"

// makeTun makes a persistent tap or tun link in the network namespace of the calling thread.
func makeTun(name, typ string) (err error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", tunDevice, err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	req, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("name %q: %w", name, err)
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
	if typ == "tun" {
		flags = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_TUN_EXCL
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		if errors.Is(err, unix.EBUSY) {
			return &kernelError{errno: unix.EEXIST} // IFF_TUN_EXCL says "busy" of a name in use
		}
		return fmt.Errorf("attach: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("make persistent: %w", err)
	}
	return nil
}
