package plan

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vmnet/vmnet/schema"
)

// reach is what a watched thing stands on, so that steps that cannot concern it are not traced.
type reach struct {
	rules bool // rules decide about it
	// from are the links by which its packets may come, with what they lie on and what lies on them after the last step.
	from  []string
	links map[string]bool
	// addrs are its addresses and next hops; open tells that one end is everybody outside.
	addrs    []netip.Addr
	prefixes []netip.Prefix
	open     bool
	inner    []netip.Prefix // of networks of the file, which are never outside
	mac      string         // of the link that its packets come up by
	local    netip.Addr     // the host's own end, where there is one
}

// concerns tells whether a step may change how a thing fares. Rules, policy rules and settings always may; a link, address or
// route when it is one of its own, or when its prefix holds one of its addresses.
func (r *reach) concerns(s *schema.State, c schema.Change) bool {
	switch o := object(c).(type) {
	case *schema.Table, *schema.ForeignRule, *schema.Grant:
		return r.rules
	case *schema.PolicyRule:
		return true
	case *schema.Sysctl:
		if _, link, _, ok := schema.SplitLinkSysctl(o.Key); ok {
			return r.links[link]
		}
		return true
	case *schema.Link:
		return r.links[o.Name] || r.carries(s, c, o.Name)
	case *schema.Address:
		return r.links[o.Link] || r.holds(o.Prefix.Masked())
	case *schema.Route:
		return slices.ContainsFunc(o.Devices(), func(d string) bool { return r.links[d] }) || r.holds(o.Dst)
	case *schema.Neighbour:
		return r.links[o.Link]
	case *schema.FDBEntry:
		return r.links[o.Link] || r.links[o.Master]
	case *schema.File, *schema.Listener, *schema.Dnsmasq:
		return false // what is on the disk moves no packet, nor does a server
	}
	return true
}

// carries tells whether a link that goes up, down or away has an address or route that matters.
func (r *reach) carries(s *schema.State, c schema.Change, name string) bool {
	before, _ := c.Before.(*schema.Link)
	after, _ := c.After.(*schema.Link)
	if before == nil || after != nil && after.Up == nil {
		return false
	}
	return slices.ContainsFunc(s.Dependents(schema.LinkRef(name)), func(ref schema.Ref) bool {
		switch o := s.Get(ref).(type) {
		case *schema.Address:
			return r.holds(o.Prefix.Masked())
		case *schema.Route:
			return r.holds(o.Dst)
		}
		return false
	})
}

// holds tells whether a prefix holds an address of the thing.
func (r *reach) holds(p netip.Prefix) bool {
	if slices.ContainsFunc(r.addrs, p.Contains) || slices.ContainsFunc(r.prefixes, p.Overlaps) {
		return true
	}
	return r.open && !slices.ContainsFunc(r.inner, func(in netip.Prefix) bool { return in.Bits() <= p.Bits() && in.Contains(p.Addr()) })
}

// settle finds the links of a thing anew after a step.
func (r *reach) settle(s *schema.State) {
	r.links = map[string]bool{}
	var add func(name string)
	add = func(name string) {
		l := s.Link(name)
		if name == "" || r.links[name] {
			return
		}
		r.links[name] = true
		if l == nil {
			return
		}
		if l.Master != nil {
			add(*l.Master)
		}
		if l.Facts != nil && l.Facts.ParentIndex != 0 && !l.Facts.ParentElsewhere {
			if lower := s.LinkByIndex(l.Facts.ParentIndex); lower != nil {
				add(lower.Name)
			}
		}
	}
	for _, f := range r.from {
		add(f)
		if l := s.Link(f); l != nil && l.Type == "bridge" { // by whichever port
			for _, p := range portsOf(s, f) {
				add(p)
			}
		}
	}
	for _, a := range r.addrs {
		for _, ref := range s.WithIP(a) {
			if o, ok := s.Get(ref).(*schema.Address); ok {
				add(o.Link)
			}
		}
	}
	if uppers := r.uppers(s); r.mac == "" && len(uppers) > 0 {
		r.mac = *uppers[0].MAC
	}
}

