package schema

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Dnsmasq is the DHCP and DNS server of one network: an instance of dnsmasq(8) of our own, its configuration and its process. It
// is ours by its place (see providers/dnsmasq): those that others run are no objects, but listeners. Unlike other objects it is
// compared and replaced as a whole: what a desired one does not say is not to be.
type Dnsmasq struct {
	// Device is the bridge it is bound to; it answers nowhere else.
	Device string `json:"device"`
	// Address is the block that it serves, "nat.lab".
	Address string `json:"address"`
	// Listen are the host's addresses that it answers names on, sorted.
	Listen []netip.Addr `json:"listen,omitempty"`
	// DHCP is what it gives addresses from; nil for none.
	DHCP *DHCP `json:"dhcp,omitempty"`
	// Reservations are the addresses and names kept for guests, by MAC.
	Reservations []Reservation `json:"reservations,omitempty"`
	// DNS is what it knows of names; nil: it answers no questions for names.
	DNS *DNS `json:"dns,omitempty"`
	// Extra are lines of its configuration that vmnet would not write: somebody else's. Never in a desired one.
	Extra []string `json:"extra,omitempty"`
	// State is "running", and in a live one "stopped" (no process) or "stale" (a process runs that was started with another configuration
	// than the file holds). "" is not managed.
	State string `json:"state,omitempty"`
	// Facts are the process and its leases; nil in a desired one.
	Facts *DnsmasqFacts `json:"facts,omitempty"`
}

// The states of a Dnsmasq.
const (
	ServiceRunning = "running"
	ServiceStopped = "stopped"
	ServiceStale   = "stale"
)

// DHCP is what a network's guests are given (RFC 2131).
type DHCP struct {
	// First and Last are the range, of IPv4, inclusive.
	First netip.Addr `json:"first"`
	Last  netip.Addr `json:"last"`
	// Lease is how long a lease lasts, in seconds; LeaseInfinite for ever.
	Lease uint32 `json:"lease"`
	// Options are sent beside what dnsmasq fills in by itself (netmask, broadcast, lease times), sorted by code.
	Options []DHCPOption `json:"options,omitempty"`
	// Checksums sends answers with whole UDP checksums, for clients that read packets as they are on the wire: the kernel then computes
	// all checksums of what this host sends by the bridge, and cuts large segments itself.
	Checksums bool `json:"checksums,omitempty"`
}

// LeaseInfinite is a lease without an end (RFC 2131, 3.3).
const LeaseInfinite = 1<<32 - 1

// DHCPOption is one option (RFC 2132), with its value as dnsmasq reads it: comma separated. An empty value keeps dnsmasq from
// sending the option.
type DHCPOption struct {
	Code  uint8  `json:"code"`
	Value string `json:"value"`
}

// String prints "26=1500".
func (o DHCPOption) String() string { return fmt.Sprintf("%d=%s", o.Code, o.Value) }

// Option is the value of an option; false when it is not set.
func (d *DHCP) Option(code uint8) (string, bool) {
	for _, o := range d.Options {
		if o.Code == code {
			return o.Value, true
		}
	}
	return "", false
}

// Size is how many addresses the range has.
func (d *DHCP) Size() int {
	a, b := d.First.As4(), d.Last.As4()
	n := 0
	for i := range a {
		n = n<<8 + int(b[i]) - int(a[i])
	}
	return n + 1
}

// Reservation keeps an address, a name, or both for a guest.
type Reservation struct {
	MAC  string     `json:"mac"`
	IP   netip.Addr `json:"ip,omitzero"`
	Name string     `json:"name,omitempty"`
}

// DnsmasqWord tells whether dnsmasq takes a name among the words of a reservation for something else: a lease time, or the word
// that no lease is to be given (dnsmasq(8), --dhcp-host).
func DnsmasqWord(name string) bool {
	switch rest := strings.TrimLeft(name, "0123456789"); {
	case name == "ignore" || name == "infinite":
		return true
	case rest == name:
		return false
	default:
		return rest == "" || len(rest) == 1 && strings.Contains("smhdw", strings.ToLower(rest))
	}
}

// String prints "52:54:00:12:34:56,10.20.0.11,db1", as dnsmasq reads it.
func (r Reservation) String() string {
	s := r.MAC
	if r.IP.IsValid() {
		s += "," + r.IP.String()
	}
	if r.Name != "" {
		s += "," + r.Name
	}
	return s
}

// DNS is what a server knows of names.
type DNS struct {
	// Domain is the network's own, without a dot at either end; names in it are asked of nobody else. "" for none.
	Domain string `json:"domain,omitempty"`
	// HostUpstream asks the name servers of the host (resolv.conf(5)) for other names; Upstream asks these. Neither: other names do
	// not exist.
	HostUpstream bool         `json:"host_upstream,omitempty"`
	Upstream     []netip.Addr `json:"upstream,omitempty"`
	// Records are names with their addresses, and other names for them, sorted.
	Records []DNSRecord `json:"records,omitempty"`
}

// Qualified is a name with the domain behind it, when it has no dot of its own.
func (d *DNS) Qualified(name string) string {
	if d.Domain == "" || strings.Contains(name, ".") {
		return name
	}
	return name + "." + d.Domain
}

// DNSRecord is a name and an address of it (A, AAAA), or a name that stands for another (CNAME).
type DNSRecord struct {
	Name   string     `json:"name"`
	IP     netip.Addr `json:"ip,omitzero"`
	Target string     `json:"target,omitempty"`
}

