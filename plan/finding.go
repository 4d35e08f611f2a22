package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// explain gives every draft that has none a reason, and makes the finding it heals.
func (r *resolved) explain(drafts []*draft) {
	seen := map[string]bool{}
	for _, d := range drafts {
		r.weigh(d)
		f, ok := r.findingFor(d)
		if !ok {
			continue
		}
		if d.because == "" {
			d.because = f.Detail
			if d.because == "" {
				d.because = f.Title
			}
		}
		if len(d.codes) == 0 {
			d.codes = []string{f.Code}
		}
		if d.action == "adopt" {
			continue
		}
		if key := f.Code + f.Title; !seen[key] {
			seen[key] = true
			r.findings = append(r.findings, f)
		}
	}
	r.carrier()
	r.moveFindings()
}

// refused names a step that the kernel would refuse, and leaves it out: the rest of the plan stands without it.
func (r *resolved) refused(d *draft, err error) {
	if f, ok := r.taken(d, err); ok {
		r.findings = append(r.findings, f)
		return
	}
	r.findings = append(r.findings, Finding{
		Code: "VN310", Severity: "error", Title: "cannot be done here: " + d.change.String(), Address: d.address,
		Object: d.change.Ref.String(), Origin: r.origin(d.change.Ref), Detail: err.Error(),
	})
}

// weigh sets the risk of changes to links that somebody may be using.
func (r *resolved) weigh(d *draft) {
	before, ok := d.change.Before.(*schema.Link)
	after, both := d.change.After.(*schema.Link)
	if !ok || !both || d.action != "" {
		return
	}
	worse := func(risk Risk, hurts string) {
		if risk > d.risk {
			d.risk, d.hurts = risk, hurts
		}
	}
	if m := before.Master; m != nil && *m != "" {
		worse(RiskDrop, fmt.Sprintf("whoever uses %s through %s loses it", *m, before.Name))
	}
	if after.Up != nil && !*after.Up {
		worse(RiskDrop, "everything that passes "+before.Name+" stops")
	}
	if before.MAC != nil && *before.MAC != "" {
		worse(RiskBlip, "neighbours of "+before.Name+" must learn its new address")
	}
	if live := r.live.Link(before.Name); before.MTU != nil && live != nil && live.Up != nil && *live.Up {
		worse(RiskBlip, "some network cards pause while their MTU changes")
	}
}

// findingFor says what is wrong when a draft is needed. Steps of a move, a reset or a removal are explained where they
// are made.
func (r *resolved) findingFor(d *draft) (Finding, bool) {
	f := Finding{Severity: "error", Address: d.address, Object: d.change.Ref.String(), Origin: r.origin(d.change.Ref)}
	if f.Origin == (schema.Origin{}) {
		f.Origin = r.Blocks[d.address]
	}
	if len(d.codes) > 0 {
		if slices.Contains(d.codes, "VN309") && d.change.After == nil {
			f.Code, f.Severity = "VN309", "info"
			f.Title = object(d.change).String() + " is ours and no longer in the file"
			return f, true
		}
		return f, false
	}
	switch o := d.change.After.(type) {
	case *schema.Link:
		r.linkFinding(&f, d, o)
	case *schema.Address:
		f.Code, f.Title = "VN306", fmt.Sprintf("address %s is missing on %s", o.Prefix, o.Link)
	case *schema.Route:
		f.Code, f.Title = "VN307", fmt.Sprintf("route %s is missing or differs", o)
	case *schema.Sysctl:
		f.Code, f.Title = "VN308", fmt.Sprintf("%s is not %s", o.Key, o.Value)
		if o.Key == "net.ipv4.ip_forward" || o.Key == "net.ipv6.conf.all.forwarding" {
			f.Code, f.Title, f.Detail = "VN301", "forwarding is off: "+o.Key+" = 0", "nothing is routed between guests and the outside"
		}
		switch _, link, key, _ := schema.SplitLinkSysctl(o.Key); {
		case key == "disable_ipv6" && o.Value == "0":
			f.Code, f.Title = "VN311", "IPv6 is disabled on "+link
		case key == "accept_ra":
			f.Code, f.Detail = "VN323", "a host that forwards takes no router advertisements unless it is 2: the default route by "+link+" would go"
		}
	case *schema.Dnsmasq:
		r.serviceFinding(&f, d, o)
	case *schema.Table:
		f.Code, f.Title = "VN401", fmt.Sprintf("our table %s %s is missing", o.Family, o.Name)
		f.Detail = "masquerading, forwards and isolation live there"
		if d.change.Before != nil {
			f.Code, f.Title, f.Detail = "VN402", fmt.Sprintf("our table %s %s differs from the file", o.Family, o.Name), ""
			for _, x := range schema.Compare(d.change.Before, o) {
				f.Evidence = append(f.Evidence, x.String())
			}
		}
	default:
		return f, false
	}
	return f, f.Code != ""
}

