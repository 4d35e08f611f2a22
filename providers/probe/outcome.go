package probe

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// told is an ICMP error: what it said, and who sent it.
type told struct {
	err      unix.Errno
	typ      byte
	code     byte
	v6       bool
	offender netip.Addr
	own      bool // the offender is this host
}

// Error is the kernel's word for it, what ICMP said, and who.
func (t told) Error() string {
	s := t.err.Error()
	if name := icmpName(t); name != "" {
		s = name
	}
	switch {
	case t.own:
		s += ", says this host"
	case t.offender.IsValid():
		s += ", says " + t.offender.String()
	}
	return s
}

// Unwrap gives the kernel's word.
func (t told) Unwrap() error { return t.err }

// portUnreachable tells whether it is what a host says of a closed UDP port.
func (t told) portUnreachable() bool {
	if t.v6 {
		return t.typ == icmp6Unreachable && t.code == 4
	}
	return t.typ == icmpUnreachable && t.code == 3
}

// The types and codes of ICMP (RFC 792, RFC 1812 5.2.7) and ICMPv6 (RFC 4443) that speak of a destination.
const (
	icmpUnreachable  = 3
	icmp6Unreachable = 1
)

var (
	icmpCodes = []string{
		"net unreachable", "host unreachable", "protocol unreachable", "port unreachable", "fragmentation needed", "source route failed",
		"net unknown", "host unknown", "source host isolated", "net prohibited", "host prohibited", "net unreachable for this service",
		"host unreachable for this service", "administratively prohibited",
	}
	icmp6Codes = []string{
		"no route to destination", "administratively prohibited", "beyond scope of source address", "address unreachable", "port unreachable",
		"source address failed policy", "reject route to destination",
	}
)

func icmpName(t told) string {
	names, kind := icmpCodes, "icmp "
	if t.v6 {
		names, kind = icmp6Codes, "icmpv6 "
	}
	if (t.v6 && t.typ != icmp6Unreachable) || (!t.v6 && t.typ != icmpUnreachable) || int(t.code) >= len(names) {
		return ""
	}
	return kind + names[t.code]
}

// unreachable are the kernel's words for "there is no way there": from ICMP errors, from neighbours that do not answer, from routes
// that are missing or of type unreachable, prohibit or blackhole (ip-route(8); the last is EINVAL).
var unreachable = []unix.Errno{
	unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENONET, unix.ENOPROTOOPT, unix.EACCES, unix.EINVAL,
}

// outcome says what an error means, and in the kernel's words why.
func outcome(proto string, err error) (schema.ProbeOutcome, string) {
	icmp, byICMP := errors.AsType[told](err)
	switch {
	case err == nil:
		return schema.ProbeReached, ""
	case errors.Is(err, errNoSocket):
		return schema.ProbeUnknown, err.Error()
	case errors.Is(err, errSilence):
		return schema.ProbeSilent, fmt.Sprintf("within %v", patience)
	case byICMP && icmp.portUnreachable() && proto == "udp":
		return schema.ProbeRefused, err.Error()
	case byICMP:
		return schema.ProbeUnreachable, err.Error()
	case errors.Is(err, unix.ECONNREFUSED):
		return schema.ProbeRefused, err.Error()
	case errors.Is(err, unix.EPERM):
		return schema.ProbeUnsent, "operation not permitted: by this host's own rules"
	}
	for _, e := range unreachable {
		if errors.Is(err, e) {
			return schema.ProbeUnreachable, err.Error()
		}
	}
	return schema.ProbeUnknown, err.Error()
}
