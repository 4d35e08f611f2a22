package schema

import (
	"net/netip"
	"slices"
)

// ProbeOutcome is what became of one real packet, or of its repetitions.
type ProbeOutcome string

// The outcomes of a probe.
const (
	ProbeReached     ProbeOutcome = "reached"     // answered by what was asked: a connection, a reply
	ProbeRefused     ProbeOutcome = "refused"     // a TCP reset, or ICMP port unreachable for UDP: by the destination or by a firewall, nobody can tell
	ProbeUnreachable ProbeOutcome = "unreachable" // ICMP, or this host's own routes, said so
	ProbeUnsent      ProbeOutcome = "not sent"    // this host's own rules refused it (EPERM)
	ProbeSilent      ProbeOutcome = "no answer"   // nothing came back in time
	ProbeUnknown     ProbeOutcome = "not probed"  // it could not be tried
)

// ProbeResult is what the real packets sent for a Goal say about it.
type ProbeResult struct {
	Goal Goal `json:"goal"`
	// Status is "ok" or "fail"; "unknown" where packets could not be sent, or where what came back proves neither.
	Status string `json:"status"`
	// Why is one sentence; empty for ok.
	Why string `json:"why,omitempty"`
	// Attempts are the packets, in the order of addresses and ports; empty where none could be sent.
	Attempts []ProbeAttempt `json:"attempts,omitempty"`
}

// ProbeAttempt is one packet, with its repetitions.
type ProbeAttempt struct {
	Proto string `json:"proto"` // "tcp", "udp" or "icmp"
	// Source and Destination are addresses of the host and of the other side; ports are 0 for icmp, and Source is zero
	// where the host had no address to send from.
	Source      netip.AddrPort `json:"source,omitzero"`
	Destination netip.AddrPort `json:"destination"`
	Outcome     ProbeOutcome   `json:"outcome"`
	// Detail is what the kernel said, and who told it: "no route to host", "host prohibited, says 192.0.2.1".
	Detail string `json:"detail,omitempty"`
	Millis int64  `json:"ms"`
}

// String prints "tcp 192.0.2.5:443: refused (connection refused)".
func (a ProbeAttempt) String() string {
	to := a.Destination.String()
	if a.Proto == "icmp" {
		to = a.Destination.Addr().String()
	}
	s := a.Proto + " " + to + ": " + string(a.Outcome)
	if a.Detail != "" {
		s += " (" + a.Detail + ")"
	}
	return s
}

// Probed are the goals for which the file wants real packets.
func Probed(goals []Goal) []Goal {
	return slices.DeleteFunc(slices.Clone(goals), func(g Goal) bool { return !g.Probe })
}
