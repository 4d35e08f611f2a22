package sockets

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// BoundUDP lists the UDP sockets of a port, of IPv4, by their inodes, with the index of the link that each is bound to (SO_BINDTODEVICE,
// socket(7)); 0 for every link. It reads the network namespace of the calling thread. Nil where the kernel does not tell
// (CONFIG_INET_UDP_DIAG): /proc/net/udp has no such column.
func BoundUDP(port uint16) map[uint64]int {
	found := map[uint64]int{}
	for inode, s := range udpLinks(unix.AF_INET) {
		if s.port == port {
			found[inode] = s.link
		}
	}
	return found
}

type boundSocket struct {
	port uint16
	link int
}

func udpLinks(family uint8) map[uint64]boundSocket {
	all, err := netlink.SocketDiagUDP(family)
	if err != nil {
		return nil
	}
	found := map[uint64]boundSocket{}
	for _, s := range all {
		found[uint64(s.INode)] = boundSocket{s.ID.SourcePort, int(s.ID.Interface)}
	}
	return found
}

// links names the link that each UDP socket on every address is bound to: two servers of DHCP on two bridges differ by it alone.
// Those of addresses of their own are not asked for, nor is anybody in a /proc that is not the kernel's.
func (p *Provider) links(found []Entry) map[uint64]string {
	wild := func(e Entry) bool { return e.Proto == "udp" && e.Local.Addr().IsUnspecified() }
	if p.proc != "/proc" || !slices.ContainsFunc(found, wild) {
		return nil
	}
	names := map[int]string{}
	out := map[uint64]string{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for inode, s := range udpLinks(family) {
			if s.link == 0 {
				continue
			}
			if names[s.link] == "" {
				names[s.link] = fmt.Sprintf("if%d", s.link) // it is gone
				if l, err := netlink.LinkByIndex(s.link); err == nil {
					names[s.link] = l.Attrs().Name
				}
			}
			out[inode] = names[s.link]
		}
	}
	return out
}
