package probe

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// maxAttempts bounds the packets sent for one goal: what is beyond is said, and the goal does not count as held.
const maxAttempts = 16

// Probe sends packets for each of the goals, from the network namespace of the calling thread, and returns a result for each, in their
// order. A goal takes 2 s at most, and 16 packets are under way at a time. Goals whose packets cannot be sent from here, or that do not
// say which packet to send, are "unknown" with the reason. The end of ctx ends all of it early.
func Probe(ctx context.Context, goals []schema.Goal) []schema.ProbeResult {
	results := make([]schema.ProbeResult, len(goals))
	var all []*attempt
	of := make([][]*attempt, len(goals))
	rest := make([]int, len(goals))
	for i, g := range goals {
		results[i] = schema.ProbeResult{Goal: g, Status: unknown}
		var why string
		if of[i], rest[i], why = attempts(g); why != "" {
			results[i].Why = "not probed: " + why
			continue
		}
		all = append(all, of[i]...)
	}
	send(ctx, all)
	for i := range results {
		if len(of[i]) > 0 {
			judge(&results[i], of[i], rest[i])
		}
	}
	return results
}

// The verdicts on a goal, as in plan.CheckResult.
const (
	ok      = "ok"
	fail    = "fail"
	unknown = "unknown"
)

// attempts are the packets that speak for a goal, and how many more there would be; or why there are none.
func attempts(g schema.Goal) (out []*attempt, rest int, why string) {
	if why := unfit(g); why != "" {
		return nil, 0, why
	}
	for _, p := range g.To.Prefixes {
		switch {
		case !p.IsSingleIP():
			return nil, 0, fmt.Sprintf("%s is many addresses; an expectation for one of them can be probed", p)
		case p.Addr().IsMulticast(), p.Addr().IsLinkLocalUnicast():
			return nil, 0, fmt.Sprintf("%s has no single place in the network", p.Addr())
		}
		for _, r := range ports(g.Service) {
			for port := uint32(r.First); port <= uint32(r.Last); port++ {
				if len(out) == maxAttempts {
					rest++
					continue
				}
				to := netip.AddrPortFrom(p.Addr(), uint16(port))
				out = append(out, &attempt{ProbeAttempt: schema.ProbeAttempt{Proto: g.Service.Proto, Destination: to}})
			}
		}
	}
	return out, rest, ""
}

// ports are those of a service; ICMP has none, which is one attempt.
func ports(s schema.Service) []schema.PortRange {
	if s.Proto == "icmp" {
		return []schema.PortRange{{}}
	}
	return s.Ports
}

// unfit says why no packet of this host can speak for a goal; "" when one can.
func unfit(g schema.Goal) string {
	switch {
	case g.From.Kind == "any":
		return "it is about packets from anywhere, and only those of this host can be sent from here"
	case g.From.Kind != "host":
		return fmt.Sprintf("packets of %s cannot be sent from the host", g.From)
	case g.Via != nil:
		return "a forwarded port is reached from outside, and packets from there cannot be sent from the host"
	case g.To.Kind == "host":
		return "what the host sends to itself never leaves it"
	case len(g.To.Prefixes) == 0:
		return fmt.Sprintf("the address of %s is not known", g.To)
	case g.Service.Proto == "":
		return "it names no protocol; give tcp, udp or icmp"
	case g.Service.Proto != "tcp" && g.Service.Proto != "udp" && g.Service.Proto != "icmp":
		return g.Service.Proto + " cannot be probed"
	case g.Service.Proto != "icmp" && len(g.Service.Ports) == 0:
		return "it names no port of " + g.Service.Proto
	}
	return ""
}

// judge makes one answer of what became of the packets: the worst counts.
func judge(r *schema.ProbeResult, made []*attempt, rest int) {
	r.Status = ok
	var failed, open []string
	for _, a := range made {
		r.Attempts = append(r.Attempts, a.ProbeAttempt)
		switch verdict(a.ProbeAttempt, r.Goal.Allow) {
		case fail:
			failed = append(failed, a.String())
		case unknown:
			open = append(open, a.String()+doubt(a.ProbeAttempt))
		}
	}
	switch {
	case len(failed) > 0:
		r.Status, r.Why = fail, list(failed)
	case len(open) > 0:
		r.Status, r.Why = unknown, list(open)
	case rest > 0:
		r.Status, r.Why = unknown, fmt.Sprintf("the first %d packets say so, %d more were not sent", len(made), rest)
	}
}

// list names the first few.
func list(texts []string) string {
	const most = 3
	if n := len(texts) - most; n > 0 {
		return strings.Join(texts[:most], "; ") + fmt.Sprintf("; and %d more", n)
	}
	return strings.Join(texts, "; ")
}

// verdict is what one packet says about a goal that wants it through, or not through.
func verdict(a schema.ProbeAttempt, allow bool) string {
	through, sure := false, true
	switch a.Outcome {
	case schema.ProbeReached:
		through = true
	case schema.ProbeUnreachable, schema.ProbeUnsent:
	case schema.ProbeSilent:
		sure = a.Proto != "udp"
	case schema.ProbeRefused, schema.ProbeUnknown:
		sure = false
	}
	switch {
	case !sure:
		return unknown
	case through == allow:
		return ok
	}
	return fail
}

// doubt says why an outcome proves nothing.
func doubt(a schema.ProbeAttempt) string {
	switch {
	case a.Outcome == schema.ProbeRefused:
		return ": nobody listens there, or a firewall on the way refuses in its name"
	case a.Outcome == schema.ProbeSilent && a.Proto == "udp":
		return ": a UDP service need not answer what it does not understand"
	}
	return ""
}