// uppers are the links that have the host's own end, and a hardware address that neighbours send to.
func (r *reach) uppers(s *schema.State) []*schema.Link {
	var out []*schema.Link
	for _, ref := range s.WithIP(r.local) {
		if o, ok := s.Get(ref).(*schema.Address); ok {
			if l := s.Link(o.Link); l != nil && l.MAC != nil && *l.MAC != "" && l.Type != "loopback" {
				out = append(out, l)
			}
		}
	}
	return out
}

func portsOf(s *schema.State, bridge string) []string {
	var out []string
	for _, ref := range s.Dependents(schema.LinkRef(bridge)) {
		if l, ok := s.Get(ref).(*schema.Link); ok && l.Master != nil && *l.Master == bridge {
			out = append(out, l.Name)
		}
	}
	return out
}

// pause notes a step that makes a thing wait though it is well before and after.
func (w *watch) pause(s *schema.State, c schema.Change, step int) {
	before, _ := c.Before.(*schema.Link)
	after, _ := c.After.(*schema.Link)
	if after == nil || before == nil || !w.links[after.Name] {
		return
	}
	live := s.Link(after.Name)
	if live == nil {
		return
	}
	note := func(long time.Duration, why string) { w.pauses = append(w.pauses, pause{step, long, why}) }
	up := after.Up != nil && *after.Up && live.Up != nil && !*live.Up
	master := ""
	if live.Master != nil {
		master = *live.Master
	}
	if after.Master != nil {
		if *after.Master != master {
			note(pauseStep, after.Name+" changes its master")
		}
		master = *after.Master
	}
	switch {
	case up && live.Type == "device":
		note(pauseCarrier, after.Name+" looks for its carrier again")
	case after.MTU != nil && live.MTU != nil && *after.MTU != *live.MTU && live.Type == "device" && live.Up != nil && *live.Up:
		note(pauseCarrier, "some network cards restart when their MTU changes, and "+after.Name+" is one of hardware")
	case up:
		note(pauseStep, after.Name+" goes up")
	}
	if m := s.Link(master); m != nil && (up || after.Master != nil && *after.Master != "") {
		w.spanningTree(m, note)
	}
	if live.Type == "bridge" && up {
		w.spanningTree(live, note)
	}
}

// newMAC notes a step after which neighbours send to a hardware address that nobody has any more.
func (w *watch) newMAC(s *schema.State, c schema.Change, step int) {
	if w.mac == "" || c.Ref.Kind != schema.KindLink && c.Ref.Kind != schema.KindAddress {
		return
	}
	kept, mac := false, ""
	for _, l := range w.uppers(s) {
		mac = *l.MAC
		kept = kept || mac == w.mac || portHas(s, l.Name, w.mac)
	}
	if kept || mac == "" {
		return
	}
	w.mac = mac
	w.pauses = append(w.pauses, pause{step, pauseNeighbour, "neighbours must learn the new hardware address " + mac + " of " + w.local.String()})
}

// spanningTree: a new port listens and learns for one forward delay each (IEEE 802.1D).
func (w *watch) spanningTree(bridge *schema.Link, note func(time.Duration, string)) {
	b := bridge.Bridge
	if b == nil || b.STP == nil || !*b.STP {
		return
	}
	delay := 15 * time.Second
	if b.ForwardDelay != nil {
		delay = time.Duration(*b.ForwardDelay) * 10 * time.Millisecond
	}
	note(2*delay+pauseStep, "the spanning tree of "+bridge.Name+" keeps a new port silent for twice its forward delay")
}

// portHas tells whether a port of a bridge has a hardware address: frames to it reach the host all the same (the forwarding
// database has it as local).
func portHas(s *schema.State, bridge, mac string) bool {
	return slices.ContainsFunc(portsOf(s, bridge), func(p string) bool {
		l := s.Link(p)
		return l.MAC != nil && *l.MAC == mac
	})
}
