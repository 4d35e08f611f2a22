package endtoend_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/hosttest/neighbour"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// TestDHCPBeside: a guest that has no address yet gets its question through to the host, whoever drops what is unknown.
func TestDHCPBeside(t *testing.T) {
	for _, name := range []neighbour.Name{neighbour.UFW, neighbour.Firewalld} {
		t.Run(string(name), func(t *testing.T) {
			beside(t, twoGuests(), []neighbour.Name{name}, func(b *bed) {
				b.apply(strings.Replace(natLab, "subnet =", "dhcp { range = \"10.20.0.100-10.20.0.199\" }\n  subnet =", 1))
				if err := b.asksForAddress(b.Guest("db1")); err != nil {
					b.Errorf("the host does not hear a guest that asks for an address: %v\n%s", err, b.sh("nft list ruleset 2>/dev/null"))
				}
				if name == neighbour.Firewalld {
					b.sh("firewall-cmd --reload")
					b.passes("a guest that asks for an address, after a reload", b.asksForAddress(b.Guest("db1")))
				}
				b.blocked("the LAN asking for an address", b.asksForAddress(b.LAN()))
			})
		})
	}
}

// asksForAddress lets a machine send a DHCPDISCOVER (RFC 2131, 4.1), and tells whether a server on the host would hear it.
func (b *bed) asksForAddress(n *world.Node) error {
	var server *net.UDPConn
	err := b.Host().Do(func() (err error) {
		server, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 67})
		return err
	})
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer server.Close()
	device := map[bool]string{true: "lan0", false: "eth0"}[n == b.LAN()]
	if err := n.Do(func() error { return broadcast(device, discover()) }); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if err := server.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		return err
	}
	_, _, err = server.ReadFromUDP(make([]byte, 2048))
	return err
}

// discover is the packet: from 0.0.0.0 port 68 to 255.255.255.255 port 67, with an empty message in it.
func discover() []byte {
	const payload = 240
	p := make([]byte, 28+payload)
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[16:], net.IPv4bcast.To4())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum>>16+sum))
	binary.BigEndian.PutUint16(p[20:], 68)
	binary.BigEndian.PutUint16(p[22:], 67)
	binary.BigEndian.PutUint16(p[24:], 8+payload) // no checksum: RFC 768 lets it be 0
	p[28], p[29], p[30] = 1, 1, 6                 // BOOTREQUEST by Ethernet
	return p
}

// broadcast sends an IP packet to everyone on a device's network, as a client without an address does.
func broadcast(device string, packet []byte) error {
	l, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	to := &unix.SockaddrLinklayer{Protocol: 0x0008, Ifindex: l.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}} // ETH_P_IP, big endian
	return errors.Join(unix.Sendto(fd, packet, 0, to), unix.Close(fd))
}
