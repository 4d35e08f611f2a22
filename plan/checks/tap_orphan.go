package checks

import (
	"regexp"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

func tapOrphan() Check {
	return Check{
		Code: "VN226", Name: "tap-orphan", Layer: LayerBridges, Title: "a running guest's tap is in no bridge", Run: runTapOrphan,
		Doc: Doc{
			Means:   "A hypervisor holds the tap open, and the tap has neither a bridge nor an address: the guest has a link and reaches nobody.",
			Example: "virsh net-destroy default; virsh net-start default: the bridge is new, and the guests' taps are not its ports.",
			Why: "The bridge was deleted and made again under running guests (net-destroy, ifdown vmbr0, systemctl restart networking), or NetworkManager or networkd " +
				"took the tap for a link of its own and released it.",
			Repair:  "A guest block with network and device makes it a port again (VN202). Without one nobody but its hypervisor knows which bridge it belongs to.",
			ByHand:  "ip link set vnet1 master virbr0; virsh domiflist NAME tells which. Restarting virtnetworkd or libvirtd attaches all guests again.",
			Lasting: "Restart daemons, not networks; ifreload -a in place of ifdown and ifup; unmanaged-devices=interface-name:vnet*;interface-name:tap* for NetworkManager.",
		},
	}
}

var (
	hypervisors = regexp.MustCompile(`(?i)qemu|kvm|cloud-hyp|firecracker|crosvm|vbox|vmware|lkvm|bhyve`)
	guestTap    = regexp.MustCompile(`^(vnet[0-9]+|tap[0-9]+i[0-9]+|macvtap[0-9]+|vmtap[0-9]+)$`)
)

func runTapOrphan(h *Host) []Finding {
	var out []Finding
	for l := range schema.Each[*schema.Link](h.State) {
		if l.Type != "tap" || master(l) != "" || l.Facts == nil || l.Facts.NoCarrier || up(l) && !l.Facts.Carrier || len(h.addresses(l.Name)) > 0 || h.routed(l.Name) {
			continue
		}
		who := h.holder(l.Name)
		switch {
		case h.declaredPort(l.Name):
			continue // the file says where it belongs, and the plan names it by that
		case who != nil && !hypervisors.MatchString(who.Process):
			continue
		case who == nil && (!guestTap.MatchString(l.Name) || tapGuest(l) == ""):
			continue
		}
		f := Finding{
			Severity: Error, Title: l.Name + " is in no bridge, and its guest runs", Object: l.Ref(), Links: []string{l.Name},
			Detail:   "The guest sees a link and reaches nobody.",
			Evidence: []string{l.Name + " has no master, no address and no route", "it has a carrier: a process holds it"},
		}
		if who != nil {
			f.Evidence = append(f.Evidence, who.String())
		}
		if b := h.onlyBridge(); b != "" {
			f.Evidence = append(f.Evidence, "the other guests' taps are ports of "+b)
			f.Links = append(f.Links, b)
			f.Cure = append(f.Cure, "ip link set "+l.Name+" master "+b)
		} else {
			f.Cure = append(f.Cure, "ip link set "+l.Name+" master BRIDGE, as virsh domiflist says")
		}
		out = append(out, f)
	}
	return out
}

// declaredPort tells whether a block of the file says which network a link is a port of.
func (h *Host) declaredPort(link string) bool {
	return h.Desired != nil && (slices.ContainsFunc(h.Desired.Guests, func(g schema.Guest) bool { return g.Device == link }) ||
		slices.ContainsFunc(h.Desired.Networks, func(n schema.Network) bool { return slices.Contains(n.Ports, link) }))
}

func (h *Host) holder(link string) *schema.Holder {
	for _, r := range h.Dependents(schema.LinkRef(link)) {
		if o, ok := h.Get(r).(*schema.Holder); ok {
			return o
		}
	}
	return nil
}

// routed tells whether a route that somebody made leads to a link: guests may be reached so without a bridge.
func (h *Host) routed(link string) bool {
	for _, r := range h.Dependents(schema.LinkRef(link)) {
		if o, ok := h.Get(r).(*schema.Route); ok && o.Table != schema.TableLocal && !o.KernelMade() {
			return true
		}
	}
	return false
}

// onlyBridge is the bridge that all other taps are in, "" where they are in several or none.
func (h *Host) onlyBridge() string {
	bridge := ""
	for l := range schema.Each[*schema.Link](h.State) {
		if m := master(l); l.Type == "tap" && m != "" {
			if bridge != "" && bridge != m {
				return ""
			}
			bridge = m
		}
	}
	return bridge
}
