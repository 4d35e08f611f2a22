package trace

import (
	"net/netip"

	"github.com/vmnet/vmnet/schema"
)

// Query is a question about many packets between two ends: one representative pair of addresses, and the sets that any
// witness may come from.
type Query struct {
	// From and To are as in Flow: the guest's port where one is known, else the device; "" for the host.
	From, To string
	// Src and Dst are representatives. An invalid Src is chosen by routing (packets of the host itself).
	Src, Dst netip.Addr
	// SrcSet and DstSet are the addresses that the goal is about; empty for every address (the outside) or for the host.
	SrcSet, DstSet []netip.Prefix
	// Service is what is spoken; the zero Service is every protocol.
	Service schema.Service
	// Via is set for a forward: Dst is then the host's address, the packet goes to these ports of it, and must arrive at
	// WantDst, on the port that follows from Service.Ports.
	Via     *schema.Via
	WantDst netip.Addr
	// SrcRouted means those of SrcSet only whom the host routes to From, DstRouted those of DstSet whom it routes to To.
	SrcRouted, DstRouted bool
	// SrcLink and DstLink are the links that the host routes the ends' addresses to, where From and To are ports that are said to
	// lead to them: whether they do is then the question. "" for From and To themselves, as far as their VLANs let them be.
	SrcLink, DstLink string
	// Anywhere asks where the packets get to, wherever that is: see Flow. An empty To is then no claim that they end at the
	// host, and DstSet holds for it, too.
	Anywhere bool
	// Local says that the packets must arrive at the host itself, as in Flow.
	Local bool
}
