package checks

import (
	"encoding/xml"
	"net/netip"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// libvirtNetwork is a network as libvirt keeps it on disk (libvirt.org/formatnetwork.html).
type libvirtNetwork struct {
	file    string
	Name    string `xml:"name"`
	Forward *struct {
		Mode string `xml:"mode,attr"`
	} `xml:"forward"`
	Bridge struct {
		Name string `xml:"name,attr"`
	} `xml:"bridge"`
	DNS struct {
		Enable string `xml:"enable,attr"`
	} `xml:"dns"`
	IPs []struct {
		Address string `xml:"address,attr"`
		Netmask string `xml:"netmask,attr"`
		Prefix  string `xml:"prefix,attr"`
		DHCP    *struct {
			Ranges []struct {
				Start string `xml:"start,attr"`
				End   string `xml:"end,attr"`
			} `xml:"range"`
			Hosts []struct {
				MAC  string `xml:"mac,attr"`
				IP   string `xml:"ip,attr"`
				Name string `xml:"name,attr"`
			} `xml:"host"`
		} `xml:"dhcp"`
	} `xml:"ip"`
}

const libvirtDir = "/etc/libvirt/qemu/networks/"

// libvirtNetworks are the networks defined on disk that have a bridge of libvirt's own.
func libvirtNetworks(s *schema.State) []libvirtNetwork {
	var out []libvirtNetwork
	for f := range schema.Each[*schema.File](s) {
		name, ok := strings.CutPrefix(f.Path, libvirtDir)
		if !ok || !strings.HasSuffix(name, ".xml") || strings.Contains(name, "/") {
			continue
		}
		n := libvirtNetwork{file: f.Path}
		if xml.Unmarshal([]byte(f.Content), &n) == nil && n.Bridge.Name != "" {
			out = append(out, n)
		}
	}
	return out
}

// mode is the forward mode in the words of Network.Mode.
func (n *libvirtNetwork) mode() string {
	switch {
	case n.Forward == nil:
		return ModeIsolated
	case n.Forward.Mode == "" || n.Forward.Mode == "nat":
		return ModeNAT
	case n.Forward.Mode == "route" || n.Forward.Mode == "open":
		return ModeRouted
	}
	return ModeBridge
}

// served lists the ranges of addresses that its DHCP server hands out.
func (n *libvirtNetwork) served() []Range {
	var out []Range
	for _, ip := range n.IPs {
		if ip.DHCP == nil {
			continue
		}
		for _, r := range ip.DHCP.Ranges {
			first, err1 := netip.ParseAddr(r.Start)
			last, err2 := netip.ParseAddr(r.End)
			if err1 == nil && err2 == nil {
				out = append(out, Range{first, last})
			}
		}
	}
	return out
}

// reservation is an address that is kept for a MAC.
type reservation struct {
	mac  string
	ip   netip.Addr
	name string
}

func (n *libvirtNetwork) reservations() []reservation {
	var out []reservation
	for _, ip := range n.IPs {
		if ip.DHCP == nil {
			continue
		}
		for _, h := range ip.DHCP.Hosts {
			if a, err := netip.ParseAddr(h.IP); err == nil && h.MAC != "" {
				out = append(out, reservation{strings.ToLower(h.MAC), a, h.Name})
			}
		}
	}
	return out
}
