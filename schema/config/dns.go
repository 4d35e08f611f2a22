package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/vmnet/vmnet/schema"
)

// readDNS reads a dns block.
func (l *loader) readDNS(n *network, b *hclsyntax.Block) {
	in := n.inst.inner(b)
	d := &schema.DNS{HostUpstream: n.mode == "nat"} // a host_only network has nothing to do with the outside unless the file says so
	domain := as(l, codeName, l.text(in, "domain"), func(s string) (string, string) { return s, notAName(s) })
	if domain.ok() {
		d.Domain = strings.ToLower(domain.v)
	}
	if up := l.get(in, "upstream"); up.status != absent {
		d.HostUpstream = false
		for _, f := range l.texts(in, "upstream", `["9.9.9.9"]`) {
			l.addUpstream(n, d, f)
		}
	}
	l.readRecords(n, d, in)
	n.served.dns = d
}

// addUpstream takes a name server in; "host" stands for those of the host.
func (l *loader) addUpstream(n *network, d *schema.DNS, f field[string]) {
	if f.ok() && f.v == "host" {
		d.HostUpstream = true
		return
	}
	a := as(l, codeUpstream, f, func(s string) (netip.Addr, string) {
		a, why := parseAddr(s)
		switch {
		case why != "":
			return a, "upstream takes addresses of name servers, or \"host\" for those that the host asks. " + why
		case a.IsUnspecified() || a.IsMulticast():
			return a, fmt.Sprintf("%s is not the address of a name server.", a)
		}
		for _, h := range n.hosts {
			if h.ok() && h.v.Addr() == a {
				return a, fmt.Sprintf("%s is this very server: it would ask itself in a circle.", a)
			}
		}
		return a, ""
	})
	if a.ok() {
		d.Upstream = append(d.Upstream, a.v)
	}
}

// readRecords reads names with addresses, and names that stand for others.
func (l *loader) readRecords(n *network, d *schema.DNS, in *instance) {
	f := l.get(in, "records")
	if !f.ok() {
		return
	}
	t := f.v.Type()
	if !t.IsObjectType() && !t.IsMapType() {
		l.fail(codeName, f.at, "records takes a map, not %s. Write, for example: records = { www = \"10.20.0.11\" }", article(t))
		return
	}
	n.served.recordsAt = f.at
	for it := f.v.ElementIterator(); it.Next(); {
		k, v := it.Element()
		name := strings.ToLower(k.AsString())
		if why := notAName(name); why != "" {
			l.fail(codeName, f.at, "%s", why)
			continue
		}
		values := []cty.Value{v}
		if v.IsKnown() && !v.IsNull() && isSequence(v.Type()) {
			values = v.AsValueSlice()
		}
		for _, v := range values {
			r, why := readRecord(d, name, v, len(values) > 1)
			if why != "" {
				l.fail(codeName, f.at, "%s", why)
				continue
			}
			if !slices.Contains(d.Records, r) {
				d.Records = append(d.Records, r)
			}
		}
	}
}

// readRecord is one value of a record; several must be addresses.
func readRecord(d *schema.DNS, name string, v cty.Value, several bool) (schema.DNSRecord, string) {
	s, ok := toText(v)
	if !ok {
		return schema.DNSRecord{}, fmt.Sprintf("The record %q takes an address, a list of addresses, or another name, not %s.", name, article(v.Type()))
	}
	r := schema.DNSRecord{Name: d.Qualified(name)}
	if a, err := netip.ParseAddr(s); err == nil {
		if a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			return r, s + " is not an address that a name can have."
		}
		r.IP = a.Unmap()
		return r, ""
	}
	if why := notAName(s); why != "" {
		return r, fmt.Sprintf("The record %q is neither an address nor a name. %s", name, why)
	}
	if several {
		return r, fmt.Sprintf("The record %q stands for another name (%s), and so for nothing else (RFC 1034, 3.6.2).", name, s)
	}
	r.Target = d.Qualified(strings.ToLower(s))
	return r, ""
}

// checkRecords sees that a name that stands for another is only that, and that the other is known.
func (l *loader) checkRecords(n *network, guests map[string]*guest) {
	d := n.served.dns
	if d == nil {
		return
	}
	known := map[string]string{}
	for name, g := range guests {
		known[d.Qualified(name)] = g.address()
	}
	for _, r := range d.Records {
		if r.Target == "" {
			known[r.Name] = "a record with an address"
		}
	}
	alias := map[string]bool{}
	for _, r := range d.Records {
		if r.Target == "" {
			continue
		}
		alias[r.Name] = true
		if what := known[r.Name]; what != "" {
			l.fail(codeName, n.served.recordsAt, "The record %q stands for another name, and %s has that name already.", r.Name, what)
		}
	}
	for _, r := range d.Records {
		if r.Target != "" && known[r.Target] == "" && (!alias[r.Target] || r.Target == r.Name) {
			l.fail(codeName, n.served.recordsAt, "The record %q stands for %q, which is neither a guest of %s nor a record here: dnsmasq answers such a name only where it knows the other itself. Give the address instead.", r.Name, r.Target, n.address())
		}
	}
}

// dns is what the network's server knows of names; nil where it serves none. Where DHCP is served names are, too, unless the file
// tells guests to ask somebody else.
func (n *network) dns() *schema.DNS {
	if n.served.dns != nil {
		d := *n.served.dns
		d.Records = slices.Clone(d.Records)
		return &d
	}
	if n.served.named[optionDNS] {
		return nil
	}
	return &schema.DNS{HostUpstream: n.mode == "nat"}
}

// notALabel says why a text cannot be one part of a domain name (RFC 1035, 2.3.1; with the underscores that dnsmasq takes); "" when it can.
func notALabel(s string) string {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}
	switch {
	case s == "":
		return "A name has at least one letter."
	case len(s) > 63:
		return fmt.Sprintf("%q has %d letters; a part of a domain name has at most 63.", s, len(s))
	case strings.ContainsFunc(s, bad):
		return fmt.Sprintf("%q cannot be a domain name, or a part of one: that is made of the letters a to z, digits, - and _.", s)
	case s[0] == '-' || s[0] == '_' || s[len(s)-1] == '-':
		return fmt.Sprintf("%q cannot be a part of a domain name: it starts or ends with %q.", s, strings.Trim(s[:1]+s[len(s)-1:], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))
	}
	return ""
}

// notAName says why a text cannot be a domain name; "" when it can.
func notAName(s string) string {
	if len(s) > 253 {
		return fmt.Sprintf("A domain name has at most 253 letters; this one has %d.", len(s))
	}
	if strings.HasSuffix(s, ".") || strings.HasPrefix(s, ".") {
		return fmt.Sprintf("%q begins or ends with a dot. Write %q.", s, strings.Trim(s, "."))
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return fmt.Sprintf("%q is an address, not a name.", s)
	}
	for part := range strings.SplitSeq(s, ".") {
		if why := notALabel(part); why != "" {
			return why
		}
	}
	return ""
}
