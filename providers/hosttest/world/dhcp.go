package world

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// DHCPLease is what a server gave to a machine.
type DHCPLease struct {
	IP     netip.Addr
	Server netip.Addr
	// Options are those of the answer, by code (RFC 2132).
	Options map[byte][]byte
	// Checksum tells that the UDP checksum of every answer was right, or not there (RFC 768): clients that read packets as they are on
	// the wire refuse others.
	Checksum bool
}

// DHCPClient asks for an address by a machine's eth0 as clients do that have none: by whole frames (packet(7)).
type DHCPClient struct {
	// Ask wishes for an address; the zero Addr for any.
	Ask netip.Addr
	// ClientID is option 61; nil for none.
	ClientID []byte
	// Name is option 12; "" for none.
	Name string
}

// The messages (RFC 2132, 9.6).
const (
	dhcpDiscover = 1
	dhcpOffer    = 2
	dhcpRequest  = 3
	dhcpACK      = 5
	dhcpNAK      = 6
)

// DHCP gets an address: DISCOVER, OFFER, REQUEST, ACK. It sets nothing. It asks again every half a second, as long as the machine has
// patience; a refusal is an error.
func (n *Node) DHCP(c DHCPClient) (lease DHCPLease, err error) {
	err = n.Do(func() error {
		x, err := c.dial()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unix.Close(x.fd)) }()
		lease, err = x.lease(time.Now().Add(n.timeout))
		return err
	})
	return lease, err
}

// exchange is one client's socket and what it asks for.
type exchange struct {
	DHCPClient
	fd    int
	index int
	mac   net.HardwareAddr
	xid   uint32
	valid bool
}

func (c DHCPClient) dial() (*exchange, error) {
	l, err := net.InterfaceByName("eth0")
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP)))
	if err != nil {
		return nil, err
	}
	x := &exchange{DHCPClient: c, fd: fd, index: l.Index, mac: l.HardwareAddr, xid: uint32(time.Now().UnixNano()), valid: true}
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: l.Index})
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 500_000})
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return x, nil
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

func (x *exchange) lease(deadline time.Time) (DHCPLease, error) {
	offer, err := x.ask(deadline, dhcpOffer, x.message(dhcpDiscover, nil))
	if err != nil {
		return offer, err
	}
	server := offer.Server.AsSlice()
	x.Ask = offer.IP
	l, err := x.ask(deadline, dhcpACK, x.message(dhcpRequest, server))
	l.Checksum = x.valid
	return l, err
}

// ask sends a message until it is answered.
func (x *exchange) ask(deadline time.Time, want byte, packet []byte) (DHCPLease, error) {
	to := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: x.index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	for time.Now().Before(deadline) {
		if err := unix.Sendto(x.fd, packet, 0, to); err != nil {
			return DHCPLease{}, fmt.Errorf("send: %w", err)
		}
		for again := time.Now().Add(500 * time.Millisecond); time.Now().Before(again); {
			l, typ, ok := x.receive()
			switch {
			case ok && typ == want:
				return l, nil
			case ok && typ == dhcpNAK:
				return l, errors.New("the server says no")
			}
		}
	}
	return DHCPLease{}, errors.New("no DHCP server answers")
}

// message is a whole IP packet.
func (x *exchange) message(typ byte, server []byte) []byte {
	b := make([]byte, 240, 400)
	b[0], b[1], b[2] = 1, 1, 6 // BOOTREQUEST by Ethernet
	binary.BigEndian.PutUint32(b[4:], x.xid)
	copy(b[28:], x.mac)
	copy(b[236:], []byte{0x63, 0x82, 0x53, 0x63})
	add := func(code byte, value []byte) {
		if len(value) > 0 {
			b = append(append(b, code, byte(len(value))), value...)
		}
	}
	add(53, []byte{typ})
	add(61, x.ClientID)
	add(12, []byte(x.Name))
	if x.Ask.IsValid() {
		add(50, x.Ask.AsSlice())
	}
	add(54, server)
	add(55, []byte{1, 3, 6, 12, 15, 26, 28, 42, 51, 119})
	b = append(b, 255)
	p := make([]byte, 28+len(b))
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[16:], net.IPv4bcast.To4())
	binary.BigEndian.PutUint16(p[10:], checksum(p[:20]))
	binary.BigEndian.PutUint16(p[20:], 68)
	binary.BigEndian.PutUint16(p[22:], 67)
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(b)))
	copy(p[28:], b)
	return p
}

// receive reads one packet; ok is false for one that is no answer to this client.
func (x *exchange) receive() (l DHCPLease, typ byte, ok bool) {
	buf := make([]byte, 2048)
	n, _, err := unix.Recvfrom(x.fd, buf, 0)
	if err != nil || n < 20 {
		return l, 0, false
	}
	p := buf[:n]
	head := int(p[0]&15) * 4
	if p[9] != unix.IPPROTO_UDP || len(p) < head+8+240 || binary.BigEndian.Uint16(p[head+2:]) != 68 {
		return l, 0, false
	}
	b := p[head+8:]
	if binary.BigEndian.Uint32(b[4:]) != x.xid {
		return l, 0, false
	}
	x.valid = x.valid && udpValid(p[:20], p[head:])
	l.IP, _ = netip.AddrFromSlice(b[16:20])
	l.Options = options(b[240:])
	l.Server, _ = netip.AddrFromSlice(l.Options[54])
	if t := l.Options[53]; len(t) == 1 {
		typ = t[0]
	}
	return l, typ, true
}

func options(b []byte) map[byte][]byte {
	all := map[byte][]byte{}
	for len(b) > 1 && b[0] != 255 {
		if b[0] == 0 {
			b = b[1:]
			continue
		}
		n := int(b[1])
		if len(b) < 2+n {
			break
		}
		all[b[0]] = append(all[b[0]], b[2:2+n]...)
		b = b[2+n:]
	}
	return all
}

// udpValid tells whether a UDP packet has the right checksum, or none.
func udpValid(ip, udp []byte) bool {
	if binary.BigEndian.Uint16(udp[6:]) == 0 {
		return true
	}
	udp = udp[:min(len(udp), int(binary.BigEndian.Uint16(udp[4:])))]
	pseudo := append([]byte(nil), ip[12:20]...)
	pseudo = append(pseudo, 0, unix.IPPROTO_UDP, udp[4], udp[5])
	whole := append(pseudo, udp...)
	if len(whole)%2 == 1 {
		whole = append(whole, 0)
	}
	return checksum(whole) == 0
}
