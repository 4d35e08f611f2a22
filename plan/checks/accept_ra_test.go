package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestAcceptRA(t *testing.T) {
	slaac := address("eno1", "2001:db8::10/64")
	slaac.Valid, slaac.Facts.KernelMade = new(uint32(86000)), true
	deaf := func(acceptRA int) *schema.Link {
		return with(link("eno1", "device", 2), func(l *schema.Link) { l.Facts.IPv6 = &schema.LinkConf6{Forwarding: 1, AcceptRA: acceptRA} })
	}
	s := lab(deaf(1), slaac)
	f := found(t, acceptRA(), s, "eno1 takes no router advertisements any more", "net.ipv6.conf.eno1.accept_ra = 1", "no default route of IPv6 leaves by eno1")
	heals(t, acceptRA(), s, f)
	healthy(t, acceptRA(), "a link that takes them all the same", lab(deaf(2), slaac))
	healthy(t, acceptRA(), "a manager that reads them itself", lab(deaf(0), slaac))
	healthy(t, acceptRA(), "a network without a router", lab(deaf(1)))
	healthy(t, acceptRA(), "an address set by hand", lab(deaf(1), address("eno1", "2001:db8::10/64")))
}
