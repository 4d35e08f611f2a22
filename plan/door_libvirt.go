package plan

import (
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// libvirtDoor lists the ways to let flows past a rule of libvirt's networks: an accept in front of the jumps to its chains.
// libvirt puts those in front when it first starts and leaves everything there where it is, whatever starts anew; within its
// chains its own rules come in front again whenever a network starts (measured with libvirt 9.0 and iptables). The same holds for its
// own table of nftables, of which it makes only what is missing (libvirt 10.4 and newer, network_nftables.c).
func (h *healer) libvirtDoor(g *schema.Goal, c culprit, acc []accept) []road {
	inside := road{
		title:  "an exception within libvirt's chain " + c.chain.Name,
		closed: "libvirt puts its own rules in front of it again whenever the network starts",
	}
	front := road{title: "accept exactly these flows in front of the jumps to libvirt's chains: libvirt leaves that where it is"}
	at := slices.IndexFunc(c.base.Rules, func(r *schema.Rule) bool {
		to := jumpTarget(r)
		return strings.HasPrefix(to, "LIBVIRT_") || c.table.Name == "libvirt_network" && strings.HasPrefix(to, "guest_")
	})
	switch {
	case at < 0:
		front.closed = "chain " + c.base.Name + " does not lead to libvirt's chains: " + c.chain.Name + " filters one guest's interface, by the <filterref> of its domain"
	default:
		front.drafts = h.exceptions(culprit{table: c.table, chain: c.base, base: c.base}, acc, at, g)
	}
	return []road{inside, front}
}
