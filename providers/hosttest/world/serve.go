package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Serve answers on TCP and UDP ports of all addresses, IPv4 and IPv6, until the world is closed. A server says who asked
// (Answer); a TCP connection then echoes what it is sent.
func (n *Node) Serve(ports ...uint16) error {
	for _, port := range ports {
		for _, addr := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			at := netip.AddrPortFrom(addr, port)
			if err := errors.Join(n.ServeTCP(at), n.ServeUDP(at)); err != nil {
				return err
			}
		}
	}
	return nil
}

func network(proto string, a netip.Addr) string {
	if a.Is4() {
		return proto + "4"
	}
	return proto + "6"
}

// ServeTCP answers on one TCP address.
func (n *Node) ServeTCP(at netip.AddrPort) error {
	var l net.Listener
	err := n.Do(func() error {
		var err error
		l, err = (&net.ListenConfig{}).Listen(context.Background(), network("tcp", at.Addr()), at.String())
		return err
	})
	if err != nil {
		return fmt.Errorf("serve on %s: %w", n.Name, err)
	}
	n.keep(l)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			n.keep(closeQuietly{c})
			go n.serveTCP(c.(*net.TCPConn))
		}
	}()
	return nil
}

// closeQuietly is a connection that may have been closed already.
type closeQuietly struct{ io.Closer }

func (c closeQuietly) Close() error {
	_ = c.Closer.Close() // the peer or the server may have been first
	return nil
}

func (n *Node) serveTCP(c *net.TCPConn) {
	defer c.Close()
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	if _, err := c.Write(n.answer(plain(from), maxSegment(c))); err != nil {
		return
	}
	_, _ = io.Copy(c, c) // ends with the connection, however that ends
}

func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// maxSegment asks the kernel for the largest segment it will send; 0 when it does not tell.
func maxSegment(c *net.TCPConn) int {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	mss := 0
	if err := raw.Control(func(fd uintptr) {
		if v, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG); err == nil {
			mss = v
		}
	}); err != nil {
		return 0
	}
	return mss
}

// ServeUDP answers on one UDP address: from the address that was asked.
func (n *Node) ServeUDP(at netip.AddrPort) error {
	var c *net.UDPConn
	err := n.Do(func() error {
		config := net.ListenConfig{Control: wantPacketInfo}
		p, err := config.ListenPacket(context.Background(), network("udp", at.Addr()), at.String())
		if err == nil {
			c = p.(*net.UDPConn)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("serve on %s: %w", n.Name, err)
	}
	n.keep(c)
	go func() {
		buf, oob := make([]byte, 2048), make([]byte, 256)
		for {
			_, m, _, from, err := c.ReadMsgUDPAddrPort(buf, oob)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // an ICMP error for an earlier answer
				continue
			}
			_, _, _ = c.WriteMsgUDPAddrPort(n.answer(plain(from), 0), fromSameAddress(oob[:m]), from) // lost is lost
		}
	}()
	return nil
}

// wantPacketInfo makes the kernel tell to which of our addresses a datagram was sent (IP_PKTINFO, ip(7)).
func wantPacketInfo(network, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		if network == "udp4" {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		} else {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	}); e != nil {
		return e
	}
	return err
}

// fromSameAddress turns what came with a datagram into what makes the answer leave from the address it was sent to, by
// whichever device the route says.
func fromSameAddress(oob []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			info := *(*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0]))
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: info.Spec_dst})
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			info := *(*unix.Inet6Pktinfo)(unsafe.Pointer(&m.Data[0]))
			return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: info.Addr})
		}
	}
	return nil
}