// String prints "db1.lab.test=10.20.0.11".
func (r DNSRecord) String() string {
	if r.Target != "" {
		return r.Name + "=" + r.Target
	}
	return r.Name + "=" + r.IP.String()
}

// DnsmasqFacts are never compared.
type DnsmasqFacts struct {
	// PID is the process, 0 for none; Start is when it started, in clock ticks since boot (proc_pid_stat(5)).
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"`
	// LastPID is what the pid file says when that process is no more, or another.
	LastPID int `json:"last_pid,omitempty"`
	// Deaf tells that it listens on a link that is gone, whatever bears the name now: SO_BINDTODEVICE (socket(7)) is by index. It must be
	// started anew, which changes nothing that is compared.
	Deaf bool `json:"deaf,omitempty"`
	// Config is the path of its configuration.
	Config string `json:"config,omitempty"`
	// Leases are those it has given, as its lease file says.
	Leases []Lease `json:"leases,omitempty"`
}

// DnsmasqRef names the server on a device.
func DnsmasqRef(device string) Ref { return Ref{KindService, "dnsmasq " + device} }

// Ref implements Object: "service/dnsmasq virbr-lab".
func (d *Dnsmasq) Ref() Ref { return DnsmasqRef(d.Device) }

// Requires implements Object: the link it is bound to.
func (d *Dnsmasq) Requires() []Ref { return []Ref{LinkRef(d.Device)} }

// Listeners are the sockets that it holds while it runs.
func (d *Dnsmasq) Listeners() []*Listener {
	var out []*Listener
	if d.DHCP != nil {
		out = append(out, &Listener{Proto: "udp", Addr: netip.IPv4Unspecified(), Port: 67, Device: d.Device})
	}
	if d.DNS != nil {
		for _, a := range d.Listen {
			out = append(out, &Listener{Proto: "udp", Addr: a, Port: 53}, &Listener{Proto: "tcp", Addr: a, Port: 53})
		}
	}
	return out
}

// String prints "dnsmasq on virbr-lab: DHCP 10.20.0.100-10.20.0.199, DNS lab.test on 10.20.0.1".
func (d *Dnsmasq) String() string {
	var does []string
	if d.DHCP != nil {
		does = append(does, fmt.Sprintf("DHCP %s-%s", d.DHCP.First, d.DHCP.Last))
	}
	if d.DNS != nil {
		does = append(does, strings.ReplaceAll("DNS "+d.DNS.Domain+" on ", "  ", " ")+joined(d.Listen))
	}
	return fmt.Sprintf("dnsmasq on %s: %s", d.Device, strings.Join(does, ", "))
}

func (*Dnsmasq) object() {}

// attributes are what is compared, each as its name and its text.
func (d *Dnsmasq) attributes() [][2]string {
	a := [][2]string{{"address", d.Address}, {"listen", joined(d.Listen)}}
	var h DHCP
	if d.DHCP != nil {
		h = *d.DHCP
		lease := strconv.FormatUint(uint64(h.Lease), 10) + "s"
		if h.Lease == LeaseInfinite {
			lease = "infinite"
		}
		a = append(a, [2]string{"dhcp.range", fmt.Sprintf("%s-%s", h.First, h.Last)}, [2]string{"dhcp.lease", lease})
	} else {
		a = append(a, [2]string{"dhcp.range", ""}, [2]string{"dhcp.lease", ""})
	}
	a = append(a, [2]string{"dhcp.options", joined(h.Options)}, [2]string{"dhcp.checksums", map[bool]string{true: "yes"}[h.Checksums]}, [2]string{"reservations", joined(d.Reservations)})
	var n DNS
	serves := ""
	if d.DNS != nil {
		n, serves = *d.DNS, "yes"
	}
	upstream := joined(n.Upstream)
	if n.HostUpstream {
		upstream = strings.TrimSpace("the host's " + upstream)
	}
	return append(a, [2]string{"dns", serves}, [2]string{"dns.domain", n.Domain}, [2]string{"dns.upstream", upstream},
		[2]string{"dns.records", joined(n.Records)},
		[2]string{"extra", strings.Join(d.Extra, "; ")}, [2]string{"state", d.State})
}

func joined[T fmt.Stringer](all []T) string {
	s := make([]string, len(all))
	for i, x := range all {
		s[i] = x.String()
	}
	return strings.Join(s, " ")
}

func compareDnsmasq(live, want *Dnsmasq) []Difference {
	var diffs []Difference
	l := live.attributes()
	for i, w := range want.attributes() {
		if w[0] == "state" && w[1] == "" {
			continue
		}
		diffs = append(diffs, diffStrings(w[0], l[i][1], w[1])...)
	}
	return diffs
}

// normalise sorts what has no order of its own.
func (d *Dnsmasq) normalise() {
	slices.SortFunc(d.Listen, netip.Addr.Compare)
	slices.Sort(d.Extra)
	for i := range d.Reservations {
		d.Reservations[i].MAC = strings.ToLower(d.Reservations[i].MAC)
	}
	slices.SortFunc(d.Reservations, byText)
	if d.DHCP != nil {
		slices.SortFunc(d.DHCP.Options, func(a, b DHCPOption) int { return int(a.Code) - int(b.Code) })
	}
	if d.DNS != nil {
		slices.SortFunc(d.DNS.Records, byText)
	}
}

func byText[T fmt.Stringer](a, b T) int { return strings.Compare(a.String(), b.String()) }
