package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// recvBuffer is how much one read takes. The kernel gives at most 32 KiB of a dump at a time, and less to a reader
	// with a smaller buffer; it walks a chain from its start for every read, so small ones make a dump quadratic.
	recvBuffer = 64 << 10
	// socketBuffer is what SO_SNDBUF and SO_RCVBUF are set to: a batch goes to the kernel in one piece, and its errors
	// come back at once.
	socketBuffer = 64 << 20
	// headerLen is struct nlmsghdr and struct nfgenmsg.
	headerLen = unix.NLMSG_HDRLEN + 4
)

// errInterrupted says that a dump does not show one state of the ruleset: the kernel set NLM_F_DUMP_INTR.
var errInterrupted = errors.New("the ruleset changed while it was read")

// socket speaks nfnetlink. mdlayher/netlink makes it and waits on it; messages are read and written here, for its message
// type costs an allocation and a copy each, and looks at a small buffer twice.
type socket struct {
	conn *netlink.Conn
	raw  syscall.RawConn
	seq  uint32
	buf  []byte
	// dirty is true when an answer was given up: the kernel serves no other dump before its end.
	dirty bool
	// lenient takes dumps that the kernel calls interrupted.
	lenient bool
	// links is any socket of the namespace: it is asked for the names of links.
	links int
}

func openSocket() (*socket, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, err
	}
	links, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		conn.Close()
		return nil, err
	}
	s := &socket{conn: conn, raw: raw, links: links, seq: uint32(time.Now().UnixNano()), buf: make([]byte, recvBuffer)}
	if err := s.setOptions(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// setOptions makes the buffers large: as root beyond the system's limit, else up to it.
func (s *socket) setOptions() error {
	var sockErr error
	err := s.raw.Control(func(fd uintptr) {
		for _, o := range []struct{ force, plain int }{
			{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}, {unix.SO_RCVBUFFORCE, unix.SO_RCVBUF},
		} {
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o.force, socketBuffer) == nil {
				continue
			}
			sockErr = errors.Join(sockErr, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o.plain, socketBuffer))
		}
		// Without the request in an error the errors of a large batch stay small; with it, the kernel says where in a
		// message it stumbled. Both are refused by kernels before 4.12, which do without.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	})
	return errors.Join(err, sockErr)
}

// close waits for the kernel to free what a batch deleted: 10 ms or so.
func (s *socket) close() error { return errors.Join(s.conn.Close(), unix.Close(s.links)) }

// linkName is the name of the link with that index in the socket's namespace; "" when there is none.
func (s *socket) linkName(index uint32) string {
	r, err := unix.NewIfreq("")
	if err != nil {
		return ""
	}
	r.SetUint32(index)
	if err := unix.IoctlIfreq(s.links, unix.SIOCGIFNAME, r); err != nil {
		return ""
	}
	return r.Name()
}

// watch makes reads and writes end when ctx does. The returned function must be called.
func (s *socket) watch(ctx context.Context) (stop func()) {
	over := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(over)
		_ = s.conn.SetDeadline(time.Unix(1, 0))
	})
	return func() {
		if !cancel() {
			<-over // else it could still set the deadline after we take it back
			_ = s.conn.SetDeadline(time.Time{})
		}
	}
}

func (s *socket) nextSeq() uint32 {
	s.seq++
	if s.seq == 0 {
		s.seq = 1
	}
	return s.seq
}

func (s *socket) send(b []byte) error {
	var sendErr error
	err := s.raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(sendErr, unix.EAGAIN)
	})
	if err != nil {
		return err
	}
	return sendErr
}

// receive reads one datagram. The bytes are the caller's to keep.
func (s *socket) receive(flags int) ([]byte, error) {
	var n int
	var recvFlags int
	var recvErr error
	err := s.raw.Read(func(fd uintptr) bool {
		n, _, recvFlags, _, recvErr = unix.Recvmsg(int(fd), s.buf, nil, flags)
		return flags&unix.MSG_DONTWAIT != 0 || !errors.Is(recvErr, unix.EAGAIN)
	})
	if err != nil {
		return nil, err
	}
	if recvErr != nil {
		return nil, recvErr
	}
	if recvFlags&unix.MSG_TRUNC != 0 {
		return nil, fmt.Errorf("a netlink message is longer than %d bytes", len(s.buf))
	}
	return append(make([]byte, 0, n), s.buf[:n]...), nil
}

// message is one netlink message.
type message struct {
	typ   uint16
	flags uint16
	seq   uint32
	port  uint32 // of the socket whose request this answers or tells of; 0 for the kernel's own doing
	body  []byte // behind struct nlmsghdr
}

