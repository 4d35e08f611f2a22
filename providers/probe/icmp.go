package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// icmp sends an echo: by a ping socket, which net.ipv4.ping_group_range gives to some or all users, or by a raw one, which needs
// CAP_NET_RAW (icmp(7)).
type icmp struct{}

// The types of echo messages.
const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
	echoLen                  = 8
)

func (i icmp) open(a *attempt) (int, error) {
	proto := unix.IPPROTO_ICMPV6
	if a.Destination.Addr().Is4() {
		proto = unix.IPPROTO_ICMP
	}
	fd, err := connected(a.Destination, unix.SOCK_DGRAM, proto)
	if errors.Is(err, errNoSocket) {
		fd, err = connected(a.Destination, unix.SOCK_RAW, proto)
	}
	if errors.Is(err, errNoSocket) {
		return fd, fmt.Errorf("an echo needs CAP_NET_RAW or net.ipv4.ping_group_range: %w", err)
	}
	if err != nil {
		return fd, err
	}
	a.fd = fd
	return fd, i.again(a)
}

// again sends the echo once more. A ping socket puts its own identifier into it, a raw one of ICMPv6 the checksum.
func (icmp) again(a *attempt) error {
	b := make([]byte, echoLen, echoLen+len(payload))
	b[0] = echoRequest6
	if a.Destination.Addr().Is4() {
		b[0] = echoRequest4
	}
	binary.BigEndian.PutUint16(b[4:], identifier(a))
	b = append(b, payload...)
	if b[0] == echoRequest4 {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return write(a.fd, b)
}

// identifier tells our echoes from those of others; raw sockets see the answers to all.
func identifier(a *attempt) uint16 { return uint16(os.Getpid()) ^ uint16(a.fd)<<8 }

func (icmp) look(a *attempt) (bool, error) {
	if err := pending(a.fd); err != nil {
		return true, err
	}
	var b [2048]byte
	n, err := unix.Read(a.fd, b[:])
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return true, err
	}
	return isReply(a, b[:n]), nil
}

// isReply tells whether a message answers our echo. A raw socket of IPv4 shows the IP header too, and whatever else of ICMP comes from
// the destination; a ping socket only replies to its own echoes, whose identifier is the socket's.
func isReply(a *attempt, b []byte) bool {
	kind, err := unix.GetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return false
	}
	raw, reply := kind == unix.SOCK_RAW, byte(echoReply6)
	if a.Destination.Addr().Is4() {
		reply = echoReply4
		if raw && len(b) > 0 {
			b = b[min(int(b[0]&0xf)*4, len(b)):]
		}
	}
	if len(b) < echoLen || b[0] != reply || !bytes.Equal(b[echoLen:], payload) {
		return false
	}
	return !raw || binary.BigEndian.Uint16(b[4:]) == identifier(a)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
