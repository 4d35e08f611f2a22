package rtnl

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// firstBuffer is what the kernel fills at most with one part of a dump (netlink_dump in net/netlink/af_netlink.c:
	// 32 KiB); single messages can be longer, then the buffer grows.
	firstBuffer = 32 << 10
	// socketBuffer keeps a burst of answers from overflowing the default of 208 KiB.
	socketBuffer = 4 << 20
	// dumpTries is how often an interrupted dump is asked for.
	dumpTries = 5
)

// conn is a NETLINK_ROUTE socket: one request at a time.
type conn struct {
	fd  int
	seq uint32
	buf []byte
}

// dial opens a socket in the network namespace of the calling thread.
func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	if err := setUp(fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set up rtnetlink socket: %w", err)
	}
	return &conn{fd: fd, buf: make([]byte, firstBuffer)}, nil
}

func setUp(fd int) error {
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	// The kernel explains errors, and does not send the request back with them. Older kernels lack the options, which
	// then only cost words; strict checking (Linux 4.20) lets it filter dumps, and we filter again.
	for _, option := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK, unix.NETLINK_GET_STRICT_CHK} {
		_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, option, 1)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
	}
	// Wake up once a second to see whether the context is done.
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
}

func (c *conn) close() error { return unix.Close(c.fd) }

// part is one netlink message of an answer.
type part struct {
	typ, flags uint16
	body       []byte // valid until the next receive
}

func (c *conn) send(typ, flags uint16, body []byte) error {
	c.seq++
	b := make([]byte, 0, unix.SizeofNlMsghdr+len(body))
	b = native.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	b = native.AppendUint16(b, typ)
	b = native.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = native.AppendUint32(b, c.seq)
	b = native.AppendUint32(b, 0)
	b = append(b, body...)
	for {
		err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// receive hands the messages of one datagram that answer the last request to each; it returns whether each was told to
// stop. Messages of other senders and of requests given up are dropped.
func (c *conn) receive(each func(part) bool) (stopped bool, err error) {
	n, from, err := unix.Recvfrom(c.fd, c.buf, unix.MSG_TRUNC)
	if err != nil {
		return false, err
	}
	if n > len(c.buf) {
		c.buf = make([]byte, align(n)*2)
		return false, errInterrupted
	}
	if sa, ok := from.(*unix.SockaddrNetlink); ok && sa.Pid != 0 {
		return false, nil
	}
	for b := c.buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
		length := int(native.Uint32(b))
		if length < unix.SizeofNlMsghdr || length > len(b) {
			return false, errors.New("malformed netlink message")
		}
		m := part{native.Uint16(b[4:]), native.Uint16(b[6:]), b[unix.SizeofNlMsghdr:length]}
		if native.Uint32(b[8:]) == c.seq && !each(m) {
			return true, nil
		}
		b = b[min(align(length), len(b)):]
	}
	return false, nil
}

// exchange sends a request and hands its answer to each until that says stop.
func (c *conn) exchange(ctx context.Context, typ, flags uint16, body []byte, each func(part) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.send(typ, flags, body); err != nil {
		return err
	}
	var lost error
	for {
		stopped, err := c.receive(each)
		switch {
		case stopped:
			return lost
		case err == nil, errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if lost != nil {
				return lost
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, errInterrupted):
			lost = errInterrupted // read on to the end, so that the socket is free for the next request
		default:
			return err
		}
	}
}

// do makes a request that changes something and waits for the kernel's acknowledgement.
func (c *conn) do(ctx context.Context, typ, flags uint16, body []byte) error {
	var answer error
	err := c.exchange(ctx, typ, flags|unix.NLM_F_ACK, body, func(m part) bool {
		if m.typ != unix.NLMSG_ERROR {
			return true
		}
		answer = acknowledged(m)
		return false
	})
	if err != nil {
		return err
	}
	return answer
}

// get asks for one object; the answer is decoded before get returns.
func (c *conn) get(ctx context.Context, typ uint16, body []byte, decode func([]byte)) error {
	var answer error
	err := c.exchange(ctx, typ, 0, body, func(m part) bool {
		if m.typ == unix.NLMSG_ERROR {
			answer = acknowledged(m)
		} else {
			decode(m.body)
		}
		return false
	})
	if err != nil {
		return err
	}
	return answer
}

// dump asks for every object of a type. An interrupted dump is asked for again, up to dumpTries times; then it is an error.
// decode says false for a message that is not one of the objects sought.
func dump[T any](ctx context.Context, c *conn, typ uint16, body []byte, decode func([]byte) (T, bool)) ([]T, error) {
	for range dumpTries {
		all, err := dumpOnce(ctx, c, typ, body, decode)
		if !errors.Is(err, errInterrupted) {
			return all, err
		}
	}
	return nil, fmt.Errorf("%w, %d times", errInterrupted, dumpTries)
}

func dumpOnce[T any](ctx context.Context, c *conn, typ uint16, body []byte, decode func([]byte) (T, bool)) ([]T, error) {
	var all []T
	var answer error
	err := c.exchange(ctx, typ, unix.NLM_F_DUMP, body, func(m part) bool {
		if m.flags&unix.NLM_F_DUMP_INTR != 0 {
			answer = errInterrupted
		}
		switch m.typ {
		case unix.NLMSG_DONE:
			if e := unix.Errno(-int32(u32(m.body))); e != 0 && answer == nil {
				answer = &kernelError{errno: e}
			}
			return false
		case unix.NLMSG_ERROR:
			answer = acknowledged(m)
			return false
		}
		if o, ok := decode(m.body); ok {
			all = append(all, o)
		}
		return true
	})
	if err == nil {
		err = answer
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

// acknowledged decodes NLMSG_ERROR: nil for success.
func acknowledged(m part) error {
	errno := unix.Errno(-int32(u32(m.body)))
	if errno == 0 {
		return nil
	}
	e := &kernelError{errno: errno}
	const head = 4 + unix.SizeofNlMsghdr // struct nlmsgerr, without the request (NETLINK_CAP_ACK)
	if m.flags&unix.NLM_F_ACK_TLVS != 0 && m.flags&unix.NLM_F_CAPPED != 0 && len(m.body) >= head {
		for t, v := range attrs(m.body[head:]) {
			if t == unix.NLMSGERR_ATTR_MSG {
				e.text = str(v)
			}
		}
	}
	return e
}
