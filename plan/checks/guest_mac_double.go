package checks

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func guestMACDouble() Check {
	return Check{
		Code: "VN223", Name: "guest-mac-double", Layer: LayerBridges, Title: "two machines have one MAC address", Run: runGuestMACDouble,
		Doc: Doc{
			Means: "Two guests, or a guest and the host, have the same MAC address on one bridge. The bridge sends frames for it to whoever spoke last: connections freeze when the other one speaks. " +
				"What the guests themselves begin seems to work, since each frame of theirs turns the entry back.",
			Example: "virsh dumpxml of two domains shows <mac address='52:54:00:12:34:56'/>, both on br0; or a guest was given the MAC address of eth0, and the kernel logs \"received packet on vnet1 with own address as source address\".",
			Why:     "A virtual machine was copied with its definition (virsh define of an edited XML, a copied .vmx), or given the address of the host's card so that a provider's port security accepts it.",
			Repair:  "It does not: the address belongs to the guest's definition, and whoever holds it now may have leases and licences on it.",
			ByHand:  "Give one of them a new address: shut it down, remove the <mac/> line in virsh edit (libvirt makes a new one), start it.",
			Lasting: "Clone with virt-clone, which makes new addresses; for VMware answer \"I copied it\". Against a provider's port security use a routed network, not the card's MAC address.",
		},
	}
}

// claim is a MAC address that a machine says it has, and how that is known.
type claim struct{ who, link, why string }

func runGuestMACDouble(h *Host) []Finding {
	var out []Finding
	for _, n := range h.Networks {
		claims := h.claims(n)
		for _, hw := range slices.Sorted(maps.Keys(claims)) {
			who := claims[hw]
			if len(who) < 2 || h.oneHolder(who) {
				continue
			}
			f := Finding{
				Severity: Error, Object: schema.LinkRef(n.Device), Links: []string{n.Device},
				Title:  fmt.Sprintf("%s and %s have the same MAC address %s", who[0].who, who[1].who, hw),
				Detail: fmt.Sprintf("On %s frames for it go to whoever spoke last.", n.Device),
				Cure:   []string{"give one of the two a MAC address of its own, in the definition of the virtual machine"},
			}
			for _, c := range who {
				f.Evidence = append(f.Evidence, c.who+": "+c.why)
				f.Links = appendNew(f.Links, c.link)
			}
			out = append(out, f)
		}
	}
	return out
}

// claims are the machines of a network by MAC address: the host by its bridge and the ports that lead out, guests by their
// hypervisor, by the file, and by where they were heard.
func (h *Host) claims(n *Network) map[string][]claim {
	out := map[string][]claim{}
	add := func(hw string, c claim) {
		hw = strings.ToLower(hw)
		if hw != "" && !slices.ContainsFunc(out[hw], func(o claim) bool { return o.link == c.link || o.who == c.who }) {
			out[hw] = append(out[hw], c)
		}
	}
	host := map[string]bool{}
	for _, name := range append([]string{n.Device}, n.Uplinks...) {
		if l := h.Link(name); l != nil && mac(l.MAC) != "" && !host[mac(l.MAC)] {
			host[mac(l.MAC)] = true
			add(mac(l.MAC), claim{"the host's " + name, name, "ip link shows it"})
		}
	}
	for _, p := range n.Ports {
		for _, c := range h.claimsBehind(n, p) {
			add(c.hw, c.claim)
		}
	}
	return out
}

// oneHolder tells whether one process has all of the links: a guest with two cards that it bonds.
func (h *Host) oneHolder(claims []claim) bool {
	pids := map[int]bool{}
	for _, c := range claims {
		held := false
		for _, r := range h.Dependents(schema.LinkRef(c.link)) {
			if o, ok := h.Get(r).(*schema.Holder); ok {
				pids[o.PID], held = true, true
			}
		}
		if !held {
			return false
		}
	}
	return len(pids) == 1
}

type heard struct {
	hw string
	claim
}

// claimsBehind are the MAC addresses that a port's guest says it has. A router behind a port may have many: only those its
// hypervisor gave it, or that it was heard with, count.
func (h *Host) claimsBehind(n *Network, port string) []heard {
	var out []heard
	l := h.Link(port)
	if m := tapGuest(l); m != "" {
		out = append(out, heard{m, claim{"the guest behind " + port, port, port + " has " + mac(l.MAC) + ", as libvirt names taps after their guests"}})
	}
	for _, r := range h.Dependents(l.Ref()) {
		switch o := h.Get(r).(type) {
		case *schema.Holder:
			if len(o.MACs) == 1 {
				out = append(out, heard{o.MACs[0], claim{"the guest behind " + port, port, fmt.Sprintf("the command line of %s[%d] gives it", o.Process, o.PID)}})
			}
		case *schema.FDBEntry:
			if o.Master == n.Device && o.State == "" && o.VLAN <= 1 { // in other VLANs the same address is another machine's
				out = append(out, heard{o.MAC, claim{"the guest behind " + port, port, "the bridge heard it there (bridge fdb)"}})
			}
		}
	}
	if h.Desired == nil {
		return out
	}
	for _, g := range h.Desired.Guests {
		if g.Network == n.Block && g.Device == port && g.MAC != "" {
			out = append(out, heard{strings.ToLower(g.MAC), claim{"the guest behind " + port, port, "the file gives it to " + g.Address}})
		}
	}
	return out
}
