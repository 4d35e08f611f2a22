package schema

import (
	"fmt"
	"strconv"
	"strings"
)

// Objects that are found inside others: see State.Get.

func (s *State) routeLeg(r Ref) *Route {
	_, rest, ok := strings.Cut(r.Name, " dev ")
	if !ok {
		return nil
	}
	dev, _, _ := strings.Cut(rest, " ")
	for _, ref := range s.Dependents(LinkRef(dev)) {
		whole, _ := s.objects[ref].(*Route)
		if whole == nil || len(whole.NextHops) == 0 || !whole.Dst.Addr().Is6() {
			continue
		}
		for _, h := range whole.NextHops {
			leg := Clone(whole).(*Route)
			leg.NextHops, leg.Link, leg.Gateway, leg.OnLink = nil, h.Link, h.Gateway, new(h.OnLink)
			if leg.Ref() == r {
				return leg
			}
		}
	}
	return nil
}

func (s *State) linkSysctl(key string) *Sysctl {
	family, link, name, ok := SplitLinkSysctl(key)
	if !ok {
		return nil
	}
	l := s.Link(link)
	if l == nil || l.Facts == nil {
		return nil
	}
	p := l.Facts.conf(family, name)
	if p == nil {
		return nil
	}
	return &Sysctl{Key: key, Value: strconv.Itoa(*p)}
}

// SetLinkSysctl records a per-link setting in the link's facts; false when the link or the setting is not known.
func (s *State) SetLinkSysctl(key, value string) bool {
	family, link, name, ok := SplitLinkSysctl(key)
	l := s.Link(link)
	if !ok || l == nil || l.Facts == nil {
		return false
	}
	c := Clone(l).(*Link)
	p := c.Facts.conf(family, name)
	if p == nil {
		return false
	}
	if _, err := fmt.Sscan(value, p); err != nil {
		return false
	}
	s.Put(c)
	return true
}

// conf finds a setting's place; nil for one that is not known.
func (f *LinkFacts) conf(family, name string) *int {
	switch {
	case family == "ipv4" && f.IPv4 != nil:
		return f.IPv4.field(name)
	case family == "ipv6" && f.IPv6 != nil:
		return f.IPv6.field(name)
	}
	return nil
}

func (c *LinkConf4) field(name string) *int {
	switch name {
	case "forwarding":
		return &c.Forwarding
	case "rp_filter":
		return &c.RPFilter
	case "route_localnet":
		return &c.RouteLocalnet
	case "arp_ignore":
		return &c.ARPIgnore
	case "arp_announce":
		return &c.ARPAnnounce
	case "arp_filter":
		return &c.ARPFilter
	case "proxy_arp":
		return &c.ProxyARP
	case "accept_local":
		return &c.AcceptLocal
	case "log_martians":
		return &c.LogMartians
	case "src_valid_mark":
		return &c.SrcValidMark
	case "promote_secondaries":
		return &c.PromoteSecondaries
	case "ignore_routes_with_linkdown":
		return &c.IgnoreLinkdown
	case "bc_forwarding":
		return &c.BCForwarding
	}
	return nil
}

func (c *LinkConf6) field(name string) *int {
	switch name {
	case "disable_ipv6":
		return &c.Disable
	case "forwarding":
		return &c.Forwarding
	case "accept_ra":
		return &c.AcceptRA
	case "proxy_ndp":
		return &c.ProxyNDP
	case "autoconf":
		return &c.Autoconf
	case "accept_dad":
		return &c.AcceptDAD
	case "ignore_routes_with_linkdown":
		return &c.IgnoreLinkdown
	case "force_forwarding":
		return &c.ForceForwarding
	}
	return nil
}

func (s *State) foreignRule(r Ref) *ForeignRule {
	name, legacy := strings.CutPrefix(r.Name, "legacy ")
	p := strings.SplitN(name, " ", 4)
	if len(p) < 4 {
		return nil
	}
	t, _ := s.objects[(&Table{Family: p[0], Name: p[1], Legacy: legacy}).Ref()].(*Table)
	if t == nil {
		return nil
	}
	c := t.Chain(p[2])
	if c == nil {
		return nil
	}
	seen := 0
	for i, rule := range c.Rules {
		if rule.Text != p[3] && !strings.HasPrefix(p[3], rule.Text+" #") {
			continue
		}
		f := RuleAt(t, c, i)
		f.ByTool = r.Kind == KindXRule
		seen++
		f.Nth = seen
		if f.Ref() == r {
			return f
		}
	}
	return nil
}

// RuleAt is the i-th rule of a chain as an object of its own, with its place.
func RuleAt(t *Table, c *Chain, i int) *ForeignRule {
	f := &ForeignRule{Family: t.Family, Table: t.Name, Chain: c.Name, Legacy: t.Legacy, ByTool: t.Legacy, Rule: *c.Rules[i], Index: i}
	if i+1 < len(c.Rules) {
		f.Next = c.Rules[i+1].Text
	}
	for _, r := range c.Rules[:i] {
		if r.Text == f.Rule.Text {
			f.Nth = max(f.Nth, 1) + 1
		}
	}
	for i := range f.Rule.Exprs {
		e := &f.Rule.Exprs[i]
		if set := t.SetNamed(e.Set); e.Set != "" && set != nil && set.Flags&SetAnonymous != 0 {
			f.Sets = append(f.Sets, set)
		}
	}
	return f
}

// Marked lists the rules in foreign tables that bear our mark: what a remedy of an earlier apply left there.
func Marked(s *State) []*ForeignRule {
	var out []*ForeignRule
	for t := range Each[*Table](s) {
		if OwnTable(t) {
			continue
		}
		for _, c := range t.Chains {
			for i, r := range c.Rules {
				if _, ok := Mark(r.Comment); ok {
					f := RuleAt(t, c, i)
					f.ByTool = t.Legacy || t.Compat
					out = append(out, f)
				}
			}
		}
	}
	return out
}
