package plan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/schema"
)

// deaf starts a server anew that differs in nothing, and hears of nobody: its link was deleted, and made again by that name.
func (b *differ) deaf(live, want schema.Object) {
	d, ok := live.(*schema.Dnsmasq)
	if !ok || d.Facts == nil || !d.Facts.Deaf {
		return
	}
	step := newDraft(d, schema.Merge(d, want))
	step.lines = []string{fmt.Sprintf("~ process %d -> a new one, on the link that is called %s now", d.Facts.PID, d.Device)}
	b.add(step)
}

// serviceFinding says what is wrong with a server that a step makes right.
func (r *resolved) serviceFinding(f *Finding, d *draft, want *schema.Dnsmasq) {
	live, _ := d.change.Before.(*schema.Dnsmasq)
	does := served(want)
	if live == nil {
		f.Code, f.Title = "VN501", fmt.Sprintf("nothing serves %s to %s", does, d.address)
		f.Detail = fmt.Sprintf("no dnsmasq of vmnet's runs on %s", want.Device)
		return
	}
	for _, x := range schema.Compare(live, want) {
		if x.Field != "state" {
			f.Evidence = append(f.Evidence, x.String())
		}
	}
	facts := live.Facts
	if facts == nil {
		facts = &schema.DnsmasqFacts{}
	}
	d.hurts = "for some 20 ms no question is answered; leases stay"
	switch {
	case live.State == schema.ServiceStopped:
		f.Code, f.Title = "VN502", fmt.Sprintf("the server of %s is dead: nothing serves %s on %s", d.address, does, want.Device)
		f.Detail = "Its configuration is there and no process runs with it: it was killed, or ended by itself."
		if facts.LastPID != 0 {
			f.Evidence = append(f.Evidence, fmt.Sprintf("its pid file names process %d, which is no more", facts.LastPID))
		}
		f.Evidence = append(f.Evidence, "configuration "+facts.Config)
		d.hurts = ""
	case facts.Deaf && len(schema.Compare(live, want)) == 0:
		f.Code, f.Title = "VN509", fmt.Sprintf("the server of %s listens on a link that is gone", d.address)
		f.Detail = fmt.Sprintf("%s was deleted and made again; a socket that is bound to a link stays with the old one (SO_BINDTODEVICE, socket(7)). Guests ask and are not heard.", want.Device)
		f.Evidence = append(f.Evidence, fmt.Sprintf("process %d (%s)", facts.PID, facts.Config))
	case live.State == schema.ServiceStale:
		f.Code, f.Title = "VN503", fmt.Sprintf("the server of %s runs with another configuration than its file holds", d.address)
		f.Detail = "The file was changed after the process had read it. What it holds comes into force with the next start, whoever makes it."
		f.Evidence = append(f.Evidence, fmt.Sprintf("process %d was started with another %s", facts.PID, facts.Config))
	default:
		f.Code, f.Severity, f.Title = "VN503", "warning", fmt.Sprintf("the server of %s is not as the file says", d.address)
		if reloads(live, want) {
			d.hurts = ""
		}
	}
}

// reloads tells whether a change of a server that runs needs no restart.
func reloads(live, want *schema.Dnsmasq) bool {
	soft := []string{"reservations"}
	for _, x := range schema.Compare(live, want) {
		if !slices.Contains(soft, x.Field) {
			return false
		}
	}
	return true
}

// served says what a server does.
func served(d *schema.Dnsmasq) string {
	switch {
	case d.DHCP != nil && d.DNS != nil:
		return "DHCP and DNS"
	case d.DHCP != nil:
		return "DHCP"
	}
	return "DNS"
}

// taken names the program that has the port which a server needs. The step is left out: it would fail, and everything be taken back.
func (r *resolved) taken(d *draft, err error) (Finding, bool) {
	busy, ok := errors.AsType[*sim.TakenError](err)
	if !ok {
		return Finding{}, false
	}
	who := busy.By.Process
	if who == "" {
		who = "another program"
	}
	f := Finding{
		Code: "VN504", Severity: "error", Address: d.address, Object: d.change.Ref.String(), Origin: r.origin(d.change.Ref),
		Title:    fmt.Sprintf("port %d of %s is taken by %s", busy.Need.Port, busy.Need.Addr, who),
		Detail:   fmt.Sprintf("The server of %s cannot come up, so this plan leaves it out. Stop %s, or let it listen on addresses of its own only, not on every one of the host; then plan again.", d.address, who),
		Evidence: []string{fmt.Sprintf("%s listens on %s", who, busy.By.Ref().Name)},
	}
	if f.Evidence[0] == busy.By.String() {
		f.Evidence = nil
	}
	return f, true
}

// services names what is wrong with servers that run: what no step of vmnet's makes right.
func (r *resolved) services() {
	for d := range schema.Each[*schema.Dnsmasq](r.live) {
		want, ok := r.want.Get(d.Ref()).(*schema.Dnsmasq)
		if !ok || d.Facts == nil || want.DHCP == nil {
			continue
		}
		say := func(code, severity, title, detail string, evidence ...string) {
			r.findings = append(r.findings, Finding{
				Code: code, Severity: severity, Title: title, Address: want.Address, Object: d.Ref().String(), Origin: r.origin(d.Ref()),
				Detail: detail, Evidence: evidence,
			})
		}
		r.exhausted(d, want, say)
		r.contradicted(d, want, say)
		r.clones(d, say)
		r.outside(want, say)
	}
}

