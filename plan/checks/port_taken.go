package checks

import (
	"cmp"
	"fmt"
)

func portTaken() Check {
	return Check{
		Code: "VN502", Name: "port-taken", Layer: LayerServices, Title: "another program has the port of a network's DNS or DHCP server", Run: runPortTaken,
		Doc: Doc{
			Means: "The network's dnsmasq does not run, and another program listens on port 53 or 67 of every address: dnsmasq cannot bind its own " +
				"(\"failed to create listening socket for 192.168.122.1: Address already in use\"), and the network does not start, or serves nobody.",
			Example: "pihole-FTL or named on 0.0.0.0:53. systemd-resolved is not to blame: it listens on 127.0.0.53 alone.",
			Why:     "A DNS server was installed on the host, or published by Docker on every address, after the virtual networks were set up.",
			Repair:  "It does not: the other program's configuration is its own.",
			ByHand:  "Bind the other program to its own addresses: listen-on { 127.0.0.1; 192.0.2.10; } (named), interface= with bind-interfaces (dnsmasq), -p 192.0.2.10:53:53 (Docker). Then virsh net-start default.",
			Lasting: "The same in its configuration; dns enable='no' in the network's definition, where libvirt need not serve DNS.",
		},
	}
}

func runPortTaken(h *Host) []Finding {
	var out []Finding
	for _, n := range h.Networks {
		if !h.deaf(n) {
			continue
		}
		l := h.portTaken(n)
		if l == nil {
			continue
		}
		who := cmp.Or(l.Process, "another program")
		out = append(out, Finding{
			Severity: Error, Title: fmt.Sprintf("%s has port %d, and %s serves nobody", who, l.Port, n.Label()), Object: l.Ref(), Links: []string{n.Device}, Owner: l.Process,
			Detail:   "The network's own server cannot bind the port on " + n.Hosts[0].Addr().String() + ".",
			Evidence: []string{"socket " + l.String(), fmt.Sprintf("no socket on %s port 53", n.Hosts[0].Addr()), n.libvirt.file + " says that the network serves DHCP"},
			Cure:     []string{"bind " + who + " to addresses of its own, then virsh net-start " + n.Name},
		})
	}
	return out
}
