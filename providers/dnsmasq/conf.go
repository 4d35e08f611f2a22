package dnsmasq

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// sum is the digest of the configuration, which names the process that was started with it.
func (t texts) sum() string { return fmt.Sprintf("%x", sha256.Sum256([]byte(t.conf)))[:16] }

// The first line says whose it is.
const (
	header = "# vmnet:"
	notice = "# written by vmnet: what is changed here by hand is taken back by the next apply"
)

// inNamespace begins the line that says where a server belongs (namespaces(7)).
const inNamespace = "# of the network namespace "

// elsewhere tells whether files are of a server in another network namespace.
func (l place) elsewhere(t texts) bool {
	for _, line := range split(t.conf) {
		if ns, ok := strings.CutPrefix(line, inNamespace); ok {
			return ns != l.namespace && ns != "" && l.namespace != ""
		}
	}
	return false
}

// Words in front of what somebody else did to the files: a line of a file other than the configuration, a line that is missing.
const (
	inReservations = "reservations: "
	inNames        = "names: "
	without        = "without: "
)

// write gives the files of a server.
func write(l place, d *schema.Dnsmasq) texts {
	var t texts
	t.conf = lines(patched(confLines(l, d), d.Extra, ""))
	t.reservations = lines(patched(textsOf(d.Reservations), d.Extra, inReservations))
	var names []string
	if d.DNS != nil {
		for _, r := range d.DNS.Records {
			if r.Target == "" {
				names = append(names, r.IP.String()+" "+r.Name)
			}
		}
	}
	t.names = lines(patched(names, d.Extra, inNames))
	return t
}

func textsOf[T fmt.Stringer](all []T) []string {
	var out []string
	for _, x := range all {
		out = append(out, x.String())
	}
	return out
}

// patched is what vmnet writes into a file with what somebody else did to it.
func patched(all, extra []string, file string) []string {
	for _, e := range extra {
		switch gone, missing := strings.CutPrefix(e, without); {
		case missing && file == "":
			all = slices.DeleteFunc(all, func(l string) bool { return l == gone })
		case missing:
		case file == "" && !strings.HasPrefix(e, inReservations) && !strings.HasPrefix(e, inNames):
			all = append(all, e)
		case file != "" && strings.HasPrefix(e, file):
			all = append(all, strings.TrimPrefix(e, file))
		}
	}
	return all
}

func lines(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return strings.Join(all, "\n") + "\n"
}

// confLines are the configuration itself, without what is somebody else's.
func confLines(l place, d *schema.Dnsmasq) []string {
	out := []string{
		header + d.Address, notice, inNamespace + l.namespace,
		"interface=" + d.Device, "except-interface=lo", "bind-dynamic", "no-hosts", "domain-needed", "bogus-priv",
	}
	for _, a := range d.Listen {
		out = append(out, "# listens on "+a.String())
	}
	out = append(out, dnsLines(l, d.DNS)...)
	return append(out, dhcpLines(l, d)...)
}

func dnsLines(l place, d *schema.DNS) []string {
	if d == nil {
		return []string{"port=0"}
	}
	out := []string{"addn-hosts=" + l.names()}
	if d.Domain != "" {
		out = append(out, "domain="+d.Domain, "local=/"+d.Domain+"/")
	}
	if !d.HostUpstream {
		out = append(out, "no-resolv")
	}
	for _, a := range d.Upstream {
		out = append(out, "server="+a.String())
	}
	for _, r := range d.Records {
		if r.Target != "" {
			out = append(out, "cname="+r.Name+","+r.Target)
		}
	}
	return out
}

// leaseMax is how many leases there may be, beside the range those of reservations. dnsmasq itself would give a thousand.
const leaseMax = 1 << 16

// checksums remembers that vmnet lets the kernel compute the checksums of answers.
const checksums = "# answers have whole checksums"

func dhcpLines(l place, d *schema.Dnsmasq) []string {
	h := d.DHCP
	if h == nil {
		return nil
	}
	lease := strconv.FormatUint(uint64(h.Lease), 10)
	if h.Lease == schema.LeaseInfinite {
		lease = "infinite"
	}
	out := []string{
		"dhcp-authoritative", "dhcp-no-override", "dhcp-leasefile=" + l.leases, "dhcp-hostsfile=" + l.reservations(),
		fmt.Sprintf("dhcp-lease-max=%d", max(leaseMax, h.Size())), fmt.Sprintf("dhcp-range=%s,%s,%s", h.First, h.Last, lease),
	}
	if h.Checksums {
		out = append(out, checksums)
	}
	for _, o := range h.Options {
		s := fmt.Sprintf("dhcp-option=%d", o.Code)
		if o.Value != "" {
			s += "," + o.Value
		}
		out = append(out, s)
	}
	return out
}