type teller func(code, severity, title, detail string, evidence ...string)

// exhausted says that every address of the range is given away.
func (r *resolved) exhausted(d, want *schema.Dnsmasq, say teller) {
	in := 0
	for _, l := range d.Facts.Leases {
		if want.DHCP.First.Compare(l.IP) <= 0 && l.IP.Compare(want.DHCP.Last) <= 0 {
			in++
		}
	}
	kept := 0
	for _, k := range want.Reservations {
		leased := slices.ContainsFunc(d.Facts.Leases, func(l schema.Lease) bool { return l.IP == k.IP })
		if k.IP.IsValid() && !leased && want.DHCP.First.Compare(k.IP) <= 0 && k.IP.Compare(want.DHCP.Last) <= 0 {
			kept++
		}
	}
	if size := want.DHCP.Size(); in+kept >= size {
		say("VN505", "error", fmt.Sprintf("every address that %s gives out is taken", want.Address),
			"A new guest gets none. Widen the range, or shorten the lease so that addresses of guests that are gone come free sooner; a lease that nobody uses goes with it.",
			fmt.Sprintf("%d leases and %d reservations in %s-%s, which has %d addresses", in, kept, want.DHCP.First, want.DHCP.Last, size))
	}
}

// contradicted finds leases that are against a reservation.
func (r *resolved) contradicted(d, want *schema.Dnsmasq, say teller) {
	for _, k := range want.Reservations {
		for _, l := range d.Facts.Leases {
			switch {
			case !k.IP.IsValid():
			case l.MAC == k.MAC && l.IP != k.IP:
				say("VN506", "warning", fmt.Sprintf("%s holds a lease for %s, and %s is kept for it", l.MAC, l.IP, k.IP),
					"It was given before the reservation was made, and lasts until the guest asks again: it is then told no, and gets the reserved address. To hasten that, let the guest ask anew (dhclient -r, networkctl renew).",
					"lease "+leaseText(l), "reservation "+k.String())
			case l.IP == k.IP && l.MAC != k.MAC:
				say("VN506", "error", fmt.Sprintf("%s is kept for %s, and %s holds a lease for it", k.IP, k.MAC, l.MAC),
					"Until that lease ends, the guest it is kept for gets another address. Let the holder ask anew, or wait; a reservation beside the range cannot be met by this.",
					"lease "+leaseText(l), "reservation "+k.String())
			}
		}
	}
}

func leaseText(l schema.Lease) string {
	s := l.IP.String() + " " + l.MAC
	if l.Name != "" {
		s += " " + l.Name
	}
	if l.ClientID != "" {
		s += " client id " + l.ClientID
	}
	return s
}

// clones finds machines that give one client id, and so are given one address: copies of a disk with its machine-id. The lease file
// shows the last of them only; the neighbours of the host, and the ports of the bridge, show the other.
func (r *resolved) clones(d *schema.Dnsmasq, say teller) {
	for _, l := range d.Facts.Leases {
		if l.ClientID == "" {
			continue
		}
		other := r.neighbourMAC(d.Device, l.IP)
		if other == "" || other == l.MAC || !r.behind(d.Device, other) || !r.behind(d.Device, l.MAC) {
			continue
		}
		say("VN507", "error", fmt.Sprintf("%s and %s share one client id, and so the address %s", l.MAC, other, l.IP),
			"They are most likely copies of one disk: systemd-networkd and others make the client id of /etc/machine-id, which was copied along. Remove /etc/machine-id in one of them and start it again (systemd-machine-id-setup(1)), or keep an address for each by its MAC: a guest block with mac and address.",
			"lease "+leaseText(l), fmt.Sprintf("%s is %s now to the host, and both are behind ports of %s", l.IP, other, d.Device))
	}
}

func (r *resolved) neighbourMAC(device string, ip netip.Addr) string {
	for n := range schema.Each[*schema.Neighbour](r.live) {
		if n.Link == device && n.IP == ip && n.MAC != nil {
			return *n.MAC
		}
	}
	return ""
}

// behind tells whether a machine was heard at a port of a bridge.
func (r *resolved) behind(bridge, mac string) bool {
	for f := range schema.Each[*schema.FDBEntry](r.live) {
		if f.Master == bridge && strings.EqualFold(f.MAC, mac) {
			return true
		}
	}
	return false
}

// outside says that the bridge has no address in whose network the range lies: dnsmasq then answers nobody, without a word.
func (r *resolved) outside(want *schema.Dnsmasq, say teller) {
	var have []string
	for a := range schema.Each[*schema.Address](r.live) {
		if a.Link != want.Device || !a.Prefix.Addr().Is4() {
			continue
		}
		if a.Prefix.Contains(want.DHCP.First) {
			return
		}
		have = append(have, a.Prefix.String())
	}
	if len(have) == 0 {
		have = []string{"none"}
	}
	say("VN508", "error", fmt.Sprintf("the range of %s lies in no network of %s", want.Address, want.Device),
		"A server gives addresses of a network only on a link that has an address in it. vmnet adds the address that the file gives the host.",
		fmt.Sprintf("range %s-%s, addresses of %s: %s", want.DHCP.First, want.DHCP.Last, want.Device, strings.Join(have, ", ")))
}
