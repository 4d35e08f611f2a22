package plan

import (
	"net"

	"github.com/vmnet/vmnet/plan/trace"
)

// holders are the guests whose addresses the file says, with what tells them from others.
func (h *healer) holders() []trace.Holder {
	var out []trace.Holder
	for _, g := range h.r.Guests {
		n := h.r.network(g.Network)
		mac, err := net.ParseMAC(g.MAC)
		if n == nil || n.Device == "" || err != nil && g.Device == "" {
			continue
		}
		for _, a := range g.IPs {
			out = append(out, trace.Holder{Addr: a, MAC: mac, Bridge: n.Device, Port: g.Device})
		}
	}
	return out
}
