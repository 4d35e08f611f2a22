package plan

import (
	"slices"

	"github.com/vmnet/vmnet/schema"
)

const (
	forwarding6 = "net.ipv6.conf.all.forwarding"
	protoRA     = 9 // RTPROT_RA of rtnetlink(7): of a router advertisement
)

// advertised keeps the default routes that routers advertise: a host that forwards drops those it has and takes no more,
// unless accept_ra of the link is 2 (ip-sysctl in the kernel's documentation, rt6_purge_dflt_routers in net/ipv6/route.c).
func (r *resolved) advertised() {
	if on, _ := r.want.Sysctl(forwarding6); on != "1" {
		return
	}
	for l := range schema.Each[*schema.Link](r.live) {
		if l.Facts != nil && l.Facts.IPv6 != nil && l.Facts.IPv6.AcceptRA == 1 && l.Facts.IPv6.Disable == 0 && advertisedDefault(r.live, l.Name) {
			r.put(&schema.Sysctl{Key: schema.LinkSysctl("ipv6", l.Name, "accept_ra"), Value: "2"}, r.addresses[schema.SysctlRef(forwarding6)])
		}
	}
}

// advertisedDefault tells whether a default route by a link was advertised by a router, and taken by the kernel.
func advertisedDefault(s *schema.State, link string) bool {
	for rt := range schema.Each[*schema.Route](s) {
		if rt.Dst.Bits() == 0 && rt.Dst.Addr().Is6() && rt.Proto != nil && *rt.Proto == protoRA && slices.Contains(rt.Devices(), link) {
			return true
		}
	}
	return false
}
