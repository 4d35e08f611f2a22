package trace

import (
	"net/netip"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// Machine is a neighbour of the host whose MAC address somebody has declared: the truth that tables are measured by.
type Machine struct {
	// Link is the host's link in its network.
	Link string
	IP   netip.Addr
	MAC  string
	// Port is the port of the bridge it is behind, "" for not known.
	Port string
}

// Know tells the Walker of machines, before it walks anything.
func (w *Walker) Know(all []Machine) *Walker {
	w.machines = make(map[neighbour]Machine, len(all))
	for _, m := range all {
		m.MAC = strings.ToLower(m.MAC)
		w.machines[neighbour{m.Link, m.IP}] = m
	}
	return w
}

// machineMAC is the declared MAC address of whom a packet on a bridge is for, "" for none.
func (r *sweep) machineMAC(br *device) string {
	if a, ok := r.p.dst().addr(); ok && !r.p.framed && r.p.cast == unicast {
		return r.w.machines[neighbour{br.name, a}].MAC
	}
	return ""
}

// claimedTwice says why nobody can tell who gets packets for an address that a machine has and the host, too: both answer.
func (r *sweep) claimedTwice(l3 *device) string {
	a, ok := r.p.dst().addr()
	m := r.w.machines[neighbour{l3.name, a}]
	if !ok || m.MAC == "" {
		return ""
	}
	for _, o := range r.w.own[family(a.Is6())] {
		if o.ip == a {
			return a.String() + " is an address of the host's " + o.link + " and of the machine with " + m.MAC + ": whoever answers first gets the packets"
		}
	}
	return ""
}

// rightNeighbour stops packets for a machine that an entry which nobody's answer changes (NUD_PERMANENT and NUD_NOARP in
// net/core/neighbour.c) gives another MAC address.
func (r *sweep) rightNeighbour(d *device) bool {
	nh := r.p.dst()
	if r.gateway.len() > 0 {
		nh = r.gateway
	}
	for _, e := range r.w.entries[linkFamily{d.name, r.p.v6}] {
		m, known := r.w.machines[neighbour{d.name, e.ip}]
		mac := r.w.macs[neighbour{d.name, e.ip}]
		if !e.fixed || !known || mac == m.MAC || r.w.speaks(m, mac) {
			continue
		}
		why := func() string {
			return e.ip.String() + " dev " + d.name + " lladdr " + mac + " is entered for good, and the machine with that address has " + m.MAC
		}
		ref := (&schema.Neighbour{Link: d.name, IP: e.ip}).Ref()
		if !r.blockIf(nh.equal(r.x, e.ip.AsSlice()), CodeWrongMAC, "link", ref, why, "sent to "+mac) {
			return false
		}
	}
	return true
}

// speaks tells whether a MAC address was heard behind a machine's port: then it has that one, whatever is declared.
func (w *Walker) speaks(m Machine, mac string) bool {
	b := w.fabrics[m.Link]
	if b == nil || m.Port == "" {
		return false
	}
	for at, e := range b.fdb {
		if at.mac == mac && e.Link == m.Port && e.State == "" {
			return true
		}
	}
	return false
}