// cutMessage takes the first message off b.
func cutMessage(b []byte) (m message, rest []byte, err error) {
	if len(b) < unix.NLMSG_HDRLEN {
		return m, nil, errShort
	}
	n := int(binary.NativeEndian.Uint32(b))
	if n < unix.NLMSG_HDRLEN || n > len(b) {
		return m, nil, errShort
	}
	m = message{
		typ: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]),
		seq: binary.NativeEndian.Uint32(b[8:]), port: binary.NativeEndian.Uint32(b[12:]), body: b[unix.NLMSG_HDRLEN:n:n],
	}
	return m, b[min((n+3)&^3, len(b)):], nil
}

// attrs are the attributes behind struct nfgenmsg, and the family that stands in it.
func (m message) attrs() (family byte, attrs []byte, err error) {
	if len(m.body) < 4 {
		return 0, nil, errShort
	}
	return m.body[0], m.body[4:], nil
}

// failure reads the error of an NLMSG_ERROR or NLMSG_DONE; nil for an acknowledgement.
func (m message) failure() error {
	if len(m.body) < 4 {
		if m.typ == unix.NLMSG_DONE {
			return nil
		}
		return errShort
	}
	code := int32(binary.NativeEndian.Uint32(m.body))
	if code == 0 {
		return nil
	}
	return unix.Errno(-code)
}

// call asks one question and hands every message of the answer to each.
func (s *socket) call(r request, each func(m message) error) error {
	seq, err := s.ask(r)
	if err != nil {
		return err
	}
	a := answer{seq: seq, each: each, lenient: s.lenient}
	for !a.over {
		b, err := s.receive(0)
		if err != nil {
			s.dirty = true
			return s.readError(err)
		}
		a.take(b)
	}
	return a.err()
}

// ahead is how many datagrams stream reads before they are looked at.
const ahead = 8

// stream is call for long answers: the kernel makes an answer while it is read, so the reading goes on while each works.
func (s *socket) stream(r request, each func(m message) error) error {
	seq, err := s.ask(r)
	if err != nil {
		return err
	}
	datagrams := make(chan []byte, ahead)
	var readErr error
	go func() {
		defer close(datagrams)
		for {
			b, err := s.receive(0)
			if err != nil {
				readErr = err
				return
			}
			datagrams <- b
			if lastOf(b, seq) {
				return
			}
		}
	}()
	a := answer{seq: seq, each: each, lenient: s.lenient}
	for b := range datagrams {
		a.take(b)
	}
	if readErr != nil {
		s.dirty = true
		return s.readError(readErr)
	}
	return a.err()
}

// ask sends a question and returns its number.
func (s *socket) ask(r request) (seq uint32, err error) {
	if s.dirty {
		s.drain()
	}
	seq = s.nextSeq()
	return seq, s.send(r.bytes(seq))
}

// lastOf tells whether a datagram ends the answer to a question.
func lastOf(b []byte, seq uint32) bool {
	for len(b) > 0 {
		m, rest, err := cutMessage(b)
		if err != nil {
			return true
		}
		if m.seq == seq && (m.typ == unix.NLMSG_DONE || m.typ == unix.NLMSG_ERROR || m.flags&unix.NLM_F_MULTI == 0) {
			return true
		}
		b = rest
	}
	return false
}

// answer takes the datagrams of an answer one by one.
type answer struct {
	seq         uint32
	each        func(m message) error
	over        bool
	interrupted bool
	lenient     bool
	failed      error
}

func (a *answer) take(b []byte) {
	for len(b) > 0 && !a.over {
		var m message
		var err error
		if m, b, err = cutMessage(b); err != nil {
			a.end(err)
			return
		}
		if m.seq != a.seq {
			continue // left over from a question that was given up
		}
		a.interrupted = a.interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
		switch {
		case m.typ == unix.NLMSG_DONE, m.typ == unix.NLMSG_ERROR:
			a.end(m.failure())
			return
		case a.failed == nil:
			a.failed = a.each(m)
		}
		a.over = m.flags&unix.NLM_F_MULTI == 0
	}
}

// end ends the answer; what the kernel says counts more than what was made of its messages.
func (a *answer) end(err error) {
	a.over = true
	if err != nil {
		a.failed = err
		return
	}
	if a.interrupted && !a.lenient {
		a.failed = errInterrupted
	}
}

func (a *answer) err() error { return a.failed }

// drain reads what is left of an answer that was given up; the kernel makes it while it is read.
func (s *socket) drain() {
	for {
		if _, err := s.receive(unix.MSG_DONTWAIT); err != nil {
			s.dirty = false
			return
		}
	}
}

// readError names what a broken read means: the end of ctx shows as a deadline.
func (s *socket) readError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}
