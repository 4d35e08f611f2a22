package zoo_test

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// advertise lets the LAN's router send router advertisements (RFC 4861, section 4.2), ten a second, until the returned
// function is called.
func (b *bed) advertise() (stop func()) {
	b.Helper()
	var c net.PacketConn
	err := b.LAN().Do(func() (err error) {
		config := net.ListenConfig{}
		c, err = config.ListenPacket(b.Context(), "ip6:ipv6-icmp", linkLocal("lan0"))
		if err != nil {
			return err
		}
		raw, err := c.(*net.IPConn).SyscallConn()
		if err != nil {
			return err
		}
		return raw.Control(func(fd uintptr) { // what is set on a socket that was just made does not fail
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255)
		})
	})
	if err != nil {
		b.Fatalf("advertise: %v", err)
	}
	// Type 134, hop limit 64, no flags, a default router for half an hour; the kernel fills in the checksum. An option of type
	// 3: the prefix is on the link, and hosts make addresses of it, for half an hour.
	message := []byte{134, 0, 0, 0, 64, 0, 1800 >> 8, 1800 & 0xff, 0, 0, 0, 0, 0, 0, 0, 0}
	message = append(message, 3, 4, 64, 0xc0, 0, 0, 1800>>8, 1800&0xff, 0, 0, 1800>>8, 1800&0xff, 0, 0, 0, 0)
	message = append(message, netip.MustParsePrefix("2001:db8:2::/64").Addr().AsSlice()...)
	to := &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: "lan0"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := c.WriteTo(message, to); err != nil {
				return // closed
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	return func() {
		_ = c.Close() // nothing was left to send
		<-done
	}
}

// linkLocal is the link-local address of a link, with its zone.
func linkLocal(name string) string {
	l, err := net.InterfaceByName(name)
	if err != nil {
		return ""
	}
	addrs, err := l.Addrs()
	if err != nil {
		return ""
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			return p.Addr().WithZone(name).String()
		}
	}
	return ""
}