func (r *resolved) linkFinding(f *Finding, d *draft, want *schema.Link) {
	live, _ := d.change.Before.(*schema.Link)
	if live == nil {
		f.Code, f.Title = "VN201", fmt.Sprintf("bridge %s of %s is missing", want.Name, d.address)
		return
	}
	bridge, named := want.Type == "bridge", false
	for _, x := range schema.Compare(live, want) {
		if r.repairs[want.Ref()].fields[x.Field] {
			named = true
			continue // a check names it
		}
		f.Evidence = append(f.Evidence, x.String())
		switch x.Field {
		case "master":
			f.Code, f.Title = "VN202", fmt.Sprintf("%s is not attached to its bridge %s", want.Name, x.Want)
			if live.Master != nil && *live.Master != "" {
				f.Title = fmt.Sprintf("%s is attached to %s, belongs to %s", want.Name, x.Live, x.Want)
			}
			return
		case "up":
			f.Code, f.Title = "VN102", want.Name+" is down"
			if bridge {
				f.Code, f.Title = "VN201", "bridge "+want.Name+" is down"
			} else if master := r.live.Link(want.Name).Master; master != nil && *master != "" {
				f.Code, f.Title = "VN203", fmt.Sprintf("port %s of bridge %s is down", want.Name, *master)
			}
		case "mtu":
			if f.Code == "" {
				f.Code, f.Title = "VN104", fmt.Sprintf("MTU of %s is %s, declared %s", want.Name, x.Live, x.Want)
			}
		case "port.isolated":
			if f.Code == "" {
				f.Code, f.Title = "VN204", fmt.Sprintf("port %s is not isolated as declared", want.Name)
			}
		}
	}
	if f.Code == "" && (!named || len(f.Evidence) > 0) {
		f.Code, f.Severity, f.Title = "VN206", "warning", want.Name+" is not as declared"
	}
}

// carrier names declared devices with nothing at the other end.
func (r *resolved) carrier() {
	declared := map[string]string{}
	for _, a := range r.Adapters {
		declared[a.Device] = a.Address
	}
	for _, n := range r.Networks {
		for _, p := range n.Ports {
			declared[p] = n.Address
		}
	}
	for _, g := range r.Guests {
		if g.Device != "" {
			declared[g.Device] = g.Address
		}
	}
	for dev, address := range declared {
		l := r.live.Link(dev)
		if l == nil || l.Up == nil || !*l.Up || l.Facts == nil || l.Facts.Carrier {
			continue
		}
		r.findings = append(r.findings, Finding{
			Code: "VN103", Severity: "warning", Title: dev + " has no carrier", Address: address, Object: l.Ref().String(),
			Origin:   r.Blocks[address],
			Detail:   "Nothing is at the other end: a cable, a switch port, or the process that holds the tap. Nothing on this host can repair it.",
			Evidence: []string{"flags of " + dev + " have UP and not LOWER_UP"},
		})
	}
}

func (r *resolved) moveFindings() {
	for _, m := range r.moves {
		if m.back || len(m.addrs) == 0 {
			continue
		}
		f := Finding{
			Code: "VN207", Severity: "error", Title: fmt.Sprintf("%s is on %s, belongs on %s", m.addrs[0].old.Prefix, m.from, m.to),
			Address: m.address, Object: m.addrs[0].old.Ref().String(), Origin: r.Blocks[m.address],
			Detail: "A bridge's port must not carry addresses: its frames reach the host through the bridge.",
		}
		for _, x := range m.routes {
			f.Evidence = append(f.Evidence, "route "+x.old.String()+" moves along")
		}
		for _, a := range m.addrs {
			if a.old.Valid != nil && *a.old.Valid != 0 {
				f.Evidence = append(f.Evidence, fmt.Sprintf("%s is a lease (%d s left): its DHCP client still works on %s", a.old.Prefix, *a.old.Valid, m.from))
			}
		}
		r.findings = append(r.findings, f)
	}
}

// collect turns what the healer found into findings, links them to the steps that heal them, and adds the expectations
// that fail in spite of all.
func (h *healer) collect(ordered []*draft, steps []Step) []Finding {
	var out []Finding
	for _, key := range h.order {
		if h.healed(key, ordered) {
			continue
		}
		f := *h.findings[key]
		for _, g := range h.breaks[key] {
			f.Breaks = appendNew(f.Breaks, g)
		}
		if len(f.Breaks) > 0 && f.Detail == "" {
			f.Detail = fmt.Sprintf("It breaks %d of the file's expectations.", len(f.Breaks))
		}
		for i := range f.Fixes {
			if !f.Fixes[i].Chosen {
				continue
			}
			for n, d := range ordered {
				if slices.Contains(h.healing[key], d) {
					f.Fixes[i].Steps = append(f.Fixes[i].Steps, steps[n].ID)
				}
			}
		}
		if lasts := h.untilReboot(&f, key); lasts != "" {
			f.Detail = strings.TrimSpace(f.Detail + " " + lasts)
		}
		out = append(out, f)
	}
	return out
}

