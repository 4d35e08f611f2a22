package checks

import (
	"fmt"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

func dhcpDead() Check {
	return Check{
		Code: "VN501", Name: "dhcp-dead", Layer: LayerServices, Title: "a network's DHCP server does not run", Run: runDHCPDead,
		Doc: Doc{
			Means: "libvirt's definition of the network says that it serves DHCP, the bridge is up and has its address, and nobody listens there for DNS or DHCP: " +
				"guests get no address, or one of 169.254.0.0/16 that they made up.",
			Example: "virbr0 has 192.168.122.1/24, and ss -ulpn shows no dnsmasq on 192.168.122.1:53 and port 67.",
			Why:     "dnsmasq was killed (killall dnsmasq to free port 53, out of memory) or never started: its port is taken (VN502), a security module denies it.",
			Repair:  "It does not: the server is libvirt's.",
			ByHand:  "virsh net-destroy default; virsh net-start default starts it, and takes guests off the bridge; systemctl restart virtnetworkd then attaches them again. journalctl -u virtnetworkd says why it died.",
			Lasting: "Stop dnsmasq.service, if a distribution started one beside libvirt's: systemctl disable --now dnsmasq.",
		},
	}
}

func runDHCPDead(h *Host) []Finding {
	var out []Finding
	for _, n := range h.Networks {
		if !h.deaf(n) || h.portTaken(n) != nil {
			continue
		}
		silent := fmt.Sprintf("no socket on %s port 53, and none on port 67 that could be of this network", n.Hosts[0].Addr())
		if n.libvirt.DNS.Enable == "no" {
			silent = "no socket on port 67"
		}
		out = append(out, Finding{
			Severity: Error, Title: "nobody serves DHCP on " + n.Label(), Object: schema.LinkRef(n.Device), Links: []string{n.Device}, Owner: "libvirt",
			Detail: "Its definition says that libvirt does; guests get no address.",
			Evidence: []string{
				fmt.Sprintf("%s serves %s to %s", n.libvirt.file, n.Served[0].First, n.Served[0].Last),
				silent,
			},
			Cure: []string{"virsh net-destroy " + n.Name + "; virsh net-start " + n.Name + "; systemctl restart virtnetworkd (or libvirtd), which attaches running guests again"},
		})
	}
	return out
}

// deaf tells whether a network is up, is to be served by libvirt's dnsmasq, and is not: that listens on the network's own address
// for DNS, and for DHCP on every address with its socket bound to the bridge.
func (h *Host) deaf(n *Network) bool {
	if n.libvirt == nil || len(n.Served) == 0 || len(n.Hosts) == 0 || !up(h.Link(n.Device)) || h.blind("listeners") {
		return false
	}
	if n.libvirt.DNS.Enable == "no" {
		return h.listening("udp", 67) == nil
	}
	return !h.listensOn(n, 53)
}

// portTaken is a socket of another program that keeps a network's dnsmasq from its port: on every address, while nobody listens on
// the network's own. One that serves no DNS needs port 67 only.
func (h *Host) portTaken(n *Network) *schema.Listener {
	var taken []*schema.Listener
	for l := range schema.Each[*schema.Listener](h.State) {
		if l.Port == 53 && l.Addr.IsUnspecified() && n.libvirt.DNS.Enable != "no" || l.Port == 67 && l.Proto == "udp" && l.Process != "" && !isDnsmasq(l.Process) {
			taken = append(taken, l)
		}
	}
	slices.SortStableFunc(taken, func(a, b *schema.Listener) int { return len(b.Process) - len(a.Process) })
	if len(taken) == 0 {
		return nil
	}
	return taken[0]
}

func isDnsmasq(process string) bool { return len(process) > 7 && process[:7] == "dnsmasq" }
