package checks

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// How a virtual network is connected.
const (
	ModeBridge   = "bridge"   // guests sit on the LAN itself
	ModeNAT      = "nat"      // guests share the host's address
	ModeRouted   = "routed"   // guests have addresses that the LAN knows
	ModeIsolated = "isolated" // guests, and the host where it has an address there
)

// Network is a virtual network: a bridge, or what a hypervisor has in its place.
type Network struct {
	Device  string `json:"device"`
	Manager string `json:"manager,omitempty"` // "libvirt", "docker", "incus" …; "" for nobody known
	Name    string `json:"name,omitempty"`    // what the manager calls it
	Mode    string `json:"mode"`
	Why     string `json:"why"` // how the mode is known
	// Missing says that a manager has the network defined and the device is not there.
	Missing bool `json:"missing,omitempty"`
	// Hosts are the host's own addresses on it, with the length of the network.
	Hosts []netip.Prefix `json:"addresses,omitempty"`
	// Uplinks are the ports that lead to the LAN, Ports the others.
	Uplinks []string `json:"uplinks,omitempty"`
	Ports   []string `json:"ports,omitempty"`
	Guests  []Guest  `json:"guests,omitempty"`
	// Served are the addresses that a DHCP server of the manager hands out.
	Served []Range `json:"served,omitempty"`
	// Block is the address of the file's block, "" where there is none.
	Block string `json:"block,omitempty"`

	libvirt *libvirtNetwork
}

// Range is an inclusive range of addresses.
type Range struct {
	First netip.Addr `json:"first"`
	Last  netip.Addr `json:"last"`
}

// Guest is a machine on a virtual network, as far as the host knows it.
type Guest struct {
	Name   string       `json:"name,omitempty"`
	Port   string       `json:"port,omitempty"`
	MAC    string       `json:"mac,omitempty"`
	IPs    []netip.Addr `json:"ips,omitempty"`
	Holder string       `json:"holder,omitempty"` // "qemu-system-x86[4711]"
}

// Label is how people call the network: "libvirt network default (virbr0)".
func (n *Network) Label() string {
	switch {
	case n.Name != "" && n.Name != n.Device:
		return n.Manager + " network " + n.Name + " (" + n.Device + ")"
	case n.Manager != "":
		return n.Manager + " network " + n.Device
	}
	return "network " + n.Device
}

func (h *Host) findNetworks() {
	for l := range schema.Each[*schema.Link](h.State) {
		if l.Type == "bridge" || isHypervisorCard(l.Name) && master(l) == "" {
			h.Networks = append(h.Networks, h.network(l))
		}
	}
	for i := range h.libvir {
		if v := &h.libvir[i]; h.Link(v.Bridge.Name) == nil && v.mode() != ModeBridge {
			h.Networks = append(h.Networks, &Network{
				Device: v.Bridge.Name, Manager: "libvirt", Name: v.Name, Mode: v.mode(), Why: v.file, Missing: true, Served: v.served(), libvirt: v,
			})
		}
	}
	slices.SortFunc(h.Networks, func(a, b *Network) int { return cmp.Compare(a.Device, b.Device) })
}

// isHypervisorCard tells the host's card in a host-only network of VirtualBox (vboxnet0) or VMware (vmnet8).
func isHypervisorCard(name string) bool {
	return hypervisorCard.MatchString(name)
}

var (
	hypervisorCard = regexp.MustCompile(`^(vboxnet|vmnet)[0-9]+$`)
	dockerBridge   = regexp.MustCompile(`^(docker0|docker_gwbridge|br-[0-9a-f]{12})$`)
	podmanBridge   = regexp.MustCompile(`^(podman|cni-podman)[0-9]+$`)
	incusBridge    = regexp.MustCompile(`^(incusbr|lxdbr)[0-9a-z-]*$`)
	proxmoxBridge  = regexp.MustCompile(`^(vmbr|fwbr)[0-9]+`)
)

func (h *Host) network(l *schema.Link) *Network {
	n := &Network{Device: l.Name}
	for _, a := range h.addresses(l.Name) {
		n.Hosts = append(n.Hosts, a.Prefix)
	}
	h.manager(n, l)
	h.ownRange(n)
	h.sortPorts(n)
	h.mode(n)
	h.guests(n)
	return n
}

// manager finds who made a network, by what it keeps on disk or by its names.
func (h *Host) manager(n *Network, l *schema.Link) {
	for i := range h.libvir {
		if v := &h.libvir[i]; v.Bridge.Name == l.Name {
			n.Manager, n.Name, n.Served, n.libvirt = "libvirt", v.Name, v.served(), v
			return
		}
	}
	if h.Desired != nil {
		for _, d := range h.Desired.Networks {
			if d.Device == l.Name {
				n.Block = d.Address
			}
		}
	}
	switch {
	case schema.Owned(l) || n.Block != "":
		n.Manager = "vmnet"
	case dockerBridge.MatchString(l.Name):
		n.Manager = "docker"
	case podmanBridge.MatchString(l.Name):
		n.Manager = "podman"
	case incusBridge.MatchString(l.Name) || h.chains["fwd."+l.Name]:
		n.Manager = "incus"
		if strings.HasPrefix(l.Name, "lxdbr") {
			n.Manager = "lxd"
		}
	case strings.HasPrefix(l.Name, "vboxnet"):
		n.Manager = "virtualbox"
	case strings.HasPrefix(l.Name, "vmnet") && l.Type != "bridge":
		n.Manager = "vmware"
	case proxmoxBridge.MatchString(l.Name):
		n.Manager = "proxmox"
	}
}