// healed tells whether everything that heals a culprit stands already: then nothing is wrong.
func (h *healer) healed(key string, ordered []*draft) bool {
	return len(h.healing[key]) > 0 && !h.given[key] &&
		!slices.ContainsFunc(h.healing[key], func(d *draft) bool { return slices.Contains(ordered, d) })
}

// expectations are the findings of checks that fail after all: what the plan does not heal.
func (h *healer) expectations(checks []Check, blocks map[string]schema.Origin) []Finding {
	var out []Finding
	for _, c := range checks {
		f := Finding{Severity: "error", Address: c.Goal.Address, Object: c.Goal.Name, Origin: blocks[c.Goal.Address], Detail: c.After.Why}
		switch {
		case c.After.Status == "fail" && c.Goal.Allow:
			f.Code, f.Title = "VN601", "still does not get through after this plan: "+c.Goal.Name
			f.Fixes = h.closed[goalKey(&c.Goal)]
		case c.After.Status == "fail":
			f.Code, f.Title = "VN602", "gets through and must not: "+c.Goal.Name
		case c.After.Status == "depends":
			f.Code, f.Severity, f.Title = "VN603", "warning", "cannot be decided: "+c.Goal.Name
		default:
			continue
		}
		for _, t := range c.After.Traces {
			if t.Decider != nil && t.Decider.Code != "" && c.Goal.Allow {
				f.Evidence = appendNew(f.Evidence, t.Decider.Code+": "+t.Decider.Text)
			}
		}
		out = append(out, f)
	}
	return out
}

// unrequested lists what must not get through, did not before, and would after the plan.
func unrequested(checks []Check) []string {
	out := []string{}
	for _, c := range checks {
		if !c.Goal.Allow && c.Before.Status == "ok" && c.After.Status != "ok" {
			out = append(out, c.Goal.Name)
		}
	}
	return out
}

// foreign lists whose rules stand on the way of the file's flows and are left alone.
func (h *healer) foreign() []Foreign {
	seen := map[schema.Ref]bool{}
	out := []Foreign{}
	for t := range schema.Each[*schema.Table](h.r.live) {
		if schema.OwnTable(t) || !h.relied[t.Ref()] || seen[t.Ref()] {
			continue
		}
		seen[t.Ref()] = true
		owner := "unknown"
		for _, c := range t.Chains {
			if o, sig := ownerOf(h.r.live, t, c, nil); sig.owner != "" {
				owner = o.Name
				break
			}
		}
		out = append(out, Foreign{Object: t.String(), Owner: owner, Policy: "left alone"})
	}
	return out
}

func sortFindings(fs []Finding) {
	weight := map[string]int{"error": 0, "warning": 1, "info": 2}
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(weight[a.Severity], weight[b.Severity]), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Title, b.Title))
	})
}

// serviceCovers tells whether a service of a goal includes what a rule matches.
func serviceCovers(s schema.Service, proto string, ports []schema.PortRange) bool {
	if s.Proto == "" {
		return true
	}
	if s.Proto != proto {
		return false
	}
	if len(s.Ports) == 0 {
		return true
	}
	for _, p := range ports {
		if !slices.ContainsFunc(s.Ports, func(o schema.PortRange) bool { return o.First <= p.First && p.Last <= o.Last }) {
			return false
		}
	}
	return len(ports) > 0
}

// untilReboot says how long a finding's remedy lasts, where the rule stands in the chains of an owner who keeps what others write,
// but not on its disk: at its door (Docker's DOCKER-USER, in front of libvirt's chains), or elsewhere; "" for other owners. A hook of
// libvirt's (libvirt.org/hooks.html) would not help: it is run when a network starts, and what it returns can keep the network
// from starting.
func (h *healer) untilReboot(f *Finding, key string) string {
	if f.Owner == nil || f.Owner.Name != "docker" && f.Owner.Name != "libvirt" {
		return ""
	}
	elsewhere := ""
	for _, d := range h.healing[key] {
		switch rule, ok := d.change.After.(*schema.ForeignRule); {
		case !ok:
		case f.Owner.Name == "libvirt" || rule.Chain == "DOCKER-USER":
			return "The accept is in the kernel alone: " + f.Owner.Name + " leaves it where it is, a reboot does not, and no file of " + f.Owner.Name +
				"'s could bring it back. After a reboot run vmnet apply again."
		default:
			elsewhere = "The accept is in chain " + rule.Chain + ", which is no door of " + f.Owner.Name +
				"'s: unless a saved ruleset holds it, it is gone after a reboot; then run vmnet apply again."
		}
	}
	return elsewhere
}
