package world

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// Conn is a TCP connection to a server of this package.
type Conn struct {
	// Answer is what the server said first.
	Answer Answer

	conn    *net.TCPConn
	reader  *bufio.Reader
	timeout time.Duration
}

// Dial opens a TCP connection from this machine and reads the server's answer.
func (n *Node) Dial(to netip.AddrPort) (*Conn, error) {
	c := &Conn{timeout: n.timeout}
	ctx, cancel := context.WithTimeout(context.Background(), n.timeout)
	defer cancel()
	err := n.Do(func() error {
		conn, err := n.dialer("tcp").DialContext(ctx, network("tcp", to.Addr()), to.String())
		if err == nil {
			c.conn = conn.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("tcp from %s: %w", n.Name, err)
	}
	c.reader = bufio.NewReader(c.conn)
	if err := c.greet(); err != nil {
		return nil, errors.Join(fmt.Errorf("tcp from %s to %s: %w", n.Name, to, err), c.Close())
	}
	return c, nil
}

func (n *Node) dialer(proto string) *net.Dialer {
	d := &net.Dialer{}
	if !n.source.IsValid() {
		return d
	}
	at := netip.AddrPortFrom(n.source, 0)
	if proto == "tcp" {
		d.LocalAddr = net.TCPAddrFromAddrPort(at)
	} else {
		d.LocalAddr = net.UDPAddrFromAddrPort(at)
	}
	return d
}

func (n *Node) sourceIP() *net.IPAddr {
	if !n.source.IsValid() {
		return nil
	}
	return &net.IPAddr{IP: n.source.AsSlice()}
}

func (c *Conn) greet() error {
	if err := c.conn.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	line, err := c.reader.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &c.Answer); err != nil {
		return fmt.Errorf("not a server of this world: %w", err)
	}
	c.Answer.OwnMSS = maxSegment(c.conn)
	return nil
}

// Echo sends data and waits until all of it has come back: does the connection still live?
func (c *Conn) Echo(data []byte) error {
	if err := c.conn.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := c.conn.Write(data)
		sent <- err
	}()
	back := make([]byte, len(data))
	for got := 0; got < len(back); {
		k, err := c.reader.Read(back[got:])
		if err != nil {
			return errors.Join(fmt.Errorf("echo of %d bytes, after %d: %w", len(data), got, err), <-sent)
		}
		got += k
	}
	if !bytes.Equal(back, data) {
		return fmt.Errorf("echo of %d bytes: it came back changed", len(data))
	}
	return <-sent
}

// Within sets how long Echo waits.
func (c *Conn) Within(d time.Duration) *Conn {
	c.timeout = d
	return c
}

// Close ends the connection at once, with a reset, so that no state lingers.
func (c *Conn) Close() error { return errors.Join(c.conn.SetLinger(0), c.conn.Close()) }

// TCP asks a server once.
func (n *Node) TCP(to netip.AddrPort) (Answer, error) {
	c, err := n.Dial(to)
	if err != nil {
		return Answer{}, err
	}
	return c.Answer, c.Close()
}

// UDP sends one datagram to a server and waits for its answer.
func (n *Node) UDP(to netip.AddrPort) (Answer, error) {
	var a Answer
	err := n.Do(func() error {
		c, err := n.dialer("udp").DialContext(context.Background(), network("udp", to.Addr()), to.String())
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(n.timeout)); err != nil {
			return err
		}
		if _, err := c.Write([]byte("?")); err != nil {
			return err
		}
		buf := make([]byte, 2048)
		k, err := c.Read(buf)
		if err != nil {
			return err
		}
		return json.Unmarshal(buf[:k], &a)
	})
	if err != nil {
		return Answer{}, fmt.Errorf("udp from %s: %w", n.Name, err)
	}
	return a, nil
}

// Types of ICMP messages (RFC 792, RFC 4443).
const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
)

// Ping sends one ICMP or ICMPv6 echo request and waits for the reply.
func (n *Node) Ping(to netip.Addr) error {
	proto, request, reply := "ip4:1", byte(echoRequest4), byte(echoReply4)
	if to.Is6() {
		proto, request, reply = "ip6:58", echoRequest6, echoReply6
	}
	err := n.Do(func() error {
		conn, err := net.DialIP(proto, n.sourceIP(), &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()})
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(n.timeout)); err != nil {
			return err
		}
		message := echoMessage(request)
		if _, err := conn.Write(message); err != nil {
			return err
		}
		buf := make([]byte, 2048)
		for {
			k, _, err := conn.ReadFromIP(buf)
			if err != nil {
				return err
			}
			// On a machine that pings itself the request is seen as well.
			if k >= 8 && buf[0] == reply && bytes.Equal(buf[4:k], message[4:]) {
				return nil
			}
		}
	})
	if err != nil {
		return fmt.Errorf("ping from %s to %s: %w", n.Name, to, err)
	}
	return nil
}

// echoMessage is an echo request with a random identifier and payload. The kernel fills in the checksum of ICMPv6.
func echoMessage(typ byte) []byte {
	m := make([]byte, 24)
	m[0] = typ
	binary.BigEndian.PutUint64(m[4:], rand.Uint64()) // identifier, sequence number, payload
	binary.BigEndian.PutUint64(m[12:], rand.Uint64())
	if typ == echoRequest4 {
		binary.BigEndian.PutUint16(m[2:], checksum(m))
	}
	return m
}

// checksum is that of the internet (RFC 1071), over an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
