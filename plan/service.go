package plan

import (
	"errors"
	"fmt"
	"slices"

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
		f.Code, f.Title = "VN511", fmt.Sprintf("nothing serves %s to %s", does, d.address)
		f.Detail = "no dnsmasq of vmnet's runs on " + want.Device
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
		f.Code, f.Title = "VN512", fmt.Sprintf("the server of %s is dead: nothing serves %s on %s", d.address, does, want.Device)
		f.Detail = "Its configuration is there and no process runs with it: it was killed, or ended by itself."
		if facts.LastPID != 0 {
			f.Evidence = append(f.Evidence, fmt.Sprintf("its pid file names process %d, which is no more", facts.LastPID))
		}
		f.Evidence = append(f.Evidence, "configuration "+facts.Config)
		d.hurts = ""
	case facts.Deaf && len(schema.Compare(live, want)) == 0:
		f.Code, f.Title = "VN515", fmt.Sprintf("the server of %s listens on a link that is gone", d.address)
		f.Detail = want.Device + " was deleted and made again; a socket that is bound to a link stays with the old one (SO_BINDTODEVICE, socket(7)). Guests ask and are not heard."
		f.Evidence = append(f.Evidence, fmt.Sprintf("process %d (%s)", facts.PID, facts.Config))
	case live.State == schema.ServiceStale:
		f.Code, f.Title = "VN513", fmt.Sprintf("the server of %s runs with another configuration than its file holds", d.address)
		f.Detail = "The file was changed after the process had read it. What it holds comes into force with the next start, whoever makes it."
		f.Evidence = append(f.Evidence, fmt.Sprintf("process %d was started with another %s", facts.PID, facts.Config))
	default:
		f.Code, f.Severity, f.Title = "VN513", "warning", fmt.Sprintf("the server of %s is not as the file says", d.address)
		if reloads(live, want) {
			d.hurts = ""
		}
	}
}

// reloads tells whether a change of a server that runs needs no restart.
func reloads(live, want *schema.Dnsmasq) bool {
	soft := []string{"reservations"}
	if slices.Equal(aliases(live.DNS), aliases(want.DNS)) {
		soft = append(soft, "dns.records")
	}
	for _, x := range schema.Compare(live, want) {
		if !slices.Contains(soft, x.Field) {
			return false
		}
	}
	return true
}

// aliases are the names that stand for others: they are in the configuration itself.
func aliases(d *schema.DNS) []schema.DNSRecord {
	if d == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(d.Records), func(r schema.DNSRecord) bool { return r.Target == "" })
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
		Code: "VN514", Severity: "error", Address: d.address, Object: d.change.Ref.String(), Origin: r.origin(d.change.Ref),
		Title:    fmt.Sprintf("port %d of %s is taken by %s", busy.Need.Port, busy.Need.Addr, who),
		Detail:   fmt.Sprintf("The server of %s cannot come up, so this plan leaves it out. Stop %s, or let it listen on addresses of its own only, not on every one of the host; then plan again.", d.address, who),
		Evidence: []string{fmt.Sprintf("%s listens on %s", who, busy.By.Ref().Name)},
	}
	if f.Evidence[0] == busy.By.String() {
		f.Evidence = nil
	}
	return f, true
}
