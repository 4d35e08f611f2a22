package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// wires are the protocols by their names in schema.Service.
var wires = map[string]wire{"tcp": tcp{}, "udp": udp{}, "icmp": icmp{}}

// payload is what a datagram and an echo carry: whoever finds it in a capture knows where it comes from.
var payload = []byte("vmnet probe\n")

// connected makes a socket of this kind that speaks with the destination only.
func connected(to netip.AddrPort, kind, proto int) (int, error) {
	family := unix.AF_INET6
	if to.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, fmt.Errorf("%w: %w", errNoSocket, err)
	}
	if err := wantErrors(fd, family); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("%w: %w", errNoSocket, err)
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fd, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

// errNoSocket says that not even a socket could be made; what the kernel says then tells nothing about the way.
var errNoSocket = errors.New("make a socket")

// wantErrors asks for ICMP errors with the address of whoever sent them (ip(7), IP_RECVERR).
func wantErrors(fd, family int) error {
	if family == unix.AF_INET6 {
		return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVERR, 1)
	}
	return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_RECVERR, 1)
}

func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	}
	return &unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())}
}

func addrPort(s unix.Sockaddr) netip.AddrPort {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr), uint16(s.Port))
	}
	return netip.AddrPort{}
}

// pending is the error that waits at a socket: an ICMP error with its sender where there is one, else what SO_ERROR says; nil for none.
func pending(fd int) error {
	soErr, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("ask the socket: %w", err)
	}
	var b, oob [512]byte
	if _, n, _, _, err := unix.Recvmsg(fd, b[:], oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); err == nil {
		if e := extendedError(oob[:n]); e != nil {
			return e
		}
	}
	if soErr != 0 {
		return unix.Errno(soErr)
	}
	return nil
}

// The layout of struct sock_extended_err (include/uapi/linux/errqueue.h) and of the address behind it.
const (
	extendedLen = 16
	originICMP  = 2 // SO_EE_ORIGIN_ICMP
	originICMP6 = 3 // SO_EE_ORIGIN_ICMP6
)

// extendedError reads the control messages of an error queue. Errors of this host's own making bear no sender.
func extendedError(oob []byte) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil //nolint:nilerr // what cannot be read is told by SO_ERROR
	}
	for _, m := range messages {
		isErr := m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR ||
			m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if !isErr || len(m.Data) < extendedLen {
			continue
		}
		errno, origin := unix.Errno(binary.NativeEndian.Uint32(m.Data)), m.Data[4]
		if origin != originICMP && origin != originICMP6 {
			return errno
		}
		return told{err: errno, typ: m.Data[5], code: m.Data[6], v6: origin == originICMP6, offender: offender(m.Data[extendedLen:])}
	}
	return nil
}

// offender reads the struct sockaddr behind the error: the zero Addr where there is none.
func offender(b []byte) netip.Addr {
	switch {
	case len(b) >= 8 && binary.NativeEndian.Uint16(b) == unix.AF_INET:
		return netip.AddrFrom4([4]byte(b[4:8]))
	case len(b) >= 24 && binary.NativeEndian.Uint16(b) == unix.AF_INET6:
		return netip.AddrFrom16([16]byte(b[8:24])).Unmap()
	}
	return netip.Addr{}
}

// tcp connects.
type tcp struct{}

func (tcp) open(a *attempt) (int, error) {
	return connected(a.Destination, unix.SOCK_STREAM, unix.IPPROTO_TCP)
}

// again does nothing: the kernel repeats a SYN.
func (tcp) again(*attempt) error { return nil }

func (tcp) look(a *attempt) (bool, error) {
	if err := pending(a.fd); err != nil {
		return true, err
	}
	if _, err := unix.Getpeername(a.fd); err != nil {
		return false, nil //nolint:nilerr // ENOTCONN: not yet
	}
	return true, nil
}

// udp sends a datagram, and waits for one.
type udp struct{}

func (u udp) open(a *attempt) (int, error) {
	fd, err := connected(a.Destination, unix.SOCK_DGRAM, unix.IPPROTO_UDP)
	if err != nil {
		return fd, err
	}
	a.fd = fd
	return fd, u.again(a)
}

func (udp) again(a *attempt) error { return write(a.fd, payload) }

func (udp) look(a *attempt) (bool, error) {
	if err := pending(a.fd); err != nil {
		return true, err
	}
	var b [64]byte
	_, err := unix.Read(a.fd, b[:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return true, err
}

// write sends a datagram; an error that waits at the socket is told in its place.
func write(fd int, b []byte) error {
	_, err := unix.Write(fd, b)
	if err == nil || errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if e := pending(fd); e != nil {
		return e
	}
	return fmt.Errorf("send: %w", err)
}
