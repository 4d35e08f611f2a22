package checks

import "github.com/vmnet/vmnet/schema"

// Server is a service of the host that guests of a network use.
type Server struct {
	Name  string // "DHCP", "DNS"
	Proto string
	Port  uint16
}

// Servers lists what is there for a network's guests: a DNS server that listens on the host's address in the network itself, and
// DHCP where the network's manager serves it and somebody listens. One that listens on every address may be there for others.
func (h *Host) Servers(n *Network) []Server {
	var out []Server
	dns := h.listensOn(n, 53)
	if dns {
		out = append(out, Server{"DNS", "udp", 53})
	}
	if (dns || len(n.Served) > 0) && h.listening("udp", 67) != nil {
		out = append(out, Server{"DHCP", "udp", 67})
	}
	return out
}

// listensOn tells whether somebody waits for datagrams to a port on the host's own address in a network.
func (h *Host) listensOn(n *Network, port uint16) bool {
	for l := range schema.Each[*schema.Listener](h.State) {
		for _, p := range n.Hosts {
			if l.Proto == "udp" && l.Port == port && l.Addr == p.Addr() {
				return true
			}
		}
	}
	return false
}

// listening is a socket on a port, on whichever address; nil for none.
func (h *Host) listening(proto string, port uint16) *schema.Listener {
	for l := range schema.Each[*schema.Listener](h.State) {
		if l.Proto == proto && l.Port == port {
			return l
		}
	}
	return nil
}

// Populated tells whether a network has a guest that could send something: a port that is up and has a carrier.
func (h *Host) Populated(n *Network) bool {
	if !up(h.Link(n.Device)) {
		return false
	}
	for _, p := range n.Ports {
		if l := h.Link(p); up(l) && l.Facts != nil && l.Facts.Carrier {
			return true
		}
	}
	return false
}
