package world

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Resolve asks a name server for the IPv4 addresses of a name, by UDP (RFC 1035). A name that does not exist is an error.
func (n *Node) Resolve(server netip.Addr, name string) ([]netip.Addr, error) {
	var out []netip.Addr
	err := n.Do(func() error {
		c, err := n.dialer("udp").Dial("udp", netip.AddrPortFrom(server, 53).String())
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(n.timeout)); err != nil {
			return err
		}
		if _, err := c.Write(question(name)); err != nil {
			return err
		}
		buf := make([]byte, 1500)
		k, err := c.Read(buf)
		if err != nil {
			return err
		}
		out, err = answers(buf[:k])
		return err
	})
	return out, err
}

// question asks for a name's addresses (type A, class IN), and that others be asked.
func question(name string) []byte {
	q := make([]byte, 12, 64)
	q[1], q[2], q[5] = 7, 1, 1
	for part := range strings.SplitSeq(name, ".") {
		q = append(append(q, byte(len(part))), part...)
	}
	return append(q, 0, 0, 1, 0, 1)
}

var errShort = errors.New("the answer of the name server is cut off")

// answers are the addresses in an answer.
func answers(b []byte) ([]netip.Addr, error) {
	if len(b) < 12 {
		return nil, errShort
	}
	if code := b[3] & 15; code != 0 {
		return nil, fmt.Errorf("the name server says code %d", code) // 3: there is no such name
	}
	at := skipName(b, 12) + 4
	var out []netip.Addr
	for range binary.BigEndian.Uint16(b[6:]) {
		at = skipName(b, at)
		if at+10 > len(b) {
			return nil, errShort
		}
		typ, size := binary.BigEndian.Uint16(b[at:]), int(binary.BigEndian.Uint16(b[at+8:]))
		at += 10
		if at+size > len(b) {
			return nil, errShort
		}
		if ip, ok := netip.AddrFromSlice(b[at : at+size]); ok && typ == 1 {
			out = append(out, ip)
		}
		at += size
	}
	return out, nil
}

// skipName gives where a name ends that begins at a place: labels up to an empty one, or a pointer.
func skipName(b []byte, at int) int {
	for at < len(b) {
		switch n := int(b[at]); {
		case n == 0:
			return at + 1
		case n >= 0xc0:
			return at + 2
		default:
			at += 1 + n
		}
	}
	return at
}
