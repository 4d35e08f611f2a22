package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/vmnet/vmnet/schema"
)

// served is what a network's dhcp and dns blocks say.
type served struct {
	dhcp *schema.DHCP
	// withheld tells that there is a dhcp block that was complained about.
	withheld  bool
	dns       *schema.DNS
	recordsAt where
	at        where // of the first of the two blocks
	// named are options that the file itself gives: they win over what follows from the network.
	named map[uint8]bool
}

// readServed reads and checks the dhcp and dns blocks.
func (l *loader) readServed(n *network) {
	n.served.named = map[uint8]bool{}
	for _, b := range n.inst.body.Blocks {
		at := where{rng: &b.TypeRange, in: n.inst.block(), inst: n.inst}
		switch {
		case b.Type == "dhcp" && n.served.dhcp == nil && !n.served.withheld:
			l.readDHCP(n, b)
		case b.Type == "dns" && n.served.dns == nil:
			l.readDNS(n, b)
		default:
			continue
		}
		if n.served.at.rng == nil {
			n.served.at = at
		}
	}
}

// minLease is the shortest lease that dnsmasq gives: it makes shorter ones as long without a word (dnsmasq(8), --dhcp-range).
const minLease = 2 * time.Minute

// usualLease is that of a file that says none, which is dnsmasq's own.
const usualLease = time.Hour

func (l *loader) readDHCP(n *network, b *hclsyntax.Block) {
	in := n.inst.inner(b)
	f := l.text(in, "range")
	if f.status == absent {
		l.fail(codeMissing, where{rng: b.DefRange().Ptr(), in: n.inst.block()}, "A dhcp block needs range. Write, for example: range = \"10.20.0.100-10.20.0.199\"")
	}
	r := as(l, codeDHCPRange, f, parseRange)
	r = as(l, codeDHCPRange, r, n.checkRange)
	lease := as(l, codeLease, l.text(in, "lease"), parseLease)
	if lease.status == absent {
		lease.v = uint32(usualLease / time.Second)
	}
	options := l.dhcpOptions(n, in)
	if !r.ok() {
		n.served.withheld = true
		return
	}
	r.v.Lease, r.v.Options, r.v.Checksums = lease.v, options, l.flag(in, "checksums").v
	n.served.dhcp = &r.v
}