// sortPorts tells ports that lead to the LAN from those of guests. Hardware and tunnels lead there; of a veth it is known when
// the router is behind it, or the file says so.
func (h *Host) sortPorts(n *Network) {
	routers := map[string]bool{}
	for _, v6 := range []bool{false, true} {
		for _, r := range h.defaults(v6) {
			if r.Link == n.Device && r.Gateway.IsValid() {
				for _, x := range h.neighbours(n.Device) {
					if x.IP == r.Gateway {
						routers[h.behind(n.Device, *x.MAC)] = true
					}
				}
			}
		}
	}
	var declared []string
	if h.Desired != nil {
		for _, d := range h.Desired.Networks {
			if d.Device == n.Device {
				declared = d.Ports
			}
		}
	}
	for _, p := range h.ports(n.Device) {
		if leadsOut(p) || routers[p.Name] || slices.Contains(declared, p.Name) {
			n.Uplinks = append(n.Uplinks, p.Name)
		} else {
			n.Ports = append(n.Ports, p.Name)
		}
	}
}

// leadsOut tells hardware, and what stands for it, from the ports that hypervisors make.
func leadsOut(l *schema.Link) bool {
	switch l.Type {
	case "device", "vlan", "bond", "team", "vxlan", "geneve", "gretap", "ip6gretap", "macvlan":
		return true
	}
	return false
}

// mode finds how a network is connected: by what its manager keeps, by its ports, by rules that masquerade it.
func (h *Host) mode(n *Network) {
	masq := h.masquerades(n)
	switch {
	case n.libvirt != nil && n.libvirt.mode() != ModeBridge:
		n.Mode, n.Why = n.libvirt.mode(), n.libvirt.file
	case len(n.Uplinks) > 0:
		n.Mode, n.Why = ModeBridge, "port "+n.Uplinks[0]+" leads to the LAN"
	case h.leavesBy(n.Device):
		n.Mode, n.Why = ModeBridge, "the default route leaves by it"
	case masq != "":
		n.Mode, n.Why = ModeNAT, masq
	default:
		n.Mode, n.Why = ModeIsolated, "no port leads to the LAN, and nothing masquerades it"
	}
}

func (h *Host) leavesBy(device string) bool {
	return slices.ContainsFunc(slices.Concat(h.defaults(false), h.defaults(true)), func(r *schema.Route) bool {
		return slices.Contains(r.Devices(), device)
	})
}

// masquerades is a rule that gives packets of the network another source, in words; "" for none.
func (h *Host) masquerades(n *Network) string {
	var own []string
	for _, p := range n.Hosts {
		own = append(own, p.Masked().String())
	}
	for _, m := range h.masq {
		switch {
		case m.table == "vmnet" && n.Manager == "vmnet":
			return m.place
		case slices.ContainsFunc(own, func(p string) bool { return strings.Contains(m.text, p) }):
			return m.place + ": " + m.text
		}
	}
	return ""
}

// guests are the machines behind the ports that lead to no LAN.
func (h *Host) guests(n *Network) {
	for _, p := range n.Ports {
		n.Guests = append(n.Guests, h.guestsBehind(n, p)...)
	}
	if h.Desired == nil {
		return
	}
	for _, d := range h.Desired.Guests {
		if n.Block == "" || d.Network != n.Block {
			continue
		}
		i := slices.IndexFunc(n.Guests, func(g Guest) bool { return d.MAC != "" && strings.EqualFold(g.MAC, d.MAC) })
		if i >= 0 {
			n.Guests[i].Name = d.Name
		}
	}
}

func (h *Host) guestsBehind(n *Network, port string) []Guest {
	l := h.Link(port)
	holder, name := "", ""
	var macs []string
	for _, r := range h.Dependents(l.Ref()) {
		switch o := h.Get(r).(type) {
		case *schema.Holder:
			holder, name = o.String(), o.Guest
			if len(o.MACs) == 1 {
				macs = appendNew(macs, o.MACs[0])
			}
		case *schema.FDBEntry:
			if o.Master == n.Device && o.State == "" {
				macs = appendNew(macs, o.MAC)
			}
		}
	}
	if m := tapGuest(l); m != "" && len(macs) == 0 {
		macs = append(macs, m)
	}
	var out []Guest
	for _, m := range macs {
		g := Guest{Name: name, Port: port, MAC: m, Holder: holder}
		for _, x := range h.neighbours(n.Device) {
			if *x.MAC == m && !x.IP.IsLinkLocalUnicast() {
				g.IPs = append(g.IPs, x.IP)
			}
		}
		for lease := range schema.Each[*schema.Lease](h.State) {
			if lease.MAC == m && !slices.Contains(g.IPs, lease.IP) {
				g.IPs, g.Name = append(g.IPs, lease.IP), cmp.Or(g.Name, lease.Name)
			}
		}
		out = append(out, g)
	}
	if len(out) == 0 {
		out = append(out, Guest{Name: name, Port: port, Holder: holder})
	}
	return out
}

// tapGuest is the guest's MAC of a tap of libvirt's, which gives the tap the same with fe as first byte (and takes 52 for
// granted, as its guests have it); "" for others.
func tapGuest(l *schema.Link) string {
	if m := mac(l.MAC); strings.HasPrefix(m, "fe:54:00:") {
		return "52" + m[2:]
	}
	return ""
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
