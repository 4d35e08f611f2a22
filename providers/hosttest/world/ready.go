package world

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// readyTimeout is how long a link may take; the kernel needs a second at most, on a busy machine a few.
const readyTimeout = 20 * time.Second

// running waits until a link of the machine can be used.
func (n *Node) running(name string) error {
	deadline := time.Now().Add(readyTimeout)
	for {
		var missing string
		err := n.Do(func() (err error) {
			missing, err = unready(name)
			return err
		})
		switch {
		case err != nil:
			return fmt.Errorf("wait for %s of %s: %w", name, n.Name, err)
		case missing == "":
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("wait for %s of %s: %s", name, n.Name, missing)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// unready says what keeps a link from being used; "" for nothing.
func unready(name string) (string, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return "", err
	}
	if state := l.Attrs().OperState; state != netlink.OperUp {
		return "it is " + state.String(), nil
	}
	if off, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6"); err != nil || strings.TrimSpace(string(off)) != "0" {
		return "", nil // no IPv6 on this link
	}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
	if err != nil {
		return "", fmt.Errorf("list addresses: %w", err)
	}
	local, err := localRoutes()
	if err != nil {
		return "", err
	}
	linkLocal := false
	for _, a := range addrs {
		ip, _ := netip.AddrFromSlice(a.IP)
		if a.Flags&unix.IFA_F_TENTATIVE != 0 || !local[ip] {
			return fmt.Sprintf("%s is not reachable yet", ip), nil
		}
		linkLocal = linkLocal || ip.IsLinkLocalUnicast()
	}
	if !linkLocal {
		return "it has no link-local address yet", nil
	}
	return "", nil
}

// localRoutes are the IPv6 addresses that the kernel takes for its own.
func localRoutes() (map[netip.Addr]bool, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	local := map[netip.Addr]bool{}
	for _, r := range routes {
		if r.Dst == nil || r.Type != unix.RTN_LOCAL {
			continue
		}
		if ip, ok := netip.AddrFromSlice(r.Dst.IP); ok {
			local[ip] = true
		}
	}
	return local, nil
}
