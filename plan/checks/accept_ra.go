package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func acceptRA() Check {
	return Check{
		Code: "VN323", Name: "accept-ra", Layer: LayerIP, Title: "forwarding makes the host deaf to router advertisements", Run: runAcceptRA,
		Doc: Doc{
			Means: "The link has its IPv6 address from router advertisements, forwarding is on, and accept_ra is 1: as a router the kernel takes no more advertisements. The default route runs out " +
				"(after 30 minutes mostly) or is gone already, and the addresses after it.",
			Example: "sysctl net.ipv6.conf.all.forwarding=1 on a host with a SLAAC address on eth0: ip -6 route shows no default route any more.",
			Why: "IPv6 forwarding was switched on for virtual machines: by vmnet, Docker with IPv6, libvirt, an administrator. accept_ra = 1 means \"if this host does not forward\" " +
				"(Documentation/networking/ip-sysctl.rst). NetworkManager and networkd read advertisements themselves and set accept_ra to 0: their hosts are not concerned.",
			Repair:  "vmnet sets accept_ra to 2 on that link: take advertisements although forwarding is on.",
			ByHand:  "sysctl -w net.ipv6.conf.eth0.accept_ra=2",
			Lasting: "net.ipv6.conf.eth0.accept_ra = 2 in /etc/sysctl.d/; ifupdown: accept_ra 2 in the inet6 section.",
		},
	}
}

// forwarding6 is the switch for all links.
const forwarding6 = "net.ipv6.conf.all.forwarding"

func runAcceptRA(h *Host) []Finding {
	var out []Finding
	wanted, _ := h.declared(forwarding6)
	for l := range schema.Each[*schema.Link](h.State) {
		if l.Facts == nil || l.Facts.IPv6 == nil || l.Facts.IPv6.AcceptRA != 1 || l.Facts.IPv6.Forwarding == 0 && wanted != "1" || l.Facts.IPv6.Disable != 0 {
			continue
		}
		seen := h.advertised(l.Name)
		if seen == "" {
			continue
		}
		key := schema.LinkSysctl("ipv6", l.Name, "accept_ra")
		f := Finding{
			Severity: Error, Title: l.Name + " takes no router advertisements any more",
			Detail: "Its default route and address of IPv6 came by advertisement, and will not be renewed, or are gone.",
			Object: schema.SysctlRef(key), Links: []string{l.Name},
			Evidence: []string{schema.LinkSysctl("ipv6", l.Name, "forwarding") + " = 1", key + " = 1", seen},
			Cure:     []string{"sysctl -w " + key + "=2"},
			Want:     []schema.Object{&schema.Sysctl{Key: key, Value: "2"}},
		}
		if l.Facts.IPv6.Forwarding == 0 {
			f.Title = l.Name + " takes no router advertisements once forwarding is on"
			f.Detail = "The file's networks need forwarding: switching it on would take the default route of IPv6 away."
			f.Evidence[0] = "the file wants " + forwarding6 + " = 1"
		}
		if !hasDefault(h, l.Name) {
			f.Evidence = append(f.Evidence, "no default route of IPv6 leaves by "+l.Name)
		}
		out = append(out, f)
	}
	return out
}

// advertised says by what an advertisement that a link took is known; "" for none.
func (h *Host) advertised(link string) string {
	for r := range schema.Each[*schema.Route](h.State) {
		if r.Dst.Addr().Is6() && r.Link == link && r.Proto != nil && *r.Proto == schema.ProtoRA {
			return "route " + r.String() + " proto ra"
		}
	}
	for _, a := range h.addresses(link) {
		if a.Prefix.Addr().Is6() && a.Facts != nil && a.Facts.KernelMade && a.Valid != nil {
			return fmt.Sprintf("%s is an address by advertisement, valid for %d s", a.Prefix, *a.Valid)
		}
	}
	return ""
}

func hasDefault(h *Host, link string) bool {
	for _, r := range h.defaults(true) {
		if r.Link == link {
			return true
		}
	}
	return false
}
