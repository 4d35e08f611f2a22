package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func adapterQdisc() Check {
	return Check{
		Code: "VN121", Name: "adapter-qdisc", Layer: LayerAdapters, Title: "a queue slows a link down", Run: runAdapterQdisc,
		Doc: Doc{
			Means:   "What leaves by the link goes through a queueing discipline that delays or drops on purpose: netem, which plays a bad network, or tbf, which lets through so many bits a second.",
			Example: "tc qdisc add dev vnet1 root tbf rate 256kbit burst 1600 latency 200ms: a download of 100 MB takes an hour.",
			Why:     "A test or a traffic shaper (wondershaper, comcast, a chaos experiment) was killed before it cleaned up. Limits of libvirt's <bandwidth> are htb queues, and no finding.",
			Repair:  "It does not: a limit may be wanted, and what it replaced is not known.",
			ByHand:  "tc -s qdisc show dev vnet1 shows what it drops; tc qdisc del dev vnet1 root takes it away.",
			Lasting: "Find who adds it: a unit or an if-up script with tc. A limit that is wanted belongs into the guest's definition (virsh domiftune --config).",
		},
	}
}

func runAdapterQdisc(h *Host) []Finding {
	var out []Finding
	for l := range schema.Each[*schema.Link](h.State) {
		if l.Facts == nil || l.Facts.Qdisc != "netem" && l.Facts.Qdisc != "tbf" {
			continue
		}
		f := Finding{
			Severity: Warning, Title: fmt.Sprintf("%s sends through a %s queue", l.Name, l.Facts.Qdisc), Object: l.Ref(), Links: []string{l.Name},
			Detail:   map[string]string{"netem": "It plays a bad network: delay, loss, corruption.", "tbf": "It lets through so many bits a second, and drops what waits too long."}[l.Facts.Qdisc],
			Evidence: []string{fmt.Sprintf("the root qdisc of %s is %s", l.Name, l.Facts.Qdisc)},
			Cure:     []string{"tc -s qdisc show dev " + l.Name, "tc qdisc del dev " + l.Name + " root"},
		}
		if m := master(l); m != "" {
			f.Links = append(f.Links, m)
		}
		out = append(out, f)
	}
	return out
}