// parse reads the files of a server. What vmnet would not write is somebody else's, line by line.
func parse(l place, t texts) *schema.Dnsmasq {
	d := &schema.Dnsmasq{Device: l.device, DNS: &schema.DNS{HostUpstream: true}}
	conf := split(t.conf)
	for _, line := range conf {
		parseConf(d, line)
	}
	if slices.Contains(conf, "port=0") {
		d.DNS = nil
	}
	for _, line := range split(t.reservations) {
		if r, ok := parseReservation(line); ok {
			d.Reservations = append(d.Reservations, r)
		} else {
			d.Extra = append(d.Extra, inReservations+line)
		}
	}
	for _, line := range split(t.names) {
		r, ok := parseName(line)
		if ok && d.DNS != nil {
			d.DNS.Records = append(d.DNS.Records, r)
		} else {
			d.Extra = append(d.Extra, inNames+line)
		}
	}
	schema.NewState(d) // in normal form, as it was when it was written
	d.Extra = append(d.Extra, strangers(confLines(l, d), conf)...)
	slices.Sort(d.Extra)
	return d
}

// strangers are the lines that only one of two texts has.
func strangers(ours, theirs []string) []string {
	var out []string
	left := slices.Clone(ours)
	for _, line := range theirs {
		if i := slices.Index(left, line); i >= 0 {
			left = slices.Delete(left, i, i+1)
		} else {
			out = append(out, line)
		}
	}
	for _, line := range left {
		out = append(out, without+line)
	}
	return out
}

func split(s string) []string {
	s = strings.TrimSuffix(s, "\n")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// parseConf takes a line of the configuration into d. Those that say what every server says need no taking in.
func parseConf(d *schema.Dnsmasq, line string) {
	key, value, _ := strings.Cut(line, "=")
	ip := func(to *[]netip.Addr, s string) {
		if a, err := netip.ParseAddr(s); err == nil {
			*to = append(*to, a)
		}
	}
	switch {
	case strings.HasPrefix(line, header):
		d.Address = strings.TrimPrefix(line, header)
	case strings.HasPrefix(line, "# listens on "):
		ip(&d.Listen, strings.TrimPrefix(line, "# listens on "))
	case line == "no-resolv":
		d.DNS.HostUpstream = false
	case key == "domain":
		d.DNS.Domain = value
	case key == "server":
		ip(&d.DNS.Upstream, value)
	case key == "cname":
		if name, target, ok := strings.Cut(value, ","); ok {
			d.DNS.Records = append(d.DNS.Records, schema.DNSRecord{Name: name, Target: target})
		}
	case key == "dhcp-range" && (d.DHCP == nil || !d.DHCP.First.IsValid()):
		parseRange(d, value)
	case line == checksums && d.DHCP != nil:
		d.DHCP.Checksums = true
	case key == "dhcp-option" && d.DHCP != nil:
		code, value, _ := strings.Cut(value, ",")
		if n, err := strconv.ParseUint(code, 10, 8); err == nil {
			d.DHCP.Options = append(d.DHCP.Options, schema.DHCPOption{Code: uint8(n), Value: value})
		}
	}
}

func parseRange(d *schema.Dnsmasq, s string) {
	w := strings.Split(s, ",")
	if len(w) != 3 {
		return
	}
	first, err1 := netip.ParseAddr(w[0])
	last, err2 := netip.ParseAddr(w[1])
	if err1 != nil || err2 != nil || !first.Is4() || !last.Is4() || last.Less(first) {
		return
	}
	lease, err := strconv.ParseUint(w[2], 10, 32)
	if w[2] == "infinite" {
		lease, err = schema.LeaseInfinite, nil
	}
	if err == nil {
		d.DHCP = &schema.DHCP{First: first, Last: last, Lease: uint32(lease)}
	}
}

func parseReservation(line string) (schema.Reservation, bool) {
	var r schema.Reservation
	w := strings.Split(line, ",")
	r.MAC, w = strings.ToLower(w[0]), w[1:]
	if len(w) > 0 {
		if a, err := netip.ParseAddr(w[0]); err == nil {
			r.IP, w = a, w[1:]
		}
	}
	if len(w) > 0 {
		r.Name, w = w[0], w[1:]
	}
	return r, len(w) == 0 && r.String() == line && strings.Count(r.MAC, ":") == 5 && !strings.ContainsAny(r.Name, " \t=") && (r.Name == "" || !schema.DnsmasqWord(r.Name))
}

func parseName(line string) (schema.DNSRecord, bool) {
	ip, name, _ := strings.Cut(line, " ")
	a, err := netip.ParseAddr(ip)
	r := schema.DNSRecord{Name: name, IP: a}
	return r, err == nil && a.String()+" "+name == line && name != "" && !strings.ContainsAny(name, " \t")
}
