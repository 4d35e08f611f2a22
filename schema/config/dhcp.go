package config

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// readDHCP reads and checks the dhcp block. Nothing serves it yet, which is said.
func (l *loader) readDHCP(n *network) {
	for _, b := range n.inst.body.Blocks {
		if b.Type != "dhcp" || n.dhcp != nil {
			continue
		}
		in := n.inst.inner(b)
		f := l.text(in, "range")
		if f.status == absent {
			l.fail(codeMissing, where{rng: b.DefRange().Ptr().Ptr(), in: n.inst.block()}, "A dhcp block needs range. Write, for example: range = \"10.20.0.100-10.20.0.199\"")
		}
		r := as(l, codeDHCPRange, f, parseRange)
		r = as(l, codeDHCPRange, r, n.checkRange)
		if !r.ok() {
			continue
		}
		n.dhcp = &r.v
		l.warn(codeDHCPNotServed, where{rng: &b.TypeRange, in: n.inst.block(), inst: n.inst},
			"The range is checked, and DHCP from guests of %s is let in, but this version of vmnet runs no DHCP server. %s", n.address(), codeInfo(codeDHCPNotServed).Cure)
	}
}

// parseRange reads "a-b".
func parseRange(s string) (schema.DHCP, string) {
	a, b, ok := strings.Cut(s, "-")
	if !ok {
		return schema.DHCP{}, fmt.Sprintf("%q is not a range. Write two addresses: \"10.20.0.100-10.20.0.199\".", s)
	}
	first, why := parseAddr(strings.TrimSpace(a))
	if why != "" {
		return schema.DHCP{}, why
	}
	last, why := parseAddr(strings.TrimSpace(b))
	if why != "" {
		return schema.DHCP{}, why
	}
	if last.Less(first) {
		return schema.DHCP{}, fmt.Sprintf("The range %q goes down. Write \"%s-%s\".", s, last, first)
	}
	return schema.DHCP{First: first, Last: last}, ""
}

func (n *network) checkRange(r schema.DHCP) (schema.DHCP, string) {
	for _, s := range n.subnets {
		if s.status == wrong {
			return r, "" // the subnet has been complained about
		}
	}
	p, ok := n.subnetOf(r.First)
	if !ok || !p.Contains(r.Last) {
		return r, fmt.Sprintf("The range %s-%s does not lie in the subnet of %s (%s).", r.First, r.Last, n.address(), n.subnetList())
	}
	for _, h := range n.hosts {
		if a := h.v.Addr(); h.ok() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0 {
			return r, fmt.Sprintf("The range %s-%s contains the host's own address %s: a guest would be given it. Start or end beside it.", r.First, r.Last, a)
		}
	}
	for _, a := range []netip.Addr{r.First, r.Last} {
		if why := reserved(p, a); why != "" {
			return r, why + ", which no guest may be given."
		}
	}
	return r, ""
}
