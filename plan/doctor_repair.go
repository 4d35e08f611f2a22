package plan

import (
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/checks"
	"github.com/vmnet/vmnet/schema"
)

// concern notes which networks a finding is about: those with one of its links, and where it is about a link that leads out,
// those whose guests leave by it.
func (d *Diagnosis) concern(links []string) {
	for _, n := range d.Networks {
		for _, l := range links {
			if n.Device == l || slices.Contains(n.Uplinks, l) || slices.Contains(n.Ports, l) {
				d.concerned[n.Device] = true
			}
		}
	}
}

// Concerned are the networks with a finding that a file of ours may describe, and their guests: as they are, so that a plan for
// them changes nothing but what is wrong. What Docker, Podman, Incus, LXD, VirtualBox and VMware made is theirs to define, and what is
// not there is its manager's to start. Of a bridge to the LAN only its ports are said: its addresses stay whose they are.
func (d *Diagnosis) Concerned() ([]schema.Network, []schema.Guest) {
	var networks []schema.Network
	var guests []schema.Guest
	for _, n := range d.Networks {
		if !d.concerned[n.Device] || n.Missing || n.Mode == checks.ModeRouted || !slices.Contains([]string{"", "libvirt", "proxmox", "vmnet"}, n.Manager) {
			continue
		}
		w := networkOf(n)
		if w.Mode == "bridge" {
			w.Gateways, w.Subnets = nil, nil
		}
		networks = append(networks, w)
		for _, g := range n.Guests {
			guests = append(guests, guestOf(w, g)...)
		}
	}
	return networks, guests
}

// guestOf is a guest that was found in the words of a file; none where its address is not known, or not of the network.
func guestOf(n schema.Network, g checks.Guest) []schema.Guest {
	out := schema.Guest{Name: g.Name, Network: n.Address, MAC: strings.ToLower(g.MAC), Device: g.Port}
	seen := map[bool]bool{}
	for _, ip := range g.IPs {
		for _, p := range n.Subnets {
			if p.Contains(ip) && !seen[ip.Is6()] {
				seen[ip.Is6()] = true
				out.IPs = append(out.IPs, ip)
			}
		}
	}
	if len(out.IPs) == 0 || g.Port == "" {
		return nil
	}
	return []schema.Guest{out}
}

// Gone are the codes of this diagnosis that another one, of the same host repaired, has no more.
func (d *Diagnosis) Gone(after *Diagnosis) []string {
	left := map[string]bool{}
	for _, f := range after.Findings {
		left[f.Code+" "+f.Title] = true
	}
	var out []string
	for _, f := range d.Findings {
		if !left[f.Code+" "+f.Title] {
			out = appendNew(out, f.Code)
		}
	}
	return out
}
