package checks

import (
	"fmt"
	"math/big"
	"net/netip"

	"github.com/vmnet/vmnet/schema"
)

func dhcpFull() Check {
	return Check{
		Code: "VN505", Name: "dhcp-full", Layer: LayerServices, Title: "every address of a DHCP range is leased", Run: runDHCPFull,
		Doc: Doc{
			Means:   "As many leases are out as the range has addresses: new guests get none (dnsmasq: no address available).",
			Example: "<range start='192.168.122.10' end='192.168.122.19'/> with ten leases.",
			Why:     "Guests come and go faster than leases run out (an hour with libvirt, half a day elsewhere): CI runners, clones, guests that send a new client identifier at every start.",
			Repair:  "It does not: the range is the manager's.",
			ByHand:  "virsh net-edit default widens the range; then virsh net-destroy and net-start. Leases of guests that are gone can be taken out of the file.",
			Lasting: "A wider range, or a shorter lease: <lease expiry='10' unit='minutes'/> in the range.",
		},
	}
}

func runDHCPFull(h *Host) []Finding {
	var out []Finding
	for _, n := range h.Networks {
		for _, r := range n.Served {
			used := 0
			for l := range schema.Each[*schema.Lease](h.State) {
				if l.Link == n.Device && l.IP.Is6() == r.First.Is6() && r.holds(l.IP) {
					used++
				}
			}
			if used == 0 || r.size().Cmp(big.NewInt(int64(used))) > 0 {
				continue
			}
			out = append(out, Finding{
				Severity: Error, Title: fmt.Sprintf("all %d addresses that %s serves are leased", used, n.Label()), Object: schema.LinkRef(n.Device), Links: []string{n.Device}, Owner: n.Manager,
				Detail:   "New guests get no address.",
				Evidence: []string{fmt.Sprintf("the range is %s to %s", r.First, r.Last), fmt.Sprintf("%d leases of it", used)},
				Cure:     []string{"a wider range: " + renumber(n)},
			})
		}
	}
	return out
}

// holds tells whether an address is one of the range.
func (r Range) holds(a netip.Addr) bool { return r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0 }

// size is the number of addresses of the range.
func (r Range) size() *big.Int {
	first, last := new(big.Int).SetBytes(r.First.AsSlice()), new(big.Int).SetBytes(r.Last.AsSlice())
	return last.Sub(last, first).Add(last, big.NewInt(1))
}