// parseLease reads "12h", "90m" or "infinite".
func parseLease(s string) (uint32, string) {
	if s == "infinite" {
		return schema.LeaseInfinite, ""
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, fmt.Sprintf("%q is not a time. Write lease = \"12h\", \"90m\" or \"infinite\".", s)
	case d < minLease:
		return 0, fmt.Sprintf("A lease of %s is too short: dnsmasq gives two minutes at least. Write lease = \"2m\" or more.", s)
	case d%time.Second != 0 || d/time.Second >= schema.LeaseInfinite:
		return 0, fmt.Sprintf("A lease is a whole number of seconds, below 2^32; %q is not. Write \"infinite\" for one that never ends.", s)
	}
	return uint32(d / time.Second), ""
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
	if first.Is6() || last.Is6() {
		return schema.DHCP{}, fmt.Sprintf("The range %q is of IPv6. vmnet serves DHCP for IPv4 only; give IPv6 addresses to the guests, or let a router of the network announce itself.", s)
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

// checkServed compares what networks serve with their guests.
func (l *loader) checkServed() {
	names := map[*network]map[string]*guest{}
	for _, g := range l.guests {
		n := g.network
		if n == nil || !n.serves() {
			continue
		}
		l.checkStray(g)
		if !l.hostName(g) {
			continue
		}
		if names[n] == nil {
			names[n] = map[string]*guest{}
		}
		key := strings.ToLower(g.name.v)
		if first := names[n][key]; first != nil {
			l.fail(codeSameName, g.nameAt(), "%s has the name %q already (%s), and a name leads to one guest. Give %s another; name = sets it.", first.address(), g.name.v, first.nameAt().place(), g.address())
			continue
		}
		names[n][key] = g
	}
	for _, n := range l.networks {
		l.checkRecords(n, names[n])
	}
}

// serves tells whether vmnet serves anything on the network.
func (n *network) serves() bool { return n.served.dhcp != nil || n.served.dns != nil }

// nameAt is where a guest's name comes from.
func (g *guest) nameAt() where {
	if g.name.status == absent {
		return g.inst.at()
	}
	return g.name.at
}

// hostName tells whether a guest's name can be one of DNS. One that was made from the label is passed over with a warning.
func (l *loader) hostName(g *guest) bool {
	if g.name.status == wrong {
		return false
	}
	why := notALabel(g.name.v)
	if why == "" && schema.DnsmasqWord(g.name.v) {
		why = fmt.Sprintf("dnsmasq takes the name %q for a word of its own.", g.name.v)
	}
	switch {
	case why == "":
		return true
	case g.name.ok():
		l.fail(codeName, g.name.at, "%s", why)
	default:
		l.warn(codeName, g.inst.at(), "%s %s gets no name; name = gives it one.", why, g.address())
	}
	g.name.status = wrong
	return false
}

// checkStray finds an address that DHCP may give to another, since nobody knows whose it is.
func (l *loader) checkStray(g *guest) {
	r := g.network.served.dhcp
	for _, ip := range g.ips() {
		if r != nil && g.mac.status == absent && ip.v.Is4() && r.First.Compare(ip.v) <= 0 && ip.v.Compare(r.Last) <= 0 {
			l.warn(codeStray, ip.at, "%s lies in the range that %s gives out (%s-%s), and without a MAC it cannot be kept for %s. Add mac, or use an address beside the range.",
				ip.v, g.network.address(), r.First, r.Last, g.address())
		}
	}
}

// server is the object that serves a network; nil for none.
func (c *compiler) server(n *network) *schema.Dnsmasq {
	if !n.serves() {
		return nil
	}
	d := &schema.Dnsmasq{Device: n.device.v, Address: n.address(), State: schema.ServiceRunning, DNS: n.dns()}
	for _, h := range n.hosts {
		d.Listen = append(d.Listen, h.v.Addr())
	}
	if n.served.dhcp != nil {
		d.DHCP = n.dhcp(d.DNS)
	}
	for _, g := range c.guestsOf[n] {
		n.addGuest(d, g)
	}
	return d
}

// addGuest keeps the address of a guest for it, and makes its name known.
func (n *network) addGuest(d *schema.Dnsmasq, g *guest) {
	name := g.name.v
	if g.name.status == wrong {
		name = ""
	}
	kept := schema.Reservation{MAC: g.mac.v, Name: name}
	for _, ip := range g.ips() {
		if ip.v.Is4() {
			kept.IP = ip.v
		}
		if d.DNS != nil && name != "" {
			d.DNS.Records = append(d.DNS.Records, schema.DNSRecord{Name: d.DNS.Qualified(name), IP: ip.v})
		}
	}
	if d.DHCP != nil && g.mac.ok() && (kept.IP.IsValid() || kept.Name != "") {
		d.Reservations = append(d.Reservations, kept)
	}
}

// dhcp is what guests are given, with what follows from the network: the way out, names, the size of packets.
func (n *network) dhcp(dns *schema.DNS) *schema.DHCP {
	d := *n.served.dhcp
	d.Options = slices.Clone(d.Options)
	set := func(code uint8, value string) {
		if !n.served.named[code] {
			d.Options = append(d.Options, schema.DHCPOption{Code: code, Value: value})
		}
	}
	gateway, dnsServer := "", ""
	for _, h := range n.hosts {
		if h.v.Addr().Is4() && h.v.Contains(d.First) {
			gateway = h.v.Addr().String()
		}
	}
	if dns != nil {
		dnsServer = gateway
		if dns.Domain != "" {
			set(optionDomain, dns.Domain)
		}
	}
	if n.mode == "host_only" {
		gateway = "" // nothing is behind it
	}
	set(optionRouter, gateway)
	set(optionDNS, dnsServer)
	if n.mtu.ok() {
		set(optionMTU, strconv.FormatUint(uint64(n.mtu.v), 10))
	}
	return &d
}
